/** Logins at MCP servers and calls of their tools, against servers that lie, change and refuse. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { type CredentialId, type Metadata, UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { providerId } from "../src/HandlerRegistry/Mcp.ts"
import { type AuthorizeOptions, McpLogin } from "../src/McpLogin.ts"
import { McpTools } from "../src/McpTools.ts"
import { OAuthFlow } from "../src/OAuthFlow.ts"
import { Provider } from "../src/Provider.ts"
import * as Service from "../src/Service.ts"
import * as ScriptedMcp from "./servers/ScriptedMcp.ts"

const ada = UserId.make("ada")

const publicUrl = "https://credentials.example"
const flow = { publicUrl, redirectUri: `${publicUrl}/oauth/callback`, returnUrls: [] }

const service = (options: Partial<Parameters<typeof Service.layerMemory>[0]> = {}) =>
  Service.layerMemory({ flow, clients: () => Option.none(), allowLoopback: true, sweeper: false, ...options })

const begin = (server: ScriptedMcp.ScriptedMcp, options: Partial<AuthorizeOptions> = {}) =>
  Effect.gen(function* () {
    const mcp = yield* McpLogin
    const begun = yield* mcp.authorize(ada, { serverUrl: server.serverUrl, ...options })
    return yield* Effect.orDieWith(begun, () => new Error("A login was expected"))
  })

/** Follows the login as a browser does, and ends it. */
const finish = (server: ScriptedMcp.ScriptedMcp, authorizationUrl: Redacted.Redacted) =>
  Effect.gen(function* () {
    const { callback } = yield* OAuthFlow
    const { searchParams } = yield* server.login(Redacted.value(authorizationUrl))
    const of = (name: string) => searchParams.get(name) ?? undefined
    return yield* callback(
      { state: Redacted.make(of("state") ?? ""), code: Redacted.make(of("code") ?? ""), iss: of("iss") },
      { userId: ada, provider: providerId }
    )
  })

const connect = (server: ScriptedMcp.ScriptedMcp, options: Partial<AuthorizeOptions> = {}) =>
  Effect.flatMap(begin(server, options), ({ authorizationUrl }) => finish(server, authorizationUrl))

const echo = (server: ScriptedMcp.ScriptedMcp, credentialId?: CredentialId) =>
  Effect.flatMap(McpTools, (tools) =>
    tools.call(ada, { serverUrl: server.serverUrl, ...(credentialId && { credentialId }) }, "echo", { text: "hi" })
  )

const accessToken = ({ id }: Metadata) =>
  Effect.gen(function* () {
    const credentials = yield* CredentialsManager
    const { accessToken } = yield* credentials.get(ada, id)
    return Redacted.value(accessToken ?? Redacted.make(""))
  })

const run = <A, E>(
  name: string,
  test: (server: ScriptedMcp.ScriptedMcp) => Effect.Effect<A, E, Layer.Layer.Success<ReturnType<typeof service>>>,
  options: Parameters<typeof service>[0] = {}
) =>
  it.scopedLive(name, () =>
    Effect.flatMap(ScriptedMcp.start, (server) => Effect.provide(test(server), service(options)))
  )

