import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { generateKeyPairSync, verify } from "node:crypto"
import { inspect } from "node:util"
import type { Answer, OutboundRequest } from "../src/Outbound.ts"
import { Provider } from "../src/Provider.ts"
import * as TokenEndpoint from "../src/TokenEndpoint.ts"

const canary = "canary-5f0c2e9a"

const define = (fields: Readonly<Record<string, unknown>> = {}) =>
  Schema.decodeUnknownSync(Provider)({
    id: "acme",
    authorizationUrl: "https://acme.example/authorize",
    tokenUrl: "https://acme.example/token",
    revocationUrl: "https://acme.example/revoke",
    issuer: "https://acme.example",
    ...fields
  })

const client: TokenEndpoint.Client = { id: "my client", secret: Redacted.make("s3cr:t%+ü") }

const opened = (request: OutboundRequest) => ({
  url: request.url,
  method: request.method,
  headers: Object.fromEntries(
    Object.entries(request.headers)
      .filter(([name]) => name !== "user-agent")
      .map(([name, value]) => [name, Redacted.isRedacted(value) ? Redacted.value(value) : value])
  ),
  fields: Object.fromEntries(new URLSearchParams(Redacted.value(request.body ?? Redacted.make(""))))
})

const refresh = (fields: Readonly<Record<string, unknown>> = {}, by = client) =>
  Effect.map(TokenEndpoint.refreshRequest(define(fields), by, Redacted.make(`${canary}-refresh`)), opened)

const form = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" }

/** RFC 6749 2.3.1: both are form-encoded before they are joined. */
const basic = `Basic ${Buffer.from("my+client:s3cr%3At%25%2B%C3%BC").toString("base64")}`

