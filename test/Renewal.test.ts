import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { AuditLog } from "../src/AuditLog.ts"
import type { CredentialId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { OutboundFailure } from "../src/Outbound.ts"
import * as Attempts from "../src/Attempts.ts"
import { Receipts } from "../src/Receipts.ts"
import * as Recovery from "../src/Recovery.ts"
import * as Renewal from "../src/Renewal.ts"
import { Store } from "../src/Store.ts"
import { accessToken, adjust, answer, given, settle, userId, world } from "./ScriptedHandler.ts"

const get = (id: CredentialId, options?: Parameters<CredentialsManager["Type"]["get"]>[2]) =>
  Effect.flatMap(CredentialsManager, (manager) => manager.get(userId, id, options))

const metadata = (id: CredentialId) => Effect.flatMap(CredentialsManager, (manager) => manager.metadata(userId, id))

const lost = (reason: "timeout" | "broken_off") => Effect.fail(new OutboundFailure({ sent: true, reason }))

const unsent = Effect.fail(new OutboundFailure({ sent: false, reason: "unreachable" }))

describe("a due credential", () => {
  it.effect("is renewed once for 200 readers, and all get the new token", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      const secrets = yield* Effect.all(
        Array.from({ length: 200 }, () => get(id)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual([...new Set(secrets.map(accessToken))], ["access-1"])
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      assert.strictEqual((yield* metadata(id)).generation, 2)
    }).pipe(Effect.provide(layer))
  })

  it.effect("is renewed although every reader goes away during the exchange", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "1500 millis"))
      const reader = yield* Effect.fork(get(id))
      yield* adjust("1 second")
      yield* Fiber.interrupt(reader)
      yield* adjust("1 second")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      assert.strictEqual(provider.reuses(), 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("that is replaced by one that is due itself, is renewed for those who wait", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "2 seconds"))
      const reader = yield* Effect.fork(get(id))
      yield* adjust("1 second")
      yield* manager.update(userId, id, {
        variant: {
          type: "oauth2",
          accessToken: Redacted.make("access-theirs"),
          refreshToken: Redacted.make("refresh-theirs"),
          accessTokenExpiresAt: yield* DateTime.now
        }
      })
      yield* adjust("5 seconds")
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-2")
      assert.deepStrictEqual(provider.spent, ["refresh-0", "refresh-theirs"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("lets a reader's wait end before the renewal does", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "10 seconds"))
      const reader = yield* Effect.fork(Effect.flip(get(id, { wait: "2 seconds" })))
      yield* adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(reader))._tag, "LockTimeout")
      yield* adjust("8 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("is served as it is while it lives and its provider is down; on demand the failure shows", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: 3600 })
      yield* adjust("58 minutes")
      provider.always(() => Effect.succeed(answer(503, "down")))
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      assert.strictEqual(provider.spent.length, 1)
      const error = yield* Effect.flip(get(id, { refresh: "force" }))
      assert.deepInclude(error, { _tag: "ProviderError", reason: "unreachable" })
      assert.strictEqual(accessToken(yield* get(id, { refresh: "never" })), "access-0")
    }).pipe(Effect.provide(layer))
  })

  it.effect("costs a failing provider one call a back-off, however many read", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.always(() => unsent)
      const readers = (count: number) =>
        Effect.all(
          Array.from({ length: count }, () => Effect.flip(get(id))),
          { concurrency: "unbounded" }
        )
      // those who come together share a failure; those who come later are refused one by one
      const errors = [...(yield* readers(200)), ...(yield* readers(20))]
      assert.isTrue(errors.every((error) => error._tag === "ProviderError" && error.reason === "unreachable"))
      assert.strictEqual(provider.spent.length, 1)
      yield* adjust("3 seconds")
      yield* readers(20)
      assert.strictEqual(provider.spent.length, 2)
      yield* adjust("3 seconds")
      yield* readers(20)
      assert.strictEqual(provider.spent.length, 2)
      provider.always(undefined)
      yield* adjust("1 minute")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
    }).pipe(Effect.provide(layer))
  })

  it.effect("obeys Retry-After even on demand", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next(() => Effect.succeed(answer(429, "", { "retry-after": "120" })))
      assert.deepInclude(yield* Effect.flip(get(id)), { reason: "throttled", retryAfterSeconds: 120 })
      yield* adjust("100 seconds")
      assert.deepInclude(yield* Effect.flip(get(id, { refresh: "force" })), { reason: "throttled" })
      assert.strictEqual(provider.spent.length, 1)
      yield* adjust("20 seconds")
      assert.strictEqual(accessToken(yield* get(id, { refresh: "force" })), "access-1")
    }).pipe(Effect.provide(layer))
  })

  it.effect("that shares its grant with another is renewed with it, by one spending", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const one = yield* given()
      const other = yield* given()
      const secrets = yield* Effect.all([get(one), get(other), get(one)], { concurrency: "unbounded" })
      assert.deepStrictEqual(secrets.map(accessToken), ["access-1", "access-1", "access-1"])
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      assert.strictEqual((yield* metadata(other)).generation, 2)
    }).pipe(Effect.provide(layer))
  })
})

