/**
 * Whatever an MCP server and its authorization server publish: discovery ends in a typed way, after few calls, none of which
 * leads where this service does not call.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as McpDiscovery from "../../src/McpDiscovery.ts"
import type { Outbound } from "../../src/Outbound.ts"
import * as Destination from "../../src/Outbound/Destination.ts"
import * as McpServer from "../../src/McpServer.ts"
import { OutboundFailure } from "../../src/Outbound/Failure.ts"
import { kinds } from "../Outbound/ForbiddenUrls.ts"
import { damaged, holds, holdsEffect, text, value } from "./Inputs.ts"

const server = "https://mcp.example/tenant/mcp"
const issuer = "https://auth.example"

/** Two places for the resource, three for each of three issuers. */
const mostCalls = 11

const url = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.constantFrom(server, issuer, "https://mcp.example", `${issuer}/tenant`) },
  { weight: 3, arbitrary: FastCheck.constantFrom(...kinds.flatMap(({ urls }) => urls)) },
  {
    weight: 2,
    arbitrary: FastCheck.constantFrom(
      ..."data:application/json,{} javascript:alert(1) file:///etc/passwd https:// https:///a //a urn:a".split(" "),
      ..."https://auth.example:8443 https://u:p@auth.example HTTPS://AUTH.EXAMPLE/ https://auth.example/#f".split(" "),
      ..."https://auth.example/../.. https://auth.example// https://auth.example/?a=%00 https://a\u0000b".split(" ")
    )
  },
  { weight: 1, arbitrary: FastCheck.webUrl({ withQueryParameters: true, withFragments: true }) },
  { weight: 1, arbitrary: text }
)

/** Mostly what it should be. */
const mostly = <A, B>(right: FastCheck.Arbitrary<A>, wrong: FastCheck.Arbitrary<B>): FastCheck.Arbitrary<A | B> =>
  FastCheck.oneof<[FastCheck.WeightedArbitrary<A>, FastCheck.WeightedArbitrary<B>]>(
    { weight: 6, arbitrary: right },
    { weight: 1, arbitrary: wrong }
  )

const many = FastCheck.integer({ min: 50, max: 5_000 }).map((count) =>
  Array.from({ length: count }, (_, index) => `https://auth-${index}.example/tenant`)
)

const resourceMetadata = FastCheck.record(
  {
    resource: mostly(url, value),
    authorization_servers: mostly(FastCheck.oneof(FastCheck.array(url, { maxLength: 6 }), many), value),
    scopes_supported: mostly(FastCheck.array(text), value)
  },
  { requiredKeys: [] }
)

const serverMetadata = FastCheck.record(
  {
    issuer: mostly(url, value),
    authorization_endpoint: mostly(url, value),
    token_endpoint: mostly(url, value),
    registration_endpoint: mostly(url, value),
    revocation_endpoint: mostly(url, value),
    pushed_authorization_request_endpoint: mostly(url, value),
    scopes_supported: mostly(FastCheck.array(text), value),
    code_challenge_methods_supported: mostly(FastCheck.constantFrom(["S256"], ["plain"], ["S256", "plain"], []), value),
    client_id_metadata_document_supported: mostly(FastCheck.boolean(), value)
  },
  { requiredKeys: ["issuer", "authorization_endpoint", "token_endpoint"] }
)

const json = (fields: FastCheck.Arbitrary<unknown>) => damaged(fields.map((given) => JSON.stringify(given) ?? "null"))

const reply = (fields: FastCheck.Arbitrary<unknown>) =>
  FastCheck.record({
    status: FastCheck.oneof(
      { weight: 6, arbitrary: FastCheck.constant(200) },
      { weight: 1, arbitrary: FastCheck.constantFrom(204, 301, 400, 401, 404, 500, 503) }
    ),
    body: FastCheck.oneof(
      { weight: 4, arbitrary: fields.map((given) => Buffer.from(JSON.stringify(given) ?? "")) },
      {
        weight: 1,
        arbitrary: json(fields)
      }
    ),
    fails: FastCheck.oneof(
      { weight: 12, arbitrary: FastCheck.constant(false) },
      { weight: 1, arbitrary: FastCheck.constant(true) }
    )
  })

const honest = {
  issuer,
  authorization_endpoint: `${issuer}/authorize`,
  token_endpoint: `${issuer}/token`,
  code_challenge_methods_supported: ["S256"]
}

