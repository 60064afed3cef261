import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { type CredentialId, CredentialId as CredentialIdSchema } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { credentialKey, LockService } from "../src/LockService.ts"
import { Store } from "../src/Store.ts"
import { accessToken, adjust, answer, given, settle, userId, world } from "./ScriptedHandler.ts"

const holders = (id: CredentialId) =>
  Effect.flatMap(LockService, (locks) =>
    Effect.map(locks.inspect(credentialKey(userId, id)), (seen) => seen.holders.length)
  )

const absent = CredentialIdSchema.to.make("00000000-0000-4000-8000-000000000000")

describe("fresh", () => {
  it.effect("answers what need not be renewed, and of what is due nothing, without a renewal", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const fresh = yield* given({ expiresIn: 3600 })
      const due = yield* given()
      const secret = yield* manager.fresh(userId, fresh)
      assert.deepStrictEqual(secret, Option.some(yield* manager.get(userId, fresh)))
      assert.isTrue(Option.isNone(yield* manager.fresh(userId, due)))
      assert.deepStrictEqual(provider.spent, [])
      assert.strictEqual((yield* Effect.flip(manager.fresh(userId, absent)))._tag, "CredentialNotFound")
    }).pipe(Effect.provide(layer))
  })
})

describe("acquire", () => {
  it.effect("lends the secret until its scope closes: on success, failure and interruption", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const held: Array<number> = []
      const inspect = Effect.map(holders(id), (count) => held.push(count))
      const use = <A, E, R>(then: Effect.Effect<A, E, R>) =>
        Effect.scoped(Effect.zipRight(manager.acquire(userId, id), Effect.zipRight(inspect, then)))
      yield* use(Effect.void)
      yield* Effect.zipRight(Effect.flip(use(Effect.fail("no"))), inspect)
      const user = yield* Effect.fork(use(Effect.never))
      yield* settle
      yield* Effect.zipRight(Fiber.interrupt(user), inspect)
      assert.deepStrictEqual(held, [1, 1, 0, 1, 0])
    }).pipe(Effect.provide(layer))
  })

  it.effect("that finds nothing, or whose renewal fails, holds nothing", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      provider.always(() => Effect.succeed(answer(400, { error: "invalid_grant" })))
      assert.strictEqual((yield* Effect.flip(manager.acquire(userId, id)))._tag, "NeedsReauth")
      assert.strictEqual(yield* holders(id), 0)
      assert.strictEqual((yield* Effect.flip(manager.acquire(userId, absent)))._tag, "CredentialNotFound")
      assert.strictEqual(yield* holders(absent), 0)
    }).pipe(Effect.provide(layer), Effect.scoped)
  })

  it.effect("of a due credential renews it first, holding nothing meanwhile", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      const locks = yield* LockService
      const seen: Array<number> = []
      provider.next((spend) =>
        Effect.map(locks.inspect(credentialKey(userId, id)), (now) => {
          seen.push(now.holders.length)
          return spend()
        })
      )
      const { lease, secret } = yield* manager.acquire(userId, id)
      assert.strictEqual(accessToken(secret), "access-1")
      assert.deepStrictEqual(seen, [0])
      yield* lease.check
    }).pipe(Effect.provide(layer), Effect.scoped)
  })

  it.effect("by 32 contenders of a due credential costs one renewal, and each is alone", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      let inside = 0
      const tokens = yield* Effect.all(
        Array.from({ length: 32 }, () =>
          Effect.scoped(
            Effect.gen(function* () {
              const { secret } = yield* manager.acquire(userId, id)
              assert.strictEqual(++inside, 1)
              yield* Effect.yieldNow()
              inside--
              return accessToken(secret)
            })
          )
        ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual([...new Set(tokens)], ["access-1"])
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("waits no longer than it may, and leaves nothing in the queue", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      yield* manager.acquire(userId, id)
      const waiting = yield* Effect.fork(Effect.flip(Effect.scoped(manager.acquire(userId, id, { wait: "2 seconds" }))))
      yield* adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "LockTimeout")
      const seen = yield* Effect.flatMap(LockService, (locks) => locks.inspect(credentialKey(userId, id)))
      assert.strictEqual(seen.waiting, 0)
    }).pipe(Effect.provide(layer), Effect.scoped)
  })

  it.effect("of a fresh credential reads the store once, and get does so without a lock", () => {
    const { layer, reach } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      reach.calls.length = 0
      yield* Effect.scoped(manager.acquire(userId, id))
      assert.deepStrictEqual(reach.calls, ["get"])
      yield* manager.acquire(userId, id)
      yield* manager.get(userId, id)
      assert.deepStrictEqual(reach.calls, ["get", "get", "get"])
    }).pipe(Effect.provide(layer), Effect.scoped)
  })
})

