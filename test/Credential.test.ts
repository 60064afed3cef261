import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"
import * as Credential from "../src/Credential.ts"

const canary = "canary-5f0c2e9a"

const now = DateTime.unsafeMake("2026-01-01T00:00:00Z")
const later = DateTime.unsafeMake("2026-02-01T00:00:00Z")

const variants = {
  oauth2: {
    type: "oauth2",
    accessToken: Redacted.make(`${canary}-access`),
    refreshToken: Redacted.make(`${canary}-refresh`),
    accessTokenExpiresAt: now,
    refreshTokenExpiresAt: later,
    lifetimeSeconds: 3600,
    scopes: ["repo"],
    username: "mona"
  },
  api_key: { type: "api_key", apiKey: Redacted.make(`${canary}-key`), expiresAt: later },
  user_password: { type: "user_password", username: "mona", password: Redacted.make(`${canary}-password`) },
  host_scoped: {
    type: "host_scoped",
    host: "*.example.com",
    headers: { "X-Api-Key": Redacted.make(`${canary}-header`), "X-Tenant": Redacted.make("acme") }
  }
} satisfies { [T in Credential.Type]: Extract<Credential.Variant, { readonly type: T }> }

const credentialOf = (
  variant: Credential.Variant,
  fields: Partial<Credential.Credential> = {}
): Credential.Credential => ({
  userId: Credential.UserId.make("user"),
  id: Credential.CredentialId.to.make("3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
  provider: Credential.providerId("acme"),
  title: Option.some("work"),
  generation: 3,
  variant,
  extra: Redacted.make({ tenant: "acme", mcp_client_secret: `${canary}-extra` }),
  renewal: Credential.settled,
  system: false,
  createdAt: now,
  updatedAt: now,
  storedAt: now,
  ...fields
})

const reveal = (headers: Readonly<Record<string, Redacted.Redacted>>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Redacted.value(value)]))

describe("headers", () => {
  it("an access token and an API key go as Bearer", () => {
    assert.deepStrictEqual(reveal(Credential.headers(variants.oauth2)), { Authorization: `Bearer ${canary}-access` })
    assert.deepStrictEqual(reveal(Credential.headers(variants.api_key)), { Authorization: `Bearer ${canary}-key` })
  })

  it("user and password go as Basic, in UTF-8, colons of the password included", () => {
    const { Authorization } = reveal(
      Credential.headers({ type: "user_password", username: "möna", password: Redacted.make("pä:ss:🔒") })
    )
    assert.match(Authorization ?? "", /^Basic [A-Za-z0-9+/]+=*$/)
    assert.strictEqual(Buffer.from(Authorization?.slice(6) ?? "", "base64").toString("utf8"), "möna:pä:ss:🔒")
  })

  it("a host's own headers go as they are", () => {
    assert.deepStrictEqual(reveal(Credential.headers(variants.host_scoped)), {
      "X-Api-Key": `${canary}-header`,
      "X-Tenant": "acme"
    })
  })
})

