import { assert, layer as withLayer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as LockService from "../../src/LockService.ts"

type Locks = LockService.LockService["Type"]

/** Long enough for an answer to come over the network. */
export const settle = Effect.sleep("60 millis")

/** A lease that somebody else ends: its scope, closed by `release`. */
export const hold = (locks: Locks, key: LockService.Key, options?: LockService.Options) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const lease = yield* Scope.extend(locks.acquire(key, options), scope)
    return { lease, release: Effect.zipRight(Scope.close(scope, Exit.void), settle) }
  })

/** Starts contenders one after the other; each writes its name down once it holds, and goes on at once. */
export const queue = (locks: Locks, key: LockService.Key) =>
  Effect.sync(() => {
    const order: Array<string> = []
    const enter = (name: string, options?: LockService.Options) =>
      Effect.scoped(
        Effect.zipRight(
          locks.acquire(key, options),
          Effect.sync(() => order.push(name))
        )
      ).pipe(Effect.fork, Effect.zipLeft(settle))
    return { order, enter }
  })

export const fails = <A, E, R>(tag: string, effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => assert.propertyVal(error, "_tag", tag))

const holderIds = (locks: Locks, key: LockService.Key) =>
  Effect.map(locks.inspect(key), ({ holders }) => holders.map(({ id }) => id).sort())

const isFree = (locks: Locks, key: LockService.Key) =>
  Effect.zipRight(
    settle,
    Effect.map(locks.inspect(key), (seen) => assert.deepStrictEqual(seen, { holders: [], waiting: 0 }))
  )

export const hasPassed = (effect: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* settle
    const done = yield* Fiber.poll(fiber)
    yield* Fiber.interrupt(fiber)
    return Option.isSome(done)
  })

