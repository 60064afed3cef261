import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { OutboundRefused } from "../src/CredentialsError.ts"
import * as McpDiscovery from "../src/McpDiscovery.ts"
import { OutboundFailure, type Outbound } from "../src/Outbound.ts"

const server = "https://mcp.example/tenant/mcp"

const metadata = {
  issuer: "https://auth.example",
  authorization_endpoint: "https://auth.example/authorize",
  token_endpoint: "https://auth.example/token",
  code_challenge_methods_supported: ["S256"]
}

type Documents = Readonly<Record<string, unknown>>

/** What stands at which URL: JSON, a text as it is, a status, or a refusal. */
const world = (documents: Documents) => {
  const asked: Array<string> = []
  const outbound: Outbound["Type"] = {
    send: ({ url }) =>
      Effect.suspend((): ReturnType<Outbound["Type"]["send"]> => {
        asked.push(url)
        const found = documents[url]
        if (found === "refused") return Effect.fail(new OutboundRefused({ rule: "private address" }))
        if (found === "silent") return Effect.fail(new OutboundFailure({ sent: false, reason: "timeout" }))
        const text = typeof found === "string" ? found : JSON.stringify(found)
        const status = typeof found === "number" ? found : found === undefined ? 404 : 200
        return Effect.succeed({ status, headers: {}, body: Redacted.make<Uint8Array>(Buffer.from(text ?? "")) })
      }),
    fetch: () => Effect.die("not used")
  }
  return { asked, outbound }
}

const bare = McpDiscovery.readChallenge(null)

const discover = (documents: Documents, challenge = bare) => {
  const { asked, outbound } = world(documents)
  return Effect.map(Effect.either(McpDiscovery.discover(outbound, server, challenge)), (result) => ({ asked, result }))
}

const atPath = "https://mcp.example/.well-known/oauth-protected-resource/tenant/mcp"
const atRoot = "https://mcp.example/.well-known/oauth-protected-resource"
const atIssuer = "https://auth.example/.well-known/oauth-authorization-server"
const protectedBy = (issuer: string) => ({ resource: server, authorization_servers: [issuer] })

describe("a challenge", () => {
  it("says where the metadata is, and which scopes are wanted", () => {
    assert.deepStrictEqual(
      McpDiscovery.readChallenge(
        `Bearer resource_metadata="https://a.example/x", error="insufficient_scope", scope="files:read files:write"`
      ),
      {
        resourceMetadataUrl: Option.some("https://a.example/x"),
        scopes: Option.some(["files:read", "files:write"]),
        error: Option.some("insufficient_scope")
      }
    )
  })

  it("is found among others, in any case, quoted or not, and ends where another scheme begins", () => {
    const { error, resourceMetadataUrl, scopes } = McpDiscovery.readChallenge(
      `Basic realm="a, Bearer b", bearer scope=read , resource_metadata="https://a.example/\\"x", DPoP error="other"`
    )
    assert.deepStrictEqual(scopes, Option.some(["read"]))
    assert.deepStrictEqual(resourceMetadataUrl, Option.some('https://a.example/"x'))
    assert.deepStrictEqual(error, Option.none())
  })

  for (const header of [null, "", "Basic realm=x", "Bearer", "Bearer ,,,=", "BearerX scope=a"]) {
    it(`of ${JSON.stringify(header)} says nothing`, () => {
      assert.deepStrictEqual(McpDiscovery.readChallenge(header), bare)
    })
  }
})

