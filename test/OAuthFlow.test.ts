import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { AuthorizationStore } from "../src/AuthorizationStore.ts"
import { type Metadata, ProviderId, UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { StoreUnavailable } from "../src/CredentialsError.ts"
import * as Login from "../src/Login.ts"
import * as OAuthFlowModule from "../src/OAuthFlow.ts"
import { type AuthorizeOptions, OAuthFlow } from "../src/OAuthFlow.ts"
import { Provider } from "../src/Provider.ts"
import * as Revocations from "../src/Revocations.ts"
import * as Service from "../src/Service.ts"
import { Store } from "../src/Store.ts"
import { accessToken, adjust, answer, given, providerId, settle, userId, world } from "./ScriptedHandler.ts"
import * as ScriptedProvider from "./servers/ScriptedProvider.ts"

const returnUrl = "https://app.test/done"

const flow = { publicUrl: "https://us.test", redirectUri: "https://us.test/oauth/callback", returnUrls: [returnUrl] }

const authorize = (options: AuthorizeOptions = {}) =>
  Effect.flatMap(OAuthFlow, (logins) => logins.authorize(userId, providerId, options))

const callback = (state: Redacted.Redacted, code = "code-1", by = { userId, provider: providerId }) =>
  Effect.flatMap(OAuthFlow, (logins) => logins.callback({ state, code: Redacted.make(code) }, by))

const stored = Effect.flatMap(Store, (store) =>
  Effect.map(store.list(userId, {}, { limit: 50, after: Option.none() }), ({ items }) => items)
)

describe("a login", () => {
  it.effect("of which 50 callbacks come at once exchanges one code and stores one credential", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const { state } = yield* authorize()
      const results = yield* Effect.all(
        Array.from({ length: 50 }, () => Effect.either(callback(state))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(results.filter(Either.isRight).length, 1)
      assert.isTrue(results.filter(Either.isLeft).every(({ left }) => left._tag === "AuthorizationExpired"))
      assert.deepStrictEqual(provider.exchanged, ["code-1"])
      assert.strictEqual((yield* stored).length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("lasts ten minutes", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const early = yield* authorize()
      const late = yield* authorize()
      yield* adjust("9 minutes")
      yield* callback(early.state)
      yield* adjust("1 minute")
      assert.strictEqual((yield* Effect.flip(callback(late.state)))._tag, "AuthorizationExpired")
      assert.strictEqual(provider.exchanged.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("is finished by the user and at the provider that it was begun for, and by nobody else", () => {
    const { layer } = world({ flow })
    return Effect.gen(function* () {
      const { state } = yield* authorize()
      const stranger = { userId: UserId.make("stranger"), provider: providerId }
      const elsewhere = { userId, provider: ProviderId.to.make("elsewhere") }
      assert.strictEqual((yield* Effect.flip(callback(state, "c", stranger)))._tag, "AuthorizationExpired")
      assert.strictEqual((yield* Effect.flip(callback(state, "c", elsewhere)))._tag, "AuthorizationExpired")
      assert.strictEqual((yield* callback(state)).generation, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("has a state of 256 random bits; what was never given out is unknown, however alike it looks", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const states = yield* Effect.replicateEffect(authorize(), 20)
      const texts = states.map(({ state }) => Redacted.value(state))
      assert.strictEqual(new Set(texts).size, 20)
      for (const text of texts) assert.strictEqual(Buffer.from(text, "base64url").length, 32)
      const [known = ""] = texts
      const forged = ["", "unknown", "ключ-🔑", "a".repeat(10_000), `${known}=`, ` ${known}`, known.slice(0, -1)]
      for (const state of [...forged, known.replace(/^./, (first) => (first === "A" ? "B" : "A"))]) {
        assert.strictEqual((yield* Effect.flip(callback(Redacted.make(state))))._tag, "AuthorizationExpired")
      }
      assert.deepStrictEqual(provider.exchanged, [])
    }).pipe(Effect.provide(layer))
  })

  it.effect("that has ended, well or not, does not end again", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const logins = yield* OAuthFlow
      const well = yield* authorize()
      yield* callback(well.state)
      const denied = yield* authorize()
      yield* Effect.flip(
        logins.callback({ state: denied.state, error: "access_denied" }, { userId, provider: providerId })
      )
      for (const { state } of [well, denied]) {
        assert.strictEqual((yield* Effect.flip(callback(state, "code-2")))._tag, "AuthorizationExpired")
        const ended = yield* logins.browserCallback({ state, code: Redacted.make("code-2") }, Option.none())
        assert.deepInclude(Option.getOrThrow(Either.getLeft(ended.result)), { _tag: "AuthorizationExpired" })
      }
      assert.deepStrictEqual(provider.exchanged, ["code-1"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("is stored although its caller goes away during the exchange", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const { state } = yield* authorize()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "1 second"))
      const caller = yield* Effect.fork(callback(state))
      yield* settle
      const interruption = yield* Effect.fork(Fiber.interrupt(caller))
      yield* adjust("1 second")
      yield* Fiber.join(interruption)
      assert.strictEqual((yield* stored).length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("whose user is deleted meanwhile stores nothing, and gives the tokens back", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const { state } = yield* authorize()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "1 second"))
      const caller = yield* Effect.fork(Effect.flip(callback(state)))
      yield* settle
      yield* manager.deleteUser(userId)
      yield* adjust("1 second")
      assert.strictEqual((yield* Fiber.join(caller))._tag, "AuthorizationExpired")
      yield* settle
      assert.deepStrictEqual(yield* stored, [])
      assert.deepStrictEqual(provider.revoked, ["refresh-1"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("that is refused, or whose answer cannot be read, stores nothing and repeats no text", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const logins = yield* OAuthFlow
      const by = { userId, provider: providerId }
      const denied = yield* authorize()
      const refusal = yield* Effect.flip(logins.callback({ state: denied.state, error: "access_denied" }, by))
      assert.deepInclude(refusal, { _tag: "AuthorizationDenied", error: "access_denied" })
      const odd = yield* authorize()
      const other = yield* Effect.flip(logins.callback({ state: odd.state, error: "<script>" }, by))
      assert.deepInclude(other, { _tag: "AuthorizationDenied", error: "other" })
      provider.next(() => Effect.succeed(answer(400, { error: "invalid_grant", error_description: "canary" })))
      const spent = yield* Effect.flip(callback((yield* authorize()).state))
      assert.deepInclude(spent, { _tag: "AuthorizationDenied", error: "invalid_grant" })
      provider.next(() => Effect.succeed(answer(502, "canary")))
      const down = yield* Effect.flip(callback((yield* authorize()).state))
      assert.deepInclude(down, { _tag: "ProviderError", reason: "unreachable" })
      assert.notInclude(JSON.stringify([refusal, other, spent, down]), "canary")
      assert.deepStrictEqual(yield* stored, [])
    }).pipe(Effect.provide(layer))
  })

  it.effect("sends the browser to listed URLs alone, each to the letter", () => {
    const { layer } = world({ flow })
    return Effect.gen(function* () {
      const others = [
        `${returnUrl}/`,
        `${returnUrl}/../evil`,
        `${returnUrl}?next=https://evil.test`,
        `${returnUrl}#token`,
        returnUrl.toUpperCase(),
        returnUrl.replace("https", "http"),
        "https://app.test",
        "https://app.test:8443/done",
        "https://app.test@evil.test/done",
        "https://app.test.evil.test/done",
        "https://evil.test/https://app.test/done",
        "//app.test/done",
        "/done",
        "javascript:alert(1)",
        ""
      ]
      for (const returnTo of others) {
        const error = yield* Effect.flip(authorize({ returnTo }))
        assert.deepInclude(error, { _tag: "InvalidRequest" }, returnTo)
        assert.notInclude(JSON.stringify(error), "evil")
      }
      const logins = yield* OAuthFlow
      const { state } = yield* authorize({ returnTo: returnUrl })
      const ended = yield* logins.browserCallback({ state, code: Redacted.make("c") }, Option.none())
      assert.deepStrictEqual(ended.returnTo, Option.some(returnUrl))
      assert.isTrue(Either.isRight(ended.result))
    }).pipe(Effect.provide(layer))
  })

  it.effect("that was granted less than was asked for says what is missing", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const logins = yield* OAuthFlow
      const login = Effect.gen(function* () {
        const { state } = yield* authorize({ scopes: ["read", "write", "admin"] })
        return yield* logins.browserCallback({ state, code: Redacted.make("c") }, Option.none())
      })
      provider.fields["scope"] = "read more"
      const less = yield* login
      assert.deepStrictEqual(less.withheld, ["write", "admin"])
      assert.deepStrictEqual(Option.getOrThrow(Either.getRight(less.result)).scopes, ["read", "more"])
      provider.fields["scope"] = "admin write read"
      assert.deepStrictEqual((yield* login).withheld, [])
      // an answer that does not say has granted all of it (RFC 6749 5.1)
      delete provider.fields["scope"]
      assert.deepStrictEqual((yield* login).withheld, [])
    }).pipe(Effect.provide(layer))
  })

  it.effect("bound to a browser is finished in no other one, nor by who knows its state, and waits for its own", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const logins = yield* OAuthFlow
      const { authorizationUrl, state } = yield* authorize({ bindBrowser: true, returnTo: returnUrl })
      assert.strictEqual(Redacted.value(authorizationUrl), `https://us.test/oauth/start/${Redacted.value(state)}`)
      const other = yield* logins.start((yield* authorize({ bindBrowser: true })).state)
      const { browserSecret } = yield* logins.start(state)
      const parameters = { state, code: Redacted.make("c") }
      const secrets = [Option.none(), Option.some(Redacted.make("another")), Option.some(other.browserSecret)]
      for (const secret of [...secrets, Option.some(state)]) {
        const ended = yield* logins.browserCallback(parameters, secret)
        assert.deepInclude(Option.getOrThrow(Either.getLeft(ended.result)), { _tag: "AuthorizationExpired" })
        assert.deepStrictEqual(ended.returnTo, Option.none())
      }
      assert.strictEqual((yield* Effect.flip(callback(state)))._tag, "AuthorizationExpired")
      assert.deepStrictEqual(provider.exchanged, [])
      const ended = yield* logins.browserCallback(parameters, Option.some(browserSecret))
      assert.isTrue(Either.isRight(ended.result))
    }).pipe(Effect.provide(layer))
  })

  it.effect("that is bound to no browser has no start of its own", () => {
    const { layer } = world({ flow })
    return Effect.gen(function* () {
      const logins = yield* OAuthFlow
      const { state } = yield* authorize()
      assert.strictEqual((yield* Effect.flip(logins.start(state)))._tag, "AuthorizationExpired")
    }).pipe(Effect.provide(layer))
  })
})

describe("a login bound to a browser", () => {
  it.effect("is not taken while nobody can tell which browser it is bound to", () => {
    const { layer } = world({ flow })
    return Effect.gen(function* () {
      const authorizations = yield* AuthorizationStore
      const unreadable = AuthorizationStore.of({
        ...authorizations,
        find: () => Effect.fail(new StoreUnavailable({ retryAfterSeconds: 1 }))
      })
      const logins = yield* OAuthFlow
      const { state } = yield* authorize({ bindBrowser: true })
      const blind = yield* Layer.build(
        Layer.fresh(OAuthFlowModule.layer(flow)).pipe(
          Layer.provide(Login.layer),
          Layer.provide(Revocations.layer),
          Layer.provide(Layer.succeed(AuthorizationStore, unreadable))
        )
      )
      const parameters = { state, code: Redacted.make("c") }
      const ended = yield* Effect.flatMap(OAuthFlow, (known) => known.browserCallback(parameters, Option.none())).pipe(
        Effect.provide(blind)
      )
      assert.deepInclude(Option.getOrThrow(Either.getLeft(ended.result)), { _tag: "StoreUnavailable" })
      const { browserSecret } = yield* logins.start(state)
      const again = yield* logins.browserCallback(parameters, Option.some(browserSecret))
      assert.isTrue(Either.isRight(again.result))
    }).pipe(Effect.provide(layer), Effect.scoped)
  })
})

describe("a reconnection", () => {
  it.effect("keeps the credential's id and makes it whole again", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      provider.next(() => Effect.succeed(answer(400, { error: "invalid_grant" })))
      assert.strictEqual((yield* Effect.flip(manager.get(userId, id)))._tag, "NeedsReauth")
      const { state } = yield* authorize({ credentialId: id })
      const metadata = yield* callback(state)
      assert.deepInclude(metadata, { id, generation: 2, status: "active" })
      assert.strictEqual(accessToken(yield* manager.get(userId, id)), "access-1")
      assert.strictEqual((yield* stored).length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("of another user's credential does not begin", () => {
    const { layer } = world({ flow })
    return Effect.gen(function* () {
      const logins = yield* OAuthFlow
      const credentialId = yield* given({ expiresIn: 3600 })
      const error = yield* Effect.flip(logins.authorize(UserId.make("mallory"), providerId, { credentialId }))
      assert.strictEqual(error._tag, "CredentialNotFound")
    }).pipe(Effect.provide(layer))
  })

  it.effect("of a credential that is deleted meanwhile brings nothing back", () => {
    const { layer, provider } = world({ flow })
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const { state } = yield* authorize({ credentialId: id })
      yield* manager.delete(userId, id, { revoke: false })
      assert.strictEqual((yield* Effect.flip(callback(state)))._tag, "CredentialNotFound")
      yield* settle
      assert.deepStrictEqual(yield* stored, [])
      assert.deepStrictEqual(provider.revoked, ["refresh-1"])
    }).pipe(Effect.provide(layer))
  })
})

describe("at a real endpoint", () => {
  const connected = (
    options: ScriptedProvider.Options = { pkce: "required" },
    fields: Readonly<Record<string, unknown>> = {}
  ) =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make(options)
      const definition = Schema.decodeUnknownSync(Provider)(
        provider.definition("acme", { defaultScopes: ["openid", "repo"], ...fields })
      )
      const layer = yield* Layer.build(
        Service.layerMemory({
          flow,
          providers: [definition],
          allowLoopback: true,
          sweeper: false,
          clients: () => Option.some({ id: provider.clientId, secret: Redacted.make(provider.clientSecret ?? "") })
        })
      )
      const follow = (url: Redacted.Redacted) =>
        Effect.promise(async () => {
          const response = await fetch(Redacted.value(url), { redirect: "manual" })
          return new URL(response.headers.get("location") ?? "").searchParams
        })
      const callbackOf = (state: Redacted.Redacted, returned: URLSearchParams) =>
        Effect.gen(function* () {
          const logins = yield* OAuthFlow
          const iss = returned.get("iss") ?? undefined
          const code = Redacted.make(returned.get("code") ?? "")
          return yield* logins.callback({ state, code, iss }, { userId, provider: providerId })
        }).pipe(Effect.provide(layer))
      const login = (options?: AuthorizeOptions) =>
        Effect.gen(function* () {
          const { authorizationUrl, state } = yield* Effect.provide(authorize(options), layer)
          return yield* callbackOf(state, yield* follow(authorizationUrl))
        })
      return { provider, login, layer, follow, callbackOf }
    })
  const make = connected()

  it.scopedLive("connects with PKCE, renews with the refresh token, and revokes at the end", () =>
    Effect.gen(function* () {
      const { layer, login, provider } = yield* make
      const metadata: Metadata = yield* login()
      assert.deepStrictEqual(metadata.scopes, ["openid", "repo"])
      const manager = yield* Effect.provide(CredentialsManager, layer)
      const secret = yield* manager.get(userId, metadata.id, { refresh: "force" })
      assert.isTrue(provider.isLive(accessToken(secret) ?? ""))
      assert.strictEqual(provider.spends, 1)
      assert.deepStrictEqual(yield* manager.delete(userId, metadata.id), { deleted: true, revoked: true })
      assert.isFalse(provider.isLive(accessToken(secret) ?? ""))
    })
  )

  it.scopedLive("refuses a code that came from another issuer", () =>
    Effect.gen(function* () {
      const { login, provider } = yield* make
      provider.next(ScriptedProvider.Fault.issuedBy("https://evil.test"))
      assert.deepInclude(yield* Effect.flip(login()), { _tag: "AuthorizationDenied", error: "issuer_mismatch" })
      assert.strictEqual(provider.exchanges, 0)
    })
  )

  it.scopedLive("refuses a code without an issuer, where the provider always names it", () =>
    Effect.gen(function* () {
      const { login, provider } = yield* connected({ pkce: "required" }, { requiresIss: true })
      yield* login()
      provider.next(ScriptedProvider.Fault.issuedBy(undefined))
      assert.deepInclude(yield* Effect.flip(login()), { _tag: "AuthorizationDenied", error: "issuer_mismatch" })
      assert.strictEqual(provider.exchanges, 1)
    })
  )

  it.scopedLive("does not take another login's code, whose verifier only that login has", () =>
    Effect.gen(function* () {
      const { callbackOf, follow, layer, provider } = yield* make
      const stolen = yield* Effect.flatMap(Effect.provide(authorize(), layer), (begun) =>
        follow(begun.authorizationUrl)
      )
      const { state } = yield* Effect.provide(authorize(), layer)
      assert.deepInclude(yield* Effect.flip(callbackOf(state, stolen)), {
        _tag: "AuthorizationDenied",
        error: "invalid_grant"
      })
      assert.deepStrictEqual(yield* Effect.provide(stored, layer), [])
      assert.strictEqual(provider.exchanges, 0)
    })
  )

  it.scopedLive(
    "sends S256 and the verifier also where the provider does not ask for them: who strips them fails",
    () =>
      Effect.gen(function* () {
        const { callbackOf, follow, layer } = yield* connected({ pkce: "supported" })
        const { authorizationUrl, state } = yield* Effect.provide(authorize(), layer)
        const link = new URL(Redacted.value(authorizationUrl))
        assert.strictEqual(link.searchParams.get("code_challenge_method"), "S256")
        assert.match(link.searchParams.get("code_challenge") ?? "", /^[\w-]{43}$/)
        link.searchParams.delete("code_challenge")
        link.searchParams.delete("code_challenge_method")
        const returned = yield* follow(Redacted.make(link.href))
        assert.deepInclude(yield* Effect.flip(callbackOf(state, returned)), { _tag: "AuthorizationDenied" })
        assert.deepStrictEqual(yield* Effect.provide(stored, layer), [])
      })
  )

  it.scopedLive("does not put another account's tokens in a credential's place, and gives them back", () =>
    Effect.gen(function* () {
      const { layer, login, provider } = yield* connected({ revocationScope: "token" }, { revocationScope: "token" })
      const { id } = yield* login()
      const before = yield* Effect.flatMap(CredentialsManager, (manager) => manager.get(userId, id)).pipe(
        Effect.provide(layer)
      )
      provider.login("mallory")
      assert.strictEqual((yield* Effect.flip(login({ credentialId: id })))._tag, "AccountMismatch")
      yield* provider.awaitLedger((ledger) => ledger.some(({ outcome }) => outcome === "revoked"))
      const after = yield* Effect.flatMap(CredentialsManager, (manager) => manager.get(userId, id)).pipe(
        Effect.provide(layer)
      )
      assert.strictEqual(accessToken(after), accessToken(before))
      assert.isTrue(provider.isLive(accessToken(after) ?? ""))
      provider.login("alice")
      assert.deepInclude(yield* login({ credentialId: id }), { id, generation: 2 })
    })
  )
})