const world = FastCheck.record({
  challenge: FastCheck.oneof(
    FastCheck.constant(null),
    text,
    FastCheck.tuple(url, text).map(([at, scope]) => `Bearer resource_metadata="${at}", scope="${scope}"`)
  ),
  resource: reply(resourceMetadata),
  /** One document for every authorization server, or an honest one. */
  servers: FastCheck.oneof(reply(serverMetadata), FastCheck.constant(undefined))
})

describe("discovery", () => {
  it.effect("of anything ends in a typed way, after few calls, none of them to a forbidden place", () =>
    holdsEffect("discovery documents", 500, world, ({ challenge, resource, servers }) => {
      const asked: Array<string> = []
      const outbound: Outbound["Type"] = {
        send: (request, profile) =>
          Effect.gen(function* () {
            asked.push(request.url)
            const { url } = yield* Destination.vet(request.url, { allowLoopback: false, anyPort: profile.anyPort })
            assert.strictEqual(url.protocol, "https:")
            const isServer = /oauth-authorization-server|openid-configuration/.test(url.pathname)
            const { body, fails, status } = isServer
              ? (servers ?? { status: 200, fails: false, body: Buffer.from(JSON.stringify(honest)) })
              : resource
            if (fails) return yield* new OutboundFailure({ sent: true, reason: "timeout" })
            return { status, headers: {}, body: Redacted.make<Uint8Array>(body) }
          }),
        fetch: () => Effect.die("not used")
      }
      return Effect.gen(function* () {
        const result = yield* Effect.either(
          McpDiscovery.discover(outbound, server, McpDiscovery.readChallenge(challenge))
        )
        assert.isAtMost(asked.length, mostCalls, asked.slice(0, 20).join(" "))
        if (Either.isLeft(result)) {
          assert.include(["OutboundRefused", "ProviderError"], result.left._tag)
          return
        }
        const { authorizationServer, resource: found } = result.right
        assert.isTrue(McpServer.covers(found, server))
        assert.isTrue(authorizationServer.code_challenge_methods_supported?.includes("S256"))
        assert.match(authorizationServer.authorization_endpoint, /^https:/)
        assert.isTrue(asked.some((place) => place.startsWith(new URL(authorizationServer.issuer).origin)))
      })
    })
  )
})

describe("a challenge", () => {
  it.effect("of anything is read, and holds nothing empty", () =>
    holds(
      "discovery documents",
      2_000,
      FastCheck.oneof(
        text,
        FastCheck.array(
          FastCheck.oneof(
            FastCheck.constantFrom("Bearer", "bearer ", " , ", "=", '"', "\\", "scope=", "scope", '"a\\"b"', "Basic "),
            text
          ),
          { maxLength: 30 }
        ).map((parts) => parts.join(""))
      ),
      (header) => {
        const { error, resourceMetadataUrl, scopes } = McpDiscovery.readChallenge(header)
        for (const found of [error, resourceMetadataUrl]) assert.notStrictEqual(Option.getOrNull(found), "")
        for (const scope of Option.getOrElse(scopes, () => [])) assert.match(scope, /^\S+$/)
      }
    )
  )

  const size = 16_000
  const long: ReadonlyArray<readonly [string, string]> = [
    ["spaces", `Bearer ${" ".repeat(size)}!`],
    ["spaces between parameters", `Bearer a=b${" ".repeat(size)}!`],
    ["commas", `Bearer ${",".repeat(size)}!`],
    ["spaces before a scheme", `${", ".repeat(size / 2)}!`],
    ["spaces and no scheme", `,${" ".repeat(size)}!`],
    ["backslashes", `Bearer a="${"\\".repeat(size)}`],
    ["quotes", `Bearer a="${'"'.repeat(size)}`],
    ["a name without a value", `Bearer ${"a".repeat(size)}`],
    ["a name, spaces and no value", `Bearer a${" ".repeat(size)}!`],
    ["parameters", `Bearer ${"a=b,".repeat(size / 4)}`]
  ]
  for (const [name, header] of long) {
    it.live(`of ${name}, as long as a header may be, takes no time`, () =>
      Effect.gen(function* () {
        const once = Effect.map(Effect.timed(Effect.sync(() => McpDiscovery.readChallenge(header))), ([took]) =>
          Duration.toMillis(took)
        )
        // the machine may be busy: the best of some
        assert.isBelow(Math.min(...(yield* Effect.replicateEffect(once, 5))), 100)
      })
    )
  }
})
