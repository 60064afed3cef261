import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { ProviderId } from "../src/Credential.ts"
import * as Provider from "../src/Provider.ts"
import * as ProviderCatalogue from "../src/ProviderCatalogue.ts"

const minimal = {
  id: "acme",
  authorizationUrl: "https://acme.example/authorize",
  tokenUrl: "https://acme.example/token"
}

const decode = Schema.decodeUnknownEither(Provider.Provider)
const define = (fields: Readonly<Record<string, unknown>> = {}) =>
  Schema.decodeUnknownSync(Provider.Provider)({ ...minimal, ...fields })

describe("a definition", () => {
  it("that says only its endpoints has the safe defaults", () => {
    assert.deepStrictEqual<unknown>(
      { ...define() },
      {
        id: "acme",
        authorizationUrl: "https://acme.example/authorize",
        tokenUrl: "https://acme.example/token",
        grant: "authorization_code",
        clientAuth: "client_secret_basic",
        pkce: "supported",
        scopeSeparator: " ",
        scopeParam: "scope",
        defaultScopes: [],
        authorizationParams: {},
        tokenParams: {},
        requestHeaders: {},
        rotatesRefreshToken: true,
        refreshInvalidatesAccessToken: true,
        revocationScope: "grant",
        tokenRequestFormat: "form",
        refreshWithRedirectUri: false,
        refreshTokenLifetimeRenews: true,
        requiresIss: false,
        keptFields: [],
        keptParameters: [],
        invalidGrantAliases: [],
        invalidGrantMayPass: false
      }
    )
  })

  it("with an unknown field is refused, so that a misspelt quirk is not overlooked", () => {
    const result = decode({ ...minimal, rotatesRefreshTokens: false })
    assert.isTrue(Either.isLeft(result))
    if (Either.isLeft(result)) assert.include(result.left.message, "rotatesRefreshTokens")
  })

  it("without an endpoint, or with one that is no absolute http(s) URL, is refused", () => {
    const { tokenUrl: _, ...incomplete } = minimal
    assert.isTrue(Either.isLeft(decode(incomplete)))
    for (const tokenUrl of [
      "",
      "/token",
      "acme.example/token",
      "ftp://acme.example/",
      "javascript:alert(1)",
      "https://",
      7
    ]) {
      assert.isTrue(Either.isLeft(decode({ ...minimal, tokenUrl })), String(tokenUrl))
    }
  })

  it("without the endpoint where its grant begins is refused, and others need none", () => {
    const { authorizationUrl: _, ...incomplete } = minimal
    for (const [grant, field] of [
      ["authorization_code", "authorizationUrl"],
      ["device_code", "deviceAuthorizationUrl"]
    ] as const) {
      const result = decode({ ...incomplete, grant })
      assert.isTrue(Either.isLeft(result) && result.left.message.includes(field), grant)
      assert.isTrue(Either.isRight(decode({ ...incomplete, grant, [field]: "https://acme.example/begin" })), grant)
    }
    for (const grant of ["client_credentials", "jwt_bearer", "token_exchange"]) {
      assert.isTrue(Either.isRight(decode({ ...incomplete, grant })), grant)
    }
  })

  it("with a value of another kind than its field is refused", () => {
    for (const wrong of [
      { clientAuth: "basic" },
      { pkce: true },
      { marginSeconds: -1 },
      { marginSeconds: "300" },
      { reuseGraceSeconds: Number.NaN },
      { expiresInSeconds: Number.POSITIVE_INFINITY },
      { rotatesRefreshToken: "no" },
      { revocationScope: "all" },
      { tokenParams: { a: 1 } },
      { defaultScopes: "repo" },
      { invalidGrantAliases: [7] },
      { invalidGrantAliases: [{}] },
      { checkedAt: "yesterday" },
      { checkedAt: "2026-13-01" },
      { revocation: { method: "GET" } },
      { revocation: { tokenfield: "token" } },
      { id: "" }
    ]) {
      assert.isTrue(Either.isLeft(decode({ ...minimal, ...wrong })), JSON.stringify(wrong))
    }
  })

  it("has its id in the one spelling, and that as its name when it has none", () => {
    assert.strictEqual(define({ id: "ProviderName.ACME" }).id, ProviderId.to.make("acme"))
    assert.strictEqual(Provider.displayName(define()), "acme")
    assert.strictEqual(Provider.displayName(define({ name: "Acme Inc." })), "Acme Inc.")
  })

  it("tells the variables of its client, and which of them it cannot do without", () => {
    const client = (clientAuth: string) => Provider.requiredVariables(define({ id: "acme-corp.v2", clientAuth }))
    assert.deepStrictEqual(client("client_secret_basic"), ["ACME_CORP_V2_CLIENT_ID", "ACME_CORP_V2_CLIENT_SECRET"])
    assert.deepStrictEqual(client("client_secret_post"), ["ACME_CORP_V2_CLIENT_ID", "ACME_CORP_V2_CLIENT_SECRET"])
    assert.deepStrictEqual(client("private_key_jwt"), ["ACME_CORP_V2_CLIENT_ID", "ACME_CORP_V2_PRIVATE_KEY"])
    assert.deepStrictEqual(client("none"), ["ACME_CORP_V2_CLIENT_ID"])
    const signed = define({ grant: "jwt_bearer", clientAuth: "none" })
    assert.deepStrictEqual(Provider.requiredVariables(signed), [])
  })

  it("has a reuse grace when it says one above zero", () => {
    assert.deepStrictEqual(Provider.reuseGrace(define()), Option.none())
    assert.deepStrictEqual(Provider.reuseGrace(define({ reuseGraceSeconds: 0 })), Option.none())
    assert.deepStrictEqual(Provider.reuseGrace(define({ reuseGraceSeconds: 30 })), Option.some(30))
  })
})

