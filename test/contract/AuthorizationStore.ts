import { assert, layer as withLayer } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { randomBytes, randomUUID } from "node:crypto"
import { Authorization, AuthorizationStore } from "../../src/AuthorizationStore.ts"
import { CredentialId, ProviderId, UserId } from "../../src/Credential.ts"

const newUser = () => UserId.make(`user ${randomUUID()}`)
const newState = () => Redacted.make(randomBytes(32).toString("base64url"))
const github = Schema.decodeSync(ProviderId)("github")
const gitlab = Schema.decodeSync(ProviderId)("gitlab")

const newAuthorization = (fields: Partial<Authorization> = {}): Effect.Effect<Authorization> =>
  Effect.map(DateTime.now, (now) => ({
    userId: newUser(),
    provider: github,
    createdAt: now,
    expiresAt: DateTime.add(now, { minutes: 10 }),
    authorizationUrl: Redacted.make("https://github.com/login/oauth/authorize?client_id=1"),
    redirectUri: "http://127.0.0.1:8787/oauth/callback",
    codeVerifier: Redacted.make(randomBytes(32).toString("base64url")),
    scopes: ["repo"],
    returnTo: "https://app.example.com/done",
    credentialId: CredentialId.to.make(randomUUID()),
    browserSecret: Redacted.make(randomUUID()),
    extra: Redacted.make({ mcp_client_secret: "client secret", tenant: "acme" }),
    ...fields
  }))

const put = (fields: Partial<Authorization> = {}) =>
  Effect.gen(function* () {
    const store = yield* AuthorizationStore
    const state = newState()
    const authorization = yield* newAuthorization(fields)
    yield* store.put(state, authorization)
    return { state, authorization }
  })

/** `Redacted` values compare as equal whatever they hold: so they are opened. */
const reveal = Schema.encodeSync(Authorization)

const isThat = (found: Option.Option<Authorization>, authorization: Authorization) =>
  assert.deepStrictEqual(Option.map(found, reveal), Option.some(reveal(authorization)))

const isNone = (found: Option.Option<Authorization>) => assert.isTrue(Option.isNone(found))

/** What every engine does as an `AuthorizationStore`. */
export const suite = <E>(name: string, layer: Layer.Layer<AuthorizationStore, E>) =>
  withLayer(layer, { timeout: "60 seconds" })(`AuthorizationStore: ${name}`, (it) => {
    it.effect("a login is found as often as one looks, as it was put", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        const { authorization, state } = yield* put()
        isThat(yield* store.find(state), authorization)
        isThat(yield* store.find(state), authorization)
        const { browserSecret: _1, codeVerifier: _2, credentialId: _3, returnTo: _4, ...bare } = authorization
        const another = newState()
        yield* store.put(another, bare)
        isThat(yield* store.find(another), bare)
      })
    )

    it.effect("a login is taken once, by its user at its provider", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        const { authorization, state } = yield* put()
        isThat(yield* store.take(state, { userId: authorization.userId, provider: github }), authorization)
        isNone(yield* store.take(state, { userId: authorization.userId, provider: github }))
        isNone(yield* store.take(state, {}))
        isNone(yield* store.find(state))
      })
    )

    it.effect("a browser that names neither user nor provider takes it as well", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        const { authorization, state } = yield* put()
        isThat(yield* store.take(state, {}), authorization)
        isNone(yield* store.find(state))
      })
    )

    it.effect("of 50 that take it at once one gets it", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        const { authorization, state } = yield* put()
        const taken = yield* Effect.forEach(
          Array.from({ length: 50 }),
          () => store.take(state, { userId: authorization.userId }),
          { concurrency: "unbounded" }
        )
        const got = taken.filter(Option.isSome)
        assert.lengthOf(got, 1)
        isThat(got[0] ?? Option.none(), authorization)
      })
    )

    it.effect("another user, or another provider, gets nothing and leaves it where it is", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        const { authorization, state } = yield* put()
        isNone(yield* store.take(state, { userId: newUser() }))
        isNone(yield* store.take(state, { provider: gitlab }))
        isNone(yield* store.take(state, { userId: newUser(), provider: github }))
        isNone(yield* store.take(state, { userId: authorization.userId, provider: gitlab }))
        isThat(yield* store.take(state, { userId: authorization.userId }), authorization)
      })
    )

    it.effect("an unknown state finds and takes nothing", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        yield* put()
        isNone(yield* store.find(newState()))
        isNone(yield* store.take(newState(), {}))
        isNone(yield* store.take(Redacted.make(""), {}))
      })
    )

    it.effect("a login ends with its time, to the millisecond", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        const { authorization, state } = yield* put()
        const { state: another } = yield* put()
        yield* TestClock.adjust("599999 millis")
        isThat(yield* store.find(state), authorization)
        yield* TestClock.adjust("1 millis")
        isNone(yield* store.find(state))
        isNone(yield* store.take(another, {}))
      })
    )

    it.effect("what has expired is dropped, what has not stays", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        const begun = yield* DateTime.now
        const { authorization, state } = yield* put()
        yield* TestClock.adjust("10 minutes")
        const { authorization: later, state: another } = yield* put()
        isNone(yield* store.find(state))
        // back in time it is still there: only dropping it takes it away
        yield* TestClock.setTime(begun.epochMillis)
        isThat(yield* store.find(state), authorization)
        yield* store.prune
        isThat(yield* store.find(state), authorization)
        yield* TestClock.adjust("10 minutes")
        yield* store.prune
        yield* TestClock.setTime(begun.epochMillis)
        isNone(yield* store.find(state))
        isThat(yield* store.find(another), later)
      })
    )

    it.effect("a user who goes takes their logins with them, and nobody else's", () =>
      Effect.gen(function* () {
        const store = yield* AuthorizationStore
        const userId = newUser()
        const [one, other, foreign] = [yield* put({ userId }), yield* put({ userId, provider: gitlab }), yield* put()]
        yield* store.removeUser(userId)
        isNone(yield* store.find(one.state))
        isNone(yield* store.take(other.state, {}))
        isThat(yield* store.find(foreign.state), foreign.authorization)
        yield* store.removeUser(userId)
      })
    )
  })