describe("views", () => {
  it("a secret has what its type has, the headers, and the expiry that ends it", () => {
    const fieldsOf = (type: Credential.Type) => Object.keys(Credential.toSecret(credentialOf(variants[type]))).sort()
    const shared = ["credentialId", "generation", "headers", "type"]
    assert.deepStrictEqual(fieldsOf("oauth2"), [...shared, "accessToken", "expiresAt"].sort())
    assert.deepStrictEqual(fieldsOf("api_key"), [...shared, "apiKey", "expiresAt"].sort())
    assert.deepStrictEqual(fieldsOf("user_password"), [...shared, "username", "password"].sort())
    assert.deepStrictEqual(fieldsOf("host_scoped"), [...shared, "host"].sort())
    assert.strictEqual(Credential.toSecret(credentialOf(variants.oauth2)).expiresAt, now)
  })

  it("carries an access token in the headers that its provider wants, and other secrets in their own", () => {
    const apiHeaders = { "X-Token": "{access_token}", "X-Version": "2" }
    const open = (variant: Credential.Variant) =>
      Object.fromEntries(
        Object.entries(Credential.toSecret(credentialOf(variant), apiHeaders).headers).map(([name, value]) => [
          name,
          Redacted.value(value)
        ])
      )
    const token = "a$&b$1"
    assert.deepStrictEqual(open({ ...variants.oauth2, accessToken: Redacted.make(token) }), {
      "X-Token": token,
      "X-Version": "2"
    })
    assert.deepStrictEqual(Object.keys(open(variants.api_key)), ["Authorization"])
  })

  it("neither a credential nor its secret nor its metadata shows a secret when it is printed", () => {
    for (const variant of Object.values(variants)) {
      const credential = credentialOf(variant)
      for (const view of [credential, Credential.toSecret(credential), Credential.toMetadata(credential, now)]) {
        for (const print of [
          JSON.stringify,
          Inspectable.toStringUnknown,
          (value: unknown) => inspect(value, false, 9)
        ]) {
          assert.notInclude(print(view), canary, `${variant.type}, ${print.name}`)
        }
      }
    }
  })

  it("metadata says what the credential is, and what of its facts is harmless", () => {
    assert.deepStrictEqual(Credential.toMetadata(credentialOf(variants.oauth2), now), {
      id: Credential.CredentialId.to.make("3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
      userId: Credential.UserId.make("user"),
      type: "oauth2",
      provider: Credential.providerId("acme"),
      title: "work",
      scopes: ["repo"],
      username: "mona",
      accessTokenExpiresAt: now,
      refreshTokenExpiresAt: later,
      metadata: { tenant: "acme" },
      status: "active",
      generation: 3,
      createdAt: now,
      updatedAt: now
    })
    const plain = Credential.toMetadata(
      credentialOf(variants.user_password, { extra: Redacted.make({ secret: canary }), title: Option.none() }),
      now
    )
    assert.notProperty(plain, "metadata")
    assert.notProperty(plain, "title")
    assert.strictEqual(plain.username, "mona")
  })

  it("metadata says when only the user can help, and why", () => {
    const reauth = { reason: "response_lost", attemptId: Option.some("attempt") } as const
    const shown = Credential.toMetadata(
      credentialOf(variants.oauth2, { renewal: { ...Credential.settled, reauth: Option.some(reauth) } }),
      now
    )
    assert.strictEqual(shown.status, "needs_reauth")
    assert.strictEqual(shown.statusReason, "response_lost")
  })

  it("metadata says when a refresh token dies, once that is near, and while the user need not log in already", () => {
    const of = (fields: Partial<Credential.OAuth2>, more: Partial<Credential.Credential> = {}) =>
      credentialOf({ ...variants.oauth2, ...fields }, more)
    const soonAt = (credential: Credential.Credential, daysBefore: number) =>
      Credential.toMetadata(credential, DateTime.subtract(later, { seconds: daysBefore * 86_400 })).reauthSoonAt
    const lasting = (days: number) => of({ refreshLifetimeSeconds: days * 86_400 })

    // nothing known of its lifetime, or a long one: two weeks before
    for (const credential of [of({}), lasting(90), lasting(70)]) {
      assert.isUndefined(soonAt(credential, 14.01))
      assert.deepStrictEqual(soonAt(credential, 14), later)
      assert.deepStrictEqual(soonAt(credential, 0), later)
    }
    // one of ten days is in its last fifth two days before
    assert.isUndefined(soonAt(lasting(10), 2.01))
    assert.deepStrictEqual(soonAt(lasting(10), 2), later)

    const { refreshToken: _, ...withoutRefreshToken } = variants.oauth2
    const { refreshTokenExpiresAt: __, ...withoutExpiry } = variants.oauth2
    const reauth = Option.some({ reason: "grant_revoked", attemptId: Option.none() } as const)
    for (const credential of [
      credentialOf(withoutRefreshToken),
      credentialOf(withoutExpiry),
      credentialOf(variants.api_key),
      of({}, { system: true }),
      of({}, { renewal: { ...Credential.settled, reauth } })
    ]) {
      assert.isUndefined(soonAt(credential, 1))
    }
  })

  it("metadata of a system credential says so", () => {
    assert.isTrue(Credential.toMetadata(credentialOf(variants.api_key, { system: true }), now).system)
    assert.notProperty(Credential.toMetadata(credentialOf(variants.api_key), now), "system")
  })
})

describe("harmless metadata", () => {
  it("leaves out what a name says is secret, at every depth, in every spelling of the name", () => {
    assert.deepStrictEqual(
      Credential.harmlessMetadata({
        tenant: "acme",
        mcp_server_url: "https://mcp.example.com",
        mcp_client_id: "client",
        mcp_client_secret: canary,
        clientSecret: canary,
        CLIENT_SECRET: canary,
        apiKey: canary,
        "x-api-key": canary,
        refreshToken: canary,
        id_token: canary,
        password: canary,
        passwd: canary,
        passphrase: canary,
        Authorization: canary,
        "set-cookie": canary,
        codeVerifier: canary,
        client_assertion: canary,
        "X-Signature": canary,
        secrets: { harmless: canary },
        nested: { deep: [{ name: "shown", token: canary, deeper: { password: canary, kept: 1 } }, "text", null, 2] }
      }),
      {
        tenant: "acme",
        mcp_server_url: "https://mcp.example.com",
        mcp_client_id: "client",
        nested: { deep: [{ name: "shown", deeper: { kept: 1 } }, "text", null, 2] }
      }
    )
  })

  it.prop(
    "of anything is no more than was given, and giving it again changes nothing",
    { extra: FastCheck.dictionary(FastCheck.string(), FastCheck.jsonValue()) },
    ({ extra }) => {
      const shown = Credential.harmlessMetadata(extra)
      assert.deepStrictEqual(Credential.harmlessMetadata(shown), shown)
      for (const name of Object.keys(shown)) assert.isTrue(Object.hasOwn(extra, name))
    }
  )
})

describe("provider names", () => {
  const decode = Schema.decodeUnknownEither(Credential.ProviderId)

  it("have one spelling: the legacy form of an enum is the same provider", () => {
    for (const name of [
      "mcp",
      "MCP",
      "ProviderName.MCP",
      "ProviderName.mcp",
      "providername.MCP",
      " ProviderName.MCP ",
      "Mcp\n"
    ]) {
      assert.deepStrictEqual(decode(name), Either.right(Credential.providerId("mcp")), name)
    }
    assert.deepStrictEqual(decode("ProviderName.GOOGLE_MAPS"), Either.right(Credential.providerId("google_maps")))
  })

  it("are letters, digits, '.', '_' and '-', at most 100, and nothing else", () => {
    for (const name of ["a", "0", "a.b-c_d", "x".repeat(100)]) assert.isTrue(Either.isRight(decode(name)), name)
    for (const name of [
      "",
      " ",
      "ProviderName.",
      ".a",
      "-a",
      "_a",
      "a/b",
      "a b",
      "ä",
      "a\0",
      "../a",
      "x".repeat(101),
      7,
      null,
      {}
    ]) {
      assert.isTrue(Either.isLeft(decode(name)), String(name))
    }
  })

  it.prop("decoded once, they stay as they are", { name: FastCheck.string() }, ({ name }) => {
    const once = decode(name)
    if (Either.isRight(once)) assert.deepStrictEqual(decode(once.right), once)
  })
})

describe("ids", () => {
  const isUser = Schema.is(Credential.UserId)
  const isId = Schema.is(Credential.CredentialId)

  it("a user id is any text of 1 to 255 characters without control characters", () => {
    for (const id of ["u", "a b/c?d#e%2F", "ünïcode 🔑", "x".repeat(255), "'; drop table users --"]) {
      assert.isTrue(isUser(id), id)
    }
    for (const id of ["", "x".repeat(256), "a\nb", "a\0", "\u007f", "\u0085"])
      assert.isFalse(isUser(id), JSON.stringify(id))
  })

  it("a credential id is a UUID, in lower case however it was written", () => {
    const decode = Schema.decodeUnknownEither(Credential.CredentialId)
    const id = Credential.CredentialId.to.make("3f2504e0-4f89-41d3-9a0c-0305e82c3301")
    assert.deepStrictEqual(decode("3F2504E0-4F89-41d3-9A0C-0305E82C3301"), Either.right(id))
    for (const wrong of ["3f2504e0", "", "3f2504e0-4f89-41d3-9a0c-0305e82c3301 ", 7, null]) {
      assert.isTrue(Either.isLeft(decode(wrong)), String(wrong))
    }
    assert.isTrue(isId(id))
    assert.isFalse(isId("3F2504E0-4F89-41D3-9A0C-0305E82C3301"), "two spellings would be two credentials")
  })
})

describe("what does not decode", () => {
  /** Every message that a decode error has. */
  const messages = (error: ParseResult.ParseError) => [
    error.message,
    String(error),
    JSON.stringify(error),
    inspect(error, false, 9),
    ParseResult.TreeFormatter.formatErrorSync(error),
    JSON.stringify(ParseResult.ArrayFormatter.formatErrorSync(error))
  ]

  const secretFields = [
    ["oauth2", "accessToken"],
    ["oauth2", "refreshToken"],
    ["api_key", "apiKey"],
    ["user_password", "password"]
  ] as const

  const encoded = (type: Credential.Type): Record<string, unknown> => ({
    ...Schema.encodeSync(Credential.Variant)(variants[type])
  })

  it("a variant is read back as it was written", () => {
    for (const variant of Object.values(variants)) {
      const text: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(Credential.Variant)(variant)))
      const back = Schema.decodeUnknownSync(Credential.Variant)(text)
      assert.deepStrictEqual(
        Schema.encodeSync(Credential.Variant)(back),
        Schema.encodeSync(Credential.Variant)(variant)
      )
    }
  })

  it("never shows a secret of the wrong shape", () => {
    for (const [type, field] of secretFields) {
      for (const wrong of [[canary], { [canary]: canary }, "", 7, null]) {
        const result = Schema.decodeUnknownEither(Credential.Variant)({ ...encoded(type), [field]: wrong })
        assert.isTrue(Either.isLeft(result), `${field}: ${JSON.stringify(wrong)}`)
        if (Either.isLeft(result)) {
          for (const message of messages(result.left)) assert.notInclude(message, canary, field)
        }
      }
    }
    const headers = Schema.decodeUnknownEither(Credential.HostScoped)({
      ...encoded("host_scoped"),
      headers: { a: [canary] }
    })
    assert.isTrue(Either.isLeft(headers))
    if (Either.isLeft(headers)) for (const message of messages(headers.left)) assert.notInclude(message, canary)
  })

  it("never shows the secrets beside a field that is wrong", () => {
    const wrongs: ReadonlyArray<readonly [Credential.Type, Record<string, unknown>]> = [
      ["oauth2", { scopes: "repo" }],
      ["oauth2", { accessTokenExpiresAt: "yesterday" }],
      ["oauth2", { lifetimeSeconds: "3600" }],
      ["oauth2", { type: "oauth3" }],
      ["oauth2", { type: undefined }],
      ["api_key", { expiresAt: 1 }],
      ["user_password", { username: null }],
      ["host_scoped", { host: null }]
    ]
    for (const [type, wrong] of wrongs) {
      const result = Schema.decodeUnknownEither(Credential.Variant)({ ...encoded(type), ...wrong })
      assert.isTrue(Either.isLeft(result), JSON.stringify(wrong))
      if (Either.isLeft(result)) {
        for (const message of [result.left.message, String(result.left)]) {
          assert.notInclude(message, canary, `${type} with ${JSON.stringify(wrong)}`)
        }
      }
    }
  })
})

