/** Callers that go away, and users that act meanwhile, in this process: each for each operation. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import { type RenewalError } from "../../src/CredentialsManager.ts"
import { Change } from "../../src/Store.ts"
import type { Driver } from "../../src/Store/Driver.ts"
import * as ScriptedHandler from "../ScriptedHandler.ts"
import { accessToken, adjust, providerId, settle, userId } from "../ScriptedHandler.ts"
import * as Faults from "./Faults.ts"
import { perform } from "./Operations.ts"
import { make, theirs, type World } from "./Scripted.ts"

const timesOut = Faults.each(
  "times out",
  "the exchange and the save go on, and the next caller has the token",
  (operation) =>
    Effect.gen(function* () {
      const { id, isUnlocked, manager, provider, stored } = yield* make()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "10 seconds"))
      const asked = yield* Effect.fork(Effect.flip(perform(operation, manager, userId, id, { wait: "1 second" })))
      yield* adjust("1 second")
      assert.strictEqual((yield* Fiber.join(asked))._tag, "LockTimeout")
      yield* isUnlocked
      yield* adjust("9 seconds")
      assert.deepStrictEqual(yield* stored, { generation: 2, accessToken: "access-1" })
      yield* perform("acquire", manager, userId, id, { wait: "0 seconds" })
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
    })
)

const stepMillis = 10

/** An engine of which each step takes a while, so that there are moments between them. */
const slowly = (driver: Driver) => {
  let isSlow = false
  const step = (self: Effect.Effect<unknown, unknown>) =>
    Effect.suspend(() => (isSlow ? Effect.delay(self, stepMillis) : self))
  const slow = Object.fromEntries(
    Object.entries(driver).map(([name, value]: readonly [string, unknown]) => [
      name,
      typeof value === "function"
        ? (...given: ReadonlyArray<unknown>) => step(value(...given))
        : Effect.isEffect(value)
          ? step(value as Effect.Effect<unknown>)
          : value
    ])
  ) as unknown as Driver
  return { driver: slow, setSlow: (value: boolean) => void (isSlow = value) }
}

/** So many moments, one after the other: what begins in one can end in a later one. */
const moments = (count: number) =>
  Effect.repeatN(Effect.zipRight(TestClock.adjust(stepMillis / 2), Effect.yieldNow()), count - 1)

const interrupted = Faults.each(
  "interrupted anywhere",
  "before it is sent nothing is spent, after it the answer is stored; no lock is left",
  (operation) =>
    Effect.gen(function* () {
      const seen = { unsent: 0, sent: 0, done: 0 }
      for (let moment = 1; seen.done < 1 && moment < 100; moment += 2) {
        const engine = yield* ScriptedHandler.engine
        const { driver, setSlow } = slowly(engine.driver)
        const { id, isUnlocked, manager, provider, stored } = yield* make({ engine: { ...engine, driver } })
        provider.always((spend) => Effect.delay(Effect.delay(Effect.sync(spend), 3 * stepMillis), 3 * stepMillis))
        setSlow(true)
        const caller = yield* Effect.fork(perform(operation, manager, userId, id))
        yield* moments(moment)
        const isDone = Option.isSome(yield* Fiber.poll(caller))
        const isSent = provider.spent.length > 0
        seen[isDone ? "done" : isSent ? "sent" : "unsent"]++
        const interruption = yield* Effect.fork(Fiber.interrupt(caller))
        yield* moments(40)
        yield* Fiber.join(interruption)
        setSlow(false)
        // a flight belongs to nobody: it goes on once it was started
        const { generation } = yield* stored
        assert.strictEqual(generation, provider.spent.length + 1)
        if (isSent) assert.strictEqual(generation, 2)
        yield* isUnlocked
        const next = yield* Effect.fork(perform("acquire", manager, userId, id))
        yield* moments(20)
        assert.strictEqual((yield* Fiber.join(next)).accessToken, "access-1")
        assert.deepStrictEqual([provider.spent, provider.reuses()], [["refresh-0"], 0])
      }
      assert.isAtLeast(seen.unsent, 3)
      assert.isAtLeast(seen.sent, 3)
    })
)

const replacing = {
  updates: ({ id, manager }: World) => Effect.flatMap(theirs, (replacement) => manager.update(userId, id, replacement)),
  reconnects: ({ id, logins }: World) =>
    Effect.gen(function* () {
      const { state } = yield* logins.authorize(userId, providerId, { credentialId: id })
      return yield* logins.callback({ state, code: Redacted.make("code") }, { userId, provider: providerId })
    })
}