describe("requests", () => {
  it.effect("client_secret_basic: the client is in the Authorization header alone", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* refresh(), {
        url: "https://acme.example/token",
        method: "POST",
        headers: { ...form, authorization: basic },
        fields: { grant_type: "refresh_token", refresh_token: `${canary}-refresh` }
      })
    })
  )

  it.effect("client_secret_basic: what a form leaves as it is, stays, for providers that do not decode", () =>
    Effect.gen(function* () {
      const by = { id: "3f2504e0-4f89_a.b", secret: Redacted.make("x-y_z.") }
      const { headers } = yield* refresh({}, by)
      const pair = Buffer.from(String(headers["authorization"]).slice("Basic ".length), "base64").toString()
      assert.strictEqual(pair, "3f2504e0-4f89_a.b:x-y_z.")
    })
  )

  it.effect("secret_as_user: the secret is the user of a Basic header without a password", () =>
    Effect.gen(function* () {
      const { fields, headers } = yield* refresh({ clientAuth: "secret_as_user" })
      assert.strictEqual(headers["authorization"], `Basic ${Buffer.from("s3cr:t%+ü:").toString("base64")}`)
      assert.deepStrictEqual(fields, { grant_type: "refresh_token", refresh_token: `${canary}-refresh` })
    })
  )

  it.effect("client_secret_post: the client is in the body alone", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* refresh({ clientAuth: "client_secret_post" }), {
        url: "https://acme.example/token",
        method: "POST",
        headers: form,
        fields: {
          grant_type: "refresh_token",
          refresh_token: `${canary}-refresh`,
          client_id: "my client",
          client_secret: "s3cr:t%+ü"
        }
      })
    })
  )

  it.effect("none: a public client says its id and no secret", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* refresh({ clientAuth: "none" }), {
        url: "https://acme.example/token",
        method: "POST",
        headers: form,
        fields: { grant_type: "refresh_token", refresh_token: `${canary}-refresh`, client_id: "my client" }
      })
    })
  )

  const keys = {
    RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
    ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
    ES384: generateKeyPairSync("ec", { namedCurve: "P-384" }),
    ES512: generateKeyPairSync("ec", { namedCurve: "P-521" }),
    Ed25519: generateKeyPairSync("ed25519")
  }
  const digests = { RS256: "sha256", ES256: "sha256", ES384: "sha384", ES512: "sha512", Ed25519: null }

  for (const algorithm of ["RS256", "ES256", "ES384", "ES512", "Ed25519"] as const) {
    it.effect(`private_key_jwt: a signed assertion for this endpoint, unlike any before (${algorithm})`, () =>
      Effect.gen(function* () {
        const { privateKey, publicKey } = keys[algorithm]
        const by = {
          id: "my client",
          privateKey: Redacted.make(String(privateKey.export({ type: "pkcs8", format: "pem" })))
        }
        const { fields, headers } = yield* refresh({ clientAuth: "private_key_jwt" }, by)
        assert.deepStrictEqual(headers, form)
        const { client_assertion: assertion = "", ...rest } = fields
        assert.deepStrictEqual(rest, {
          grant_type: "refresh_token",
          refresh_token: `${canary}-refresh`,
          client_id: "my client",
          client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        })
        const [header = "", payload = "", signature = ""] = assertion.split(".")
        const parse = (part: string): Readonly<Record<string, unknown>> =>
          Object(JSON.parse(Buffer.from(part, "base64url").toString("utf8")))
        assert.strictEqual(parse(header)["alg"], algorithm)
        const claims = parse(payload)
        assert.strictEqual(claims["iss"], "my client")
        assert.strictEqual(claims["sub"], "my client")
        assert.includeMembers([claims["aud"]].flat(), ["https://acme.example"])
        assert.isAtMost(Number(claims["exp"]) - Number(claims["iat"]), 300)
        assert.isTrue(
          verify(
            digests[algorithm],
            Buffer.from(`${header}.${payload}`),
            { key: publicKey, dsaEncoding: "ieee-p1363" },
            Buffer.from(signature, "base64url")
          )
        )
        const again = yield* refresh({ clientAuth: "private_key_jwt" }, by)
        assert.notStrictEqual(again.fields["client_assertion"], assertion)
      })
    )
  }

  it.effect(
    "a refresh goes to the provider's refresh URL where it has one, with its parameters, as JSON where it wants that",
    () =>
      Effect.gen(function* () {
        const request = yield* TokenEndpoint.refreshRequest(
          define({
            refreshUrl: "https://acme.example/refresh?v=2",
            tokenParams: { resource: "https://api.acme.example", audience: "all" },
            tokenRequestFormat: "json"
          }),
          client,
          Redacted.make("refresh+&=%")
        )
        const { headers, url } = opened(request)
        assert.strictEqual(url, "https://acme.example/refresh?v=2")
        assert.strictEqual(headers["content-type"], "application/json")
        assert.deepStrictEqual<unknown>(JSON.parse(Redacted.value(request.body ?? Redacted.make(""))), {
          grant_type: "refresh_token",
          refresh_token: "refresh+&=%",
          resource: "https://api.acme.example",
          audience: "all"
        })
      })
  )

  it.effect("a code goes to the token URL with its redirect URI and its verifier", () =>
    Effect.gen(function* () {
      const grant = {
        code: Redacted.make(`${canary}-code`),
        redirectUri: "https://me.example/callback",
        codeVerifier: Option.some(Redacted.make(`${canary}-verifier`))
      }
      const provider = define({ refreshUrl: "https://acme.example/refresh", tokenParams: { resource: "https://r" } })
      const { fields, url } = opened(yield* TokenEndpoint.exchangeRequest(provider, client, grant))
      assert.strictEqual(url, "https://acme.example/token")
      assert.deepStrictEqual(fields, {
        grant_type: "authorization_code",
        code: `${canary}-code`,
        redirect_uri: "https://me.example/callback",
        code_verifier: `${canary}-verifier`,
        resource: "https://r"
      })
      const without = { ...grant, codeVerifier: Option.none() }
      assert.notProperty(
        opened(yield* TokenEndpoint.exchangeRequest(provider, client, without)).fields,
        "code_verifier"
      )
    })
  )

  it.effect("a revocation names the token and what it is", () =>
    Effect.gen(function* () {
      for (const hint of ["refresh_token", "access_token"] as const) {
        const subject = { token: Redacted.make(`${canary}-token`), hint }
        const { fields, headers, url } = opened(yield* TokenEndpoint.revocationRequest(define(), client, subject))
        assert.strictEqual(url, "https://acme.example/revoke")
        assert.strictEqual(headers["authorization"], basic)
        assert.deepStrictEqual(fields, { token: `${canary}-token`, token_type_hint: hint })
      }
    })
  )

  it.effect("a revocation beside the standard is sent as the provider's data describes it", () =>
    Effect.gen(function* () {
      const subject = { token: Redacted.make(`${canary}-token`), hint: "access_token" as const }
      const revoke = (revocation: Readonly<Record<string, unknown>>) =>
        TokenEndpoint.revocationRequest(define({ clientAuth: "client_secret_post", revocation }), client, subject)
      const bodyOf = (request: OutboundRequest) => Redacted.value(request.body ?? Redacted.make(""))

      const deletion = yield* revoke({ method: "DELETE", format: "json", auth: "basic", tokenField: "access_token" })
      assert.strictEqual(deletion.method, "DELETE")
      assert.strictEqual(opened(deletion).headers["authorization"], basic)
      assert.deepStrictEqual<unknown>(JSON.parse(bodyOf(deletion)), { access_token: `${canary}-token` })

      const bearer = yield* revoke({ auth: "bearer" })
      assert.deepStrictEqual(opened(bearer).headers, {
        accept: "application/json",
        authorization: `Bearer ${canary}-token`
      })
      assert.notProperty(bearer, "body")

      const own = yield* revoke({
        auth: "none",
        params: { client: "{client_id}" },
        headers: { Authorization: "Client {client_secret}" }
      })
      assert.deepStrictEqual(opened(own).fields, { client: "my client", token: `${canary}-token` })
      assert.strictEqual(opened(own).headers["authorization"], "Client s3cr:t%+ü")

      const usual = opened(yield* revoke({ takes: "access_token" }))
      assert.deepStrictEqual(usual.fields, {
        token: `${canary}-token`,
        client_id: "my client",
        client_secret: "s3cr:t%+ü"
      })
      for (const request of [deletion, bearer, own]) {
        assert.notInclude(inspect(request, false, 9), canary)
        assert.notInclude(inspect(request, false, 9), "s3cr")
      }
    })
  )

  it.effect("carry the headers that a provider demands, and name this service", () =>
    Effect.gen(function* () {
      const userAgentOf = (fields: Readonly<Record<string, unknown>>) =>
        Effect.map(
          TokenEndpoint.refreshRequest(define(fields), client, Redacted.make("r")),
          ({ headers }) => headers["user-agent"]
        )
      assert.strictEqual(yield* userAgentOf({}), "effect-credentials")
      assert.strictEqual(yield* userAgentOf({ requestHeaders: { "User-Agent": "linux:acme:1" } }), "linux:acme:1")
      const { headers } = yield* refresh({ requestHeaders: { "X-Version": "2" } })
      assert.strictEqual(headers["x-version"], "2")
    })
  )

  it.effect("a refresh repeats the redirect URI where the provider wants it, if it is known", () =>
    Effect.gen(function* () {
      const sent = (refreshWithRedirectUri: boolean, redirectUri?: string) =>
        Effect.map(
          TokenEndpoint.refreshRequest(define({ refreshWithRedirectUri }), client, Redacted.make("r"), redirectUri),
          (request) => opened(request).fields["redirect_uri"]
        )
      assert.strictEqual(yield* sent(true, "https://me.example/cb"), "https://me.example/cb")
      assert.isUndefined(yield* sent(true))
      assert.isUndefined(yield* sent(false, "https://me.example/cb"))
    })
  )

  it.effect("show no secret when they are printed", () =>
    Effect.gen(function* () {
      const secretive = { ...client, secret: Redacted.make(`${canary}-secret`) }
      for (const clientAuth of ["client_secret_basic", "client_secret_post"]) {
        const request = yield* TokenEndpoint.refreshRequest(define({ clientAuth }), secretive, Redacted.make(canary))
        assert.notInclude(inspect(request, false, 9), canary)
        assert.notInclude(JSON.stringify(request), canary)
        assert.notInclude(inspect(request, false, 9), Buffer.from(canary).toString("base64").slice(0, 10))
      }
    })
  )

  it.effect("that cannot be built are failures that are told, never defects: nothing was sent", () =>
    Effect.gen(function* () {
      const broken: ReadonlyArray<readonly [string, Readonly<Record<string, unknown>>, TokenEndpoint.Client]> = [
        ["no client id", { clientAuth: "none" }, { id: "" }],
        ["no secret", {}, { id: "client" }],
        ["no secret in the body", { clientAuth: "client_secret_post" }, { id: "client" }],
        ["no key", { clientAuth: "private_key_jwt" }, { id: "client" }],
        ["no PEM", { clientAuth: "private_key_jwt" }, { id: "client", privateKey: Redacted.make("not a key") }]
      ]
      for (const [name, fields, by] of broken) {
        const exit = yield* Effect.exit(refresh(fields, by))
        assert.isFalse(Exit.isFailure(exit) && exit.cause._tag === "Die", name)
      }
    })
  )
})