describe("URL variables", () => {
  const templated = define({
    authorizationUrl: "https://{shop}.acme.example/{tenant}/authorize",
    tokenUrl: "https://{shop}.acme.example/{tenant}/token",
    revocationUrl: "https://api.acme.example/{tenant}/revoke?for={tenant}",
    issuer: "https://{shop}.acme.example/{tenant}"
  })

  const resolved = (values: Readonly<Record<string, string>>, provider = templated) =>
    Provider.resolve(provider, values)

  it("are those of all URLs, each named once", () => {
    assert.deepStrictEqual(Provider.variables(templated), ["shop", "tenant"])
    assert.deepStrictEqual(Provider.variables(define()), [])
  })

  it("fill every URL they stand in", () => {
    const provider = Either.getOrThrow(resolved({ shop: "my-shop", tenant: "t_1.~-X" }))
    assert.strictEqual(provider.authorizationUrl, "https://my-shop.acme.example/t_1.~-X/authorize")
    assert.strictEqual(provider.tokenUrl, "https://my-shop.acme.example/t_1.~-X/token")
    assert.strictEqual(provider.revocationUrl, "https://api.acme.example/t_1.~-X/revoke?for=t_1.~-X")
    assert.strictEqual(provider.issuer, "https://my-shop.acme.example/t_1.~-X")
    assert.notProperty(provider, "refreshUrl")
  })

  it("that are missing, or that the provider does not have, are named", () => {
    const variableOf = (values: Readonly<Record<string, string>>, provider = templated) =>
      Either.match(resolved(values, provider), { onLeft: ({ variable }) => variable, onRight: () => undefined })
    assert.strictEqual(variableOf({ shop: "a" }), "tenant")
    assert.strictEqual(variableOf({ tenant: "a" }), "shop")
    assert.strictEqual(variableOf({ shop: "a", tenant: "b", other: "c" }), "other")
    assert.strictEqual(variableOf({ other: "c" }, define()), "other")
    assert.strictEqual(variableOf({ toString: "c" }, define()), "toString")
    assert.isUndefined(variableOf({}, define()))
  })

  const breakouts = [
    "evil.org/",
    "evil.org#",
    "evil.org?",
    "evil.org\\",
    "a.evil.org",
    "evil.org:443",
    "user@evil.org",
    "user:p@evil",
    "a b",
    "a%2fb",
    "%2e%2e",
    "..",
    ".",
    "",
    "-a",
    "a-",
    "a/../b",
    "a\r\nb",
    "a\tb",
    "ａ",
    "ä",
    "{tenant}",
    "$&",
    "x".repeat(64),
    "[::1]",
    "a\0"
  ]

  it("are not the client's id, which is filled in where a URL has {client_id}", () => {
    const provider = define({ revocationUrl: "https://api.acme.example/apps/{client_id}/token" })
    assert.deepStrictEqual(Provider.variables(provider), [])
    assert.isTrue(Either.isLeft(resolved({ client_id: "other" }, provider)))
    assert.strictEqual(
      Provider.forClient(provider, "a/b c").revocationUrl,
      "https://api.acme.example/apps/a%2Fb%20c/token"
    )
  })

  it("cannot leave the label of the host that they fill", () => {
    for (const shop of breakouts) assert.isTrue(Either.isLeft(resolved({ shop, tenant: "t" })), JSON.stringify(shop))
  })

  it("cannot leave the segment of the path that they fill", () => {
    for (const tenant of [
      "a/b",
      "a\\b",
      "a?b",
      "a#b",
      "a%2fb",
      "%2e%2e",
      "..",
      ".",
      "",
      "a b",
      "a\nb",
      "ä",
      "{shop}",
      "a@b",
      "a:b",
      "x".repeat(129)
    ]) {
      assert.isTrue(Either.isLeft(resolved({ shop: "s", tenant })), JSON.stringify(tenant))
    }
  })

  const value = FastCheck.oneof(
    FastCheck.string({ maxLength: 20 }),
    FastCheck.string({ unit: FastCheck.constantFrom(...`a1-._~%2e/\\?#@:$&{}[] \t\n`), maxLength: 6 }),
    FastCheck.constantFrom(...breakouts)
  )

  it.prop("of any text change nothing but their place, or are refused", { shop: value, tenant: value }, (values) => {
    const result = resolved(values)
    if (Either.isLeft(result)) return
    const { authorizationUrl = "", issuer = "", revocationUrl = "", tokenUrl } = result.right
    for (const text of [authorizationUrl, tokenUrl, issuer]) {
      const url = new URL(text)
      assert.strictEqual(url.host, `${values.shop.toLowerCase()}.acme.example`)
      assert.strictEqual(url.host.split(".").length, 3)
      assert.strictEqual(url.pathname.split("/")[1], values.tenant)
      assert.strictEqual(`${url.username}${url.password}${url.search}${url.hash}${url.port}`, "")
    }
    assert.strictEqual(new URL(tokenUrl).pathname, `/${values.tenant}/token`)
    const revocation = new URL(revocationUrl)
    assert.strictEqual(revocation.origin, "https://api.acme.example")
    assert.deepStrictEqual([...revocation.searchParams], [["for", values.tenant]])
  })

  it("that are a whole host need allowedHosts: no definition lets a user choose any host", () => {
    const open = decode({ ...minimal, tokenUrl: "https://{host}/token" })
    // 2130706433 is one label, and 127.0.0.1
    const isRefused = Either.isLeft(open) || Either.isLeft(resolved({ host: "2130706433" }, open.right))
    assert.isTrue(isRefused)
  })
})

