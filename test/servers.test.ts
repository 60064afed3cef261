/**
 * The servers that the integration tests lean on do what they say: a fault that does not happen would make every test
 * above it worthless.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import { Provider } from "../src/Provider.ts"
import * as Browser from "./servers/Browser.ts"
import * as Client from "./servers/Client.ts"
import * as OidcProvider from "./servers/OidcProvider.ts"
import * as ScriptedProvider from "./servers/ScriptedProvider.ts"
import * as Service from "./servers/Service.ts"

const { Fault } = ScriptedProvider

interface Got {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** A hand-written OAuth client: a form POST with Basic authentication. */
const post = (
  url: string,
  form: Readonly<Record<string, string>>,
  client?: { readonly clientId: string; readonly clientSecret: string | undefined }
) =>
  Effect.tryPromise(async (signal): Promise<Got> => {
    const basic =
      client === undefined ? "" : Buffer.from(`${client.clientId}:${client.clientSecret ?? ""}`).toString("base64")
    const response = await fetch(url, {
      method: "POST",
      signal,
      headers: { connection: "close", ...(client === undefined ? {} : { authorization: `Basic ${basic}` }) },
      body: new URLSearchParams(form)
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  })

const bearer = (url: string, accessToken: string) =>
  Effect.tryPromise(async (signal) => {
    const response = await fetch(url, { signal, headers: { authorization: `Bearer ${accessToken}` } })
    return { status: response.status, body: await response.text() }
  })

const json = (got: Got): Record<string, unknown> => {
  const value: unknown = JSON.parse(got.text)
  return typeof value === "object" && value !== null ? { ...value } : {}
}

const string = (got: Got, field: string) => String(json(got)[field])

const refresh = (
  provider: ScriptedProvider.ScriptedProvider["Type"] | OidcProvider.OidcProvider,
  refreshToken: string
) => post(provider.tokenUrl, { grant_type: "refresh_token", refresh_token: refreshToken }, provider)

const pkce = () => {
  const verifier = Crypto.randomBytes(32).toString("base64url")
  return { verifier, challenge: Crypto.createHash("sha256").update(verifier).digest("base64url") }
}

const callback = "http://127.0.0.1:9/oauth/callback"

const atCallback = (url: URL) => url.href.startsWith(callback)

/** Logs in with a browser and gives the redirect's parameters. */
const logIn = (
  provider: ScriptedProvider.ScriptedProvider["Type"] | OidcProvider.OidcProvider,
  browser: Browser.Browser,
  parameters: Readonly<Record<string, string>>
) =>
  Effect.map(
    browser.follow(
      `${provider.authorizationUrl}?${new URLSearchParams({
        response_type: "code",
        client_id: provider.clientId,
        redirect_uri: callback,
        state: "a state",
        ...parameters
      }).toString()}`,
      { stopAt: atCallback }
    ),
    (page) => new URL(page.url).searchParams
  )

const exchange = (
  provider: ScriptedProvider.ScriptedProvider["Type"] | OidcProvider.OidcProvider,
  code: string,
  verifier: string
) =>
  post(
    provider.tokenUrl,
    { grant_type: "authorization_code", code, redirect_uri: callback, code_verifier: verifier },
    provider
  )

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")

/** RFC 7523 2.2. */
const assertion = (text: string) => ({
  client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
  client_assertion: text
})

const fails = <A, E>(effect: Effect.Effect<A, E>) => Effect.map(Effect.exit(effect), Exit.isFailure)

describe("ScriptedProvider", () => {
  it.scopedLive("rotates: a refresh brings the next pair and spends the last", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const first = provider.issue({ scopes: ["read", "write"] })
      assert.isTrue(provider.isLive(first.accessToken))

      const got = yield* refresh(provider, first.refreshToken)
      assert.strictEqual(got.status, 200)
      assert.strictEqual(got.headers.get("cache-control"), "no-store")
      const { access_token, refresh_token, ...rest } = json(got)
      assert.deepStrictEqual(rest, { token_type: "Bearer", expires_in: 3600, scope: "read write" })
      assert.isTrue(provider.isLive(String(access_token)))
      assert.isFalse(provider.isLive(first.accessToken), "the refresh ended the old access token")
      assert.isFalse(provider.isRefreshable(first.refreshToken))
      assert.isTrue(provider.isRefreshable(String(refresh_token)))
      assert.deepStrictEqual([provider.spends, provider.reuses, provider.refreshes], [1, 0, 1])

      const entry = provider.ledger[0]
      assert.strictEqual(entry?.outcome, "rotated")
      assert.strictEqual(entry?.sent, "answered")
      assert.strictEqual(entry?.status, 200)
      assert.strictEqual(entry?.clientAuth, "client_secret_basic")
      assert.strictEqual(entry?.clientId, "scripted-client")
      assert.strictEqual(entry?.refreshToken, first.refreshToken)
      assert.strictEqual(entry?.grantId, first.grantId)
      assert.strictEqual(entry?.issued?.refreshToken, refresh_token)
      assert.strictEqual(entry?.headers["content-type"], "application/x-www-form-urlencoded;charset=UTF-8")
      assert.strictEqual(entry?.body, `grant_type=refresh_token&refresh_token=${first.refreshToken}`)
    })
  )

  it.scopedLive("a spent refresh token that comes back ends every token of its grant", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const first = provider.issue()
      const other = provider.issue()
      const second = yield* refresh(provider, first.refreshToken)
      const reuse = yield* refresh(provider, first.refreshToken)
      assert.strictEqual(reuse.status, 400)
      assert.deepStrictEqual(json(reuse), { error: "invalid_grant" })
      assert.isFalse(provider.isLive(string(second, "access_token")))
      assert.isFalse(provider.isRefreshable(string(second, "refresh_token")))
      assert.strictEqual((yield* refresh(provider, string(second, "refresh_token"))).status, 400)
      assert.isTrue(provider.isRefreshable(other.refreshToken), "another grant is untouched")
      assert.deepStrictEqual(
        provider.ledger.map((entry) => entry.outcome),
        ["rotated", "reused", "failed"]
      )
      assert.deepStrictEqual([provider.spends, provider.reuses, provider.refreshes], [1, 1, 3])
    })
  )

  it.scopedLive("of concurrent refreshes with one token exactly one spends it", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const { refreshToken } = provider.issue()
      const answers = yield* Effect.all(
        Array.from({ length: 20 }, () => refresh(provider, refreshToken)),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(answers.filter((answer) => answer.status === 200).length, 1)
      assert.strictEqual(provider.spends, 1)
      assert.isAbove(provider.reuses, 0)
    })
  )

  it.scoped("within the grace a spent refresh token is answered again, after it no more", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make({ reuseGraceSeconds: 30 })
      const { refreshToken } = provider.issue()
      yield* refresh(provider, refreshToken)
      yield* TestClock.adjust("29 seconds")
      const again = yield* refresh(provider, refreshToken)
      assert.strictEqual(again.status, 200)
      assert.isTrue(provider.isLive(string(again, "access_token")))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* refresh(provider, refreshToken)).status, 400)
      assert.deepStrictEqual([provider.spends, provider.graces, provider.reuses], [1, 1, 1])
    })
  )

  it.scoped("tokens expire by Effect's clock", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make({ accessTokenSeconds: 10, refreshTokenSeconds: 20 })
      const issued = provider.issue()
      assert.strictEqual(issued.expiresAt.getTime(), 10_000)
      yield* TestClock.adjust("9 seconds")
      assert.isTrue(provider.isLive(issued.accessToken))
      yield* TestClock.adjust("1 second")
      assert.isFalse(provider.isLive(issued.accessToken))
      assert.isTrue(provider.isRefreshable(issued.refreshToken))
      yield* TestClock.adjust("10 seconds")
      assert.isFalse(provider.isRefreshable(issued.refreshToken))
    })
  )

  it.scopedLive("a provider that does not rotate keeps the refresh token, and may leave it out of the answer", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make({
        rotatesRefreshToken: false,
        refreshTokenOnRefresh: false,
        refreshInvalidatesAccessToken: false
      })
      const { accessToken, refreshToken } = provider.issue()
      for (const _ of [1, 2]) {
        const got = yield* refresh(provider, refreshToken)
        assert.strictEqual(got.status, 200)
        assert.isFalse("refresh_token" in json(got))
      }
      assert.isTrue(provider.isLive(accessToken))
      assert.deepStrictEqual(
        provider.ledger.map((entry) => entry.outcome),
        ["kept", "kept"]
      )
    })
  )

  it.scopedLive("a login ends in a code that its verifier alone exchanges, once", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const { challenge, verifier } = pkce()
      const ask = { scope: "openid read", code_challenge: challenge, code_challenge_method: "S256" }
      const parameters = yield* logIn(provider, Browser.make(), ask)
      assert.strictEqual(parameters.get("state"), "a state")
      assert.strictEqual(parameters.get("iss"), provider.url)
      const code = parameters.get("code") ?? ""

      assert.deepStrictEqual(json(yield* exchange(provider, code, pkce().verifier)), { error: "invalid_grant" })
      const got = yield* exchange(provider, code, verifier)
      assert.strictEqual(got.status, 200)
      const [, claims = ""] = string(got, "id_token").split(".")
      assert.include(Buffer.from(claims, "base64url").toString(), `"sub":"alice"`)
      const user = yield* bearer(provider.userinfoUrl, string(got, "access_token"))
      assert.deepStrictEqual(JSON.parse(user.body), { sub: "alice", name: "alice", email: "alice@example.com" })

      assert.strictEqual((yield* exchange(provider, code, verifier)).status, 400)
      assert.isFalse(provider.isLive(string(got, "access_token")), "a replayed code revokes what it gave")
      assert.strictEqual(provider.exchanges, 1)
    })
  )

  it.scopedLive("a login can be denied, come from another issuer, and is refused without PKCE", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const browser = Browser.make()
      const ask = { code_challenge: pkce().challenge, code_challenge_method: "S256" }
      provider.next(Fault.denied(), Fault.issuedBy("https://evil.example"))
      const denied = yield* logIn(provider, browser, ask)
      assert.deepStrictEqual([denied.get("error"), denied.get("code")], ["access_denied", null])
      const mixedUp = yield* logIn(provider, browser, ask)
      assert.strictEqual(mixedUp.get("iss"), "https://evil.example")
      assert.strictEqual((yield* logIn(provider, browser, {})).get("error"), "invalid_request")
      const plain = yield* logIn(provider, browser, { ...ask, code_challenge_method: "plain" })
      assert.strictEqual(plain.get("error"), "invalid_request")
    })
  )

  it.scopedLive("clients authenticate in the ways that are accepted, and in no other", () =>
    Effect.gen(function* () {
      const { privateKey, publicKey } = Crypto.generateKeyPairSync("ec", { namedCurve: "P-256" })
      const provider = yield* ScriptedProvider.make({
        clientAuth: ["client_secret_post", "private_key_jwt", "none"],
        clients: [
          { clientId: "secret", clientSecret: "s" },
          { clientId: "key", publicKey: publicKey.export({ type: "spki", format: "pem" }).toString() },
          { clientId: "public" }
        ]
      })
      const grant = (clientId: string) => ({
        grant_type: "refresh_token",
        refresh_token: provider.issue({ clientId }).refreshToken
      })
      const claims = { iss: "key", sub: "key", aud: provider.url, jti: "1", exp: Date.now() / 1000 + 60 }
      const signed = `${encode({ alg: "ES256" })}.${encode(claims)}`
      const signature = Crypto.sign("sha256", Buffer.from(signed), { key: privateKey, dsaEncoding: "ieee-p1363" })
      const cases: ReadonlyArray<readonly [string, number, Effect.Effect<Got, unknown>]> = [
        ["post", 200, post(provider.tokenUrl, { ...grant("secret"), client_id: "secret", client_secret: "s" })],
        ["wrong secret", 401, post(provider.tokenUrl, { ...grant("secret"), client_id: "secret", client_secret: "x" })],
        ["basic", 401, post(provider.tokenUrl, grant("secret"), { clientId: "secret", clientSecret: "s" })],
        [
          "key",
          200,
          post(provider.tokenUrl, { ...grant("key"), ...assertion(`${signed}.${signature.toString("base64url")}`) })
        ],
        ["forged key", 401, post(provider.tokenUrl, { ...grant("key"), ...assertion(`${signed}.AAAA`) })],
        ["public", 200, post(provider.tokenUrl, { ...grant("public"), client_id: "public" })],
        ["secret left out", 401, post(provider.tokenUrl, { ...grant("secret"), client_id: "secret" })],
        ["another's token", 400, post(provider.tokenUrl, { ...grant("secret"), client_id: "public" })]
      ]
      for (const [name, status, call] of cases) assert.strictEqual((yield* call).status, status, name)
      assert.deepStrictEqual(
        provider.ledger.map((entry) => entry.clientAuth),
        [
          "client_secret_post",
          "client_secret_post",
          "client_secret_basic",
          "private_key_jwt",
          "private_key_jwt",
          "none",
          "none",
          "none"
        ]
      )
    })
  )

  it.scopedLive("a revocation ends one grant, or all of this user and client", () =>
    Effect.gen(function* () {
      for (const revocationScope of ["token", "grant"] as const) {
        const provider = yield* ScriptedProvider.make({ revocationScope })
        const mine = provider.issue()
        const sibling = provider.issue()
        const bobs = provider.issue({ account: "bob" })
        const got = yield* post(provider.revocationUrl, { token: mine.refreshToken }, provider)
        assert.strictEqual(got.status, 200)
        assert.isFalse(provider.isLive(mine.accessToken))
        assert.strictEqual(provider.isLive(sibling.accessToken), revocationScope === "token")
        assert.isTrue(provider.isLive(bobs.accessToken))
        assert.strictEqual(provider.ledger[0]?.outcome, "revoked")
        assert.strictEqual(provider.ledger[0]?.grantId, mine.grantId)
        assert.strictEqual((yield* post(provider.revocationUrl, { token: "x" })).status, 401)
      }
    })
  )

  it.scopedLive("token answers take the provider's format and shape", () =>
    Effect.gen(function* () {
      const form = yield* ScriptedProvider.make({ format: "form" })
      const encoded = yield* refresh(form, form.issue().refreshToken)
      assert.strictEqual(encoded.headers.get("content-type"), "application/x-www-form-urlencoded")
      assert.strictEqual(new URLSearchParams(encoded.text).get("token_type"), "Bearer")
      const shaped = yield* ScriptedProvider.make({ shape: (answer) => ({ ok: true, authed_user: answer }) })
      assert.hasAllKeys(json(yield* refresh(shaped, shaped.issue().refreshToken)), ["ok", "authed_user"])
    })
  )

  it.scopedLive("the definition and environment fit the contract", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make({ reuseGraceSeconds: 3 })
      assert.deepStrictEqual(provider.definition("my-fake", { defaultScopes: ["read"] }), {
        id: "my-fake",
        authorizationUrl: provider.authorizationUrl,
        tokenUrl: provider.tokenUrl,
        revocationUrl: provider.revocationUrl,
        issuer: provider.url,
        clientAuth: "client_secret_basic",
        pkce: "required",
        scopeSeparator: " ",
        rotatesRefreshToken: true,
        refreshInvalidatesAccessToken: true,
        revocationScope: "grant",
        reuseGraceSeconds: 3,
        defaultScopes: ["read"]
      })
      assert.deepStrictEqual(provider.environment("my-fake"), {
        MY_FAKE_CLIENT_ID: "scripted-client",
        MY_FAKE_CLIENT_SECRET: "scripted-secret"
      })
    })
  )
})