describe("a refusal", () => {
  it.effect("leaves the access token to its time", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: 3600 })
      yield* adjust("58 minutes")
      provider.always(() => Effect.succeed(answer(200, { error: "invalid_grant" })))
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      assert.strictEqual((yield* metadata(id)).status, "needs_reauth")
      yield* adjust("2 minutes")
      assert.strictEqual((yield* Effect.flip(get(id)))._tag, "NeedsReauth")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("of this service's client is the operator's to mend", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next(() => Effect.succeed(answer(401, { error: "invalid_client" })))
      const error = yield* Effect.flip(get(id))
      assert.deepInclude(error, { _tag: "ProviderError", reason: "invalid_client", retryable: false })
      assert.strictEqual((yield* metadata(id)).status, "active")
    }).pipe(Effect.provide(layer))
  })
})

describe("an answer that never came", () => {
  it.effect("is waited out, then asked for once; found spent, the loss is recorded with its attempt", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next((spend) => Effect.zipRight(Effect.sync(spend), lost("broken_off")))
      assert.deepInclude(yield* Effect.flip(get(id)), { _tag: "ProviderError", reason: "unreachable" })
      yield* adjust("5 seconds")
      const waiting = yield* Effect.fork(Effect.flip(get(id, { wait: "20 seconds" })))
      yield* adjust("20 seconds")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "LockTimeout")
      assert.strictEqual(provider.spent.length, 1)
      const [attempt] = yield* Effect.flatMap(Store, (store) => store.openAttempts)
      assert.isDefined(attempt)
      const reader = yield* Effect.fork(Effect.flip(get(id, { wait: "2 minutes" })))
      yield* adjust("1 minute")
      assert.deepInclude(yield* Fiber.join(reader), {
        _tag: "NeedsReauth",
        reason: "response_lost",
        attemptId: attempt?.id ?? ""
      })
      yield* Effect.flip(get(id))
      assert.deepStrictEqual(provider.spent, ["refresh-0", "refresh-0"])
      assert.strictEqual((yield* metadata(id)).statusReason, "response_lost")
      assert.deepStrictEqual(yield* Effect.flatMap(Store, (store) => store.openAttempts), [])
    }).pipe(Effect.provide(layer))
  })

  it.effect("stays in doubt while those who ask about it get no answer to that either", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next((spend) => Effect.zipRight(Effect.sync(spend), lost("broken_off")))
      yield* Effect.flip(get(id))
      const [attempt] = yield* Effect.flatMap(Store, (store) => store.openAttempts)
      provider.next(
        () => Effect.succeed(answer(503, "")),
        () => unsent
      )
      yield* adjust("70 seconds")
      assert.deepInclude(yield* Effect.flip(get(id)), { _tag: "ProviderError", reason: "unreachable" })
      yield* adjust("30 seconds")
      assert.deepInclude(yield* Effect.flip(get(id)), { _tag: "ProviderError", reason: "unreachable" })
      yield* adjust("60 seconds")
      assert.deepInclude(yield* Effect.flip(get(id)), {
        _tag: "NeedsReauth",
        reason: "response_lost",
        attemptId: attempt?.id ?? ""
      })
      assert.strictEqual(provider.spent.length, 4)
      assert.deepStrictEqual(yield* Effect.flatMap(Store, (store) => store.openAttempts), [])
    }).pipe(Effect.provide(layer))
  })

  it.effect("because it never arrived at the provider costs nothing", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next(() => lost("timeout"))
      yield* Effect.flip(get(id))
      yield* adjust("70 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      assert.strictEqual(provider.reuses(), 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("risks nothing while the access token lives", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: 3600 })
      yield* adjust("56 minutes")
      provider.next((spend) => Effect.zipRight(Effect.sync(spend), lost("timeout")))
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      yield* adjust("2 minutes")
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      assert.strictEqual((yield* Effect.flip(get(id, { refresh: "force" })))._tag, "ProviderError")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("is asked for again at once where the provider keeps its refresh tokens", () => {
    const { layer, provider } = world({ provider: { rotatesRefreshToken: false } })
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next(() => lost("broken_off"))
      yield* Effect.flip(get(id))
      yield* adjust("3 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
    }).pipe(Effect.provide(layer))
  })

  it.effect("and the truncated one, are not taken for tokens; a page is a gateway's and spends nothing", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next(() => Effect.succeed(answer(200, "<html>sorry</html>")))
      assert.deepInclude(yield* Effect.flip(get(id)), { reason: "malformed_response" })
      assert.deepStrictEqual(yield* Effect.flatMap(Store, (store) => store.openAttempts), [])
      yield* adjust("3 seconds")
      provider.next((spend) => Effect.sync(() => (spend(), answer(200, '{"access_token":"acc'))))
      assert.deepInclude(yield* Effect.flip(get(id)), { reason: "malformed_response" })
      assert.strictEqual((yield* Effect.flatMap(Store, (store) => store.openAttempts)).length, 1)
      yield* adjust("10 seconds")
      assert.deepInclude(yield* Effect.flip(get(id)), { _tag: "NeedsReauth", reason: "response_lost" })
      assert.strictEqual(provider.spent.length, 3)
    }).pipe(Effect.provide(layer))
  })
})