describe("the way to a login", () => {
  run("asks the server's own metadata, and registers a public client with the refresh grant", (server) =>
    Effect.gen(function* () {
      const { authorizationUrl } = yield* begin(server)
      const asked = new URL(Redacted.value(authorizationUrl)).searchParams
      assert.strictEqual(asked.get("resource"), server.serverUrl)
      assert.strictEqual(asked.get("code_challenge_method"), "S256")
      assert.strictEqual(server.to("/register").length, 1)
      assert.deepInclude(server.to("/register")[0]?.json, {
        redirect_uris: [flow.redirectUri],
        grant_types: ["authorization_code", "refresh_token"],
        token_endpoint_auth_method: "none",
        application_type: "web"
      })
    })
  )

  run("shows its own document instead, where the server takes one", (server) =>
    Effect.gen(function* () {
      server.says.metadata = { client_id_metadata_document_supported: true }
      const { authorizationUrl } = yield* begin(server)
      const { clientMetadata } = yield* McpLogin
      assert.strictEqual(
        new URL(Redacted.value(authorizationUrl)).searchParams.get("client_id"),
        clientMetadata.client_id
      )
      assert.strictEqual(clientMetadata.client_id, `${publicUrl}/oauth/client-metadata.json`)
      assert.deepStrictEqual(server.to("/register"), [])
    })
  )

  it.scopedLive("uses the client that the operator has at this issuer", () =>
    Effect.gen(function* () {
      const server = yield* ScriptedMcp.start
      server.says.metadata = { registration_endpoint: undefined }
      const arranged = Schema.decodeSync(Provider)({
        id: "arranged",
        issuer: server.issuer,
        authorizationUrl: `${server.issuer}/elsewhere`,
        tokenUrl: `${server.issuer}/elsewhere`
      })
      const layer = service({
        providers: [arranged],
        clients: ({ id }) =>
          id === "arranged" ? Option.some({ id: "the-client", secret: Redacted.make("the-secret") }) : Option.none()
      })
      yield* Effect.gen(function* () {
        yield* connect(server)
        const [exchange] = server.to("/token")
        assert.strictEqual(exchange?.authorization, `Basic ${Buffer.from("the-client:the-secret").toString("base64")}`)
      }).pipe(Effect.provide(layer))
    })
  )

  run("asks for what the challenge names, else for what the metadata does, and for offline access", (server) =>
    Effect.gen(function* () {
      const scopes = (url: Redacted.Redacted) => new URL(Redacted.value(url)).searchParams.get("scope")
      server.says.resource = { scopes_supported: ["a", "b"] }
      server.says.metadata = { scopes_supported: ["a", "offline_access"] }
      assert.strictEqual(scopes((yield* begin(server)).authorizationUrl), "a b offline_access")
      server.says.challenge = `, scope="c"`
      assert.strictEqual(scopes((yield* begin(server)).authorizationUrl), "c offline_access")
      assert.strictEqual(scopes((yield* begin(server, { scopes: ["d"] })).authorizationUrl), "d offline_access")
    })
  )

  const refused: ReadonlyArray<readonly [string, (server: ScriptedMcp.ScriptedMcp) => void, string]> = [
    [
      "a resource that is not the server",
      (s) => (s.says.resource = { resource: "https://bank.example" }),
      "ProviderError"
    ],
    ["an issuer that is another", (s) => (s.says.metadata = { issuer: "https://bank.example" }), "ProviderError"],
    ["no S256", (s) => (s.says.metadata = { code_challenge_methods_supported: ["plain"] }), "ProviderError"],
    [
      "an authorization server on a private address",
      (s) => (s.says.resource = { authorization_servers: ["https://10.0.0.1"] }),
      "OutboundRefused"
    ],
    [
      "a registration endpoint on a private address",
      (s) => (s.says.metadata = { registration_endpoint: "https://10.0.0.1/register" }),
      "OutboundRefused"
    ],
    ["no way to become a client", (s) => (s.says.metadata = { registration_endpoint: undefined }), "ProviderError"]
  ]
  for (const [name, lie, tag] of refused) {
    run(`ends at ${name}`, (server) =>
      Effect.gen(function* () {
        lie(server)
        assert.strictEqual((yield* Effect.flip(begin(server)))._tag, tag)
      })
    )
  }
})

describe("the end of a login", () => {
  const lies: ReadonlyArray<readonly [string, Readonly<Record<string, string | undefined>>]> = [
    ["another issuer", { iss: "https://bank.example" }],
    ["the issuer with a slash too many", { iss: "" }],
    ["no issuer, though the server announced one", { iss: undefined }]
  ]
  for (const [name, redirect] of lies) {
    run(`with ${name} sends the code to nobody`, (server) =>
      Effect.gen(function* () {
        const { authorizationUrl } = yield* begin(server)
        server.says.redirect = "iss" in redirect && redirect["iss"] === "" ? { iss: `${server.issuer}/` } : redirect
        const error = yield* Effect.flip(finish(server, authorizationUrl))
        assert.deepInclude(error, { _tag: "AuthorizationDenied", error: "issuer_mismatch" })
        assert.deepStrictEqual(server.to("/token"), [])
      })
    )
  }

  run("goes to the endpoints of its beginning, whatever the metadata says by then", (server) =>
    Effect.gen(function* () {
      const { authorizationUrl } = yield* begin(server)
      server.says.metadata = { token_endpoint: `${server.issuer}/stolen` }
      yield* finish(server, authorizationUrl)
      assert.strictEqual(server.to("/token").length, 1)
      assert.strictEqual(server.to("/token")[0]?.form.get("resource"), server.serverUrl)
      assert.deepStrictEqual(server.to("/stolen"), [])
    })
  )

  run("leaves one credential for a server, and the old grant revoked", (server) =>
    Effect.gen(function* () {
      const credentials = yield* CredentialsManager
      const first = yield* connect(server)
      const second = yield* connect(server)
      assert.strictEqual(second.id, first.id)
      assert.strictEqual(second.generation, 2)
      const { items } = yield* credentials.list(ada, {}, { limit: 10, after: Option.none() })
      assert.strictEqual(items.length, 1)
      yield* Effect.repeat(Effect.sleep("10 millis"), { until: () => server.to("/revoke").length > 0 }).pipe(
        Effect.timeout("5 seconds")
      )
      assert.strictEqual(server.liveGrants(), 1)
      assert.isTrue(yield* Effect.isSuccess(echo(server)))
    })
  )

  run("does not revoke the old grant where the same client holds the new one", (server) =>
    Effect.gen(function* () {
      server.says.metadata = { client_id_metadata_document_supported: true }
      yield* connect(server)
      yield* connect(server)
      yield* Effect.sleep("200 millis")
      assert.deepStrictEqual(server.to("/revoke"), [])
    })
  )

  run("of two logins at once finds the other's credential, and takes its place", (server) =>
    Effect.gen(function* () {
      const credentials = yield* CredentialsManager
      const [one, other] = yield* Effect.all([begin(server), begin(server)])
      const ended = yield* Effect.all([finish(server, one.authorizationUrl), finish(server, other.authorizationUrl)], {
        concurrency: "unbounded"
      })
      assert.strictEqual(new Set(ended.map(({ id }) => id)).size, 1)
      const { items } = yield* credentials.list(ada, {}, { limit: 10, after: Option.none() })
      assert.strictEqual(items.length, 1)
      assert.isTrue(yield* Effect.isSuccess(echo(server)))
    })
  )
})