describe("allowedHosts", () => {
  const regional = define({
    authorizationUrl: "https://{host}/authorize",
    tokenUrl: "https://{host}/token",
    allowedHosts: ["accounts.acme.com", "accounts.acme.eu"]
  })

  it("lets a variable be one of these hosts", () => {
    const provider = Either.getOrThrow(Provider.resolve(regional, { host: "accounts.acme.eu" }))
    assert.strictEqual(provider.tokenUrl, "https://accounts.acme.eu/token")
    assert.isTrue(Either.isRight(Provider.resolve(regional, { host: "ACCOUNTS.acme.com" })))
  })

  it("and nothing else", () => {
    for (const host of [
      "acme.com",
      "evil.org",
      "accounts.acme.com.evil.org",
      "accounts.acme.com.",
      "xaccounts.acme.com",
      "accounts.acme.com:8443",
      "accounts.acme.com/x",
      "accounts.acme.com@evil.org",
      "accounts.acme.com#",
      "127.0.0.1",
      "localhost",
      ""
    ]) {
      const result = Provider.resolve(regional, { host })
      assert.isTrue(Either.isLeft(result), host)
      if (Either.isLeft(result)) assert.strictEqual(result.left.variable, "host")
    }
  })

  it.prop(
    "whatever the text",
    { host: FastCheck.oneof(FastCheck.domain(), FastCheck.string(), FastCheck.webAuthority()) },
    ({ host }) => {
      const result = Provider.resolve(regional, { host })
      if (Either.isRight(result)) {
        assert.include(["accounts.acme.com", "accounts.acme.eu"], new URL(result.right.tokenUrl).host)
      }
    }
  )
})

describe("the catalogue", () => {
  const withCatalogue = (providers: ReadonlyArray<Provider.Provider>) =>
    Effect.provide(ProviderCatalogue.ProviderCatalogue, ProviderCatalogue.layer(providers))

  it.effect("is ordered by id, each provider over https", () =>
    Effect.gen(function* () {
      const { all } = yield* withCatalogue([])
      const ids = all.map(({ id }) => id)
      assert.deepStrictEqual(ids, [...new Set(ids)].sort())
      for (const provider of all) {
        for (const url of [provider.authorizationUrl, provider.tokenUrl, provider.refreshUrl, provider.revocationUrl]) {
          if (url !== undefined) assert.match(url, /^https:\/\//, provider.id)
        }
      }
    })
  )

  it.effect("takes the operator's providers, and theirs win", () =>
    Effect.gen(function* () {
      const { all, get } = yield* withCatalogue([define(), define({ id: "github", name: "Our GitHub" })])
      assert.strictEqual((yield* get(ProviderId.to.make("acme"))).tokenUrl, minimal.tokenUrl)
      assert.strictEqual((yield* get(ProviderId.to.make("github"))).name, "Our GitHub")
      assert.lengthOf(
        all.filter(({ id }) => id === ProviderId.to.make("github")),
        1
      )
    })
  )

  it.effect("a name that it does not have is UnknownProvider, those of every object included", () =>
    Effect.gen(function* () {
      const { get } = yield* withCatalogue([])
      for (const name of ["nobody", "constructor", "tostring"]) {
        const error = yield* Effect.flip(get(ProviderId.to.make(name)))
        assert.strictEqual(error._tag, "UnknownProvider")
        assert.strictEqual(error.provider, name)
      }
    })
  )
})