describe("ScriptedProvider faults", () => {
  const refusals: ReadonlyArray<readonly [string, ScriptedProvider.Fault.Fault, number, (got: Got) => boolean]> = [
    ["429 with Retry-After", Fault.throttled(7), 429, (got) => got.headers.get("retry-after") === "7"],
    ["500", Fault.down(500), 500, () => true],
    ["503", Fault.down(), 503, () => true],
    ["HTML with 502", Fault.html(), 502, (got) => got.text.startsWith("<!doctype html>")],
    ["HTML with 200", Fault.html(200), 200, (got) => got.headers.get("content-type") === "text/html; charset=utf-8"],
    ["invalid_grant", Fault.error("invalid_grant"), 400, (got) => string(got, "error") === "invalid_grant"],
    ["invalid_client", Fault.error("invalid_client"), 401, (got) => string(got, "error") === "invalid_client"],
    ["an error in a 200", Fault.errorIn200(), 200, (got) => string(got, "error") === "bad_refresh_token"],
    ["ok: false in a 200", Fault.notOk(), 200, (got) => json(got)["ok"] === false]
  ]

  for (const [name, fault, status, test] of refusals) {
    it.scopedLive(`${name} spends nothing, and once spent shows no token`, () =>
      Effect.gen(function* () {
        const provider = yield* ScriptedProvider.make()
        const { refreshToken } = provider.issue()
        provider.next(fault, Fault.spent(fault))

        const before = yield* refresh(provider, refreshToken)
        assert.strictEqual(before.status, status)
        assert.isTrue(test(before))
        assert.isTrue(provider.isRefreshable(refreshToken))
        assert.deepStrictEqual([provider.ledger[0]?.outcome, provider.spends], ["refused", 0])

        const after = yield* refresh(provider, refreshToken)
        assert.strictEqual(after.status, status)
        assert.strictEqual(after.text, before.text)
        assert.isFalse(provider.isRefreshable(refreshToken))
        assert.deepStrictEqual([provider.ledger[1]?.outcome, provider.spends], ["rotated", 1])
        assert.isTrue(provider.isRefreshable(provider.ledger[1]?.issued?.refreshToken ?? ""))
      })
    )
  }

  it.scopedLive("a reset before spends nothing, a reset after spends", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const { refreshToken } = provider.issue()
      provider.next(Fault.resetBefore, Fault.resetAfter)
      assert.isTrue(yield* fails(refresh(provider, refreshToken)))
      assert.isTrue(provider.isRefreshable(refreshToken))
      assert.isTrue(yield* fails(refresh(provider, refreshToken)))
      assert.isFalse(provider.isRefreshable(refreshToken))
      assert.deepStrictEqual(
        provider.ledger.map((entry) => [entry.outcome, entry.sent, entry.status]),
        [
          ["refused", "reset", undefined],
          ["rotated", "reset", undefined]
        ]
      )
    })
  )

  it.scopedLive("a truncated answer breaks off, an empty one is empty, and both have spent", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      provider.next(Fault.truncated, Fault.empty)
      assert.isTrue(yield* fails(refresh(provider, provider.issue().refreshToken)))
      assert.deepStrictEqual([provider.ledger[0]?.sent, provider.ledger[0]?.status, provider.spends], ["cut", 200, 1])
      const empty = yield* refresh(provider, provider.issue().refreshToken)
      assert.deepStrictEqual([empty.status, empty.text, provider.spends], [200, "", 2])
    })
  )

  it.scopedLive("a token answer can say anything", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const answered = (fault: ScriptedProvider.Fault.Fault) =>
        Effect.suspend(() => {
          provider.next(fault)
          return refresh(provider, provider.issue({ scopes: ["read", "write"] }).refreshToken)
        })
      for (const value of [-1, 0, "3600", "NaN", null]) {
        assert.strictEqual(json(yield* answered(Fault.expiresIn(value)))["expires_in"], value)
      }
      assert.include((yield* answered(Fault.expiresIn(1e18))).text, `"expires_in":1000000000000000000`)
      assert.include((yield* answered(Fault.expiresIn(Number.NaN))).text, `"expires_in":NaN`)
      assert.isFalse("expires_in" in json(yield* answered(Fault.without("expires_in"))))
      const bare = json(yield* answered(Fault.without("token_type", "refresh_token")))
      assert.hasAllKeys(bare, ["access_token", "expires_in", "scope"])
      assert.deepStrictEqual(json(yield* answered(Fault.scopeArray))["scope"], ["read", "write"])
      assert.hasAllKeys(json(yield* answered(Fault.nested("authed_user"))), ["ok", "authed_user"])
      assert.strictEqual((yield* answered(Fault.status(201))).status, 201)
      assert.strictEqual((yield* answered(Fault.body("[1,", "text/plain"))).text, "[1,")
      const both = yield* answered(
        Fault.combine(Fault.status(201), Fault.expiresIn(Number.NaN), Fault.without("token_type"))
      )
      assert.strictEqual(both.status, 201)
      assert.include(both.text, `"expires_in":NaN`)
      assert.notInclude(both.text, "token_type")
      assert.strictEqual(provider.queued, 0)
    })
  )

  it.scoped("a delay before leaves the token unspent meanwhile, a delay after has spent it", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const { refreshToken } = provider.issue()
      provider.next(Fault.slow({ before: "10 seconds", after: "20 seconds" }))
      const fiber = yield* Effect.fork(refresh(provider, refreshToken))
      yield* provider.awaitLedger((ledger) => ledger.length === 1)
      assert.isTrue(provider.isRefreshable(refreshToken))
      yield* TestClock.adjust("10 seconds")
      yield* provider.awaitLedger((ledger) => ledger[0]?.outcome === "rotated")
      assert.isFalse(provider.isRefreshable(refreshToken))
      assert.strictEqual(provider.ledger[0]?.sent, "pending")
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).status, 200)
      const [entry] = provider.ledger
      assert.deepStrictEqual([entry?.receivedAt, entry?.processedAt, entry?.answeredAt], [0, 10_000, 30_000])
    })
  )

  it.scopedLive("a client that goes away is noticed, and its token is spent", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const { refreshToken } = provider.issue()
      provider.next(Fault.slow({ after: "200 millis" }))
      const fiber = yield* Effect.fork(refresh(provider, refreshToken))
      yield* provider.awaitLedger((ledger) => ledger[0]?.outcome === "rotated")
      yield* Fiber.interrupt(fiber)
      const [entry] = yield* provider.awaitLedger((ledger) => ledger[0]?.sent !== "pending")
      assert.strictEqual(entry?.sent, "aborted")
      assert.isFalse(provider.isRefreshable(refreshToken))
    })
  )

  it.scopedLive("onAnswered runs that long after the answer", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      let ran = 0
      const now = Effect.sync(() => {
        ran = Date.now()
      })
      provider.next({ onAnswered: { after: "100 millis", run: now } })
      yield* refresh(provider, provider.issue().refreshToken)
      assert.strictEqual(ran, 0, "not before the answer")
      yield* Effect.repeat(Effect.sleep("5 millis"), { until: () => ran > 0 })
      assert.approximately(ran - (provider.ledger[0]?.answeredAt ?? 0), 100, 60)
    })
  )

  it.scopedLive("faults are taken in order by the requests they are meant for, then the standing one", () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const { accessToken, refreshToken } = provider.issue()
      provider.next(
        Fault.on("revocation", Fault.down(500)),
        Fault.on("authorization_code", Fault.down(501)),
        Fault.down(502),
        Fault.on("userinfo", Fault.down(504))
      )
      provider.always(Fault.down(503))
      assert.strictEqual((yield* refresh(provider, refreshToken)).status, 502)
      assert.strictEqual((yield* refresh(provider, refreshToken)).status, 503)
      assert.strictEqual((yield* exchange(provider, "x", "y")).status, 501)
      assert.strictEqual((yield* bearer(provider.userinfoUrl, accessToken)).status, 504)
      assert.strictEqual((yield* post(provider.revocationUrl, { token: refreshToken }, provider)).status, 500)
      assert.strictEqual(provider.queued, 0)
      provider.always(undefined)
      assert.strictEqual((yield* refresh(provider, refreshToken)).status, 200)
    })
  )
})

