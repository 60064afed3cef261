import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { generateKeyPairSync } from "node:crypto"
import * as ApiKeys from "../../src/ApiKeys.ts"
import { AuditLog } from "../../src/AuditLog.ts"
import { Provider } from "../../src/Provider.ts"
import * as Log from "../../src/server/Log.ts"
import * as Service from "../../src/Service.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import { bootstrapKey, over, type Reply, Serving } from "./Serving.ts"

const routes = "/v1/users/ada/oauth/acme"

/** The service over HTTP, with one provider of this kind. */
const serving = (
  fields: (server: ScriptedProvider.ScriptedProvider["Type"]) => Readonly<Record<string, unknown>>,
  options: ScriptedProvider.Options = {}
) =>
  Effect.map(ScriptedProvider.make(options), (server) => ({
    server,
    layer: over(
      Layer.merge(
        Service.layerMemory({
          providers: [Schema.decodeUnknownSync(Provider)(server.definition("acme", fields(server)))],
          clients: () =>
            Option.some({
              id: server.clientId,
              ...(server.clientSecret !== undefined && { secret: Redacted.make(server.clientSecret) })
            }),
          allowLoopback: true,
          sweeper: false
        }),
        ApiKeys.layerMemory({ bootstrap: Redacted.make(bootstrapKey) })
      )
    )
  }))

const record = (json: unknown): Readonly<Record<string, unknown>> => Object(json)

