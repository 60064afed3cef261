import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Credential from "../src/Credential.ts"
import { MissingConfig } from "../src/CredentialsError.ts"
import * as HandlerRegistry from "../src/HandlerRegistry.ts"
import type { Handler } from "../src/HandlerRegistry/Handler.ts"
import * as Outbound from "../src/Outbound.ts"
import { Provider } from "../src/Provider.ts"
import * as ProviderCatalogue from "../src/ProviderCatalogue.ts"
import type { Client } from "../src/TokenEndpoint.ts"
import * as ScriptedProvider from "./servers/ScriptedProvider.ts"

const define = (fields: Readonly<Record<string, unknown>> = {}) =>
  Schema.decodeUnknownSync(Provider)({
    id: "acme",
    authorizationUrl: "https://acme.example/authorize",
    tokenUrl: "https://acme.example/token",
    ...fields
  })

const providerId = (name: string) => Schema.decodeSync(Credential.ProviderId)(name)

const now = DateTime.unsafeMake("2026-01-01T00:00:00Z")

const credentialOf = (
  provider: string,
  extra: Credential.Extra = {},
  refreshToken = "refresh"
): Credential.OAuth2Credential => ({
  userId: Credential.UserId.make("user"),
  id: Credential.CredentialId.to.make("3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
  provider: providerId(provider),
  title: Option.none(),
  generation: 1,
  variant: {
    type: "oauth2",
    accessToken: Redacted.make("access"),
    refreshToken: Redacted.make(refreshToken),
    scopes: []
  },
  extra: Redacted.make(extra),
  renewal: Credential.settled,
  system: false,
  createdAt: now,
  updatedAt: now,
  storedAt: now
})

const configured: Client = { id: "client", secret: Redacted.make("secret") }

const withRegistry = <A, E, R>(
  options: {
    readonly providers?: ReadonlyArray<Provider>
    readonly clients?: (provider: Provider) => Option.Option<Client>
  },
  use: (registry: HandlerRegistry.HandlerRegistry["Type"]) => Effect.Effect<A, E, R>
) =>
  Effect.flatMap(HandlerRegistry.HandlerRegistry, use).pipe(
    Effect.provide(
      HandlerRegistry.layer({ clients: options.clients ?? (() => Option.some(configured)) }).pipe(
        Layer.provide(ProviderCatalogue.layer(options.providers ?? [define()])),
        Layer.provide(Outbound.layer({ allowLoopback: true }))
      )
    )
  )

const authorizationUrl = (handler: Handler, scopes: ReadonlyArray<string> = [], codeChallenge?: string) =>
  new URL(
    Redacted.value(
      handler.authorizationUrl({
        state: Redacted.make("the state"),
        redirectUri: "https://me.example/callback",
        scopes,
        codeChallenge
      })
    )
  )

/** Spends the credential's refresh token, and reads what came. */
const refresh = (handler: Handler, credential: Credential.OAuth2Credential) =>
  Effect.flatMap(handler.refresh(credential.variant.refreshToken ?? Redacted.make("")), handler.read)

describe("a provider's handler", () => {
  it.effect("is of the provider's data, for a login and for a credential", () =>
    withRegistry({}, (registry) =>
      Effect.gen(function* () {
        const login = yield* registry.forLogin(providerId("acme"), {})
        const stored = yield* registry.of(credentialOf("ProviderName.ACME"))
        assert.deepStrictEqual(login.provider, define())
        assert.deepStrictEqual(stored.provider, define())
        assert.notProperty(stored, "revoke", "it has no such endpoint")
      })
    )
  )

  it.effect("is not there for a provider that nobody knows: UnknownProvider", () =>
    withRegistry({}, (registry) =>
      Effect.gen(function* () {
        const login = yield* Effect.flip(registry.forLogin(providerId("nobody"), {}))
        const stored = yield* Effect.flip(registry.of(credentialOf("nobody")))
        assert.deepStrictEqual([login._tag, stored._tag], ["UnknownProvider", "UnknownProvider"])
      })
    )
  )

  it.effect("is not there where this service is no client: MissingConfig names the variables to set", () =>
    withRegistry(
      {
        providers: [define({ id: "acme-corp" }), define({ id: "jwt", clientAuth: "private_key_jwt" })],
        clients: () => Option.none()
      },
      (registry) =>
        Effect.gen(function* () {
          const expected = {
            "acme-corp": ["ACME_CORP_CLIENT_ID", "ACME_CORP_CLIENT_SECRET"],
            jwt: ["JWT_CLIENT_ID", "JWT_PRIVATE_KEY"]
          }
          for (const [name, variables] of Object.entries(expected)) {
            const login = yield* Effect.flip(registry.forLogin(providerId(name), {}))
            const stored = yield* Effect.flip(registry.of(credentialOf(name)))
            for (const error of [login, stored]) {
              assert.instanceOf(error, MissingConfig)
              assert.deepStrictEqual(error.variables, variables)
              assert.include(error.message, variables.join(" and "))
            }
          }
          assert.isFalse(registry.isConfigured(define()))
        })
    )
  )

  it.effect("fills the URLs with the variables of the login, and later with those that the credential kept", () =>
    withRegistry(
      { providers: [define({ tokenUrl: "https://{shop}.acme.example/token", issuer: "https://{shop}.acme.example" })] },
      (registry) =>
        Effect.gen(function* () {
          const login = yield* registry.forLogin(providerId("acme"), { variables: { shop: "mine" } })
          const stored = yield* registry.of(credentialOf("acme", { variables: { shop: "mine" }, other: 1 }))
          for (const { provider } of [login, stored]) {
            assert.strictEqual(provider.tokenUrl, "https://mine.acme.example/token")
            assert.strictEqual(provider.issuer, "https://mine.acme.example")
          }
        })
    )
  )

  it.effect(
    "refuses variables that are missing, foreign or break out: InvalidRequest names them; a credential is MissingTokenUrl",
    () =>
      withRegistry({ providers: [define({ tokenUrl: "https://{shop}.acme.example/token" })] }, (registry) =>
        Effect.gen(function* () {
          const cases: ReadonlyArray<readonly [Readonly<Record<string, string>>, string]> = [
            [{}, "variables.shop"],
            [{ shop: "evil.org/" }, "variables.shop"],
            [{ shop: "mine", other: "x" }, "variables.other"]
          ]
          for (const [variables, field] of cases) {
            const error = yield* Effect.flip(registry.forLogin(providerId("acme"), { variables }))
            assert.strictEqual(error._tag, "InvalidRequest")
            if (error._tag === "InvalidRequest") assert.strictEqual(error.issues[0]?.field, field)
            const stored = yield* Effect.flip(registry.of(credentialOf("acme", { variables })))
            assert.strictEqual(stored._tag, "MissingTokenUrl")
          }
          for (const extra of [{ variables: "mine" }, { variables: { shop: 1 } }, {}]) {
            assert.strictEqual((yield* Effect.flip(registry.of(credentialOf("acme", extra))))._tag, "MissingTokenUrl")
          }
        })
      )
  )

  it.effect("sends the browser where the provider's data says, with what the login needs and its own parameters", () =>
    withRegistry(
      {
        providers: [
          define({
            authorizationUrl: "https://acme.example/authorize?tenant=a%20b",
            scopeSeparator: ",",
            authorizationParams: { prompt: "consent", access_type: "offline" }
          })
        ]
      },
      (registry) =>
        Effect.gen(function* () {
          const handler = yield* registry.forLogin(providerId("acme"), {})
          const url = authorizationUrl(handler, ["a:b", "c"], "challenge")
          assert.strictEqual(url.origin + url.pathname, "https://acme.example/authorize")
          assert.deepStrictEqual(Object.fromEntries(url.searchParams), {
            tenant: "a b",
            response_type: "code",
            client_id: "client",
            redirect_uri: "https://me.example/callback",
            state: "the state",
            scope: "a:b,c",
            code_challenge: "challenge",
            code_challenge_method: "S256",
            prompt: "consent",
            access_type: "offline"
          })
          const bare = authorizationUrl(handler).searchParams
          for (const absent of ["scope", "code_challenge", "code_challenge_method"]) assert.isFalse(bare.has(absent))
        })
    )
  )

  it.scoped("refreshes and revokes at the provider, as the client that it is there", () =>
    Effect.gen(function* () {
      const server = yield* ScriptedProvider.make()
      const provider = Schema.decodeUnknownSync(Provider)(server.definition("acme"))
      const client = { id: server.clientId, secret: Redacted.make(server.clientSecret ?? "") }
      yield* withRegistry({ providers: [provider], clients: () => Option.some(client) }, (registry) =>
        Effect.gen(function* () {
          const issued = server.issue({ scopes: ["read"] })
          const credential = credentialOf("acme", {}, issued.refreshToken)
          const handler = yield* registry.of(credential)
          const tokens = Either.getOrThrow(yield* refresh(handler, credential))
          assert.isTrue(server.isLive(Redacted.value(tokens.accessToken)))
          assert.strictEqual(server.spends, 1)
          const revoke = handler.revoke
          assert.isDefined(revoke)
          if (revoke === undefined) return
          const fresh = Option.getOrThrow(tokens.refreshToken)
          assert.isTrue(Either.isRight(yield* revoke(fresh, "refresh_token")))
          assert.isFalse(server.isRefreshable(Redacted.value(fresh)))
          // refused for good, and for now
          for (const [status, final] of [
            [400, true],
            [403, true],
            [429, false],
            [500, false],
            [302, false]
          ] as const) {
            server.next({ ...ScriptedProvider.Fault.refuse({ status }), on: "revocation" })
            assert.deepStrictEqual(yield* revoke(fresh, "refresh_token"), Either.left({ final }), String(status))
          }
        })
      )
    })
  )

  it.effect("knows which providers this service is a client of", () =>
    withRegistry(
      { clients: ({ id }) => (id === providerId("github") ? Option.some(configured) : Option.none()) },
      (registry) =>
        Effect.sync(() => {
          assert.isTrue(registry.isConfigured(define({ id: "github" })))
          assert.isFalse(registry.isConfigured(define()))
        })
    )
  )
})

describe("an MCP login", () => {
  const metadata = (url: string) => ({
    mcp_token_url: `${url}/token`,
    mcp_revocation_url: `${url}/revoke`,
    mcp_server_url: "https://mcp.example.com/sse",
    mcp_resource_url: "https://mcp.example.com/",
    mcp_client_id: "registered",
    mcp_client_secret: "registered-secret"
  })

  /** No client is configured: what it needs is in its metadata. */
  const withMcp = <A, E, R>(use: (registry: HandlerRegistry.HandlerRegistry["Type"]) => Effect.Effect<A, E, R>) =>
    withRegistry({ clients: () => Option.none() }, use)

  it.scoped(
    "is refreshed where its metadata says, as the client that was registered there, and names its resource",
    () =>
      Effect.gen(function* () {
        const server = yield* ScriptedProvider.make({
          clients: [{ clientId: "registered", clientSecret: "registered-secret" }],
          clientAuth: ["client_secret_post"]
        })
        yield* withMcp((registry) =>
          Effect.gen(function* () {
            const credential = credentialOf("ProviderName.MCP", metadata(server.url), server.issue().refreshToken)
            const handler = yield* registry.of(credential)
            Either.getOrThrow(yield* refresh(handler, credential))
            assert.strictEqual(server.spends, 1)
            const [entry] = server.ledger
            assert.strictEqual(entry?.parameters["resource"], "https://mcp.example.com/")
            assert.strictEqual(entry?.clientAuth, "client_secret_post")
            assert.isDefined(handler.revoke, "its revocation URL was kept")
          })
        )
      })
  )

  it.scoped("authenticates as its metadata says; without a secret it is a public client", () =>
    Effect.gen(function* () {
      const { mcp_client_secret: _, ...open } = metadata("https://acme.example")
      const authOf = (extra: Credential.Extra) =>
        withMcp((registry) =>
          Effect.map(registry.of(credentialOf("mcp", extra)), ({ provider }) => provider.clientAuth)
        )
      assert.strictEqual(yield* authOf(open), "none")
      assert.strictEqual(yield* authOf(metadata("https://acme.example")), "client_secret_post")
      const basic = { ...metadata("https://acme.example"), mcp_token_endpoint_auth_method: "client_secret_basic" }
      assert.strictEqual(yield* authOf(basic), "client_secret_basic")
    })
  )

  it.effect("without a resource names none", () =>
    withMcp((registry) =>
      Effect.gen(function* () {
        const { mcp_resource_url: _, ...extra } = metadata("https://acme.example")
        const { provider } = yield* registry.of(credentialOf("mcp", extra))
        assert.deepStrictEqual(provider.tokenParams, {})
      })
    )
  )

  it.effect("that does not say where it is refreshed is MissingTokenUrl, whatever stands there instead", () =>
    withMcp((registry) =>
      Effect.gen(function* () {
        const { mcp_token_url: _, ...rest } = metadata("https://acme.example")
        for (const extra of [
          {},
          rest,
          { ...rest, mcp_token_url: "" },
          { ...rest, mcp_token_url: 7 },
          { ...rest, mcp_token_url: null },
          { ...rest, mcp_token_url: "/token" },
          { ...rest, mcp_token_url: "javascript:alert(1)" }
        ]) {
          const error = yield* Effect.flip(registry.of(credentialOf("mcp", extra)))
          assert.strictEqual(error._tag, "MissingTokenUrl")
          if (error._tag === "MissingTokenUrl") {
            assert.strictEqual(error.credentialId, "3f2504e0-4f89-41d3-9a0c-0305e82c3301")
          }
        }
      })
    )
  )

  it.effect("is never refreshed on another port than 443, which an operator's definition may name", () => {
    const named = define({ tokenUrl: "https://acme.invalid:8443/token" })
    return withRegistry({ providers: [named] }, (registry) =>
      Effect.gen(function* () {
        const tag = (handler: Handler, credential: Credential.OAuth2Credential) =>
          Effect.map(Effect.flip(refresh(handler, credential)), ({ _tag }) => _tag)
        const ofMcp = credentialOf("mcp", metadata("https://acme.invalid:8443"))
        const ofAcme = credentialOf("acme")
        assert.strictEqual(yield* tag(yield* registry.of(ofMcp), ofMcp), "OutboundRefused")
        assert.strictEqual(yield* tag(yield* registry.of(ofAcme), ofAcme), "OutboundFailure")
        assert.strictEqual(yield* tag(yield* registry.forLogin(providerId("acme"), {}), ofAcme), "OutboundFailure")
      })
    )
  })

  it.effect("is never refreshed over plain http: OutboundRefused, and nothing is sent", () =>
    withMcp((registry) =>
      Effect.gen(function* () {
        const credential = credentialOf("mcp", metadata("http://acme.example"))
        const error = yield* Effect.flatMap(registry.of(credential), (handler) =>
          Effect.flip(refresh(handler, credential))
        )
        assert.strictEqual(error._tag, "OutboundRefused")
      })
    )
  )

  it.effect("without a client id fails, and is no defect", () =>
    withMcp((registry) =>
      Effect.gen(function* () {
        const { mcp_client_id: _, mcp_client_secret: __, ...extra } = metadata("http://127.0.0.1:9")
        const credential = credentialOf("mcp", extra)
        const exit = yield* Effect.flatMap(registry.of(credential), (handler) => refresh(handler, credential)).pipe(
          Effect.sandbox,
          Effect.flip
        )
        assert.strictEqual(exit._tag, "Fail")
      })
    )
  )
})