/** What every engine does as a `LockService`, in real time. */
export const suite = <E>(name: string, layer: Layer.Layer<LockService.LockService, E>) =>
  withLayer(layer, { timeout: "60 seconds", excludeTestServices: true })(`LockService: ${name}`, (it) => {
    const test = <E>(fact: string, run: (locks: Locks, key: LockService.Key) => Effect.Effect<void, E, Scope.Scope>) =>
      it.scoped(fact, () => Effect.flatMap(LockService.LockService, (locks) => run(locks, randomUUID())))

    test("of 64 contenders for an exclusive lease one holds at any moment, and all come to hold", (locks, key) =>
      Effect.gen(function* () {
        let inside = 0
        let most = 0
        const contender = Effect.scoped(
          Effect.gen(function* () {
            const lease = yield* locks.acquire(key)
            most = Math.max(most, ++inside)
            yield* Effect.sleep("1 millis")
            yield* lease.check
            inside--
          })
        )
        yield* Effect.all(
          Array.from({ length: 64 }, () => contender),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(most, 1)
        yield* isFree(locks, key)
      }))

    test("shared leases are held together, and keep an exclusive one out until the last is released", (locks, key) =>
      Effect.gen(function* () {
        const readers = yield* Effect.replicateEffect(hold(locks, key, { mode: "shared" }), 40)
        const { enter, order } = yield* queue(locks, key)
        yield* enter("writer")
        for (const reader of readers.slice(0, 3)) yield* reader.release
        assert.deepStrictEqual(order, [])
        yield* Effect.forEach(readers.slice(3), ({ release }) => release, { concurrency: "unbounded" })
        assert.deepStrictEqual(order, ["writer"])
        yield* isFree(locks, key)
      }))

    test("a reader that comes after a waiting exclusive contender waits behind it; readers then go together", (locks, key) =>
      Effect.gen(function* () {
        const reader = yield* hold(locks, key, { mode: "shared" })
        const { enter, order } = yield* queue(locks, key)
        yield* enter("exclusive")
        let together = 0
        const behind = Effect.scoped(
          Effect.gen(function* () {
            yield* locks.acquire(key, { mode: "shared" })
            order.push("shared")
            together++
            yield* Effect.never
          })
        )
        const readers = yield* Effect.replicateEffect(Effect.fork(behind), 3)
        yield* settle
        assert.deepStrictEqual(order, [])
        yield* reader.release
        yield* settle
        assert.deepStrictEqual(order, ["exclusive", "shared", "shared", "shared"])
        assert.strictEqual(together, 3)
        yield* Fiber.interruptAll(readers)
        yield* isFree(locks, key)
      }))

    test("equals are served in the order in which they came, and a writer before users", (locks, key) =>
      Effect.gen(function* () {
        const held = yield* hold(locks, key)
        const { enter, order } = yield* queue(locks, key)
        for (const name of ["one", "two", "three"]) yield* enter(name)
        yield* enter("writer", { priority: "writer" })
        yield* held.release
        yield* settle
        assert.deepStrictEqual(order, ["writer", "one", "two", "three"])
      }))

    test("a wait ends with LockTimeout at its bound, and leaves nothing behind", (locks, key) =>
      Effect.gen(function* () {
        const held = yield* hold(locks, key)
        yield* fails("LockTimeout", locks.acquire(key, { wait: "100 millis" }))
        yield* fails("LockTimeout", locks.take(key, { wait: "100 millis", ttl: "1 minute" }))
        yield* held.release
        yield* isFree(locks, key)
      }))

    test("waiting for no time answers at once: what is free is had, what is held is LockTimeout", (locks, key) =>
      Effect.gen(function* () {
        const held = yield* hold(locks, key, { wait: 0 })
        yield* fails("LockTimeout", locks.acquire(key, { wait: 0 }))
        yield* fails("LockTimeout", locks.take(key, { wait: 0, ttl: "1 second" }))
        yield* held.release
        const taken = yield* locks.take(key, { wait: 0, ttl: "1 minute" })
        yield* fails("LockTimeout", locks.acquire(key, { wait: 0 }))
        yield* locks.release(key, taken.id)
        yield* isFree(locks, key)
      }))

    test("an interrupted wait leaves nothing, and the next in the queue is served", (locks, key) =>
      Effect.gen(function* () {
        const held = yield* hold(locks, key)
        const { enter, order } = yield* queue(locks, key)
        const gone = yield* enter("gone")
        yield* enter("next")
        const taker = yield* Effect.fork(Effect.uninterruptible(locks.take(key, { ttl: "1 hour" })))
        yield* settle
        yield* Fiber.interrupt(gone)
        assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(taker)))
        yield* held.release
        yield* settle
        assert.deepStrictEqual(order, ["next"])
        yield* isFree(locks, key)
      }))

    test("an interruption that races with the grant never leaks a hold", (locks, key) =>
      Effect.gen(function* () {
        for (let round = 0; round < 40; round++) {
          const fibers = yield* Effect.replicateEffect(
            Effect.fork(Effect.scoped(Effect.zipRight(locks.acquire(key), Effect.sleep(round % 3)))),
            4
          )
          const taker = yield* Effect.fork(Effect.uninterruptible(locks.take(key, { ttl: "1 minute" })))
          yield* Effect.sleep(round % 5)
          yield* Effect.forEach(fibers.slice(0, 2), Fiber.interruptFork)
          const exit = yield* Fiber.interrupt(taker)
          if (Exit.isSuccess(exit)) yield* locks.release(key, exit.value.id)
          yield* Effect.forEach(fibers, Fiber.await)
        }
        yield* isFree(locks, key)
      }))

    test("fencing tokens rise with every lease of a key, of either mode, taken or scoped", (locks, key) =>
      Effect.gen(function* () {
        const fences: Array<number> = []
        for (let round = 0; round < 20; round++) {
          const mode = round % 2 === 0 ? ("shared" as const) : ("exclusive" as const)
          fences.push(
            yield* Effect.scoped(Effect.map(locks.acquire(key, { mode }), ({ fencingToken }) => fencingToken))
          )
          const taken = yield* locks.take(key, { mode, ttl: "1 second" })
          fences.push(taken.fencingToken)
          assert.strictEqual((yield* locks.renew(key, taken.id, "1 second")).fencingToken, taken.fencingToken)
          yield* locks.release(key, taken.id)
        }
        assert.deepStrictEqual(
          fences,
          [...new Set(fences)].sort((one, other) => one - other)
        )
      }))

    test("a taken lease outlives its scope, and is released by its id, once", (locks, key) =>
      Effect.gen(function* () {
        const id = randomUUID()
        yield* Effect.scoped(locks.take(key, { ttl: "1 minute", id }))
        assert.deepStrictEqual(yield* holderIds(locks, key), [id])
        yield* fails("LeaseLost", locks.release(key, "another"))
        yield* fails("LeaseLost", locks.renew("another", id, "1 minute"))
        yield* fails("LeaseLost", locks.lend("another", id, "to"))
        yield* locks.release(key, id)
        yield* isFree(locks, key)
        yield* fails("LeaseLost", locks.release(key, id))
        yield* fails("LeaseLost", locks.renew(key, id, "1 minute"))
      }))

    for (const mode of ["exclusive", "shared"] as const) {
      test(`a taken ${mode} lease lasts as long as it is renewed, and then the next is served`, (locks, key) =>
        Effect.gen(function* () {
          const taken = yield* locks.take(key, { mode, ttl: "800 millis" })
          const told = yield* Effect.fork(taken.lost)
          const { enter, order } = yield* queue(locks, key)
          yield* enter("next")
          for (let round = 0; round < 3; round++) {
            yield* Effect.sleep("300 millis")
            yield* locks.renew(key, taken.id, "800 millis")
            yield* taken.check
          }
          assert.deepStrictEqual(order, [])
          yield* Effect.sleep("1 second")
          assert.deepStrictEqual(order, ["next"])
          yield* Fiber.join(told)
          yield* fails("LeaseLost", taken.check)
          yield* fails("LeaseLost", locks.renew(key, taken.id, "10 seconds"))
          yield* fails("LeaseLost", locks.release(key, taken.id))
          yield* isFree(locks, key)
        }))
    }

    test("lost does not complete on a release", (locks, key) =>
      Effect.gen(function* () {
        const scoped = yield* hold(locks, key)
        yield* scoped.release
        const taken = yield* locks.take(key, { ttl: "1 hour" })
        yield* locks.release(key, taken.id)
        for (const { check, lost } of [scoped.lease, taken]) {
          assert.isFalse(yield* hasPassed(lost))
          yield* fails("LeaseLost", check)
        }
      }))

    for (const lender of ["scoped", "taken"] as const) {
      for (const mode of ["exclusive", "shared"] as const) {
        test(`a ${lender} ${mode} lease lends: the named contender passes ahead of the queue, and nobody else`, (locks, key) =>
          Effect.gen(function* () {
            const held = yield* lender === "scoped"
              ? hold(locks, key, { mode })
              : Effect.map(locks.take(key, { mode, ttl: "1 minute" }), (lease) => ({
                  lease,
                  release: Effect.zipRight(locks.release(key, lease.id), settle)
                }))
            const { enter, order } = yield* queue(locks, key)
            const named = randomUUID()
            yield* enter("before", { priority: "writer" })
            const passing = yield* Effect.fork(hold(locks, key, { id: named }))
            yield* settle
            yield* locks.lend(key, held.lease.id, named)
            const passed = yield* Fiber.join(passing)
            assert.isAbove(passed.lease.fencingToken, held.lease.fencingToken)
            yield* enter("reader", { mode: "shared" })
            yield* held.lease.check
            // whoever ends first, the others stay out
            yield* held.release
            yield* passed.lease.check
            assert.deepStrictEqual(order, [])
            yield* passed.release
            yield* settle
            assert.deepStrictEqual(order, ["before", "reader"])
            yield* isFree(locks, key)
          }))
      }

      test(`a ${lender} lease lends to a contender that is still to come`, (locks, key) =>
        Effect.gen(function* () {
          const lease = yield* lender === "scoped"
            ? Effect.map(hold(locks, key), ({ lease }) => lease)
            : locks.take(key, { ttl: "1 minute" })
          const named = randomUUID()
          yield* locks.lend(key, lease.id, named)
          yield* fails("LockTimeout", locks.acquire(key, { wait: 0 }))
          yield* Effect.scoped(locks.acquire(key, { id: named, wait: 0 }))
        }))
    }

    test("a lent hold does not let the named one pass other holders", (locks, key) =>
      Effect.gen(function* () {
        const lender = yield* hold(locks, key, { mode: "shared" })
        const other = yield* locks.take(key, { mode: "shared", ttl: "1 minute" })
        const { enter, order } = yield* queue(locks, key)
        const named = randomUUID()
        yield* enter("named", { id: named })
        yield* locks.lend(key, lender.lease.id, named)
        yield* settle
        assert.deepStrictEqual(order, [])
        yield* locks.release(key, other.id)
        yield* settle
        assert.deepStrictEqual(order, ["named"])
        yield* lender.release
        yield* isFree(locks, key)
      }))

    test("readers pass a waiting exclusive contender for as long as it yields, and then no more", (locks, key) =>
      Effect.gen(function* () {
        const reader = yield* hold(locks, key, { mode: "shared" })
        const { enter, order } = yield* queue(locks, key)
        yield* enter("exclusive", { priority: "writer", yieldsFor: "400 millis" })
        yield* enter("at once", { mode: "shared" })
        assert.deepStrictEqual(order, ["at once"])
        yield* Effect.sleep("400 millis")
        yield* enter("too late", { mode: "shared" })
        assert.deepStrictEqual(order, ["at once"])
        yield* reader.release
        yield* settle
        assert.deepStrictEqual(order, ["at once", "exclusive", "too late"])
      }))

    test("an adopted lease keeps others out, is renewed and released by its id, and ends by its time", (locks, key) =>
      Effect.gen(function* () {
        const id = randomUUID()
        yield* locks.adopt({ id, key, mode: "exclusive", fencingToken: 7, ttl: "300 millis" })
        assert.deepStrictEqual((yield* locks.inspect(key)).holders, [{ id, mode: "exclusive", fencingToken: 7 }])
        yield* fails("LockTimeout", locks.acquire(key, { wait: 0 }))
        assert.strictEqual((yield* locks.renew(key, id, "300 millis")).fencingToken, 7)
        const { enter, order } = yield* queue(locks, key)
        yield* enter("next")
        assert.deepStrictEqual(order, [])
        yield* Effect.sleep("350 millis")
        assert.deepStrictEqual(order, ["next"])
        yield* isFree(locks, key)
      }))

    test("several shared leases are adopted side by side", (locks, key) =>
      Effect.gen(function* () {
        for (const [index, id] of ["one", "two"].entries()) {
          yield* locks.adopt({ id, key, mode: "shared", fencingToken: 8 - index, ttl: "1 minute" })
        }
        yield* Effect.scoped(locks.acquire(key, { mode: "shared", wait: 0 }))
        assert.deepStrictEqual(yield* holderIds(locks, key), ["one", "two"])
        yield* Effect.forEach(["one", "two"], (id) => locks.release(key, id))
        yield* isFree(locks, key)
      }))

    test("releaseAll ends scoped leases, leaves taken ones, and serves who waited", (locks, key) =>
      Effect.gen(function* () {
        const { lease } = yield* hold(locks, key)
        const taken = yield* locks.take(randomUUID(), { ttl: "1 minute" })
        const { enter, order } = yield* queue(locks, key)
        yield* enter("waiting")
        yield* locks.releaseAll
        yield* settle
        assert.deepStrictEqual(order, ["waiting"])
        yield* fails("LeaseLost", lease.check)
        assert.isTrue(yield* hasPassed(lease.lost))
        yield* taken.check
        yield* locks.release(taken.key, taken.id)
      }))

    test("ping answers", (locks) => locks.ping)
  })