const answerOf = (
  body: unknown,
  status = 200,
  headers: Readonly<Record<string, string>> = { "content-type": "application/json" }
): Answer => ({
  status,
  headers,
  body: Redacted.make(
    body instanceof Uint8Array ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body))
  )
})

const now = Date.parse("2026-01-01T00:00:00Z")

const read = (answer: Answer, fields: Readonly<Record<string, unknown>> = {}) =>
  TokenEndpoint.readTokens(define(fields), answer, now)

const granted = (answer: Answer, fields: Readonly<Record<string, unknown>> = {}) => {
  const tokens = Either.getOrThrowWith(read(answer, fields), (denial) => new Error(inspect(denial)))
  return {
    accessToken: Redacted.value(tokens.accessToken),
    refreshToken: Option.getOrUndefined(Option.map(tokens.refreshToken, Redacted.value)),
    lifetime: Option.getOrUndefined(tokens.lifetimeSeconds),
    refreshLifetime: Option.getOrUndefined(tokens.refreshLifetimeSeconds),
    scopes: Option.getOrUndefined(tokens.scopes),
    subject: Option.getOrUndefined(tokens.subject)
  }
}

/** `Refused`, `Failed throttled`, `Unclear malformed_response` … */
const denied = (answer: Answer, fields: Readonly<Record<string, unknown>> = {}) => {
  const result = read(answer, fields)
  if (Either.isRight(result)) return "granted"
  return result.left._tag === "Refused" ? "Refused" : `${result.left._tag} ${result.left.reason}`
}