describe("acquireAll", () => {
  it.effect("takes all in the order of their ids, whatever order it is asked in: nobody stalls", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const one = yield* given({ expiresIn: 3600, refreshToken: "r-one" })
      const other = yield* given({ expiresIn: 3600, refreshToken: "r-other" })
      const pair = (ids: ReadonlyArray<CredentialId>) =>
        Effect.scoped(
          Effect.gen(function* () {
            const lent = yield* manager.acquireAll(userId, ids)
            yield* Effect.yieldNow()
            return lent.map(({ secret }) => secret.credentialId)
          })
        )
      const all = yield* Effect.all(
        Array.from({ length: 40 }, (_, index) => pair(index % 2 ? [one, other] : [other, one])),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(all[1], [one, other])
      assert.deepStrictEqual(all[0], [other, one])
    }).pipe(Effect.provide(layer))
  })

  it.effect(
    "gives all back when one of them becomes due meanwhile: its renewal may need what is held of its grant",
    () => {
      const { layer, provider } = world()
      return Effect.gen(function* () {
        const manager = yield* CredentialsManager
        const locks = yield* LockService
        // both of one grant
        const ids = [yield* given({ expiresIn: 3600 }), yield* given({ expiresIn: 3600 })].sort()
        const [, last] = ids
        if (last === undefined) return assert.fail()
        const busy = yield* Effect.fork(
          Effect.scoped(Effect.zipRight(locks.acquire(credentialKey(userId, last)), Effect.sleep("1 second")))
        )
        yield* settle
        const lent = yield* Effect.fork(Effect.scoped(manager.acquireAll(userId, ids)))
        yield* settle
        yield* manager.report(userId, last, { generation: 1, status: 401 })
        yield* adjust("1 second")
        yield* Fiber.join(busy)
        yield* settle
        // without waiting for anything but the holder
        const done = yield* Fiber.poll(lent)
        assert.isTrue(Option.isSome(done))
        const all = yield* Fiber.join(lent)
        assert.deepStrictEqual(
          all.map(({ secret }) => accessToken(secret)),
          ["access-1", "access-1"]
        )
        assert.deepStrictEqual(provider.spent, ["refresh-0"])
      }).pipe(Effect.provide(layer))
    }
  )

  it.effect("gives all back when one cannot be had", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const dead = yield* given({ refreshToken: null })
      assert.strictEqual((yield* Effect.flip(manager.acquireAll(userId, [id, dead])))._tag, "NeedsReauth")
      assert.strictEqual(yield* holders(id), 0)
      assert.strictEqual(yield* holders(dead), 0)
    }).pipe(Effect.provide(layer), Effect.scoped)
  })
})