describe("OidcProvider", () => {
  const offline = "openid offline_access"

  const connect = (provider: OidcProvider.OidcProvider, browser = Browser.make()) =>
    Effect.gen(function* () {
      const { challenge, verifier } = pkce()
      const parameters = yield* logIn(provider, browser, {
        scope: offline,
        prompt: "consent",
        code_challenge: challenge,
        code_challenge_method: "S256"
      })
      assert.strictEqual(parameters.get("iss"), provider.url)
      assert.strictEqual(parameters.get("state"), "a state")
      return yield* exchange(provider, parameters.get("code") ?? "", verifier)
    })

  it.scopedLive("a login through the browser ends in tokens that live for a short while", () =>
    Effect.gen(function* () {
      const provider = yield* OidcProvider.make({ redirectUris: [callback], accessTokenSeconds: 1 })
      const got = yield* connect(provider)
      assert.strictEqual(got.status, 200, got.text)
      assert.strictEqual(json(got)["expires_in"], 1)
      assert.strictEqual(json(got)["scope"], offline)
      const accessToken = string(got, "access_token")
      assert.isTrue(yield* provider.isLive(accessToken))
      assert.include((yield* bearer(provider.userinfoUrl, accessToken)).body, `"sub":"alice"`)
      yield* Effect.sleep("2 seconds")
      assert.isFalse(yield* provider.isLive(accessToken))
      assert.strictEqual((yield* bearer(provider.userinfoUrl, accessToken)).status, 401)
      assert.strictEqual(provider.exchanges, 1)
      assert.deepStrictEqual(provider.faults, [])
    })
  )

  it.scopedLive("every refresh rotates, and a spent refresh token that comes back ends the grant", () =>
    Effect.gen(function* () {
      const provider = yield* OidcProvider.make({ redirectUris: [callback] })
      const first = string(yield* connect(provider), "refresh_token")
      const second = yield* refresh(provider, first)
      assert.strictEqual(second.status, 200, second.text)
      const third = yield* refresh(provider, string(second, "refresh_token"))
      assert.strictEqual(new Set([first, string(second, "refresh_token"), string(third, "refresh_token")]).size, 3)
      assert.isTrue(yield* provider.isLive(string(second, "access_token")), "a refresh ends no access token")
      assert.deepStrictEqual([provider.refreshes, provider.reuses], [2, 0])

      const reuse = yield* refresh(provider, first)
      assert.strictEqual(reuse.status, 400)
      assert.strictEqual(string(reuse, "error"), "invalid_grant")
      assert.strictEqual(provider.reuses, 1)
      assert.strictEqual(provider.revokedGrants.length, 1)
      assert.isFalse(yield* provider.isLive(string(third, "access_token")))
      assert.isFalse(yield* provider.isRefreshable(string(third, "refresh_token")))
      assert.strictEqual((yield* refresh(provider, string(third, "refresh_token"))).status, 400)
      assert.strictEqual(provider.refreshes, 2)
      assert.deepStrictEqual(provider.faults, [])
    })
  )

  it.scopedLive("of concurrent refreshes with one token at most one is answered, and the grant ends", () =>
    Effect.gen(function* () {
      const provider = yield* OidcProvider.make({ redirectUris: [callback] })
      const first = string(yield* connect(provider), "refresh_token")
      const answers = yield* Effect.all(
        [refresh(provider, first), refresh(provider, first), refresh(provider, first)],
        {
          concurrency: "unbounded"
        }
      )
      const won = answers.filter((answer) => answer.status === 200)
      assert.isAtMost(won.length, 1)
      for (const answer of won) assert.isFalse(yield* provider.isRefreshable(string(answer, "refresh_token")))
      assert.isAbove(provider.reuses, 0)
      assert.strictEqual(provider.revokedGrants.length, 1)
      assert.deepStrictEqual(provider.faults, [])
    })
  )

  it.scopedLive("a delayed token answer comes late, after the token was spent", () =>
    Effect.gen(function* () {
      const provider = yield* OidcProvider.make({ redirectUris: [callback] })
      const first = string(yield* connect(provider), "refresh_token")
      provider.delayTokenAnswers("300 millis")
      const [took, got] = yield* Effect.timed(
        Effect.zipLeft(
          refresh(provider, first),
          Effect.repeat(Effect.sleep("5 millis"), {
            until: () => provider.refreshes === 1
          }),
          { concurrent: true }
        )
      )
      assert.strictEqual(got.status, 200)
      assert.isAtLeast(Duration.toMillis(took), 300)
      provider.delayTokenAnswers(0)
    })
  )

  it.scopedLive("PKCE is demanded, and offline_access needs prompt=consent", () =>
    Effect.gen(function* () {
      const provider = yield* OidcProvider.make({ redirectUris: [callback] })
      const refused = yield* logIn(provider, Browser.make(), { scope: offline, prompt: "consent" })
      assert.strictEqual(refused.get("error"), "invalid_request")
      const { challenge, verifier } = pkce()
      const ask = { scope: offline, code_challenge: challenge, code_challenge_method: "S256" }
      const unprompted = yield* logIn(provider, Browser.make(), ask)
      const got = yield* exchange(provider, unprompted.get("code") ?? "", verifier)
      assert.strictEqual(json(got)["refresh_token"], undefined)
    })
  )

  it.scopedLive("a revocation of either token ends both, and a grant of the same user lives on", () =>
    Effect.gen(function* () {
      const provider = yield* OidcProvider.make({ redirectUris: [callback], accessTokenSeconds: 60 })
      const browser = Browser.make()
      for (const field of ["access_token", "refresh_token"]) {
        const mine = yield* connect(provider, browser)
        const sibling = yield* connect(provider, browser)
        yield* post(provider.revocationUrl, { token: string(mine, field) }, provider)
        assert.isFalse(yield* provider.isLive(string(mine, "access_token")), field)
        assert.isFalse(yield* provider.isRefreshable(string(mine, "refresh_token")), field)
        assert.isTrue(yield* provider.isLive(string(sibling, "access_token")), field)
        assert.isTrue(yield* provider.isRefreshable(string(sibling, "refresh_token")), field)
      }
    })
  )

  it.scopedLive("clients of every kind can be registered later, and another account can log in", () =>
    Effect.gen(function* () {
      const provider = yield* OidcProvider.make({ clients: [{ clientId: "late", clientAuth: "none" }] })
      provider.register({ clientId: "late", clientAuth: "none", redirectUris: [callback] })
      const browser = Browser.make()
      const login = Effect.gen(function* () {
        const { challenge, verifier } = pkce()
        const ask = { scope: offline, prompt: "consent", code_challenge: challenge, code_challenge_method: "S256" }
        const code = (yield* logIn(provider, browser, ask)).get("code") ?? ""
        return yield* post(provider.tokenUrl, {
          grant_type: "authorization_code",
          client_id: "late",
          redirect_uri: callback,
          code,
          code_verifier: verifier
        })
      })
      const alice = yield* login
      provider.login("bob")
      const bob = yield* login
      assert.include((yield* bearer(provider.userinfoUrl, string(alice, "access_token"))).body, `"sub":"alice"`)
      assert.include((yield* bearer(provider.userinfoUrl, string(bob, "access_token"))).body, `"sub":"bob"`)
      const refreshed = yield* post(provider.tokenUrl, {
        grant_type: "refresh_token",
        client_id: "late",
        refresh_token: string(bob, "refresh_token")
      })
      assert.strictEqual(refreshed.status, 200)
      assert.deepStrictEqual(provider.faults, [])
    })
  )
})