const retryAfter = (value: string) => {
  const result = read(answerOf("", 429, { "retry-after": value }))
  return Either.isLeft(result) && result.left._tag === "Failed"
    ? Option.getOrUndefined(result.left.retryAfterSeconds)
    : undefined
}

const plain = { access_token: "access", token_type: "Bearer", expires_in: 3600, refresh_token: "refresh", scope: "a b" }

describe("a granted answer", () => {
  it("of RFC 6749 is read whole", () => {
    assert.deepStrictEqual(granted(answerOf(plain)), {
      accessToken: "access",
      refreshToken: "refresh",
      lifetime: 3600,
      refreshLifetime: undefined,
      scopes: ["a", "b"],
      subject: undefined
    })
  })

  it("is read beside the standard too: any 2xx, no token_type, a form, other spellings, a byte order mark and blanks", () => {
    assert.strictEqual(granted(answerOf(plain, 201)).accessToken, "access")
    assert.deepStrictEqual(granted(answerOf({ access_token: "access" })), {
      accessToken: "access",
      refreshToken: undefined,
      lifetime: undefined,
      refreshLifetime: undefined,
      scopes: undefined,
      subject: undefined
    })
    const asForm = answerOf("access_token=acc%20ess&scope=a%2Cb&expires_in=60", 200, { "content-type": "text/plain" })
    assert.deepStrictEqual(granted(asForm).accessToken, "acc ess")
    assert.deepStrictEqual(granted(asForm).scopes, ["a", "b"])
    assert.strictEqual(granted(asForm).lifetime, 60)
    assert.strictEqual(granted(answerOf(`\n ${JSON.stringify(plain)} \n`)).accessToken, "access")
    assert.strictEqual(granted(answerOf(`\uFEFF${JSON.stringify(plain)}`)).accessToken, "access")
    assert.strictEqual(granted(answerOf({ ...plain, ok: true, error: null })).accessToken, "access")
  })

  it("without a refresh token, or with an empty one, keeps the old", () => {
    const { refresh_token: _, ...rest } = plain
    for (const body of [rest, { ...rest, refresh_token: "" }, { ...rest, refresh_token: null }]) {
      assert.isUndefined(granted(answerOf(body)).refreshToken)
    }
  })

  it("has a lifetime of at least a second and at most ten years, or says nothing of it", () => {
    const lifetime = (value: unknown) => granted(answerOf({ ...plain, expires_in: value })).lifetime
    const tenYears = 10 * 365 * 86_400
    for (const [value, seconds] of [
      [3600, 3600],
      ["3600", 3600],
      [" 60 ", 60],
      [59.9, 59],
      [0.5, 1],
      [1e18, tenYears],
      ["1e18", tenYears],
      ["Infinity", tenYears],
      [0, undefined],
      [-1, undefined],
      ["-3600", undefined],
      ["", undefined],
      ["soon", undefined],
      ["NaN", undefined],
      [null, undefined],
      [true, undefined],
      [[3600], undefined],
      [{}, undefined]
    ] as const) {
      assert.strictEqual(lifetime(value), seconds, JSON.stringify(value))
    }
    const { expires_in: _, ...silent } = plain
    assert.isUndefined(granted(answerOf(silent)).lifetime)
    // as some encoders write it, which is no JSON
    for (const bare of ["NaN", "Infinity", "-Infinity"]) {
      const body = JSON.stringify({ ...plain, note: `\\"NaN` }).replace("3600", bare)
      assert.deepInclude(granted(answerOf(body)), {
        accessToken: "access",
        refreshToken: "refresh",
        lifetime: undefined
      })
    }
  })

  it("that says nothing of its lifetime has the one that the provider's data says", () => {
    const { expires_in: _, ...silent } = plain
    for (const body of [silent, { ...plain, expires_in: 0 }, { ...plain, expires_in: "x" }]) {
      assert.strictEqual(granted(answerOf(body), { expiresInSeconds: 7200 }).lifetime, 7200)
    }
    assert.strictEqual(granted(answerOf(plain), { expiresInSeconds: 7200 }).lifetime, 3600)
    assert.strictEqual(granted(answerOf(plain), { refreshTokenLifetimeSeconds: 99 }).refreshLifetime, 99)
  })

  it("may say until when instead of how long: as text, in seconds or in milliseconds", () => {
    const { expires_in: _, ...silent } = plain
    const until = (value: unknown) => granted(answerOf({ ...silent, expires_at: value })).lifetime
    for (const value of ["2026-01-01T01:00:00Z", now / 1000 + 3600, String(now / 1000 + 3600), now + 3_600_000]) {
      assert.strictEqual(until(value), 3600, String(value))
    }
    for (const value of ["2025-12-31T00:00:00Z", 0, -1, "", "soon", null, {}, []]) assert.isUndefined(until(value))
    assert.strictEqual(granted(answerOf({ ...plain, expires_at: now / 1000 + 60 })).lifetime, 3600)
    assert.strictEqual(
      granted(answerOf({ ...plain, refresh_token_expires_at: "2026-01-01T00:01:00Z" })).refreshLifetime,
      60
    )
  })

  it("may hold its tokens in an object of its own, where the provider's data says which", () => {
    const nested = (tokenPath: string, body: unknown) => granted(answerOf(body), { tokenPath })
    assert.deepStrictEqual(nested("data.user", { ok: true, data: { user: plain } }).refreshToken, "refresh")
    assert.deepStrictEqual(nested("user", { user: plain }).scopes, ["a", "b"])
    assert.strictEqual(nested("user", { ...plain, user: { ...plain, access_token: "inner" } }).accessToken, "access")
    for (const path of ["user.none", "toString", "__proto__", ""]) {
      assert.strictEqual(denied(answerOf({ user: plain }), { tokenPath: path }), "Unclear malformed_response", path)
    }
  })

  it("leaves the fields that a credential is to keep, and no others", () => {
    const read = TokenEndpoint.readTokens(
      define({ keptFields: ["instance_url", "team", "absent", "toString"] }),
      answerOf({ ...plain, instance_url: "https://a.example", team: { id: 1 }, other: 2 }),
      now
    )
    assert.deepStrictEqual<unknown>(Redacted.value(Either.getOrThrow(read).kept), {
      instance_url: "https://a.example",
      team: { id: 1 }
    })
  })

  it("may say how long the refresh token lives, in either spelling", () => {
    assert.strictEqual(granted(answerOf({ ...plain, refresh_token_expires_in: "600" })).refreshLifetime, 600)
    assert.strictEqual(granted(answerOf({ ...plain, refresh_expires_in: 600 })).refreshLifetime, 600)
    assert.strictEqual(
      granted(answerOf({ ...plain, refresh_expires_in: 0 }), { refreshTokenLifetimeSeconds: 9 }).refreshLifetime,
      9
    )
  })

  it("has scopes as text, with commas, or as a list; none when it does not say", () => {
    const scopes = (value: unknown) => granted(answerOf({ ...plain, scope: value })).scopes
    assert.deepStrictEqual(scopes("a b"), ["a", "b"])
    assert.deepStrictEqual(scopes(" a,b , c "), ["a", "b", "c"])
    assert.deepStrictEqual(scopes(["a", "b"]), ["a", "b"])
    for (const none of ["", [], null, 7, {}, undefined]) assert.isUndefined(scopes(none), JSON.stringify(none))
    const { scope: _, ...rest } = plain
    assert.deepStrictEqual(granted(answerOf({ ...rest, scopes: ["x"] })).scopes, ["x"])
  })

  it("with scopes that are no text is read all the same: its tokens are paid for", () => {
    for (const scope of [
      [1, "a"],
      [{ toString: 1, valueOf: 1 }, "a"],
      [null, "a"],
      [["b"], "a"]
    ]) {
      assert.strictEqual(granted(answerOf({ ...plain, scope })).accessToken, "access", JSON.stringify(scope))
    }
  })

  it("names who logged in, when it brings an ID token", () => {
    const idToken = (payload: string) => `h.${Buffer.from(payload).toString("base64url")}.s`
    const subject = (value: unknown) => granted(answerOf({ ...plain, id_token: value })).subject
    assert.strictEqual(subject(idToken(`{"sub":"alice"}`)), "alice")
    for (const none of [idToken(`{"sub":7}`), idToken("no JSON"), idToken(`["sub"]`), "x", "", 7, null, {}]) {
      assert.isUndefined(subject(none))
    }
  })
})