describe("a tool", () => {
  run("is called with the user's token for this server", (server) =>
    Effect.gen(function* () {
      yield* connect(server)
      const result = yield* echo(server)
      assert.deepStrictEqual(result.content, [{ type: "text", text: `{"text":"hi"}` }])
    })
  )

  run("that refuses a token is called once more with the renewed one", (server) =>
    Effect.gen(function* () {
      const credential = yield* connect(server)
      yield* server.expire(yield* accessToken(credential))
      const result = yield* echo(server)
      assert.isFalse(result.isError)
      const refreshes = server.to("/token").filter(({ form }) => form.get("grant_type") === "refresh_token")
      assert.strictEqual(refreshes.length, 1)
      assert.strictEqual(refreshes[0]?.form.get("resource"), server.serverUrl)
      assert.strictEqual(server.reuses(), 0)
    })
  )

  run("of a server without mercy is not called a third time", (server) =>
    Effect.gen(function* () {
      const credential = yield* connect(server)
      server.says.tokens = { access_token: "worthless" }
      yield* server.expire(yield* accessToken(credential))
      const error = yield* Effect.flip(echo(server))
      assert.deepInclude(error, { _tag: "ProviderError", reason: "rejected" })
      assert.strictEqual(server.to("/token").length, 2)
    })
  )

  run("that wants more scopes says which, and a new login asks for the old ones too", (server) =>
    Effect.gen(function* () {
      server.says.challenge = `, scope="read"`
      yield* connect(server)
      server.says.needs = ["write"]
      const error = yield* Effect.flip(echo(server))
      assert.deepInclude(error, { _tag: "ScopeMismatch", missing: ["write"] })
      const credential = yield* connect(server, { scopes: ["write"] })
      assert.deepStrictEqual(credential.scopes, ["write", "read"])
      assert.isFalse((yield* echo(server)).isError)
    })
  )

  run("of a server that names the token it was sent as a missing scope does not repeat it", (server) =>
    Effect.gen(function* () {
      const token = yield* accessToken(yield* connect(server))
      server.says.needs = ["write", `x-${token}`]
      const error = yield* Effect.flip(echo(server))
      assert.deepInclude(error, { _tag: "ScopeMismatch", missing: ["write"] })
      server.says.needs = [token]
      const other = yield* Effect.flip(echo(server))
      assert.deepInclude(other, { _tag: "ProviderError", reason: "rejected" })
      assert.notInclude(`${error.message}${other.message}${JSON.stringify([error, other])}`, token)
    })
  )

  run("without a credential for its server is CredentialNotFound, and another server's is none", (server) =>
    Effect.gen(function* () {
      assert.strictEqual((yield* Effect.flip(echo(server)))._tag, "CredentialNotFound")
      const other = yield* ScriptedMcp.start
      const { id } = yield* connect(other)
      const before = other.seen.length
      assert.strictEqual((yield* Effect.flip(echo(server)))._tag, "CredentialNotFound")
      assert.strictEqual((yield* Effect.flip(echo(server, id)))._tag, "CredentialNotFound")
      assert.strictEqual(other.seen.length, before)
      assert.isTrue(server.to("/mcp").every(({ authorization }) => authorization === undefined))
    }).pipe(Effect.scoped)
  )

  run("on a private address is not called", () =>
    Effect.gen(function* () {
      const tools = yield* McpTools
      for (const serverUrl of ["https://10.0.0.1/mcp", "https://169.254.169.254/", "http://mcp.example/mcp"]) {
        const result = yield* Effect.either(tools.list(ada, { serverUrl }))
        assert.strictEqual(Either.isLeft(result) && result.left._tag, "OutboundRefused", serverUrl)
      }
    })
  )
})
