/**
 * Logins with a code that the user enters elsewhere: asked for no more often than the provider allows, and stored once.
 */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { ProviderId, UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { DeviceFlow } from "../src/DeviceFlow.ts"
import { OAuthFlow } from "../src/OAuthFlow.ts"
import { Provider } from "../src/Provider.ts"
import * as Service from "../src/Service.ts"
import * as ScriptedProvider from "./servers/ScriptedProvider.ts"

const userId = UserId.make("ada")
const providerId = ProviderId.to.make("acme")
const by = { userId, provider: providerId }

/** A server, and everything over it in memory. */
const world = (options: ScriptedProvider.Options = {}, fields: Readonly<Record<string, unknown>> = {}) =>
  Effect.map(ScriptedProvider.make(options), (server) => {
    const provider = Schema.decodeUnknownSync(Provider)(
      server.definition("acme", {
        grant: "device_code",
        deviceAuthorizationUrl: server.deviceAuthorizationUrl,
        defaultScopes: ["read"],
        ...fields
      })
    )
    const layer = Service.layerMemory({
      providers: [provider],
      clients: () =>
        Option.some({
          id: server.clientId,
          ...(server.clientSecret !== undefined && { secret: Redacted.make(server.clientSecret) })
        }),
      allowLoopback: true,
      sweeper: false
    })
    return { server, layer }
  })

const authorize = Effect.flatMap(DeviceFlow, (flow) => flow.authorize(userId, providerId, {}))

const ask = (state: Redacted.Redacted, asker = by) => Effect.flatMap(DeviceFlow, (flow) => flow.callback(state, asker))

const polls = (server: ScriptedProvider.ScriptedProvider["Type"]) =>
  server.ledger.filter(({ kind }) => kind === "device_code")

/** How long the caller is told to wait. */
const told = (state: Redacted.Redacted) =>
  Effect.map(Effect.flip(ask(state)), (error) =>
    error._tag === "AuthorizationPending" ? error.retryAfterSeconds : error._tag
  )

describe("a login with a code that is shown", () => {
  it.scoped("tells the user what to enter where, and until when", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world({ deviceCodeSeconds: 600 })
      yield* Effect.gen(function* () {
        const now = yield* DateTime.now
        const begun = yield* authorize
        assert.match(begun.userCode, /^[0-9A-F]{8}$/)
        assert.strictEqual(begun.verificationUri, `${server.url}/activate`)
        assert.strictEqual(begun.verificationUriComplete, `${server.url}/activate?code=${begun.userCode}`)
        assert.strictEqual(DateTime.distance(now, begun.expiresAt), 600_000)
        assert.strictEqual(begun.interval, 5)
        const [request] = server.ledger
        assert.strictEqual(request?.parameters["scope"], "read")
        assert.strictEqual(request?.clientAuth, "client_secret_basic")
        assert.notInclude(JSON.stringify(begun), Redacted.value(begun.state))
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("is asked for as often as its provider allows, and stored when the user is done", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world({ accessTokenSeconds: 600 })
      yield* Effect.gen(function* () {
        const { state, userCode } = yield* authorize
        assert.strictEqual(yield* told(state), 5)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(yield* told(state), 3)
        assert.lengthOf(polls(server), 0)
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual(yield* told(state), 5)
        assert.lengthOf(polls(server), 1)
        assert.isTrue(server.enterCode(userCode, "approved"))
        yield* TestClock.adjust("5 seconds")
        const metadata = yield* ask(state)
        assert.deepStrictEqual([metadata.generation, metadata.scopes, metadata.status], [1, ["read"], "active"])
        // and is used and renewed like any other
        const manager = yield* CredentialsManager
        yield* TestClock.adjust("10 minutes")
        const { accessToken } = yield* manager.get(userId, metadata.id)
        assert.isTrue(server.isLive(Redacted.value(accessToken ?? assert.fail())))
        assert.deepStrictEqual([server.spends, server.reuses], [1, 0])
        assert.strictEqual(yield* told(state), "AuthorizationExpired")
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("slows down when it is told to, and stays slow", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world()
      yield* Effect.gen(function* () {
        const { state } = yield* authorize
        const slowDown = ScriptedProvider.Fault.on(
          "device_code",
          ScriptedProvider.Fault.refuse({ status: 400, body: `{"error":"slow_down"}` })
        )
        server.next(slowDown)
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* told(state), 10)
        yield* TestClock.adjust("9 seconds")
        assert.strictEqual(yield* told(state), 1)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* told(state), 10)
        assert.lengthOf(polls(server), 2)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("that is asked for by 20 at once asks its provider once, and stores one credential", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world()
      yield* Effect.gen(function* () {
        const { state, userCode } = yield* authorize
        server.enterCode(userCode, "approved")
        yield* TestClock.adjust("5 seconds")
        const answers = yield* Effect.all(
          Array.from({ length: 20 }, () => Effect.either(ask(state))),
          { concurrency: "unbounded" }
        )
        assert.lengthOf(answers.filter(Either.isRight), 1)
        for (const { left } of answers.filter(Either.isLeft)) {
          assert.include(["AuthorizationPending", "AuthorizationExpired"], left._tag)
        }
        assert.lengthOf(polls(server), 1)
        const manager = yield* CredentialsManager
        const { items } = yield* manager.list(userId, {}, { limit: 50, after: Option.none() })
        assert.lengthOf(items, 1)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("ends when the user says no, or when its time is over", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world({ deviceCodeSeconds: 60 })
      yield* Effect.gen(function* () {
        const refused = yield* authorize
        server.enterCode(refused.userCode, "denied")
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* told(refused.state), "AuthorizationDenied")
        assert.strictEqual(yield* told(refused.state), "AuthorizationExpired")
        const late = yield* authorize
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* told(late.state), "AuthorizationExpired")
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("outlasts a provider that fails in between", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world()
      yield* Effect.gen(function* () {
        const { state, userCode } = yield* authorize
        server.enterCode(userCode, "approved")
        yield* TestClock.adjust("5 seconds")
        server.next(ScriptedProvider.Fault.on("device_code", ScriptedProvider.Fault.refuse({ status: 503 })))
        assert.strictEqual(yield* told(state), "ProviderError")
        assert.strictEqual((yield* ask(state)).generation, 1)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("is finished by the user and at the provider that it was begun for, and by nobody else", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world()
      yield* Effect.gen(function* () {
        const { state, userCode } = yield* authorize
        server.enterCode(userCode, "approved")
        yield* TestClock.adjust("5 seconds")
        for (const asker of [
          { ...by, userId: UserId.make("eve") },
          { ...by, provider: ProviderId.to.make("other") }
        ]) {
          assert.strictEqual((yield* Effect.flip(ask(state, asker)))._tag, "AuthorizationExpired")
        }
        assert.lengthOf(polls(server), 0)
        assert.strictEqual((yield* Effect.flip(ask(Redacted.make("unknown"))))._tag, "AuthorizationExpired")
        assert.strictEqual((yield* ask(state)).generation, 1)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("has no link, and a provider with a link has no code to show", () =>
    Effect.gen(function* () {
      const { layer } = yield* world()
      yield* Effect.gen(function* () {
        const flow = yield* OAuthFlow
        assert.strictEqual((yield* Effect.flip(flow.authorize(userId, providerId, {})))._tag, "InvalidRequest")
        const codes = yield* DeviceFlow
        const github = ProviderId.to.make("github")
        assert.strictEqual((yield* Effect.flip(codes.authorize(userId, github, {})))._tag, "InvalidRequest")
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("whose beginning is odd is a failure, and never a link that is none", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world()
      yield* Effect.gen(function* () {
        const begun = (body: unknown, status = 200) => {
          const reply = ScriptedProvider.Fault.refuse({ status, body: JSON.stringify(body) })
          server.next(ScriptedProvider.Fault.on("device_authorization", reply))
          return Effect.either(authorize)
        }
        const good = { device_code: "d", user_code: "u", verification_url: "https://acme.example", expires_in: "60" }
        const spelt = yield* begun(good)
        assert.isTrue(Either.isRight(spelt) && spelt.right.verificationUri === "https://acme.example")
        for (const bad of [
          {},
          { ...good, verification_url: "javascript:alert(1)" },
          { ...good, expires_in: -1 },
          { ...good, user_code: "" },
          { error: "unauthorized_client" }
        ]) {
          const answered = yield* begun(bad, "error" in bad ? 400 : 200)
          assert.isTrue(Either.isLeft(answered) && answered.left._tag === "ProviderError", JSON.stringify(bad))
        }
      }).pipe(Effect.provide(layer))
    })
  )
})