describe("a denied answer", () => {
  it("invalid_grant is Refused, with any status below 500, and so are the provider's own words for it", () => {
    for (const status of [200, 400, 401, 403])
      assert.strictEqual(denied(answerOf({ error: "invalid_grant" }, status)), "Refused")
    assert.strictEqual(denied(answerOf("error=invalid_grant&error_description=x", 400)), "Refused")
    assert.strictEqual(denied(answerOf({ error: { code: "invalid_grant" } }, 400)), "Refused")
    const aliases = { invalidGrantAliases: ["bad_refresh_token", "token_expired"] }
    assert.strictEqual(denied(answerOf({ error: "bad_refresh_token" }), aliases), "Refused")
    assert.strictEqual(denied(answerOf({ ok: false, error: "token_expired" }), aliases), "Refused")
    assert.strictEqual(denied(answerOf({ status: "bad_refresh_token", message: "no" }, 400), aliases), "Refused")
    assert.strictEqual(denied(answerOf({ error: "bad_refresh_token" })), "Failed rejected")
  })

  it("that has every part of what a provider says instead of invalid_grant is Refused, and no other", () => {
    const aliases = { invalidGrantAliases: [{ errors: [{ resource: "RefreshToken", code: "invalid" }] }] }
    const said = (...errors: ReadonlyArray<unknown>) => answerOf({ message: "Bad Request", errors }, 400)
    const dead = { resource: "RefreshToken", field: "refresh_token", code: "invalid" }
    const foreign = { resource: "Application", field: "client_id", code: "invalid" }
    assert.strictEqual(denied(said(dead), aliases), "Refused")
    assert.strictEqual(denied(said(foreign, dead), aliases), "Refused")
    for (const other of [said(), said(foreign), said({ ...dead, code: "missing" }), said("RefreshToken", null)]) {
      assert.strictEqual(denied(other, aliases), "Failed rejected")
    }
    // the parts of one thing are not gathered from two
    assert.strictEqual(denied(said({ ...dead, code: "missing" }, foreign), aliases), "Failed rejected")
    assert.strictEqual(denied(answerOf({ errors: dead }, 400), aliases), "Failed rejected")
    assert.strictEqual(denied(said(dead)), "Failed rejected")
  })

  it("throttling is transient, and says when to come again", () => {
    assert.strictEqual(denied(answerOf({ error: "invalid_grant" }, 429)), "Failed throttled")
    for (const code of ["slow_down", "ratelimited", "rate_limited"]) {
      assert.strictEqual(denied(answerOf({ error: code }, 400)), "Failed throttled")
    }
    for (const [value, seconds] of [
      ["120", 120],
      [" 7 ", 7],
      ["0", 1],
      ["-5", undefined],
      ["999999999", 86_400],
      ["Thu, 01 Jan 2026 00:02:00 GMT", 120],
      ["Wed, 31 Dec 2025 00:00:00 GMT", 1],
      ["soon", undefined],
      ["", undefined]
    ] as const) {
      if (value === "-5") assert.isAtMost(retryAfter(value) ?? 1, 86_400)
      else assert.strictEqual(retryAfter(value), seconds, value)
    }
  })

  it("a provider that is down is transient, whatever its page says", () => {
    for (const status of [500, 502, 503, 504, 599]) {
      assert.strictEqual(denied(answerOf("", status)), "Failed unreachable")
      assert.strictEqual(denied(answerOf("<html>", status)), "Failed unreachable")
      assert.strictEqual(denied(answerOf({ error: "invalid_grant" }, status)), "Failed unreachable")
    }
    for (const code of ["server_error", "temporarily_unavailable"]) {
      assert.strictEqual(denied(answerOf({ error: code }, 400)), "Failed unreachable")
    }
  })

  it("a wrong client is the operator's affair", () => {
    for (const code of ["invalid_client", "unauthorized_client"]) {
      for (const status of [200, 400, 401])
        assert.strictEqual(denied(answerOf({ error: code }, status)), "Failed invalid_client")
    }
    assert.strictEqual(denied(answerOf("", 401)), "Failed invalid_client")
    assert.strictEqual(denied(answerOf("<html>", 401)), "Failed invalid_client")
  })

  it("any other code is rejected", () => {
    for (const code of [
      "invalid_request",
      "invalid_scope",
      "unsupported_grant_type",
      "constructor",
      "x".repeat(1000)
    ]) {
      assert.strictEqual(denied(answerOf({ error: code }, 400)), "Failed rejected")
    }
    for (const body of [{ ok: false }, { success: false }, { error: { type: "nope" } }]) {
      assert.strictEqual(denied(answerOf(body)), "Failed rejected")
    }
  })

  it("a page, a redirect or nothing where no token was made is a failure", () => {
    for (const status of [200, 201, 302, 404]) {
      assert.strictEqual(denied(answerOf("<!doctype html><p>Log in", status)), "Failed malformed_response")
    }
    assert.strictEqual(denied(answerOf("", 302)), "Failed rejected")
    assert.strictEqual(denied(answerOf("", 400)), "Failed rejected")
    assert.strictEqual(denied(answerOf({ message: "no" }, 404)), "Failed rejected")
  })

  it("a 2xx that may have been tokens is Unclear: empty, truncated, nested, of the wrong type", () => {
    const truncated = JSON.stringify(plain).slice(0, 40)
    for (const body of [
      "",
      truncated,
      { ok: true, authed_user: plain },
      { ...plain, access_token: "" },
      { ...plain, access_token: null },
      { ...plain, access_token: [canary] },
      [plain],
      "null",
      "7",
      `"access"`,
      {}
    ]) {
      assert.strictEqual(denied(answerOf(body)), "Unclear malformed_response", JSON.stringify(body))
    }
  })

  it("keeps nothing of the provider's text", () => {
    const bodies: ReadonlyArray<unknown> = [
      { error: `${canary}`, error_description: canary, error_uri: canary },
      { error: "invalid_grant", error_description: canary },
      `<html>${canary}`,
      canary,
      { message: canary }
    ]
    for (const body of bodies) {
      for (const status of [200, 400, 401, 429, 500]) {
        const shown = inspect(read(answerOf(body, status, { "retry-after": canary })), false, 9)
        assert.notInclude(shown, canary)
      }
    }
  })
})

