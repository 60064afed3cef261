import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import { bootstrapKey, type Call, inMemory, Serving } from "./Serving.ts"

const canary = "canary-9f3c"
const id = "11111111-1111-4111-8111-111111111111"
const all = "/v1/users/u/credentials"
const one = `${all}/${id}`
const authorize = "/v1/users/u/oauth/github/authorize"

type Row = readonly [method: string, path: string, body: unknown, ...fields: ReadonlyArray<string>]

const oauth2 = { type: "oauth2", provider: "p", accessToken: canary }
const apiKey = { type: "api_key", provider: "p", apiKey: canary }
const hostScoped = { type: "host_scoped", provider: "p", host: "example.com", headers: {} }

const table: ReadonlyArray<Row> = [
  // shapes
  ["POST", all, {}, "type"],
  ["POST", all, [canary], "type"],
  ["POST", all, "null", "body"],
  ["POST", all, `"${canary}"`, "body"],
  ["POST", all, { ...apiKey, type: canary }, "type"],
  ["POST", all, { type: "api_key" }, "provider", "apiKey"],
  // unknown fields
  ["POST", all, { ...apiKey, userId: canary }, "userId"],
  ["POST", all, { ...apiKey, generation: 7, system: true, status: "active" }, "generation", "system", "status"],
  ["POST", all, { ...apiKey, constructor: canary, [`${canary} x`]: 1 }, "constructor", "?"],
  ["POST", all, `{"type":"api_key","provider":"p","apiKey":"k","__proto__":{"admin":true}}`, "__proto__"],
  ["POST", all, { ...apiKey, accessToken: canary }, "accessToken"],
  ["PUT", one, { type: "api_key", id }, "id"],
  ["POST", `${one}/refresh`, { force: true }, "force"],
  ["POST", `${one}/leases`, { ttl: 5 }, "ttl"],
  ["POST", authorize, { redirectUri: canary }, "redirectUri"],
  ["POST", "/v1/api-keys", { name: "k", scopes: ["read"], key: canary }, "key"],
  // values
  ["POST", all, { ...apiKey, provider: `${canary} ${canary}` }, "provider"],
  ["POST", all, { ...apiKey, provider: 5 }, "provider"],
  ["POST", all, { ...apiKey, apiKey: "" }, "apiKey"],
  ["POST", all, { ...apiKey, apiKey: 12345 }, "apiKey"],
  ["POST", all, { ...apiKey, apiKey: { [canary]: canary } }, "apiKey"],
  ["POST", all, { ...apiKey, apiKey: null }, "apiKey"],
  ["POST", all, { ...apiKey, id: canary }, "id"],
  ["POST", all, { ...apiKey, title: "" }, "title"],
  ["POST", all, { ...apiKey, title: "a\u0000b" }, "title"],
  ["POST", all, { ...apiKey, title: "x".repeat(256) }, "title"],
  ["POST", all, { ...apiKey, expiresAt: canary }, "expiresAt"],
  ["POST", all, { ...apiKey, expiresAt: "2030-13-01T00:00:00Z" }, "expiresAt"],
  ["POST", all, { ...apiKey, expiresAt: "2030-01-01" }, "expiresAt"],
  ["POST", all, { ...apiKey, expiresAt: 1893456000 }, "expiresAt"],
  ["POST", all, { ...apiKey, metadata: canary }, "metadata"],
  ["POST", all, { ...apiKey, metadata: [canary] }, "metadata"],
  ["POST", all, { ...oauth2, scopes: canary }, "scopes"],
  ["POST", all, { ...oauth2, scopes: [`${canary} b`] }, "scopes.0"],
  ["POST", all, { ...oauth2, scopes: [5] }, "scopes.0"],
  ["POST", all, { ...oauth2, refreshToken: false }, "refreshToken"],
  ["POST", all, { type: "user_password", provider: "p", username: "a\nb", password: canary }, "username"],
  ["POST", all, { ...hostScoped, host: `https://${canary}` }, "host"],
  ["POST", all, { ...hostScoped, host: "*" }, "host"],
  ["POST", all, { ...hostScoped, headers: { "X-A": `a\r\nX-B: ${canary}` } }, "headers.X-A"],
  ["POST", all, { ...hostScoped, headers: { "X A": canary } }, "headers.?"],
  ["POST", all, { ...hostScoped, headers: { "X-A": 5 } }, "headers.X-A"],
  ["POST", all, `{"type":"host_scoped","provider":"p","host":"h","headers":{"__proto__":"x"}}`, "headers.__proto__"],
  ["POST", `${one}/report`, {}, "generation", "status"],
  ["POST", `${one}/report`, { generation: 0, status: 401 }, "generation"],
  ["POST", `${one}/report`, { generation: 1e10, status: 401 }, "generation"],
  ["POST", `${one}/report`, { generation: 1, status: 9000 }, "status"],
  ["POST", `${one}/refresh`, { ifGeneration: "1" }, "ifGeneration"],
  ["POST", `${one}/refresh`, { leaseId: canary }, "leaseId"],
  ["POST", `${one}/leases`, { mode: canary }, "mode"],
  ["POST", `${one}/leases`, { ttlSeconds: 0 }, "ttlSeconds"],
  ["POST", `${one}/leases`, { ttlSeconds: 3601 }, "ttlSeconds"],
  ["POST", `${one}/leases`, { waitSeconds: -1 }, "waitSeconds"],
  ["POST", `${one}/leases`, { waitSeconds: 301 }, "waitSeconds"],
  ["POST", `${one}/leases`, { minValidSeconds: 86_401 }, "minValidSeconds"],
  ["POST", `${one}/leases`, { waitSeconds: "5" }, "waitSeconds"],
  ["POST", `/v1/leases/${id}/renew`, { ttlSeconds: 1e9 }, "ttlSeconds"],
  ["POST", `${all}/match`, {}, "requirements"],
  ["POST", `${all}/match`, { requirements: canary }, "requirements"],
  [
    "POST",
    `${all}/match`,
    { requirements: [{ name: 5 }, canary] },
    "requirements.0.name",
    "requirements.0.provider",
    "requirements.1"
  ],
  ["POST", `${all}/match`, { requirements: [{ name: "n", provider: "p", types: [canary] }] }, "requirements.0.types.0"],
  [
    "POST",
    `${all}/match`,
    { requirements: [{ name: "n", provider: "p", serverUrl: canary }] },
    "requirements.0.serverUrl"
  ],
  ["POST", authorize, { scopes: [5] }, "scopes.0"],
  ["POST", authorize, { returnTo: `javascript:${canary}` }, "returnTo"],
  ["POST", authorize, { credentialId: canary }, "credentialId"],
  ["POST", authorize, { variables: { tenant: 5 } }, "variables.tenant"],
  ["POST", authorize, { bindBrowser: canary }, "bindBrowser"],
  ["POST", "/v1/users/u/oauth/github/callback", { code: canary }, "state"],
  ["POST", "/v1/users/u/oauth/github/callback", { code: "", state: "\n" }, "code", "state"],
  ["POST", "/v1/users/u/oauth/github/callback", { code: canary, state: "\u00e4\u0000" }, "state"],
  ["POST", "/v1/api-keys", {}, "name", "scopes"],
  ["POST", "/v1/api-keys", { name: "k", scopes: [] }, "scopes"],
  ["POST", "/v1/api-keys", { name: "k", scopes: ["read", canary] }, "scopes.1"],
  ["POST", "/v1/api-keys", { name: "k", scopes: ["read", "read"] }, "scopes"],
  ["POST", "/v1/api-keys", { name: "k\u0000", scopes: ["read"], userId: "" }, "name", "userId"],
  // paths
  ["GET", "/v1/users//credentials", undefined, "userId"],
  ["GET", "/v1/users/a%00b/credentials", undefined, "userId"],
  ["GET", `/v1/users/${"x".repeat(256)}/credentials`, undefined, "userId"],
  ["DELETE", "/v1/users/", undefined, "userId"],
  ["GET", `${all}/${canary}`, undefined, "credentialId"],
  ["HEAD", `${all}/${canary}`, undefined],
  ["GET", `${all}/${canary}/secret`, undefined, "credentialId"],
  ["PUT", `${all}/${canary}`, apiKey, "credentialId"],
  ["DELETE", `${all}/${canary}`, undefined, "credentialId"],
  ["POST", `/v1/leases/${canary}/renew`, {}, "leaseId"],
  ["DELETE", `/v1/leases/${canary}`, undefined, "leaseId"],
  ["POST", `/v1/users/u/oauth/${canary}%20x/authorize`, {}, "provider"],
  ["DELETE", `/v1/api-keys/${canary}`, undefined, "keyId"],
  // queries
  ["GET", `${all}?limit=0`, undefined, "limit"],
  ["GET", `${all}?limit=201`, undefined, "limit"],
  ["GET", `${all}?limit=1.5`, undefined, "limit"],
  ["GET", `${all}?limit=${canary}`, undefined, "limit"],
  ["GET", `${all}?limit=1&limit=2`, undefined, "limit"],
  ["GET", `${all}?limit=`, undefined, "limit"],
  ["GET", `${all}?cursor=${canary}`, undefined, "cursor"],
  ["GET", `${all}?cursor=${Buffer.from(`99999999999999999.${id}`).toString("base64url")}`, undefined, "cursor"],
  ["GET", `${all}?type=${canary}`, undefined, "type"],
  ["GET", `${all}?status=${canary}`, undefined, "status"],
  ["GET", `${all}?provider=a%20b`, undefined, "provider"],
  ["GET", `${all}?${canary}=1`, undefined, canary],
  ["GET", `${one}/secret?waitSeconds=301`, undefined, "waitSeconds"],
  ["GET", `${one}/secret?waitSeconds=-1`, undefined, "waitSeconds"],
  ["GET", `${one}/secret?waitSeconds=NaN`, undefined, "waitSeconds"],
  ["GET", `${one}/secret?waitSeconds=1e2`, undefined, "waitSeconds"],
  ["GET", `${one}/secret?minValidSeconds=86401`, undefined, "minValidSeconds"],
  ["GET", `${one}/secret?refresh=${canary}`, undefined, "refresh"],
  ["GET", `${one}/secret?leaseId=${canary}`, undefined, "leaseId"],
  ["DELETE", `${one}?revoke=${canary}`, undefined, "revoke"],
  ["DELETE", `${one}?revok=false`, undefined, "revok"],
  ["PUT", `${one}?waitSeconds=x`, apiKey, "waitSeconds"],
  ["DELETE", "/v1/users/u?waitSeconds=x", undefined, "waitSeconds"]
]

