/** `hold-back` as an operator runs it: the server stopped, its files put back, the command, the server. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import { ok, refused } from "../servers/Client.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import * as Service from "../servers/Service.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

const holdBack = (dataDir: string) =>
  Effect.async<{ readonly code: number | undefined; readonly output: string }>((resume) => {
    const env = { PATH: process.env["PATH"], DATA_DIR: dataDir, ADMIN_API_KEY: "long-enough-for-a-key" }
    const child = execFile(process.execPath, ["dist/cli.js", "hold-back"], { cwd: root, env }, (_, stdout, stderr) =>
      resume(Effect.succeed({ code: child.exitCode ?? undefined, output: stdout + stderr }))
    )
  })

const fromNow = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString()

it.scopedLive(
  "what a backup brings back is served while it lives, and presented once when it does not: a loss is named",
  () =>
    Effect.gen(function* () {
      const user = "ada"
      const provider = yield* ScriptedProvider.make()
      const service = yield* Service.start({
        providers: [provider.definition("fake")],
        env: provider.environment("fake")
      })
      const create = (seconds: number) => {
        const { accessToken, refreshToken } = provider.issue()
        const body = { type: "oauth2", provider: "fake", accessToken, refreshToken }
        return Effect.map(
          ok(service.client.createCredential(user, { ...body, accessTokenExpiresAt: fromNow(seconds) })),
          ({ id }) => ({ id, accessToken })
        )
      }
      const [living, expired] = [yield* create(3_600), yield* create(3)]
      yield* service.stop()
      const backup = `${service.dataDir}.backup`
      Fs.cpSync(service.dataDir, backup, { recursive: true, filter: (file) => !/lock\.\d+$/.test(file) })
      yield* service.restart()
      yield* Effect.sleep("3 seconds")
      yield* ok(service.client.secret(user, expired.id))
      assert.strictEqual(provider.spends, 1)

      assert.deepStrictEqual(yield* holdBack(service.dataDir), {
        code: 1,
        output: `A server works in ${service.dataDir}/database. Stop it, run this, and start it again.\n`
      })
      yield* service.stop()
      Fs.rmSync(service.dataDir, { recursive: true })
      Fs.renameSync(backup, service.dataDir)
      const held = yield* holdBack(service.dataDir)
      assert.strictEqual(held.code, 0, held.output)
      assert.match(held.output, /^Held back: 2 grants\.\n/)
      assert.match((yield* holdBack(service.dataDir)).output, /^Held back: 0 grants, and 2 that were before\.\n/)

      yield* service.restart()
      const lost = yield* refused(service.client.secret(user, expired.id))
      assert.deepInclude(lost.body, { _tag: "NeedsReauth", reason: "response_lost" })
      yield* refused(service.client.secret(user, expired.id))
      assert.strictEqual(provider.refreshes, 2)
      assert.strictEqual((yield* ok(service.client.secret(user, living.id))).accessToken, living.accessToken)
      yield* refused(service.client.secret(user, living.id, { refresh: "force" }))
      assert.strictEqual(provider.refreshes, 2)
    }),
  90_000
)