describe("hosts", () => {
  const fits = Credential.matchesHost

  it("a pattern is that host in any case, with or without the root's dot", () => {
    for (const host of ["api.example.com", "API.Example.COM", "api.example.com.", " api.example.com "]) {
      assert.isTrue(fits("api.example.com", host), host)
      assert.isTrue(fits(host, "api.example.com"), host)
    }
    for (const host of ["example.com", "v2.api.example.com", "api.example.com.evil.org", "apiexample.com", ""]) {
      assert.isFalse(fits("api.example.com", host), host)
    }
  })

  it("`*.` is the domain and every name below it, and no name that only ends alike", () => {
    for (const host of ["example.com", "a.example.com", "a.b.example.com"])
      assert.isTrue(fits("*.example.com", host), host)
    for (const host of ["evilexample.com", "example.com.evil.org", "example.org", "com", ""]) {
      assert.isFalse(fits("*.example.com", host), host)
    }
  })

  it("a port in the pattern is that port alone; without one any port fits", () => {
    assert.isTrue(fits("example.com:8443", "example.com:8443"))
    assert.isFalse(fits("example.com:8443", "example.com"))
    assert.isFalse(fits("example.com:8443", "example.com:443"))
    assert.isTrue(fits("example.com", "example.com:8443"))
    assert.isTrue(fits("*.example.com:1", "a.example.com:1"))
    assert.isTrue(fits("[::1]:1", "[::1]:1"))
    assert.isFalse(fits("[::1]", "[::2]"))
  })

  it("a star elsewhere is no wildcard, and a pattern is no regular expression", () => {
    assert.isFalse(fits("*", "example.com"))
    assert.isFalse(fits("a*.example.com", "ab.example.com"))
    assert.isFalse(fits("a.example.com", "aXexample.com"))
    assert.isFalse(fits("(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"))
  })

  it.prop("a pattern fits itself, and `*.` before it fits it too", { host: FastCheck.domain() }, ({ host }) => {
    assert.isTrue(fits(host, host))
    assert.isTrue(fits(`*.${host}`, host))
    assert.isTrue(fits(`*.${host}`, `a.${host}`))
    assert.isFalse(fits(`*.${host}`, `a${host}`))
  })
})