/** A stand-in for the server: what `Service` and `Client` need of it, and a log of what it was given. */
const standIn = `
const http = require("node:http")
const { env } = process
console.log("started on " + env.PORT + (env.EXTRA ? " with " + env.EXTRA : ""))
console.error("data in " + env.DATA_DIR)
if (env.CRASH) { console.error("CRASH is set"); process.exit(3) }
const wait = env.SLOW ? new Promise(() => {}) : Promise.resolve()
http.createServer((request, response) => {
  if (request.url === "/readyz") return wait.then(() => response.end("ok"))
  if (request.url === "/hang") return
  let body = ""
  request.on("data", (chunk) => (body += chunk)).on("end", () => {
    const allowed = request.headers.authorization === "Bearer " + env.ADMIN_API_KEY
    response.writeHead(allowed ? 201 : 401, { "content-type": "application/json" })
    response.end(JSON.stringify(allowed
      ? { method: request.method, url: request.url, body: body && JSON.parse(body), ifMatch: request.headers["if-match"] }
      : { _tag: "Unauthorized", message: "no", retryable: false }))
  })
}).listen(Number(env.PORT), env.HOST)
if (env.STUBBORN) process.on("SIGTERM", () => {})
`

const command = [process.execPath, "-e", standIn]

const alive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe("definitions", () => {
  it.scopedLive("are entries that PROVIDERS_FILE takes", () =>
    Effect.gen(function* () {
      for (const server of [yield* ScriptedProvider.make(), yield* OidcProvider.make()]) {
        const provider = Schema.decodeUnknownSync(Provider)(server.definition("fake", { marginSeconds: 1 }))
        assert.strictEqual(provider.tokenUrl, server.tokenUrl)
        assert.strictEqual(provider.issuer, server.url)
      }
    })
  )
})