describe("the answer to a revocation", () => {
  const revoked = (body: unknown, status = 200) => TokenEndpoint.readRevocation(define(), answerOf(body, status))

  it("is done with any 2xx that does not say otherwise", () => {
    for (const body of ["", {}, { ok: true, revoked: true }, "<html>", "[]"]) {
      assert.isTrue(Either.isRight(revoked(body)), JSON.stringify(body))
    }
    assert.isTrue(Either.isRight(revoked("", 204)))
  })

  it("that says no with a 200 is refused for good, unless it is for now", () => {
    assert.deepStrictEqual(revoked({ ok: false, error: "invalid_auth" }), Either.left({ final: true }))
    assert.deepStrictEqual(revoked({ ok: false, error: "ratelimited" }), Either.left({ final: false }))
    assert.deepStrictEqual(revoked({ error: "invalid_grant" }), Either.left({ final: true }))
  })
})

describe("whatever comes", () => {
  const status = FastCheck.oneof(
    FastCheck.constantFrom(200, 201, 204, 302, 400, 401, 429, 500),
    FastCheck.integer({ min: 100, max: 599 })
  )

  const total = (answer: Answer) => {
    const result = read(answer)
    if (Either.isLeft(result)) return
    assert.isAbove(Redacted.value(result.right.accessToken).length, 0)
    for (const seconds of [result.right.lifetimeSeconds, result.right.refreshLifetimeSeconds]) {
      if (Option.isSome(seconds)) {
        assert.isTrue(Number.isInteger(seconds.value) && seconds.value >= 1 && seconds.value <= 10 * 365 * 86_400)
      }
    }
  }

  const runs = { fastCheck: { numRuns: 2_000 } }

  it.prop(
    "any bytes are read without a throw",
    { body: FastCheck.uint8Array({ maxLength: 200 }), status, retryAfter: FastCheck.string() },
    ({ body, status, retryAfter }) => total(answerOf(body, status, { "retry-after": retryAfter })),
    runs
  )

  it.prop(
    "any JSON is read without a throw",
    { body: FastCheck.json(), status },
    ({ body, status }) => total(answerOf(body, status)),
    runs
  )

  const fieldNames = [
    "access_token",
    "refresh_token",
    "expires_in",
    "scope",
    "scopes",
    "id_token",
    "error",
    "ok",
    "success",
    "refresh_token_expires_in",
    "refresh_expires_in",
    "toString",
    "valueOf",
    "__proto__",
    "constructor",
    "code",
    "type"
  ]
  const odd: FastCheck.Arbitrary<unknown> = FastCheck.letrec<{ value: unknown; object: unknown }>((tie) => ({
    value: FastCheck.oneof(
      { depthSize: "small" },
      FastCheck.constantFrom<unknown>("a", "", "3600", "-1", 0, -1, 1e18, 1e308, null, true, false, "invalid_grant"),
      FastCheck.string(),
      FastCheck.array(tie("value"), { maxLength: 3 }),
      tie("object")
    ),
    object: FastCheck.dictionary(FastCheck.constantFrom(...fieldNames), tie("value"), { maxKeys: 8 })
  })).object

  it.prop(
    "any token answer with fields of any kind is read without a throw",
    { body: odd, status },
    ({ body, status }) => total(answerOf(body, status)),
    runs
  )

  it("64 KiB of nesting are read without a throw", () => {
    for (const text of ["[".repeat(65_536), `{"error":`.repeat(6_000), `{"scope":[`.repeat(6_000)])
      total(answerOf(text))
  })
})
