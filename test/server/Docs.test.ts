import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import { inMemory, Serving } from "./Serving.ts"

it.scopedLive("the contract is served whole, and every reference in it leads somewhere", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    const { headers, json, status, text } = yield* call("GET", "/openapi.json", { key: null })
    assert.deepStrictEqual([status, headers["content-type"]], [200, "application/json"])
    const { components, paths } = json as {
      paths: Record<string, object>
      components: { schemas: Record<string, object> }
    }
    assert.sameMembers(Object.keys(paths), [
      "/healthz",
      "/readyz",
      "/metrics",
      "/v1/providers",
      "/v1/users/{userId}",
      "/v1/users/{userId}/credentials",
      "/v1/users/{userId}/credentials/match",
      "/v1/users/{userId}/credentials/{credentialId}",
      "/v1/users/{userId}/credentials/{credentialId}/secret",
      "/v1/users/{userId}/credentials/{credentialId}/refresh",
      "/v1/users/{userId}/credentials/{credentialId}/report",
      "/v1/users/{userId}/credentials/{credentialId}/explain",
      "/v1/users/{userId}/credentials/{credentialId}/leases",
      "/v1/leases/{leaseId}",
      "/v1/leases/{leaseId}/renew",
      "/v1/users/{userId}/oauth/{provider}/authorize",
      "/v1/users/{userId}/oauth/{provider}/callback",
      "/v1/users/{userId}/oauth/{provider}/connect",
      "/v1/users/{userId}/mcp/authorize",
      "/v1/users/{userId}/mcp/tools",
      "/v1/users/{userId}/mcp/tools/{toolName}/call",
      "/oauth/start/{state}",
      "/oauth/callback",
      "/oauth/client-metadata.json",
      "/v1/api-keys",
      "/v1/api-keys/{keyId}"
    ])
    const references = [...text.matchAll(/#\/components\/schemas\/(\w+)/g)].map(([, name = ""]) => name)
    assert.deepStrictEqual(
      references.filter((name) => !(name in components.schemas)),
      []
    )
    assert.notInclude(text, "HttpApiDecodeError")
    assert.deepPropertyVal(components.schemas["NeedsReauth"] ?? {}, "required", [
      "_tag",
      "message",
      "retryable",
      "credentialId",
      "provider",
      "reason"
    ] as never)
  }).pipe(Effect.provide(inMemory))
)

it.scopedLive("the page to read it loads nothing from elsewhere, and may not", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    const { headers, status, text } = yield* call("GET", "/docs", { key: null })
    assert.strictEqual(status, 200)
    assert.match(headers["content-type"] ?? "", /^text\/html/)
    assert.notMatch(text, /<(?:script|link|img|iframe)[^>]*\s(?:src|href)=/i)
    const policy = String(headers["content-security-policy"])
    assert.match(policy, /^default-src 'none'; script-src 'sha256-/)
    assert.notMatch(policy, /https?:|\*|unsafe-eval|script-src[^;]*unsafe-inline/)
    const scripts = [...text.matchAll(/<script>([^]*?)<\/script>/g)]
    assert.isAtLeast(scripts.length, 1)
    for (const [, script = ""] of scripts) {
      assert.include(policy, createHash("sha256").update(script).digest("base64"))
    }
  }).pipe(Effect.provide(inMemory))
)