describe("Service", () => {
  it.scopedLive("starts with its settings, answers, and stops on SIGTERM", () =>
    Effect.gen(function* () {
      const service = yield* Service.start({ command, providers: [{ id: "fake" }], env: { EXTRA: "pepper" } })
      assert.include(service.stdout, `started on ${service.port} with pepper`)
      assert.include(service.stderr, `data in ${service.dataDir}`)
      assert.strictEqual(service.redirectUri, `http://127.0.0.1:${service.port}/oauth/callback`)
      const exit = yield* service.stop()
      assert.deepStrictEqual(exit, { code: null, signal: "SIGTERM" })
    })
  )

  it.scopedLive("is gone with its files when the scope closes, stopped processes included", () =>
    Effect.gen(function* () {
      const service = yield* Effect.scoped(
        Effect.tap(Service.start({ command }), (service) => {
          Fs.mkdirSync(service.dataDir)
          return service.kill("SIGSTOP")
        })
      )
      assert.isFalse(alive(service.pid))
      assert.isFalse(Fs.existsSync(service.dataDir))
    })
  )

  it.scopedLive("can be killed and restarted on the same address and data", () =>
    Effect.gen(function* () {
      const service = yield* Service.start({ command })
      const { pid } = service
      yield* service.kill("SIGKILL")
      assert.deepStrictEqual(yield* service.exited, { code: null, signal: "SIGKILL" })
      assert.strictEqual((yield* Effect.flip(service.client.raw("GET", "/"))).reason.includes("ECONNREFUSED"), true)
      yield* service.restart({ EXTRA: "salt" })
      assert.notStrictEqual(service.pid, pid)
      assert.include(service.stdout, `started on ${service.port} with salt`)
      assert.strictEqual((yield* service.client.raw("GET", "/")).status, 201)
    })
  )

  it.scopedLive("a process that ignores SIGTERM is killed after the bound", () =>
    Effect.gen(function* () {
      const service = yield* Service.start({ command, env: { STUBBORN: "1" } })
      assert.deepStrictEqual(yield* service.stop("100 millis"), { code: null, signal: "SIGKILL" })
    })
  )

  it.scopedLive("a server that ends or is never ready fails the start, and shows what it wrote", () =>
    Effect.gen(function* () {
      const crashed = yield* Effect.flip(Service.start({ command, env: { CRASH: "1" } }))
      assert.include(crashed.message, "exit code 3")
      assert.include(crashed.message, "CRASH is set")
      const slow = yield* Effect.flip(Service.start({ command, env: { SLOW: "1" }, readyWithin: "500 millis" }))
      assert.include(slow.message, "was not ready within 500ms")
      assert.include(slow.message, "started on")
    })
  )
})