describe("the answer", () => {
  it.effect("is spooled while the store is out of reach, handed out, and stored when it is back", () => {
    const { layer, reach, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next((spend) =>
        Effect.sync(() => {
          reach.down = "before"
          return spend()
        })
      )
      const reader = yield* Effect.fork(get(id))
      yield* adjust("200 millis")
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-1")
      assert.strictEqual((yield* Effect.flatMap(Receipts, (receipts) => receipts.all)).length, 1)
      reach.down = "never"
      yield* adjust("5 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      assert.strictEqual((yield* metadata(id)).generation, 2)
      assert.deepStrictEqual(yield* Effect.flatMap(Receipts, (receipts) => receipts.all), [])
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("whose commit had no answer is read back, not stored twice", () => {
    const { layer, reach, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      provider.next((spend) =>
        Effect.sync(() => {
          reach.down = "at commit"
          reach.calls.length = 0
          return spend()
        })
      )
      const reader = yield* Effect.fork(get(id))
      yield* settle
      // the commit is done, and was not answered
      assert.strictEqual(reach.down, "before")
      assert.isTrue(Option.isNone(yield* Fiber.poll(reader)))
      reach.down = "never"
      yield* adjust("1 second")
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-1")
      assert.lengthOf(
        reach.calls.filter((name) => name === "commit"),
        1
      )
      assert.strictEqual((yield* metadata(id)).generation, 2)
      assert.deepStrictEqual(yield* Effect.flatMap(Receipts, (receipts) => receipts.all), [])
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("is not asked for when the attempt cannot be written down", () => {
    const { layer, reach, provider } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      const store = yield* Store
      reach.down = "before"
      assert.strictEqual((yield* Effect.flip(get(id)))._tag, "StoreUnavailable")
      assert.strictEqual(provider.spent.length, 0)
      reach.down = "never"
      assert.deepStrictEqual(yield* store.openAttempts, [])
    }).pipe(Effect.provide(layer))
  })

  it.effect(
    "is not asked for when nobody knows whether the attempt is there, which is closed once the store says so",
    () => {
      const { layer, reach, provider } = world()
      return Effect.gen(function* () {
        const id = yield* given()
        const store = yield* Store
        reach.down = "at commit"
        assert.strictEqual((yield* Effect.flip(get(id)))._tag, "StoreUnavailable")
        yield* adjust("10 seconds")
        reach.down = "never"
        assert.lengthOf(yield* store.openAttempts, 1)
        assert.strictEqual(provider.spent.length, 0)
        yield* adjust("1 second")
        assert.deepStrictEqual(yield* store.openAttempts, [])
        // long before the attempt's deadline
        assert.strictEqual(accessToken(yield* get(id)), "access-1")
        assert.strictEqual(provider.spent.length, 1)
      }).pipe(Effect.provide(layer))
    }
  )

  it.effect("is put on top of a change that kept the refresh token it was paid with", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "1 second"))
      const reader = yield* Effect.fork(get(id))
      yield* settle
      yield* manager.update(userId, id, { title: "renamed", variant: { type: "oauth2" } })
      yield* adjust("1 second")
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-1")
      assert.deepInclude(yield* metadata(id), { title: "renamed", generation: 3 })
    }).pipe(Effect.provide(layer))
  })

  it.effect("of a process that died is promoted from its receipt", () => {
    const { handler, layer, provider } = world()
    return Effect.gen(function* () {
      const store = yield* Store
      const receipts = yield* Receipts
      const id = yield* given()
      provider.next((spend) => Effect.zipRight(Effect.sync(spend), lost("broken_off")))
      yield* Effect.flip(get(id))
      const [attempt] = yield* store.openAttempts
      if (attempt === undefined) return assert.fail("no attempt is open")
      const body = { access_token: "kept", refresh_token: "kept-too", expires_in: 3600 }
      yield* receipts.keep({ attempt, answer: answer(200, body), receivedAt: yield* DateTime.now })
      const recovery = yield* Layer.build(
        Recovery.layer.pipe(Layer.provide(Renewal.layer()), Layer.provide(Attempts.layer()))
      )
      yield* Effect.flatMap(Recovery.Recovery, (known) => known.promoteReceipts).pipe(Effect.provide(recovery))
      assert.strictEqual(accessToken(yield* get(id)), "kept")
      assert.strictEqual(provider.spent.length, 1)
      assert.deepStrictEqual(yield* receipts.all, [])
      assert.strictEqual(handler.provider.id, "acme")
    }).pipe(Effect.provide(layer), Effect.scoped)
  })

  it.effect("without a refresh token keeps the old one; with narrower scopes it is saved, and that is said", () => {
    const { layer, provider } = world({ provider: { rotatesRefreshToken: false } })
    return Effect.gen(function* () {
      const id = yield* given({ scopes: ["read", "write"] })
      provider.fields["scope"] = "read"
      yield* get(id)
      yield* get(id, { refresh: "force" })
      assert.deepStrictEqual(provider.spent, ["refresh-0", "refresh-0"])
      assert.deepStrictEqual((yield* metadata(id)).scopes, ["read"])
      const events = yield* Effect.flatMap(AuditLog, (log) => log.recent(10))
      assert.isTrue(events.some(({ kind }) => kind === "scopes_narrowed"))
    }).pipe(Effect.provide(layer))
  })

  for (const expiresIn of [undefined, -1, 0, 1e18, "3600", "soon", Number.NaN, null, { seconds: 1 }]) {
    it.effect(`with expires_in ${JSON.stringify(expiresIn)} makes no hot loop`, () => {
      const { layer, provider } = world()
      return Effect.gen(function* () {
        const id = yield* given()
        provider.fields["expires_in"] = expiresIn
        for (let count = 0; count < 50; count++) yield* get(id)
        assert.strictEqual(provider.spent.length, 1)
        assert.strictEqual((yield* metadata(id)).status, "active")
      }).pipe(Effect.provide(layer))
    })
  }
})

