import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type ChildProcess, execFile, spawn } from "node:child_process"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as LoopbackServer from "../servers/LoopbackServer.ts"

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url))

interface Ended {
  readonly code: number | null
  readonly output: string
}

/** The program from its sources, in a process of its own that ends with the scope. */
const run = (variables: Record<string, string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const process_ = spawn(process.execPath, ["--import", "tsx", main], {
        env: { PATH: process.env["PATH"], ...variables }
      })
      let output = ""
      const write = (chunk: Buffer) => {
        output += chunk.toString("utf8")
      }
      process_.stdout.on("data", write)
      process_.stderr.on("data", write)
      const ended = new Promise<Ended>((resolve) => {
        process_.once("close", (code) => resolve({ code, output }))
      })
      return { process: process_ as ChildProcess, ended: Effect.promise(() => ended), output: () => output }
    }),
    ({ process: running }) => Effect.sync(() => running.kill("SIGKILL"))
  )

const untilReady = (url: string): Effect.Effect<void> =>
  Effect.tryPromise(() => fetch(`${url}/readyz`)).pipe(
    Effect.map((response) => response.ok),
    Effect.orElseSucceed(() => false),
    Effect.flatMap((ok) => (ok ? Effect.void : Effect.zipRight(Effect.sleep("50 millis"), untilReady(url))))
  )

const shell = (command: string) =>
  Effect.async<string>((resume) => {
    execFile("/bin/sh", ["-c", command], (_, stdout) => resume(Effect.succeed(stdout)))
  })

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "main-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
)

it.scopedLive("a start that cannot be says why in one message, without a trace, and ends with 1", () =>
  Effect.gen(function* () {
    const { ended } = yield* run({ PORT: "many", ADMIN_API_KEY: "short" })
    const { code, output } = yield* ended
    assert.strictEqual(code, 1)
    assert.strictEqual(
      output,
      `effect-credentials does not start. The settings are not valid.
  PORT: expected a port from 0 to 65535, for example PORT=8787
  ADMIN_API_KEY: expected at least 16 characters, none of them a space, for example ADMIN_API_KEY=$(openssl rand -hex 32)
`
    )
  })
)

it.scopedLive(
  "the first start says how to go on in a way that works, owns its data, and ends with 0 when it is told to",
  () =>
    Effect.gen(function* () {
      const directory = join(yield* temporary, "it's data")
      const port = yield* LoopbackServer.freePort
      const variables = { DATA_DIR: directory, PORT: String(port) }
      const url = `http://127.0.0.1:${port}`

      const first = yield* run(variables)
      yield* untilReady(url)
      yield* Effect.sleep("100 millis")
      const welcome = first.output()
      assert.include(welcome, `effect-credentials is ready at ${url}`)
      assert.include(welcome, `${url}/docs`)
      assert.include(welcome, join(directory, "admin.key"))
      const command = /^ {2}(curl .*)$/m.exec(welcome)?.[1] ?? ""
      assert.match(yield* shell(command), /^\{"items":\[\{"id":"airtable"/)

      const second = yield* run({ ...variables, PORT: "0" })
      const refused = yield* second.ended
      assert.deepStrictEqual(
        [refused.code, refused.output],
        [
          1,
          `effect-credentials does not start. DATA_DIR: another server works in ${directory}/database: stop that one, or set DATA_DIR to another directory.\n`
        ]
      )

      first.process.kill("SIGTERM")
      assert.strictEqual((yield* first.ended).code, 0)

      const again = yield* run(variables)
      yield* untilReady(url)
      assert.match(yield* shell(command), /^\{"items"/)
      again.process.kill("SIGINT")
      const { code, output } = yield* again.ended
      assert.strictEqual(code, 0)
      assert.notInclude(output, "Try it")
      for (const name of ["admin.key", "encryption.keys"]) {
        const secret = Fs.readFileSync(join(directory, name), "utf8").trim()
        assert.notInclude(welcome + output, secret)
      }
    }),
  60_000
)