describe("a login with a code that is shown", () => {
  const device = (server: ScriptedProvider.ScriptedProvider["Type"]) => ({
    grant: "device_code",
    deviceAuthorizationUrl: server.deviceAuthorizationUrl
  })

  it.scopedLive("answers what to show, then 202 and when to ask again, then 201", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* serving(device, { deviceIntervalSeconds: 1 })
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        const begun = yield* call("POST", `${routes}/authorize`, { body: { scopes: ["read"] } })
        assert.strictEqual(begun.status, 200)
        assert.strictEqual(begun.headers["cache-control"], "no-store")
        const shown = record(begun.json)
        assert.deepStrictEqual(Object.keys(shown).sort(), [
          "expiresAt",
          "interval",
          "state",
          "userCode",
          "verificationUri",
          "verificationUriComplete"
        ])
        const ask = call("POST", `${routes}/callback`, { body: { state: shown["state"] } })
        const pending = yield* ask
        assert.deepStrictEqual([pending.status, pending.headers["retry-after"]], [202, "1"])
        const { message: _, ...told } = record(pending.json)
        assert.deepStrictEqual(told, {
          _tag: "AuthorizationPending",
          retryable: true,
          provider: "acme",
          retryAfterSeconds: 1
        })
        server.enterCode(String(shown["userCode"]), "approved")
        yield* Effect.sleep("1 second")
        const done = yield* ask
        assert.deepStrictEqual([done.status, done.headers["etag"]], [201, `"1"`])
        assert.deepStrictEqual(record(done.json)["scopes"], ["read"])
        assert.strictEqual((yield* ask).status, 410)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scopedLive("has no browser that could come back", () =>
    Effect.gen(function* () {
      const { layer } = yield* serving(device)
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        for (const [field, value] of [
          ["returnTo", "https://app.example/done"],
          ["bindBrowser", true]
        ] as const) {
          const { json, status } = yield* call("POST", `${routes}/authorize`, { body: { [field]: value } })
          assert.strictEqual(status, 400)
          assert.nestedPropertyVal(json, "issues[0].field", field)
        }
      }).pipe(Effect.provide(layer))
    })
  )

  it.scopedLive("is the only one that ends without the provider's code", () =>
    Effect.gen(function* () {
      const { layer } = yield* serving(() => ({}))
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        const { json, status } = yield* call("POST", `${routes}/callback`, { body: { state: "s" } })
        assert.strictEqual(status, 400)
        assert.nestedPropertyVal(json, "issues[0].field", "code")
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("connecting without a user", () => {
  it.scopedLive("answers 201 with the metadata of a credential that can be read", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* serving(() => ({ grant: "client_credentials" }))
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        const { headers, json, status } = yield* call("POST", `${routes}/connect`, { body: { scopes: ["read"] } })
        assert.deepStrictEqual([status, headers["etag"]], [201, `"1"`])
        const secret = yield* call("GET", `/v1/users/ada/credentials/${record(json)["id"]}/secret`)
        assert.isTrue(server.isLive(String(record(secret.json)["accessToken"])))
        const link = yield* call("POST", `${routes}/authorize`, { body: {} })
        assert.strictEqual(link.status, 400)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scopedLive("takes a private key, and never gives it back", () =>
    Effect.gen(function* () {
      const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
      const pem = String(privateKey.export({ type: "pkcs8", format: "pem" }))
      const { layer } = yield* serving(() => ({ grant: "jwt_bearer", clientAuth: "none" }), {
        clients: [{ clientId: "" }],
        clientAuth: ["none"],
        issuers: { robot: String(publicKey.export({ type: "spki", format: "pem" })) }
      })
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        const connected = yield* call("POST", `${routes}/connect`, { body: { privateKey: pem, issuer: "robot" } })
        assert.strictEqual(connected.status, 201, connected.text)
        const path = `/v1/users/ada/credentials/${record(connected.json)["id"]}`
        const replies = [connected, yield* call("GET", path), yield* call("GET", `${path}/secret`)]
        const wrong = yield* call("POST", `${routes}/connect`, {
          body: { privateKey: pem.replace("BEGIN", "END"), issuer: "robot" }
        })
        assert.strictEqual(wrong.status, 400)
        for (const { text } of [...replies, wrong]) {
          assert.notInclude(text, "PRIVATE")
          assert.notInclude(text, pem.split("\n")[1] ?? "")
        }
      }).pipe(Effect.provide(layer))
    })
  )

  it.scopedLive("refuses what belongs to another grant, or is no field", () =>
    Effect.gen(function* () {
      const { layer } = yield* serving(() => ({ grant: "client_credentials" }))
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        for (const field of ["subjectToken", "privateKey", "issuer", "nonsense"]) {
          const { json, status } = yield* call("POST", `${routes}/connect`, { body: { [field]: "canary-71" } })
          assert.strictEqual(status, 400)
          assert.nestedPropertyVal(json, "issues[0].field", field)
          assert.notInclude(JSON.stringify(json), "canary-71")
        }
      }).pipe(Effect.provide(layer))
    })
  )
})

it.scopedLive(
  "what a provider repeats of a secret is in no answer, log line or audit event",
  () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const { layer, server } = yield* serving(() => ({}))
      const clientSecret = server.clientSecret ?? assert.fail("the client has a secret")
      const [refreshToken, code] = ["refresh-canary-81c4", "code-canary-27ab"]
      const secrets = [refreshToken, code, clientSecret]
      const said = secrets.join(" ")
      const textOf = (reply: Reply) => JSON.stringify([reply.headers, reply.text])
      const logging = Log.layer({ format: "json", level: LogLevel.All, write: (line) => void lines.push(line) })
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        const past = DateTime.formatIso(DateTime.subtract(yield* DateTime.now, { minutes: 1 }))
        const echoes: ReadonlyArray<ScriptedProvider.Fault.Fault> = [
          ScriptedProvider.Fault.error("invalid_grant", 400, said),
          ScriptedProvider.Fault.error(said),
          ScriptedProvider.Fault.error(said, 401, said),
          ScriptedProvider.Fault.errorIn200(said),
          ScriptedProvider.Fault.notOk(said),
          ScriptedProvider.Fault.refuse({ status: 503, body: said, headers: { "x-echo": said } }),
          ScriptedProvider.Fault.refuse({ status: 429, body: said, headers: { "retry-after": said } }),
          ScriptedProvider.Fault.refuse({ status: 200, body: `<html>${said}</html>` }),
          ScriptedProvider.Fault.refuse({ status: 200, body: `{"access_token":{"${said}":1}}` }),
          ScriptedProvider.Fault.refuse({ status: 302, headers: { location: `https://${said}.test/${said}` } })
        ]
        const texts: Array<string> = []
        for (const [index, echo] of echoes.entries()) {
          const users = `/v1/users/user-${index}`
          const created = yield* call("POST", `${users}/credentials`, {
            body: { type: "oauth2", provider: "acme", accessToken: "at", refreshToken, accessTokenExpiresAt: past }
          })
          const path = `${users}/credentials/${String(record(created.json)["id"])}`
          server.always(echo)
          const read = yield* call("GET", `${path}/secret?waitSeconds=1`)
          assert.isAtLeast(read.status, 400, textOf(read))
          const others = [
            yield* call("GET", path),
            yield* call("GET", `${path}/explain`),
            yield* call("POST", `${path}/refresh?waitSeconds=1`)
          ]
          const begun = yield* call("POST", `${users}/oauth/acme/authorize`)
          const state = String(record(begun.json)["state"])
          const ended = yield* call("POST", `${users}/oauth/acme/callback`, { body: { code, state } })
          assert.isAtLeast(ended.status, 400, textOf(ended))
          const page = yield* call("GET", `/oauth/callback?state=x&error=${encodeURIComponent(said)}`, { key: null })
          texts.push(...[created, read, ...others, ended, page].map(textOf))
          server.always(undefined)
        }
        const events = yield* Effect.flatMap(AuditLog, (log) => log.recent(1_000))
        assert.isAbove(lines.length, echoes.length)
        assert.isAbove(events.length, echoes.length)
        texts.push(...lines, ...events.map((event) => JSON.stringify(event)))
        for (const text of texts) for (const secret of secrets) assert.notInclude(text, secret)
      }).pipe(Effect.provide(Layer.provide(layer, logging)))
    }),
  60_000
)