describe("a request that does not fit", () => {
  it.scopedLive("is told which fields, and what was expected, and never what was given", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      for (const [method, path, body, ...fields] of table) {
        const name = `${method} ${path} ${JSON.stringify(body)}`
        const reply = yield* call(method, path, { body })
        assert.strictEqual(reply.status, 400, `${name} ${reply.text}`)
        if (method === "HEAD") continue
        const { _tag, issues, retryable } = reply.json as {
          _tag: string
          retryable: boolean
          issues: ReadonlyArray<{ field: string; expected: string }>
        }
        assert.strictEqual(_tag, "InvalidRequest", name)
        assert.isFalse(retryable)
        assert.sameMembers(
          issues.map(({ field }) => field),
          fields,
          name
        )
        assert.isTrue(issues.every(({ expected }) => expected.length > 0))
        if (!fields.includes(canary)) assert.notInclude(reply.text, canary, name)
        assert.notMatch(reply.text, /readonly|Predicate|[{]\s|actual/, name)
      }
      const { json } = yield* call("GET", all)
      assert.deepStrictEqual(json, { items: [] })
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("has a bad If-Match", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      for (const tag of ["1", '"0"', '"x"', `"${canary}"`, '"1", "2"']) {
        const reply = yield* call("PUT", one, { body: { type: "api_key" }, headers: { "if-match": tag } })
        assert.strictEqual(reply.status, 400)
        assert.notInclude(reply.text, canary)
      }
    }).pipe(Effect.provide(inMemory))
  )
})

