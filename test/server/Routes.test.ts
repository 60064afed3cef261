import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"
import { inMemory, type Reply, Serving } from "./Serving.ts"

const user = "/v1/users/alice%2F1"
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const time = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/

const field = (reply: Reply, name: string): string => {
  const { json } = reply
  return typeof json === "object" && json !== null ? String(Reflect.get(json, name)) : ""
}

const apiKey = { type: "api_key", provider: "openai", title: "Mine", apiKey: "sk-1" }

const created = Effect.fnUntraced(function* (body: unknown = apiKey) {
  const { call } = yield* Serving
  const reply = yield* call("POST", `${user}/credentials`, { body })
  assert.strictEqual(reply.status, 201, reply.text)
  return { reply, id: field(reply, "id"), path: `${user}/credentials/${field(reply, "id")}` }
})

const metadataOf = (id: string, more: object) => ({
  id,
  userId: "alice/1",
  status: "active",
  generation: 1,
  ...more
})

const withoutTimes = (json: unknown) => {
  assert.isObject(json)
  const { createdAt, updatedAt, ...rest } = json as Record<string, unknown>
  assert.match(String(createdAt), time)
  assert.match(String(updatedAt), time)
  return rest
}

describe("a credential", () => {
  it.scopedLive("is created, answered without its secret and with its generation as ETag", () =>
    Effect.gen(function* () {
      const { id, reply } = yield* created({
        type: "oauth2",
        provider: "ProviderName.GITHUB",
        accessToken: "at-1",
        refreshToken: "rt-1",
        accessTokenExpiresAt: "2030-01-01T01:00:00+01:00",
        scopes: ["repo"],
        username: "octocat",
        metadata: { team: "a", client_secret: "cs-1", nested: { apiKey: "k", keep: [1] } }
      })
      assert.match(id, uuid)
      assert.deepStrictEqual(
        withoutTimes(reply.json),
        metadataOf(id, {
          type: "oauth2",
          provider: "github",
          username: "octocat",
          scopes: ["repo"],
          accessTokenExpiresAt: "2030-01-01T00:00:00.000Z",
          metadata: { team: "a", nested: { keep: [1] } }
        })
      )
      assert.strictEqual(reply.headers.etag, '"1"')
      assert.strictEqual(reply.headers["content-type"], "application/json")
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("has a ready header of its type in its secret, which no cache may keep", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const bodies = [
        [apiKey, { apiKey: "sk-1", headers: { Authorization: "Bearer sk-1" } }],
        [
          { type: "user_password", provider: "smtp", username: "u", password: "p" },
          { username: "u", password: "p", headers: { Authorization: "Basic dTpw" } }
        ],
        [
          { type: "host_scoped", provider: "http", host: "*.example.com", headers: { "X-Key": "v" } },
          { host: "*.example.com", headers: { "X-Key": "v" } }
        ],
        [
          { type: "oauth2", provider: "anything", accessToken: "at", accessTokenExpiresAt: "2090-01-01T00:00:00Z" },
          { accessToken: "at", expiresAt: "2090-01-01T00:00:00.000Z", headers: { Authorization: "Bearer at" } }
        ]
      ] as const
      for (const [body, secret] of bodies) {
        const { id, path } = yield* created(body)
        const reply = yield* call("GET", `${path}/secret`)
        assert.strictEqual(reply.status, 200)
        assert.strictEqual(reply.headers["cache-control"], "no-store")
        assert.deepStrictEqual(reply.json, { credentialId: id, generation: 1, type: body.type, ...secret })
      }
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("is read, and its head alone says that it is there", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { id, path } = yield* created()
      const read = yield* call("GET", path)
      assert.strictEqual(read.status, 200)
      assert.strictEqual(read.headers.etag, '"1"')
      assert.deepStrictEqual(
        withoutTimes(read.json),
        metadataOf(id, { type: "api_key", provider: "openai", title: "Mine" })
      )
      const head = yield* call("HEAD", path)
      assert.deepStrictEqual([head.status, head.text, head.headers.etag], [200, "", '"1"'])
      const missing = yield* call("HEAD", `${user}/credentials/00000000-0000-4000-8000-000000000000`)
      assert.strictEqual(missing.status, 404)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("is explained to keys that may read, without its secret or the ids of its leases", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { id, path } = yield* created({
        type: "oauth2",
        provider: "github",
        accessToken: "at-canary",
        refreshToken: "rt-canary",
        accessTokenExpiresAt: "2090-01-01T00:00:00Z"
      })
      const lease = yield* call("POST", `${path}/leases`, { body: { ttlSeconds: 60 } })
      const reader = yield* call("POST", "/v1/api-keys", { body: { name: "r", scopes: ["read"] } })
      const reply = yield* call("GET", `${path}/explain`, { key: field(reader, "key") })
      assert.strictEqual(reply.status, 200, reply.text)
      const { leases, nextAction, renewal, ...rest } = reply.json as Record<string, unknown>
      assert.deepStrictEqual(rest, {
        credentialId: id,
        type: "oauth2",
        provider: "github",
        generation: 1,
        status: "active",
        expiresAt: "2090-01-01T00:00:00.000Z"
      })
      assert.match(field({ ...reply, json: renewal }, "nextAt"), time)
      assert.strictEqual(field({ ...reply, json: renewal }, "verdict"), "fresh")
      assert.strictEqual(field({ ...reply, json: nextAction }, "action"), "none")
      assert.deepStrictEqual(leases, {
        available: true,
        holders: [
          {
            mode: "exclusive",
            fencingToken: Number(field(lease, "fencingToken")),
            expiresAt: field(lease, "expiresAt")
          }
        ],
        waiting: 0
      })
      for (const secret of ["canary", field(lease, "leaseId")]) assert.notInclude(reply.text, secret)
      const mine = yield* call("GET", `${path}/explain`)
      assert.include(mine.text, '"mine":true')
      const writer = yield* call("POST", "/v1/api-keys", { body: { name: "w", scopes: ["write"] } })
      assert.strictEqual((yield* call("GET", `${path}/explain`, { key: field(writer, "key") })).status, 403)
      const missing = yield* call("GET", `${user}/credentials/00000000-0000-4000-8000-000000000000/explain`)
      assert.strictEqual(field(missing, "_tag"), "CredentialNotFound")
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("does not answer HEAD anywhere else", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { path } = yield* created()
      for (const elsewhere of [`${path}/secret`, `${user}/credentials`, "/v1/providers", "/healthz", "/docs"]) {
        assert.strictEqual((yield* call("HEAD", elsewhere)).status, 404, elsewhere)
      }
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("is listed in pages, filtered", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const ids = [yield* created(), yield* created(), yield* created({ ...apiKey, provider: "other" })].map(
        ({ id }) => id
      )
      const first = yield* call("GET", `${user}/credentials?limit=2`)
      const next = field(first, "nextCursor")
      const second = yield* call("GET", `${user}/credentials?limit=2&cursor=${next}`)
      const listed = [first, second].flatMap(({ json }) =>
        (json as { items: ReadonlyArray<{ id: string }> }).items.map(({ id }) => id)
      )
      assert.deepStrictEqual(new Set(listed), new Set(ids))
      assert.notProperty(second.json, "nextCursor")
      const filtered = yield* call("GET", `${user}/credentials?provider=OTHER&type=api_key&status=active`)
      assert.lengthOf((filtered.json as { items: ReadonlyArray<unknown> }).items, 1)
      assert.deepStrictEqual((yield* call("GET", "/v1/users/nobody/credentials")).json, { items: [] })
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("is replaced in part, by the generation that was read", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { id, path } = yield* created()
      const body = { type: "api_key", apiKey: "sk-2" }
      const replaced = yield* call("PUT", path, { body, headers: { "if-match": '"1"' } })
      assert.strictEqual(replaced.status, 200)
      assert.strictEqual(replaced.headers.etag, '"2"')
      assert.strictEqual(field(replaced, "title"), "Mine")
      const stale = yield* call("PUT", path, { body, headers: { "if-match": '"1"' } })
      assert.strictEqual(stale.status, 409)
      assert.deepStrictEqual(stale.json, {
        _tag: "GenerationConflict",
        message: `Credential ${id} is at generation 2, not 1: read it again, then decide.`,
        retryable: false,
        credentialId: id,
        expected: 1,
        actual: 2
      })
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("is refreshed without harm when there is nothing to refresh", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { path } = yield* created()
      for (const options of [{}, { body: {} }, { body: { ifGeneration: 1 } }]) {
        const reply = yield* call("POST", `${path}/refresh`, options)
        assert.deepStrictEqual([reply.status, reply.headers.etag], [200, '"1"'])
      }
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("takes a report without an answer", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { path } = yield* created()
      const reply = yield* call("POST", `${path}/report`, { body: { generation: 1, status: 401 } })
      assert.deepStrictEqual([reply.status, reply.text], [202, ""])
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("is deleted once", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { path } = yield* created()
      const reply = yield* call("DELETE", `${path}?revoke=false`)
      assert.deepStrictEqual([reply.status, reply.json], [200, { deleted: true, revoked: false }])
      assert.strictEqual((yield* call("DELETE", path)).status, 404)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("is nobody else's", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { id, path } = yield* created()
      const elsewhere = path.replace(user, "/v1/users/mallory")
      const calls = [
        ["GET", "", undefined],
        ["GET", "/secret", undefined],
        ["GET", "/explain", undefined],
        ["PUT", "", { type: "api_key", apiKey: "x" }],
        ["DELETE", "", undefined],
        ["POST", "/refresh", {}],
        ["POST", "/report", { generation: 1, status: 401 }],
        ["POST", "/leases", {}]
      ] as const
      for (const [method, suffix, body] of calls) {
        const reply = yield* call(method, `${elsewhere}${suffix}`, { body })
        assert.strictEqual(reply.status, 404, `${method} ${suffix}`)
        assert.strictEqual(field(reply, "_tag"), "CredentialNotFound")
      }
      assert.strictEqual((yield* call("HEAD", elsewhere)).status, 404)
      const mallory = "/v1/users/mallory"
      assert.deepStrictEqual((yield* call("GET", `${mallory}/credentials`)).json, { items: [] })
      const match = yield* call("POST", `${mallory}/credentials/match`, {
        body: { requirements: [{ name: "llm", provider: "openai" }] }
      })
      assert.deepPropertyVal(match.json, "missing", ["llm"] as never)
      const login = yield* call("POST", `${mallory}/oauth/github/authorize`, { body: { credentialId: id } })
      assert.deepStrictEqual([login.status, field(login, "_tag")], [404, "CredentialNotFound"])
      assert.deepStrictEqual((yield* call("DELETE", mallory)).json, { deleted: 0 })
      assert.strictEqual((yield* call("GET", path)).headers.etag, '"1"', id)
    }).pipe(Effect.provide(inMemory))
  )
})

describe("a lease", () => {
  it.scopedLive("is taken, prolonged and given back", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { id, path } = yield* created()
      const taken = yield* call("POST", `${path}/leases`, { body: { mode: "shared", ttlSeconds: 5 } })
      assert.strictEqual(taken.status, 201)
      assert.strictEqual(taken.headers["cache-control"], "no-store")
      const lease = taken.json as Record<string, unknown>
      assert.sameMembers(Object.keys(lease), ["leaseId", "mode", "fencingToken", "expiresAt", "secret"])
      assert.match(String(lease["leaseId"]), uuid)
      assert.strictEqual(lease["mode"], "shared")
      assert.isNumber(lease["fencingToken"])
      assert.match(String(lease["expiresAt"]), time)
      assert.propertyVal(lease["secret"], "credentialId", id)
      const renewed = yield* call("POST", `/v1/leases/${String(lease["leaseId"])}/renew`)
      assert.strictEqual(renewed.status, 200)
      assert.sameMembers(Object.keys(renewed.json as object), ["leaseId", "fencingToken", "expiresAt"])
      const released = yield* call("DELETE", `/v1/leases/${String(lease["leaseId"])}`)
      assert.deepStrictEqual([released.status, released.text], [204, ""])
      const again = yield* call("DELETE", `/v1/leases/${String(lease["leaseId"])}`)
      assert.deepStrictEqual([again.status, field(again, "_tag")], [410, "LeaseLost"])
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("keeps others out, except for whom it names", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { path } = yield* created()
      const lease = field(yield* call("POST", `${path}/leases`), "leaseId")
      const body = { type: "api_key", apiKey: "sk-2" }
      const refused = yield* call("PUT", `${path}?waitSeconds=0`, { body })
      assert.deepStrictEqual([refused.status, refused.headers["retry-after"]], [423, "1"])
      assert.strictEqual((yield* call("PUT", `${path}?waitSeconds=0&leaseId=${lease}`, { body })).status, 200)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("of another credential or another key is no lease here", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const one = yield* created()
      const other = yield* created()
      const lease = field(yield* call("POST", `${one.path}/leases`), "leaseId")
      const wrong = yield* call("DELETE", `${other.path}?leaseId=${lease}`)
      assert.deepStrictEqual([wrong.status, field(wrong, "_tag")], [410, "LeaseLost"])
      const scopes = ["lease", "write", "secret"]
      const key = field(yield* call("POST", "/v1/api-keys", { body: { name: "k", scopes } }), "key")
      for (const [method, path, body] of [
        ["POST", `/v1/leases/${lease}/renew`, {}],
        ["DELETE", `/v1/leases/${lease}`, undefined],
        ["DELETE", `${one.path}?leaseId=${lease}`, undefined],
        ["PUT", `${one.path}?leaseId=${lease}`, { type: "api_key", apiKey: "stolen" }],
        ["DELETE", `${one.path}?leaseId=${randomUUID()}`, undefined]
      ] as const) {
        const reply = yield* call(method, path, { key, body })
        assert.deepStrictEqual([reply.status, field(reply, "_tag")], [410, "LeaseLost"], `${method} ${path}`)
      }
      assert.strictEqual((yield* call("POST", `/v1/leases/${lease}/renew`)).status, 200)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("has an id that nobody can guess", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { path } = yield* created()
      const taken = yield* Effect.replicateEffect(call("POST", `${path}/leases`, { body: { mode: "shared" } }), 10)
      const ids = taken.map((reply) => field(reply, "leaseId"))
      assert.strictEqual(new Set(ids).size, 10)
      // 122 random bits (RFC 9562 5.4)
      for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      // no part of an id is shared with another, as a count or a time would be
      for (const at of [0, 9, 24]) assert.isAbove(new Set(ids.map((id) => id.slice(at, at + 4))).size, 5)
    }).pipe(Effect.provide(inMemory))
  )
})

it.scopedLive("requirements are matched, and what is missing is named", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    const { id } = yield* created()
    const reply = yield* call("POST", `${user}/credentials/match`, {
      body: {
        requirements: [
          { name: "llm", provider: "ProviderName.OPENAI", types: ["api_key"] },
          { name: "git", provider: "github", scopes: ["repo"] }
        ]
      }
    })
    assert.strictEqual(reply.status, 200)
    const { matches, missing } = reply.json as {
      matches: ReadonlyArray<{ name: string; credentialId: string | null; candidates: ReadonlyArray<unknown> }>
      missing: ReadonlyArray<string>
    }
    assert.deepStrictEqual(
      matches.map(({ candidates, credentialId, name }) => [name, credentialId, candidates.length]),
      [
        ["llm", id, 1],
        ["git", null, 0]
      ]
    )
    assert.deepStrictEqual(missing, ["git"])
  }).pipe(Effect.provide(inMemory))
)

it.scopedLive("a user who is gone takes all credentials along", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    yield* created()
    yield* created()
    assert.deepStrictEqual((yield* call("DELETE", user)).json, { deleted: 2 })
    assert.deepStrictEqual((yield* call("GET", `${user}/credentials`)).json, { items: [] })
  }).pipe(Effect.provide(inMemory))
)

it.scopedLive("a semicolon in a user's id belongs to the id", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    yield* call("POST", "/v1/users/a/credentials", { body: apiKey })
    assert.strictEqual((yield* call("DELETE", "/v1/users/a;b")).text, '{"deleted":0}')
    assert.lengthOf(((yield* call("GET", "/v1/users/a/credentials")).json as { items: Array<unknown> }).items, 1)
  }).pipe(Effect.provide(inMemory))
)

it.scopedLive("providers are listed with whether they are configured", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    const { json, status } = yield* call("GET", "/v1/providers")
    assert.strictEqual(status, 200)
    const { items } = json as { items: ReadonlyArray<{ id: string }> }
    assert.deepInclude(items, { id: "github", name: "GitHub", configured: true, defaultScopes: [] } as never)
    assert.deepInclude(items, { id: "linear", name: "Linear", configured: false, defaultScopes: ["read"] } as never)
  }).pipe(Effect.provide(inMemory))
)

describe("a login", () => {
  it.scopedLive("begins with a URL, a state and an end", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const reply = yield* call("POST", `${user}/oauth/GitHub/authorize`, { body: { scopes: ["repo"] } })
      assert.strictEqual(reply.status, 200, reply.text)
      assert.sameMembers(Object.keys(reply.json as object), ["authorizationUrl", "state", "expiresAt"])
      const url = new URL(field(reply, "authorizationUrl"))
      assert.strictEqual(url.searchParams.get("state"), field(reply, "state"))
      assert.match(field(reply, "expiresAt"), time)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("cannot begin at a provider that is unknown or not configured", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const unknown = yield* call("POST", `${user}/oauth/nowhere/authorize`)
      assert.deepStrictEqual([unknown.status, field(unknown, "_tag")], [404, "UnknownProvider"])
      const missing = yield* call("POST", `${user}/oauth/linear/authorize`)
      assert.deepStrictEqual([missing.status, field(missing, "_tag")], [501, "MissingConfig"])
      assert.deepPropertyVal(missing.json, "variables", ["LINEAR_CLIENT_ID", "LINEAR_CLIENT_SECRET"] as never)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("that is unknown cannot end", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const reply = yield* call("POST", `${user}/oauth/github/callback`, { body: { code: "c", state: "s" } })
      assert.deepStrictEqual([reply.status, field(reply, "_tag")], [410, "AuthorizationExpired"])
    }).pipe(Effect.provide(inMemory))
  )
})

it.scopedLive("an API key is shown once, listed without its text, and ends when it is deleted", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    const made = yield* call("POST", "/v1/api-keys", { body: { name: "ci", scopes: ["read"], userId: "bob" } })
    assert.strictEqual(made.status, 201)
    const { key, ...shown } = made.json as Record<string, unknown>
    assert.sameMembers(Object.keys(shown), ["keyId", "name", "scopes", "userId", "createdAt"])
    assert.deepStrictEqual((yield* call("GET", "/v1/api-keys")).json, { items: [shown] })
    assert.strictEqual((yield* call("GET", "/v1/providers", { key: String(key) })).status, 200)
    assert.strictEqual((yield* call("DELETE", `/v1/api-keys/${String(shown["keyId"])}`)).status, 204)
    assert.strictEqual((yield* call("GET", "/v1/providers", { key: String(key) })).status, 401)
    const gone = yield* call("DELETE", `/v1/api-keys/${String(shown["keyId"])}`)
    assert.deepStrictEqual([gone.status, field(gone, "_tag")], [404, "NotFound"])
  }).pipe(Effect.provide(inMemory))
)

it.scopedLive("what is not there is NotFound in JSON, whatever the method, and the later routes with it", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    const nothing = {
      _tag: "NotFound",
      message: "There is nothing here: /docs lists the routes.",
      retryable: false
    }
    for (const [method, path] of [
      ["GET", "/"],
      ["GET", "/V1/providers"],
      ["GET", "/v1/providers/"],
      ["PATCH", "/v1/providers"],
      ["POST", "/healthz"],
      ["OPTIONS", "/v1/providers"]
    ] as const) {
      const reply = yield* call(method, path)
      assert.deepStrictEqual([reply.status, reply.json], [404, nothing], `${method} ${path}`)
    }
  }).pipe(Effect.provide(inMemory))
)

it.scopedLive("health asks for no key", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    assert.deepStrictEqual((yield* call("GET", "/healthz", { key: null })).json, { status: "alive" })
    assert.deepStrictEqual((yield* call("GET", "/readyz", { key: null })).json, { status: "ready" })
  }).pipe(Effect.provide(inMemory))
)
