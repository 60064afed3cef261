/**
 * A Redis server of the tests' own, on a free port of 127.0.0.1 in a temporary folder, for as long as its scope lives. It
 * keeps nothing: started again, it is empty.
 *
 * Its program is the `redis-server` or `valkey-server` on the PATH, or on Debian that of the system's own packages, unpacked
 * below `node_modules/.cache` without any change to the system; without any the test fails, and says how to get one. Tests
 * that only need some Redis use that of `TEST_REDIS_URL`, when it is set.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { execFile, spawn, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { setTimeout } from "node:timers/promises"
import { promisify } from "node:util"
import * as LoopbackServer from "./LoopbackServer.ts"

export interface Redis {
  readonly port: number
  readonly url: Redacted.Redacted
  /** `SIGSTOP`: connections stay, nothing is answered. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** `SIGKILL`; waits until it is gone. */
  readonly kill: Effect.Effect<void>
  /** Starts it again, empty, on the same port; waits until it answers. */
  readonly start: Effect.Effect<void>
}

interface Program {
  readonly file: string
  readonly libraries: string | undefined
}

const howToGet = `The tests need a Redis server's program (redis-server or valkey-server, 6.2 or later), and found none.
  Debian, Ubuntu: nothing to do where apt-get can download; else apt-get install redis-server
  macOS: brew install valkey
Or set TEST_REDIS_URL=redis://user:password@host:6379 to a server that the tests may use;
the tests that stop a server need the program all the same.`

const packages = [
  "redis-server",
  "redis-tools",
  "libjemalloc2",
  "liblua5.1-0",
  "liblzf1",
  "lua-cjson",
  "lua-bitop"
] as const

const modules = Path.resolve(createRequire(import.meta.url).resolve("effect/package.json"), "../..")
const cache = Path.join(modules, ".cache", "redis-server")

const onPath = (): string | undefined =>
  ["redis-server", "valkey-server"]
    .flatMap((name) => (process.env["PATH"] ?? "").split(Path.delimiter).map((folder) => Path.join(folder, name)))
    .find((file) => Fs.existsSync(file))

const unpacked = (folder: string): Program | undefined => {
  const file = Path.join(folder, "usr/bin/redis-server")
  if (!Fs.existsSync(file)) return undefined
  const library = Path.join(folder, "usr/lib")
  const below = Fs.readdirSync(library, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  return { file, libraries: below.map(({ name }) => Path.join(library, name)).join(":") }
}

const run = promisify(execFile)

/** Downloads and unpacks into a folder of its own, which appears whole or not at all. */
const unpack = async (): Promise<void> => {
  await Fs.promises.mkdir(Path.dirname(cache), { recursive: true })
  const folder = await Fs.promises.mkdtemp(`${cache}-`)
  const download = () => run("apt-get", ["download", ...packages], { cwd: folder })
  await download().catch(() => run("apt-get", ["update"]).then(download))
  for (const file of await Fs.promises.readdir(folder)) {
    if (file.endsWith(".deb")) await run("dpkg", ["-x", file, "root"], { cwd: folder })
  }
  // another process may have been faster
  await Fs.promises.rename(Path.join(folder, "root"), cache).catch(() => undefined)
  await Fs.promises.rm(folder, { recursive: true, force: true })
}

/** Finds the program, or downloads it: once for a run, before servers are started side by side. */
export const program = Effect.promise(async (): Promise<Program> => {
  const file = onPath()
  if (file !== undefined) return { file, libraries: undefined }
  if (!Fs.existsSync(cache)) await unpack().catch(() => undefined)
  const found = unpacked(cache)
  if (found === undefined) throw new Error(howToGet)
  return found
})

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"))
    socket.once("data", (data) => {
      socket.destroy()
      resolve(data.toString().startsWith("+PONG"))
    })
    socket.once("error", () => resolve(false))
  })

const ended = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, "close")
  child.kill("SIGKILL")
  await closed
}

/** A server of the caller's own, which it may stop. */
export const start: Effect.Effect<Redis, never, Scope.Scope> = Effect.gen(function* () {
  const { file, libraries } = yield* program
  const port = yield* LoopbackServer.freePort
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(tmpdir(), "effect-credentials-redis-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  )
  let child: ChildProcess | undefined
  const kill = Effect.promise(async () => {
    if (child !== undefined) await ended(child)
  })
  const launch = Effect.promise(async () => {
    const started = spawn(
      file,
      ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder],
      {
        stdio: ["ignore", "ignore", "inherit"],
        env: { ...process.env, ...(libraries === undefined ? {} : { LD_LIBRARY_PATH: libraries }) }
      }
    )
    child = started
    for (let tries = 0; !(await answers(port)); tries++) {
      if (started.exitCode !== null || tries > 500) throw new Error(`Redis (${file}) does not start.`)
      await setTimeout(10)
    }
  })
  yield* Effect.addFinalizer(() => kill)
  yield* launch
  return {
    port,
    url: Redacted.make(`redis://127.0.0.1:${port}`),
    pause: Effect.sync(() => child?.kill("SIGSTOP")),
    resume: Effect.sync(() => child?.kill("SIGCONT")),
    kill,
    start: Effect.zipRight(kill, launch)
  }
})

/** Some server: that of `TEST_REDIS_URL`, or one of the tests' own. */
export const url: Effect.Effect<Redacted.Redacted, never, Scope.Scope> = Effect.suspend(() => {
  const given = process.env["TEST_REDIS_URL"]
  return given === undefined || given === ""
    ? Effect.map(start, ({ url }) => url)
    : Effect.succeed(Redacted.make(given))
})