describe("a body", () => {
  const refused = (name: string, options: Call, status: number, field?: string) =>
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const { call } = yield* Serving
        const reply = yield* call("POST", all, options)
        assert.strictEqual(reply.status, status, reply.text)
        if (field !== undefined) assert.nestedPropertyVal(reply.json, "issues[0].field", field)
        assert.strictEqual((yield* call("GET", all)).status, 200)
      }).pipe(Effect.provide(inMemory))
    )

  const text = { headers: { "content-type": "text/plain" } }
  refused("of a megabyte is too large", { body: "x".repeat(1_000_000) }, 413)
  refused("of a byte too many is too large", { body: `"${"x".repeat(64 * 1024 - 1)}"` }, 413)
  refused("as large as it may be is read", { body: `"${"x".repeat(64 * 1024 - 2)}"` }, 400, "body")
  refused("that is not JSON is refused", { body: "{" }, 400, "body")
  refused("that is not UTF-8 is refused", { body: Buffer.from([0x22, 0xc3, 0x28, 0x22]) }, 400, "body")
  refused("nested too deep is refused", { body: "[".repeat(33) + "]".repeat(33) }, 400, "body")
  refused("nested a thousand times is refused", { body: '{"a":'.repeat(10_000) }, 400, "body")
  refused("with brackets in its text is not deep", { body: `{"type":"${"[".repeat(100)}\\"{"}` }, 400, "type")
  refused("of another type is refused", { body: "{}", ...text }, 400, "Content-Type")
  refused(
    "of a form is refused",
    { body: "a=b", headers: { "content-type": "application/x-www-form-urlencoded" } },
    400,
    "Content-Type"
  )
  refused(
    "of many parts is refused",
    { body: "--x--", headers: { "content-type": "multipart/form-data; boundary=x" } },
    400,
    "Content-Type"
  )
  refused(
    "in another charset is refused",
    { body: "{}", headers: { "content-type": "application/json; charset=latin1" } },
    400,
    "Content-Type"
  )
  refused(
    "that is compressed is refused",
    { body: "{}", headers: { "content-encoding": "gzip" } },
    400,
    "Content-Encoding"
  )

  it.scopedLive("may say its charset, and may be absent where nothing is needed", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { status } = yield* call("POST", all, {
        body: apiKey,
        headers: { "content-type": "Application/JSON; charset=UTF-8" }
      })
      assert.strictEqual(status, 201)
      assert.strictEqual((yield* call("POST", authorize)).status, 200)
    }).pipe(Effect.provide(inMemory))
  )

  /** Bytes on the wire, and what comes back until the server closes or falls silent. */
  const raw = (url: string, chunks: ReadonlyArray<string>) =>
    Effect.async<string>((resume) => {
      const socket = Net.connect(Number(new URL(url).port), "127.0.0.1")
      let answer = ""
      socket
        .on("data", (chunk: Buffer) => {
          answer += chunk.toString("latin1")
        })
        .on("close", () => resume(Effect.succeed(answer)))
        .on("error", () => resume(Effect.succeed(answer)))
        .setTimeout(300, () => socket.destroy())
      for (const chunk of chunks) socket.write(chunk)
    })

  const head = (...headers: ReadonlyArray<string>) =>
    [
      "POST /v1/users/u/credentials HTTP/1.1",
      "Host: x",
      `Authorization: Bearer ${bootstrapKey}`,
      ...headers,
      "",
      ""
    ].join("\r\n")

  it.scopedLive("without a length is counted while it arrives", () =>
    Effect.gen(function* () {
      const { url } = yield* Serving
      const chunk = `8000\r\n${"x".repeat(0x8000)}\r\n`
      const answer = yield* raw(url, [head("Transfer-Encoding: chunked"), chunk, chunk, chunk])
      assert.match(answer, /^HTTP\/1\.1 413 /)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("that says it is too large is not waited for", () =>
    Effect.gen(function* () {
      const { url } = yield* Serving
      assert.match(yield* raw(url, [head("Content-Length: 99999999999")]), /^HTTP\/1\.1 413 /)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("that is announced with an expectation that nobody knows is refused in JSON", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const reply = yield* call("POST", all, { body: apiKey, headers: { expect: "200-ok" } })
      assert.strictEqual(reply.status, 400, reply.text)
      assert.nestedPropertyVal(reply.json, "issues[0].field", "Expect")
      assert.strictEqual(reply.headers["cache-control"], "no-store")
      assert.deepStrictEqual((yield* call("GET", all)).json, { items: [] })
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("that is not HTTP is answered in JSON too", () =>
    Effect.gen(function* () {
      const { url } = yield* Serving
      const answers = [
        yield* raw(url, ["NONSENSE\r\n\r\n"]),
        yield* raw(url, [head("Content-Length: 5", "Content-Length: 6"), "{}"]),
        yield* raw(url, [head(`X: ${"x".repeat(20_000)}`)])
      ]
      for (const [index, answer] of answers.entries()) {
        assert.match(answer, index === 2 ? /^HTTP\/1\.1 431 / : /^HTTP\/1\.1 400 /)
        assert.match(answer, /\{"_tag":"InvalidRequest"/)
      }
    }).pipe(Effect.provide(inMemory))
  )
})