describe("a report", () => {
  it.effect("makes the generation due at once, once a back-off, and none when it has moved on", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: null })
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      yield* manager.report(userId, id, { generation: 1, status: 401 })
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      yield* manager.report(userId, id, { generation: 1, status: 401 })
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      yield* manager.report(userId, id, { generation: 2, status: 401 })
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      yield* adjust("30 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-2")
      assert.strictEqual(provider.spent.length, 2)
    }).pipe(Effect.provide(layer))
  })
})

describe("a renewal that ends the access token", () => {
  it.effect("waits for who uses it, and meanwhile readers and sharers have it", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const scope = yield* Scope.make()
      yield* manager.acquire(userId, id, { mode: "shared" }).pipe(Scope.extend(scope))
      yield* adjust("56 minutes")
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      const { secret } = yield* manager.acquire(userId, id, { mode: "shared" }).pipe(Effect.scoped)
      assert.strictEqual(accessToken(secret), "access-0")
      assert.strictEqual(provider.spent.length, 0)
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
    }).pipe(Effect.provide(layer))
  })

  it.effect("once it holds what it waited for, has readers wait: the old token ends at any moment", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const scope = yield* Scope.make()
      yield* manager.acquire(userId, id).pipe(Scope.extend(scope))
      yield* adjust("56 minutes")
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      provider.next((spend) => Effect.delay(Effect.sync(spend), "1 second"))
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.strictEqual(provider.spent.length, 1)
      const reader = yield* Effect.fork(get(id))
      yield* adjust("1 second")
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-1")
    }).pipe(Effect.provide(layer))
  })

  it.effect("waits for nobody once the token has expired", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      yield* manager.acquire(userId, id)
      yield* adjust("61 minutes")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer), Effect.scoped)
  })

  it.effect("stops waiting when the token is reported or expires", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      yield* manager.acquire(userId, id)
      const reader = yield* Effect.fork(get(id, { refresh: "force" }))
      yield* adjust("5 seconds")
      assert.strictEqual(provider.spent.length, 0)
      yield* manager.report(userId, id, { generation: 1, status: 401 })
      yield* adjust("5 seconds")
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-1")
    }).pipe(Effect.provide(layer), Effect.scoped)
  })

  it.effect("does not wait for the holder that asks for it, nor for one that joins later", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const { lease } = yield* manager.acquire(userId, id)
      const other = yield* Effect.fork(get(id, { refresh: "force" }))
      yield* settle
      assert.strictEqual(provider.spent.length, 0)
      const renewed = yield* manager.refresh(userId, id, { leaseId: lease.id })
      assert.strictEqual(renewed.generation, 2)
      assert.strictEqual(accessToken(yield* Fiber.join(other)), "access-1")
      yield* lease.check
    }).pipe(Effect.provide(layer), Effect.scoped)
  })

  for (const mode of ["exclusive", "shared"] as const) {
    it.effect(
      `where the provider keeps the old one waits for no holder, and ${mode} acquirers do not wait for it`,
      () => {
        const { layer, provider } = world({ provider: { refreshInvalidatesAccessToken: false } })
        return Effect.gen(function* () {
          const manager = yield* CredentialsManager
          const id = yield* given({ expiresIn: 3600 })
          yield* adjust("56 minutes")
          provider.next((spend) => Effect.delay(Effect.sync(spend), "10 seconds"))
          // each acquirer finds it due; the first one starts the renewal, and none waits for its end
          for (let count = 0; count < 3; count++) {
            const used = Effect.flatMap(manager.acquire(userId, id, { mode }), ({ lease, secret }) =>
              Effect.as(lease.check, accessToken(secret))
            )
            const acquired = yield* Effect.fork(Effect.scoped(used))
            yield* settle
            assert.deepStrictEqual(yield* Fiber.poll(acquired), Option.some(Exit.succeed("access-0")))
          }
          assert.strictEqual(provider.spent.length, 1)
          const { lease } = yield* manager.acquire(userId, id, { mode })
          yield* adjust("10 seconds")
          // stored under the holder's eyes, who keeps what it has
          yield* lease.check
          assert.strictEqual(accessToken(yield* get(id)), "access-1")
          assert.strictEqual(provider.spent.length, 1)
        }).pipe(Effect.provide(layer), Effect.scoped)
      }
    )
  }

  it.effect("does not happen where the provider keeps the old one: nobody waits", () => {
    const { layer, provider } = world({ provider: { refreshInvalidatesAccessToken: false } })
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      yield* manager.acquire(userId, id)
      yield* adjust("56 minutes")
      provider.next((spend) => Effect.delay(Effect.sync(spend), "10 seconds"))
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      // who is served at once does not wait for the sending either
      yield* settle
      assert.strictEqual(provider.spent.length, 1)
      yield* adjust("10 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
    }).pipe(Effect.provide(layer), Effect.scoped)
  })
})

