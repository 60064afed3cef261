/**
 * The server is killed, stopped and starved at the worst moments; a provider that keeps a ledger says what it cost.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { ok, refused } from "../servers/Client.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import * as Service from "../servers/Service.ts"

const user = "ada"

const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString()

const world = (fields: Readonly<Record<string, unknown>> = {}, options: ScriptedProvider.Options = {}) =>
  Effect.gen(function* () {
    const provider = yield* ScriptedProvider.make(options)
    const service = yield* Service.start({
      providers: [provider.definition("fake", fields)],
      env: provider.environment("fake")
    })
    const create = (body: Readonly<Record<string, unknown>> = {}) => {
      const { accessToken, refreshToken } = provider.issue()
      return ok(
        service.client.createCredential(user, {
          type: "oauth2",
          provider: "fake",
          accessToken,
          refreshToken,
          accessTokenExpiresAt: ago(60),
          ...body
        })
      )
    }
    return { provider, service, create }
  })

describe("a server that is killed", () => {
  it.scopedLive(
    "between the provider's answer and the save asks once more after the attempt's deadline, and records the loss",
    () =>
      Effect.gen(function* () {
        const { create, provider, service } = yield* world()
        const { id } = yield* create()
        provider.next({ onProcessed: service.kill("SIGKILL") })
        yield* Effect.ignore(service.client.secret(user, id))
        yield* service.exited
        yield* service.restart()
        assert.strictEqual(provider.spends, 1)
        const waiting = yield* refused(service.client.secret(user, id, { waitSeconds: 1 }))
        assert.deepInclude(waiting.body, { _tag: "LockTimeout", retryable: true })
        const dead = yield* refused(service.client.secret(user, id, { waitSeconds: 90 }))
        assert.strictEqual(dead.status, 424)
        assert.deepInclude(dead.body, { _tag: "NeedsReauth", reason: "response_lost" })
        assert.isString(dead.body["attemptId"])
        assert.strictEqual(provider.refreshes, 2)
        yield* refused(service.client.secret(user, id))
        assert.strictEqual(provider.refreshes, 2)
        assert.deepInclude(yield* ok(service.client.get(user, id)), {
          status: "needs_reauth",
          statusReason: "response_lost"
        })
      }),
    150_000
  )

  it.scopedLive(
    "before the request arrived, or at a provider that keeps refresh tokens, loses nothing",
    () =>
      Effect.gen(function* () {
        const { create, provider, service } = yield* world({ rotatesRefreshToken: false })
        const { id } = yield* create()
        provider.next({ delayBefore: "10 seconds" })
        const reader = yield* Effect.fork(Effect.ignore(service.client.secret(user, id)))
        yield* provider.awaitLedger((ledger) => ledger.length === 1)
        yield* service.kill("SIGKILL")
        yield* Fiber.join(reader)
        yield* service.restart()
        assert.isTrue(provider.isLive((yield* ok(service.client.secret(user, id))).accessToken ?? ""))
      }),
    60_000
  )

  it.scopedLive(
    "at any moment around the answer loses nothing where the provider has a grace",
    () =>
      Effect.gen(function* () {
        const { create, provider, service } = yield* world({ reuseGraceSeconds: 60 }, { reuseGraceSeconds: 60 })
        const { id } = yield* create()
        for (const millis of [0, 1, 2, 4, 8, 16]) {
          const { generation } = yield* ok(service.client.get(user, id))
          provider.next({ onAnswered: { after: millis, run: service.kill("SIGKILL") } })
          yield* Effect.ignore(service.client.secret(user, id, { refresh: "force" }))
          yield* service.exited
          yield* service.restart()
          const secret = yield* ok(service.client.secret(user, id, { refresh: "force" }))
          assert.isAbove(secret.generation, generation)
          assert.isTrue(provider.isLive(secret.accessToken ?? ""))
          assert.strictEqual(provider.reuses, 0)
        }
      }),
    90_000
  )

  it.scopedLive(
    "gives back a lease to nobody else before its time, and the holder keeps it over the restart",
    () =>
      Effect.gen(function* () {
        const { create, service } = yield* world()
        const { client } = service
        const { id } = yield* create({ accessTokenExpiresAt: new Date(Date.now() + 3_600_000).toISOString() })
        const lease = yield* ok(client.acquire(user, id, { ttlSeconds: 30 }))
        yield* service.kill("SIGKILL")
        yield* service.restart()
        const contender = yield* refused(client.acquire(user, id, { waitSeconds: 0 }))
        assert.strictEqual(contender.body._tag, "LockTimeout")
        const renewed = yield* ok(client.renewLease(lease.leaseId, { ttlSeconds: 2 }))
        assert.strictEqual(renewed.fencingToken, lease.fencingToken)
        const next = yield* ok(client.acquire(user, id, { waitSeconds: 10 }))
        assert.isAbove(next.fencingToken, lease.fencingToken)
        assert.strictEqual((yield* refused(client.renewLease(lease.leaseId))).status, 410)
        assert.strictEqual((yield* refused(client.releaseLease(lease.leaseId))).status, 410)
        yield* ok(client.releaseLease(next.leaseId))
      }),
    60_000
  )
})

describe("a server that is told to stop", () => {
  it.scopedLive(
    "finishes the exchange that is under way, stores it, and ends with code 0",
    () =>
      Effect.gen(function* () {
        const { create, provider, service } = yield* world()
        const { id } = yield* create()
        provider.next({ delayAfter: "1500 millis" })
        const reader = yield* Effect.fork(ok(service.client.secret(user, id)))
        yield* provider.awaitLedger((ledger) => ledger.length === 1)
        const ended = yield* service.stop("20 seconds")
        assert.deepStrictEqual(ended, { code: 0, signal: null })
        assert.isTrue(provider.isLive((yield* Fiber.join(reader)).accessToken ?? ""))
        yield* service.restart()
        assert.isTrue(provider.isLive((yield* ok(service.client.secret(user, id))).accessToken ?? ""))
        assert.strictEqual(provider.refreshes, 1)
      }),
    60_000
  )
})

describe("a second server on the same data", () => {
  it.scopedLive(
    "is refused with a line that says what to do",
    () =>
      Effect.gen(function* () {
        const { service } = yield* world()
        const error = yield* Effect.flip(Service.start({ dataDir: service.dataDir }))
        assert.include(error.output, "DATA_DIR: another server works in")
        assert.notInclude(error.output, "    at ")
      }),
    60_000
  )
})