const replaced = (["updates", "reconnects"] as const).flatMap((way) =>
  Faults.each(way, "theirs is stored and served to who waits, and the answer that came late is kept", (operation) =>
    Effect.gen(function* () {
      const world = yield* make()
      const { id, manager, provider, receipts, store, stored } = world
      provider.next((spend) => Effect.delay(Effect.sync(spend), "5 seconds"))
      const asked = yield* Effect.fork(perform(operation, manager, userId, id))
      yield* settle
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      yield* replacing[way](world)
      const own = yield* stored
      assert.strictEqual(own.generation, 2)
      yield* adjust("5 seconds")
      const served = yield* Fiber.join(asked)
      assert.strictEqual(served.generation, 2)
      if (operation !== "refresh") assert.strictEqual(served.accessToken, own.accessToken)
      yield* adjust("10 minutes")
      assert.deepStrictEqual(yield* stored, own)
      assert.lengthOf(yield* receipts.all, 1)
      assert.deepStrictEqual(yield* store.openAttempts, [])
      assert.deepStrictEqual([provider.spent, provider.reuses()], [["refresh-0"], 0])
    })
  )
)

const isGone = ({ id, manager }: World) =>
  Effect.gen(function* () {
    for (const operation of Faults.operations) {
      const error = yield* Effect.flip(perform(operation, manager, userId, id))
      assert.strictEqual(error._tag, "CredentialNotFound")
    }
    const { items } = yield* manager.list(userId, {}, { limit: 50, after: Option.none() })
    assert.deepStrictEqual(items, [])
  })

const deletedMeanwhile = Faults.each(
  "deleted during its refresh",
  "the refresh ends first, what it brought is revoked, and nothing comes back",
  (operation) =>
    Effect.gen(function* () {
      const world = yield* make()
      const { id, manager, provider, store } = world
      provider.next((spend) => Effect.delay(Effect.sync(spend), "5 seconds"))
      const asked = yield* Effect.fork(Effect.either(perform(operation, manager, userId, id)))
      yield* settle
      const deleting = yield* Effect.fork(manager.delete(userId, id))
      yield* adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(deleting), { deleted: true, revoked: true })
      assert.deepStrictEqual(provider.revoked, ["refresh-1"])
      yield* Fiber.join(asked)
      yield* adjust("10 minutes")
      yield* isGone(world)
      assert.deepStrictEqual(yield* store.openAttempts, [])
      assert.deepStrictEqual([provider.spent, provider.reuses()], [["refresh-0"], 0])
    })
)

const goneMeanwhile = Faults.each(
  "gone before the answer is stored",
  "whoever waits is told so, the answer is kept, and nothing comes back",
  (operation) =>
    Effect.gen(function* () {
      const world = yield* make()
      const { id, manager, provider, receipts, store } = world
      provider.next((spend) => Effect.delay(Effect.sync(spend), "5 seconds"))
      const asked = yield* Effect.fork(Effect.flip(perform(operation, manager, userId, id)))
      yield* settle
      yield* store.commit([Change.Remove({ userId, id, generation: 1 })])
      yield* adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(asked))._tag, "CredentialNotFound")
      yield* adjust("10 minutes")
      yield* isGone(world)
      assert.lengthOf(yield* receipts.all, 1)
      assert.deepStrictEqual(yield* store.openAttempts, [])
      assert.deepStrictEqual([provider.spent, provider.reuses()], [["refresh-0"], 0])
    })
)

const deletedWhileLent = Faults.each(
  "deleted while it is lent",
  "its holder is waited for, or deletes it by its lease; what it does then finds nothing",
  (operation) =>
    Effect.gen(function* () {
      const world = yield* make()
      const { id, manager, provider } = world
      yield* Effect.gen(function* () {
        const { lease } = yield* manager.acquire(userId, id)
        const other = yield* Effect.fork(Effect.flip(manager.delete(userId, id, { wait: "1 second" })))
        yield* adjust("1 second")
        assert.strictEqual((yield* Fiber.join(other))._tag, "LockTimeout")
        assert.strictEqual(accessToken(yield* manager.get(userId, id)), "access-1")
        yield* manager.delete(userId, id, { leaseId: lease.id })
        const options = { leaseId: lease.id, wait: "1 second", refresh: "force" } as const
        const mine: Effect.Effect<unknown, RenewalError> =
          operation === "get"
            ? manager.get(userId, id, options)
            : operation === "refresh"
              ? manager.refresh(userId, id, options)
              : Effect.scoped(manager.acquire(userId, id, { mode: "shared", wait: 0 }))
        const error = yield* Effect.flip(mine)
        // who asks for another lease is in the way of their own
        assert.strictEqual(error._tag, operation === "acquire" ? "LockTimeout" : "CredentialNotFound")
      }).pipe(Effect.scoped)
      yield* adjust("10 minutes")
      yield* isGone(world)
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      assert.deepStrictEqual(provider.revoked, ["refresh-1"])
    })
)

Faults.play([...timesOut, ...interrupted, ...replaced, ...deletedMeanwhile, ...goneMeanwhile, ...deletedWhileLent])