describe("refresh", () => {
  it.effect("is shared by those who ask at once, and does nothing when the generation has moved on", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      provider.next((spend) => Effect.delay(Effect.sync(spend), "1 second"))
      const callers = yield* Effect.fork(
        Effect.all(
          Array.from({ length: 32 }, () => manager.refresh(userId, id)),
          { concurrency: "unbounded" }
        )
      )
      yield* adjust("1 second")
      assert.deepStrictEqual([...new Set((yield* Fiber.join(callers)).map(({ generation }) => generation))], [2])
      assert.strictEqual((yield* manager.refresh(userId, id, { ifGeneration: 1 })).generation, 2)
      assert.strictEqual(provider.spent.length, 1)
      assert.strictEqual((yield* manager.refresh(userId, id, { ifGeneration: 2 })).generation, 3)
    }).pipe(Effect.provide(layer))
  })
})

describe("shutdown", () => {
  it.effect("awaits the exchange that is under way, and stores what it brings", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layer, scope)
      const answered = yield* Deferred.make<void>()
      yield* Effect.gen(function* () {
        const id = yield* given()
        provider.next((spend) => Effect.zipRight(Deferred.await(answered), Effect.sync(spend)))
        yield* Effect.fork(get(id))
        yield* settle
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* adjust("1 second")
        assert.isTrue(Option.isNone(yield* Fiber.poll(closing)))
        yield* Deferred.succeed(answered, undefined)
        yield* Fiber.join(closing)
        const stored = yield* Effect.flatMap(Store, (store) => store.get(userId, id))
        assert.strictEqual(stored.generation, 2)
      }).pipe(Effect.provide(context))
    })
  })
})