describe("discovery", () => {
  it.effect("asks where the challenge points, and nowhere else for the resource", () =>
    Effect.gen(function* () {
      const challenge = McpDiscovery.readChallenge(`Bearer resource_metadata="https://mcp.example/meta"`)
      const { asked, result } = yield* discover(
        { "https://mcp.example/meta": protectedBy("https://auth.example"), [atIssuer]: metadata },
        challenge
      )
      assert.strictEqual(result._tag, "Right")
      assert.deepStrictEqual(asked, ["https://mcp.example/meta", atIssuer])
    })
  )

  it.effect("without a pointer asks at the server's path, then at its root", () =>
    Effect.gen(function* () {
      const { asked, result } = yield* discover({
        [atRoot]: {
          resource: "https://mcp.example",
          authorization_servers: ["https://auth.example"],
          scopes_supported: ["a"]
        },
        [atIssuer]: metadata
      })
      assert.deepStrictEqual(asked, [atPath, atRoot, atIssuer])
      assert.deepInclude(result._tag === "Right" ? result.right : {}, {
        resource: "https://mcp.example",
        scopes: Option.some(["a"])
      })
    })
  )

  it.effect("asks an issuer with a path in the three places that the specification names, in its order", () =>
    Effect.gen(function* () {
      const issuer = "https://auth.example/tenant1"
      const last = "https://auth.example/tenant1/.well-known/openid-configuration"
      const { asked, result } = yield* discover({
        [atPath]: protectedBy(issuer),
        "https://auth.example/.well-known/oauth-authorization-server/tenant1": "<!doctype html><title>not here</title>",
        [last]: { ...metadata, issuer }
      })
      assert.strictEqual(result._tag, "Right")
      assert.deepStrictEqual(asked, [
        atPath,
        "https://auth.example/.well-known/oauth-authorization-server/tenant1",
        "https://auth.example/.well-known/openid-configuration/tenant1",
        last
      ])
    })
  )

  it.effect("takes a server without metadata of its own for its own authorization server", () =>
    Effect.gen(function* () {
      const own = { ...metadata, issuer: "https://mcp.example" }
      const { result } = yield* discover({ "https://mcp.example/.well-known/oauth-authorization-server": own })
      assert.deepInclude(result._tag === "Right" ? result.right : {}, { resource: server })
    })
  )

  it.effect("asks the first three authorization servers that a resource names, however many it names", () =>
    Effect.gen(function* () {
      const names = Array.from({ length: 5_000 }, (_, index) => `https://auth-${index}.example/tenant`)
      const { asked, result } = yield* discover({ [atPath]: { resource: server, authorization_servers: names } })
      assert.strictEqual(result._tag, "Left")
      assert.lengthOf(asked, 1 + 3 * 3)
    })
  )

  it.effect("goes on to the next authorization server when the first has no metadata", () =>
    Effect.gen(function* () {
      const { result } = yield* discover({
        [atPath]: {
          resource: server,
          authorization_servers: ["no url", "https://gone.example", "https://auth.example"]
        },
        [atIssuer]: metadata
      })
      assert.strictEqual(result._tag, "Right")
    })
  )

  const attacks: ReadonlyArray<readonly [string, Documents]> = [
    [
      "a resource of another origin",
      { [atPath]: { ...protectedBy("https://auth.example"), resource: "https://bank.example" }, [atIssuer]: metadata }
    ],
    [
      "a resource that is a sibling",
      {
        [atPath]: { ...protectedBy("https://auth.example"), resource: "https://mcp.example/tenant/mc" },
        [atIssuer]: metadata
      }
    ],
    [
      "an issuer that is not the one asked",
      { [atPath]: protectedBy("https://auth.example"), [atIssuer]: { ...metadata, issuer: "https://bank.example" } }
    ],
    [
      "an issuer that differs in its path",
      {
        [atPath]: protectedBy("https://auth.example"),
        [atIssuer]: { ...metadata, issuer: "https://auth.example/other" }
      }
    ],
    [
      "metadata that does not offer S256",
      {
        [atPath]: protectedBy("https://auth.example"),
        [atIssuer]: { ...metadata, code_challenge_methods_supported: ["plain"] }
      }
    ],
    [
      "metadata that does not speak of PKCE",
      {
        [atPath]: protectedBy("https://auth.example"),
        [atIssuer]: { ...metadata, code_challenge_methods_supported: undefined }
      }
    ],
    [
      "a login page over http",
      {
        [atPath]: protectedBy("https://auth.example"),
        [atIssuer]: { ...metadata, authorization_endpoint: "http://auth.example/authorize" }
      }
    ],
    [
      "a login page that is a script",
      {
        [atPath]: protectedBy("https://auth.example"),
        [atIssuer]: { ...metadata, authorization_endpoint: "javascript:alert(1)" }
      }
    ],
    ["no authorization server", { [atPath]: { resource: server, authorization_servers: [] } }],
    ["metadata that is no JSON", { [atPath]: protectedBy("https://auth.example"), [atIssuer]: "{" }],
    ["a host that fails", { [atPath]: 500 }],
    ["a host that is silent", { [atPath]: "silent" }]
  ]
  for (const [attack, documents] of attacks) {
    it.effect(`ends at ${attack}`, () =>
      Effect.gen(function* () {
        const { result } = yield* discover(documents)
        assert.deepInclude(result._tag === "Left" ? result.left : {}, {
          _tag: "ProviderError",
          reason: "discovery_failed"
        })
      })
    )
  }

  it.effect("ends where it leads to a place that this service does not call", () =>
    Effect.gen(function* () {
      const { result } = yield* discover({
        [atPath]: protectedBy("https://metadata.internal"),
        "https://metadata.internal/.well-known/oauth-authorization-server": "refused"
      })
      assert.strictEqual(result._tag === "Left" && result.left._tag, "OutboundRefused")
    })
  )
})