describe("a lent lease", () => {
  const lend = (id: CredentialId, options: { readonly owner?: string; readonly wait?: Duration.DurationInput } = {}) =>
    Effect.flatMap(CredentialsManager, (manager) =>
      manager.lend(userId, id, { owner: options.owner ?? "key-1", ttl: "60 seconds", wait: options.wait ?? 0 })
    )

  it.effect("excludes others until it is released, by its owner alone", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const { lease, secret } = yield* lend(id)
      assert.strictEqual(accessToken(secret), "access-0")
      assert.strictEqual((yield* Effect.flip(lend(id)))._tag, "LockTimeout")
      assert.strictEqual(
        (yield* Effect.flip(manager.releaseLease(lease.leaseId, { owner: "key-2" })))._tag,
        "LeaseLost"
      )
      yield* manager.releaseLease(lease.leaseId, { owner: "key-1" })
      const next = yield* lend(id)
      assert.isAbove(next.lease.fencingToken, lease.fencingToken)
    }).pipe(Effect.provide(layer))
  })

  it.effect("ends by its time, and lasts as long as it is renewed", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 36_000 })
      const { lease } = yield* lend(id)
      yield* adjust("50 seconds")
      yield* manager.renewLease(lease.leaseId, { owner: "key-1", ttl: "60 seconds" })
      yield* adjust("50 seconds")
      assert.strictEqual((yield* Effect.flip(lend(id)))._tag, "LockTimeout")
      yield* adjust("10 seconds")
      const next = yield* lend(id)
      assert.isAbove(next.lease.fencingToken, lease.fencingToken)
      const late = manager.renewLease(lease.leaseId, { owner: "key-1", ttl: "60 seconds" })
      assert.strictEqual((yield* Effect.flip(late))._tag, "LeaseLost")
    }).pipe(Effect.provide(layer))
  })

  it.effect("whose holder names it is not waited for by a replacement or a deletion", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const { lease } = yield* lend(id)
      const leaseId = yield* manager.heldLease(lease.leaseId, { owner: "key-1" })
      const renamed = { title: "renamed", variant: { type: "oauth2" } } as const
      assert.strictEqual((yield* Effect.flip(manager.update(userId, id, renamed, { wait: 0 })))._tag, "LockTimeout")
      assert.strictEqual((yield* manager.update(userId, id, renamed, { wait: 0, leaseId })).title, "renamed")
      assert.deepStrictEqual(yield* manager.delete(userId, id, { wait: 0, leaseId }), { deleted: true, revoked: true })
      assert.deepStrictEqual(provider.revoked, ["refresh-0"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("ends with its user, who is gone with all that was theirs", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      yield* given({ expiresIn: 3600, refreshToken: "another" })
      const { lease } = yield* lend(id)
      assert.deepStrictEqual(yield* manager.deleteUser(userId, { wait: 0 }), { deleted: 2 })
      const renewal = manager.renewLease(lease.leaseId, { owner: "key-1", ttl: "1 minute" })
      assert.strictEqual((yield* Effect.flip(renewal))._tag, "LeaseLost")
      // the first revocation would have ended the second credential's grant
      assert.deepStrictEqual(provider.revoked.length, 1)
      assert.isFalse(yield* manager.exists(userId, id))
    }).pipe(Effect.provide(layer))
  })
})

describe("delete", () => {
  it.effect("waits for the renewal that is under way, and revokes what it brought", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "1 second"))
      const reader = yield* Effect.fork(manager.get(userId, id))
      yield* settle
      const deletion = yield* Effect.fork(manager.delete(userId, id))
      yield* adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(deletion), { deleted: true, revoked: true })
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-1")
      assert.deepStrictEqual(provider.revoked, ["refresh-1"])
      assert.strictEqual((yield* Effect.flip(manager.get(userId, id)))._tag, "CredentialNotFound")
    }).pipe(Effect.provide(layer))
  })

  it.effect("does not revoke what would end another credential's grant, nor what it was asked to leave", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const one = yield* given()
      const other = yield* given({ refreshToken: "another" })
      assert.deepStrictEqual(yield* manager.delete(userId, one), { deleted: true, revoked: null })
      assert.deepStrictEqual(yield* manager.delete(userId, other, { revoke: false }), { deleted: true, revoked: false })
      assert.deepStrictEqual(provider.revoked, [])
      const later = yield* Effect.flatMap(Store, (store) =>
        Effect.zipRight(TestClock.adjust("1 hour"), store.revocations(10))
      )
      assert.deepStrictEqual(later, [])
    }).pipe(Effect.provide(layer))
  })
})

describe("cachedGetter", () => {
  it.effect("renews once however often it is called, and keeps what it renewed", () => {
    const { layer, provider, reach } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      const getter = yield* manager.cachedGetter(userId)
      const tokens = yield* Effect.replicateEffect(getter(id), 10)
      assert.deepStrictEqual([...new Set(tokens.map((one) => accessToken(Option.getOrThrow(one))))], ["access-1"])
      assert.strictEqual(provider.spent.length, 1)
      assert.isTrue(Option.isNone(yield* getter(absent)))
      assert.strictEqual(reach.calls.filter((name) => name === "all").length, 1)
    }).pipe(Effect.provide(layer))
  })
})
