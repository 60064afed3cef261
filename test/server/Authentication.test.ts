import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { actor } from "../../src/AuditLog.ts"
import { requiredScopes } from "../../src/server/Authentication.ts"
import { inMemory, Serving, standIn } from "./Serving.ts"

const id = "11111111-1111-4111-8111-111111111111"

const pathOf = (route: string) => route.replace(":userId", "u").replace(":provider", "github").replace(/:\w+/, id)

const newKey = Effect.fnUntraced(function* (scopes: ReadonlyArray<string>, userId?: string) {
  const { call } = yield* Serving
  const { json } = yield* call("POST", "/v1/api-keys", {
    body: { name: "k", scopes, ...(userId !== undefined && { userId }) }
  })
  const { key, keyId } = json as { key: string; keyId: string }
  return { key, keyId }
})

describe("a key", () => {
  it("has the scopes of the contract to ask for", () => {
    assert.deepStrictEqual(Object.fromEntries(requiredScopes), {
      "GET /metrics": "admin",
      "GET /v1/providers": "read",
      "POST /v1/users/:userId/credentials": "write",
      "GET /v1/users/:userId/credentials": "read",
      "POST /v1/users/:userId/credentials/match": "read",
      "GET /v1/users/:userId/credentials/:credentialId": "read",
      "HEAD /v1/users/:userId/credentials/:credentialId": "read",
      "GET /v1/users/:userId/credentials/:credentialId/explain": "read",
      "GET /v1/users/:userId/credentials/:credentialId/secret": "secret",
      "PUT /v1/users/:userId/credentials/:credentialId": "write",
      "DELETE /v1/users/:userId/credentials/:credentialId": "write",
      "POST /v1/users/:userId/credentials/:credentialId/refresh": "write",
      "POST /v1/users/:userId/credentials/:credentialId/report": "secret",
      "DELETE /v1/users/:userId": "write",
      "POST /v1/users/:userId/credentials/:credentialId/leases": "lease",
      "POST /v1/leases/:leaseId/renew": "lease",
      "DELETE /v1/leases/:leaseId": "lease",
      "POST /v1/users/:userId/oauth/:provider/authorize": "connect",
      "POST /v1/users/:userId/oauth/:provider/callback": "connect",
      "POST /v1/users/:userId/oauth/:provider/connect": "connect",
      "POST /v1/users/:userId/mcp/authorize": "connect",
      "POST /v1/users/:userId/mcp/tools": "secret",
      "POST /v1/users/:userId/mcp/tools/:toolName/call": "secret",
      "POST /v1/api-keys": "admin",
      "GET /v1/api-keys": "admin",
      "DELETE /v1/api-keys/:keyId": "admin"
    })
  })

  it.scopedLive("is asked for before anything of the request is looked at", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      let calls = 0
      for (const route of requiredScopes.keys()) {
        const [method = "", path = ""] = route.split(" ")
        const bad = { body: "not json", headers: { "content-type": "text/html" } }
        const reply = yield* call(method, pathOf(path).replace(id, "no-uuid"), { key: null, ...bad })
        // the twenty-first failure and those after it are answered 429
        assert.strictEqual(reply.status, ++calls <= 20 ? 401 : 429, route)
      }
      assert.strictEqual(calls, requiredScopes.size)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("needs the scope of the endpoint, or admin", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const scopes = ["read", "secret", "lease", "write", "connect"]
      for (const scope of scopes) {
        const { key } = yield* newKey([scope])
        for (const [route, needed] of requiredScopes) {
          const [method = "", path = ""] = route.split(" ")
          const reply = yield* call(method, pathOf(path), { key })
          if (needed === scope) assert.notInclude([401, 403], reply.status, `${scope}: ${route}`)
          else {
            assert.strictEqual(reply.status, 403, `${scope}: ${route}`)
            if (method !== "HEAD") {
              assert.deepStrictEqual(reply.json, {
                _tag: "Forbidden",
                message: `This API key may not do that: it needs the scope "${needed}".`,
                retryable: false,
                requires: `the scope "${needed}"`
              })
            }
          }
        }
      }
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("of one user works for that user, and for nobody else, whatever its scopes", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { key } = yield* newKey(["admin"], "alice/1")
      for (const [route, scope] of requiredScopes) {
        const [method = "", path = ""] = route.split(" ")
        const own = yield* call(method, pathOf(path).replace("/users/u", "/users/alice%2F1"), { key })
        if (scope === "admin") assert.strictEqual(own.status, 403, route)
        else assert.notInclude([401, 403], own.status, route)
        for (const other of ["u", "alice", "Alice%2F1", "alice%2F1%2F"]) {
          if (!path.includes(":userId")) continue
          const reply = yield* call(method, pathOf(path).replace("/users/u", `/users/${other}`), { key })
          assert.strictEqual(reply.status, 403, `${route} ${other}`)
        }
      }
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("that is none is 401 in every form", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { key } = yield* newKey(["read"])
      for (const authorization of ["", "Bearer", "Bearer ", `Basic ${key}`, key, `Bearer ${key}x`, `Bearer  x y`]) {
        const reply = yield* call("GET", "/v1/providers", { key: null, headers: { authorization } })
        assert.strictEqual(reply.status, 401, authorization)
        assert.strictEqual(reply.headers["www-authenticate"], "Bearer")
        assert.deepStrictEqual(reply.json, {
          _tag: "Unauthorized",
          message: "No valid API key was given: send 'Authorization: Bearer <api key>'.",
          retryable: false
        })
      }
      const lower = yield* call("GET", "/v1/providers", { key: null, headers: { authorization: `bearer ${key}` } })
      assert.strictEqual(lower.status, 200)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("is guessed twenty times a minute; a valid one always works", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const guesses = yield* Effect.all(
        Array.from({ length: 30 }, (_, index) => call("GET", "/v1/providers", { key: `guess-${index}` })),
        { concurrency: 8 }
      )
      assert.lengthOf(
        guesses.filter(({ status }) => status === 401),
        20
      )
      const limited = guesses.filter(({ status }) => status === 429)
      assert.lengthOf(limited, 10)
      for (const reply of limited) {
        assert.propertyVal(reply.json, "_tag", "RateLimited")
        const seconds = Number(reply.headers["retry-after"])
        assert.isTrue(seconds > 0 && seconds <= 60)
      }
      assert.strictEqual((yield* call("GET", "/v1/providers")).status, 200)
    }).pipe(Effect.provide(inMemory))
  )
})

it.scopedLive("what is done is done in the name of the key", () => {
  let by = ""
  return Effect.gen(function* () {
    const { call } = yield* Serving
    const { key, keyId } = yield* newKey(["read"])
    yield* call("GET", "/v1/users/u/credentials", { key })
    assert.strictEqual(by, keyId)
    yield* call("GET", "/v1/users/u/credentials")
    assert.strictEqual(by, "bootstrap")
  }).pipe(
    Effect.provide(
      standIn({
        credentials: {
          list: () =>
            Effect.map(FiberRef.get(actor), (name) => {
              by = name
              return { items: [], next: { _tag: "None" } as never }
            })
        }
      })
    )
  )
})
