import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { Api } from "../../src/api/Api.ts"
import { Authentication } from "../../src/api/Authentication.ts"
import { Cursor, Timestamp } from "../../src/api/Parameter.ts"
import { wire } from "../../src/api/PublicError.ts"
import { CredentialId, ProviderId, UserId } from "../../src/Credential.ts"
import { CredentialNotFound, LockTimeout, NeedsReauth } from "../../src/CredentialsError.ts"
import { bootstrapKey, inMemory, Serving } from "../server/Serving.ts"

const withoutKey = [
  "GET /healthz",
  "GET /readyz",
  "GET /oauth/start/:state",
  "GET /oauth/callback",
  "GET /oauth/client-metadata.json"
]

it("all but health and what browsers open is behind a key", () => {
  const open: Array<string> = []
  HttpApi.reflect(Api, {
    onGroup: () => {},
    onEndpoint: ({ endpoint, middleware }) => {
      if (![...middleware].some((tag) => tag.key === Authentication.key))
        open.push(`${endpoint.method} ${endpoint.path}`)
    }
  })
  assert.sameMembers(open, withoutKey)
})

describe("an error", () => {
  it("comes back from the wire as what it was", () => {
    for (const error of [
      new NeedsReauth({ credentialId: "c", provider: "p", reason: "response_lost", attemptId: "a" }),
      new NeedsReauth({ credentialId: "c", provider: "p", reason: "grant_revoked" })
    ]) {
      const schema = wire(NeedsReauth)
      const encoded = Schema.encodeSync(schema)(error)
      assert.strictEqual(encoded.message, error.message)
      assert.isFalse(encoded.retryable)
      const decoded = Schema.decodeSync(schema)(encoded)
      assert.instanceOf(decoded, NeedsReauth)
      assert.deepStrictEqual({ ...decoded }, { ...error })
    }
  })

  it("has one wire schema, so that it is described once", () => {
    assert.strictEqual(wire(LockTimeout), wire(LockTimeout))
  })

  it("is told from others by its tag", () => {
    const encoded = Schema.encodeSync(wire(LockTimeout))(new LockTimeout({ retryAfterSeconds: 1 }))
    assert.throws(() => Schema.decodeUnknownSync(wire(CredentialNotFound))(encoded))
  })
})

describe("a time", () => {
  const decode = Schema.decodeUnknownOption(Timestamp)

  it("is read with any offset, and written in UTC", () => {
    const read = Schema.decodeSync(Timestamp)("2030-01-01T02:00:00.5+02:00")
    assert.strictEqual(Schema.encodeSync(Timestamp)(read), "2030-01-01T00:00:00.500Z")
  })

  it("without an offset, or that does not exist, is none", () => {
    for (const text of ["2030-01-01T00:00:00", "2030-01-01", "now", "2030-01-01T25:00:00Z", "1893456000", ""]) {
      assert.strictEqual(decode(text)._tag, "None", text)
    }
  })
})

it("a cursor survives the way out and back", () => {
  const cursor = { createdAt: DateTime.unsafeMake(1_893_456_000_123), id: "11111111-1111-4111-8111-111111111111" }
  const text = Schema.encodeSync(Cursor)(cursor)
  assert.match(text, /^[A-Za-z0-9_-]+$/)
  const decoded = Schema.decodeSync(Cursor)(text)
  assert.strictEqual(decoded.id, cursor.id)
  assert.strictEqual(DateTime.toEpochMillis(decoded.createdAt), 1_893_456_000_123)
})

const client = Effect.flatMap(Serving, ({ url }) =>
  HttpApiClient.make(Api, {
    baseUrl: url,
    transformClient: HttpClient.mapRequest(HttpClientRequest.bearerToken(bootstrapKey))
  })
)

describe("the typed client", () => {
  const userId = UserId.make("u-1")

  it.scopedLive("speaks to the server in the library's own values", () =>
    Effect.gen(function* () {
      const { credentials, leases } = yield* client
      const { id } = yield* credentials.create({
        path: { userId },
        payload: {
          type: "oauth2",
          provider: Schema.decodeSync(ProviderId)("GitHub"),
          accessToken: Redacted.make("at"),
          accessTokenExpiresAt: DateTime.unsafeMake("2090-01-01T00:00:00Z")
        }
      })
      const path = { userId, credentialId: id }
      const secret = yield* credentials.secret({ path, urlParams: { waitSeconds: 0.5, refresh: "never" } })
      assert.strictEqual(Redacted.value(secret.headers["Authorization"] ?? Redacted.make("")), "Bearer at")
      const lease = yield* leases.acquire({ path, payload: {} })
      assert.strictEqual(lease.mode, "exclusive")
      yield* credentials.replace({
        path,
        urlParams: { leaseId: lease.leaseId, waitSeconds: 0 },
        headers: { "if-match": 1 },
        payload: { type: "oauth2", title: "renamed" }
      })
      yield* leases.release({ path: { leaseId: lease.leaseId } })
      const { items } = yield* credentials.list({ path: { userId }, urlParams: { limit: 1 } })
      assert.strictEqual(items[0]?.title, "renamed")
      assert.deepStrictEqual(yield* credentials.remove({ path, urlParams: { revoke: true } }), {
        deleted: true,
        revoked: null
      })
    }).pipe(Effect.provide([inMemory, FetchHttpClient.layer]))
  )

  it.scopedLive("fails with the library's own errors", () =>
    Effect.gen(function* () {
      const { credentials } = yield* client
      const credentialId = CredentialId.to.make("11111111-1111-4111-8111-111111111111")
      const error = yield* Effect.flip(credentials.secret({ path: { userId, credentialId }, urlParams: {} }))
      assert.instanceOf(error, CredentialNotFound)
      assert.strictEqual(error.message, `This user has no credential ${credentialId}.`)
    }).pipe(Effect.provide([inMemory, FetchHttpClient.layer]))
  )
})