describe("Client", () => {
  it.scopedLive("calls as the contract says, and answers are values whatever their status", () =>
    Effect.gen(function* () {
      const { client } = yield* Service.start({ command })
      const put = yield* client.put("a/b", "id", { type: "api_key" }, { ifMatch: 3, query: { waitSeconds: 2 } })
      assert.strictEqual(put.status, 201)
      assert.deepStrictEqual<unknown>(put.body, {
        method: "PUT",
        url: "/v1/users/a%2Fb/credentials/id?waitSeconds=2",
        body: { type: "api_key" },
        ifMatch: `"3"`
      })
      const secret = yield* Client.ok(client.secret("u", "c", { refresh: "force", minValidSeconds: undefined }))
      assert.propertyVal(secret, "url", "/v1/users/u/credentials/c/secret?refresh=force")
      const refused = yield* Client.refused(client.withKey(undefined).acquire("u", "c"))
      assert.deepStrictEqual([refused.status, refused.body._tag], [401, "Unauthorized"])
      assert.isTrue(yield* fails(Effect.sandbox(Client.ok(client.withKey("wrong").listApiKeys))))
    })
  )

  it.scopedLive("an interrupted call cuts its connection", () =>
    Effect.gen(function* () {
      const { client } = yield* Service.start({ command })
      const late = yield* Effect.timeoutOption(client.raw("GET", "/hang"), "50 millis")
      assert.strictEqual(late._tag, "None")
    })
  )
})
