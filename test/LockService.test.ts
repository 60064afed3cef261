/**
 * What the contract suite cannot see: exact times, timers, memory, interleavings, and an authority that others share.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { randomUUID } from "node:crypto"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { LeaseLost, LockTimeout, LockUnavailable } from "../src/CredentialsError.ts"
import * as LockService from "../src/LockService.ts"
import type { Authority, Cover } from "../src/LockService/Authority.ts"

const key = "credential:one"

const withLocks = <A, E, R>(use: (locks: LockService.LockService["Type"]) => Effect.Effect<A, E, R>) =>
  Effect.provide(Effect.flatMap(LockService.LockService, use), LockService.layerMemory)

/**
 * Like `withLocks`, and tells how many timers run: `TestClock.sleeps` counts those too that were interrupted.
 */
const withTimers = <A, E, R>(
  use: (locks: LockService.LockService["Type"], timers: Effect.Effect<number>) => Effect.Effect<A, E, R>
) =>
  Effect.flatMap(Effect.clock, (clock) => {
    let running = 0
    const counting: Clock.Clock = {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis(),
      currentTimeMillis: clock.currentTimeMillis,
      unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
      currentTimeNanos: clock.currentTimeNanos,
      sleep: (duration) =>
        Effect.acquireUseRelease(
          Effect.sync(() => running++),
          () => clock.sleep(duration),
          () => Effect.sync(() => running--)
        )
    }
    const timers = Effect.zipRight(
      settle,
      Effect.sync(() => running)
    )
    return Layer.build(LockService.layerMemory).pipe(
      Effect.withClock(counting),
      Effect.flatMap((context) => use(Context.get(context, LockService.LockService), timers)),
      Effect.scoped
    )
  })

/** Lets every fiber run as far as it can without time passing. */
const settle = Effect.repeatN(Effect.yieldNow(), 20)

/** A lease that somebody else ends: its scope, closed by `release`. */
const hold = (locks: LockService.LockService["Type"], options?: LockService.Options, of: LockService.Key = key) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const lease = yield* Scope.extend(locks.acquire(of, options), scope)
    return { lease, release: Scope.close(scope, Exit.void) }
  })

/** Starts contenders one after the other; each writes its name down once it holds, and goes on at once. */
const queue = (locks: LockService.LockService["Type"]) =>
  Effect.gen(function* () {
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

const isFree = (locks: LockService.LockService["Type"], of: LockService.Key = key) =>
  Effect.map(locks.inspect(of), (seen) => assert.deepStrictEqual(seen, { holders: [], waiting: 0 }))

const holderIds = (locks: LockService.LockService["Type"], of: LockService.Key = key) =>
  Effect.map(locks.inspect(of), ({ holders }) => holders.map(({ id }) => id))

const fails = <A, E, R>(tag: string, effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => assert.propertyVal(error, "_tag", tag))

const isDone = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) => Effect.map(Fiber.poll(fiber), Option.isSome)

const hasPassed = (effect: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* settle
    const done = yield* isDone(fiber)
    yield* Fiber.interrupt(fiber)
    return done
  })

describe("exclusion", () => {
  it.effect("a hand-over takes no time: 64 contenders that hold for none are through without the clock moving", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const contender = Effect.scoped(Effect.zipRight(locks.acquire(key), Effect.yieldNow()))
        yield* Effect.all(
          Array.from({ length: 64 }, () => contender),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(yield* Clock.currentTimeMillis, 0)
        yield* isFree(locks)
      })
    )
  )

  it.effect("keys do not know each other", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        yield* Effect.scoped(Effect.zipRight(locks.acquire("one"), locks.acquire("two", { wait: 0 })))
        yield* isFree(locks, "one")
        yield* isFree(locks, "two")
      })
    )
  )
})

describe("order", () => {
  it.effect("a writer overtakes users that came less than 3 s before it, and no older one", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const held = yield* hold(locks)
        const { enter, order } = yield* queue(locks)
        yield* enter("3.001 s older")
        yield* TestClock.adjust("1 millis")
        yield* enter("3 s older")
        yield* TestClock.adjust("1 millis")
        yield* enter("2.999 s older")
        yield* TestClock.adjust("2999 millis")
        yield* enter("writer", { priority: "writer" })
        yield* enter("younger")
        yield* held.release
        yield* settle
        assert.deepStrictEqual(order, ["3.001 s older", "3 s older", "writer", "2.999 s older", "younger"])
      })
    )
  )

  it.effect("a user is not starved by writers that keep coming: those that came 3 s after it wait for it", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const order: Array<string> = []
        const use = (name: string, options: LockService.Options) =>
          Effect.scoped(
            Effect.gen(function* () {
              yield* locks.acquire(key, { ...options, wait: "1 hour" })
              order.push(name)
              yield* Effect.sleep("1 second")
            })
          )
        yield* Effect.fork(use("first", { priority: "writer" }))
        yield* settle
        yield* Effect.fork(use("user", {}))
        // more work comes than can be done: the queue of writers only grows
        for (let index = 0; index < 40; index++) {
          yield* Effect.fork(use(`writer ${index}`, { priority: "writer" }))
          yield* TestClock.adjust("250 millis")
        }
        yield* TestClock.adjust("1 minute")
        assert.lengthOf(order, 42)
        // those of the first 3 seconds: 0, 250, …, 2750 ms
        assert.strictEqual(order.indexOf("user"), 1 + 12)
        yield* isFree(locks)
      })
    )
  )
})

describe("waiting", () => {
  it.effect("ends with LockTimeout at its bound, and leaves nothing behind", () =>
    withTimers((locks, timers) =>
      Effect.gen(function* () {
        const held = yield* hold(locks)
        const late = yield* Effect.fork(Effect.scoped(Effect.flip(locks.acquire(key, { wait: "5 seconds" }))))
        yield* TestClock.adjust("4999 millis")
        assert.isFalse(yield* isDone(late))
        yield* TestClock.adjust("1 millis")
        assert.instanceOf(yield* Fiber.join(late), LockTimeout)
        assert.strictEqual((yield* locks.inspect(key)).waiting, 0)
        yield* held.release
        yield* isFree(locks)
        assert.strictEqual(yield* timers, 0)
      })
    )
  )

  it.effect("lasts 30 seconds unless told otherwise", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        yield* hold(locks)
        const late = yield* Effect.fork(Effect.scoped(Effect.flip(locks.acquire(key))))
        yield* TestClock.adjust("29999 millis")
        assert.isFalse(yield* isDone(late))
        yield* TestClock.adjust("1 millis")
        assert.instanceOf(yield* Fiber.join(late), LockTimeout)
      })
    )
  )

  it.effect("that is served before its bound leaves no timer", () =>
    withTimers((locks, timers) =>
      Effect.gen(function* () {
        const held = yield* hold(locks)
        const { enter, order } = yield* queue(locks)
        yield* enter("next", { wait: "10 minutes" })
        yield* held.release
        yield* settle
        assert.deepStrictEqual(order, ["next"])
        assert.strictEqual(yield* timers, 0)
      })
    )
  )

  it.effect("a waiter that gives up or goes away frees those that waited behind it alone", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        yield* hold(locks, { mode: "shared" })
        for (const leave of ["timeout", "interruption"] as const) {
          const writer = yield* Effect.fork(Effect.scoped(locks.acquire(key, { wait: "1 second" })))
          yield* settle
          const { enter, order } = yield* queue(locks)
          yield* enter("reader", { mode: "shared" })
          assert.deepStrictEqual(order, [])
          yield* leave === "timeout" ? TestClock.adjust("1 second") : Fiber.interrupt(writer)
          yield* settle
          assert.deepStrictEqual(order, ["reader"], leave)
        }
      })
    )
  )

  it.effect("that is interrupted leaves nothing, and the next in the queue is served", () =>
    withTimers((locks, timers) =>
      Effect.gen(function* () {
        const held = yield* hold(locks)
        const { enter, order } = yield* queue(locks)
        const gone = yield* enter("gone")
        yield* enter("next")
        yield* Fiber.interrupt(gone)
        assert.strictEqual((yield* locks.inspect(key)).waiting, 1)
        yield* held.release
        yield* settle
        assert.deepStrictEqual(order, ["next"])
        yield* isFree(locks)
        assert.strictEqual(yield* timers, 0)
      })
    )
  )

  it.effect("can be interrupted within an uninterruptible region", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const held = yield* hold(locks)
        const waits = [
          Effect.scoped(locks.acquire(key, { wait: "1 hour" })),
          locks.take(key, { wait: "1 hour", ttl: "1 hour" })
        ]
        for (const wait of waits) {
          const waiter = yield* Effect.fork(Effect.uninterruptible(wait))
          yield* settle
          assert.strictEqual((yield* locks.inspect(key)).waiting, 1)
          assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(waiter)))
          assert.strictEqual((yield* locks.inspect(key)).waiting, 0)
        }
        yield* held.release
        yield* isFree(locks)
      })
    )
  )
})

describe("an interruption or a timeout that races with the grant", () => {
  /** Every round another interleaving, out of a seed that the failure names. */
  const rounds = 300

  it.effect("never leaks a scoped hold, and never lets two hold", () =>
    withLocks((locks) =>
      Effect.forEach(
        Array.from({ length: rounds }, (_, seed) => seed),
        (seed) =>
          Effect.gen(function* () {
            const round = `round:${seed}`
            const pause = Effect.flatMap(Random.nextIntBetween(0, 4), (times) =>
              Effect.repeatN(Effect.yieldNow(), times)
            )
            let inside = 0
            let most = 0
            const contender = Effect.scoped(
              Effect.gen(function* () {
                yield* locks.acquire(round, { wait: (yield* Random.nextIntBetween(0, 3)) * 10 })
                yield* Effect.acquireRelease(
                  Effect.sync(() => (most = Math.max(most, ++inside))),
                  () => Effect.sync(() => inside--)
                )
                yield* pause
              })
            )
            const fibers = yield* Effect.replicateEffect(Effect.zipLeft(Effect.fork(contender), pause), 6)
            const doomed = (yield* Random.shuffle(fibers)).pipe(Chunk.take(3))
            const acts = [...Chunk.map(doomed, Fiber.interruptFork), TestClock.adjust("10 millis")]
            yield* Effect.forEach(yield* Random.shuffle(acts), (act) => Effect.zipRight(pause, act))
            yield* TestClock.adjust("1 minute")
            yield* Effect.forEach(fibers, Fiber.await)
            assert.isAtMost(most, 1, `seed ${seed}`)
            assert.strictEqual(inside, 0, `seed ${seed}`)
            assert.deepStrictEqual(yield* locks.inspect(round), { holders: [], waiting: 0 }, `seed ${seed}`)
          }).pipe(Effect.withRandom(Random.make(seed))),
        { discard: true }
      )
    )
  )

  it.effect("never leaks a taken lease in an uninterruptible region: what is held was answered", () =>
    withLocks((locks) =>
      Effect.forEach(
        Array.from({ length: rounds }, (_, seed) => seed),
        (seed) =>
          Effect.gen(function* () {
            const round = `round:${seed}`
            const pause = Effect.flatMap(Random.nextIntBetween(0, 4), (times) =>
              Effect.repeatN(Effect.yieldNow(), times)
            )
            const held = yield* hold(locks, {}, round)
            const taker = yield* Effect.fork(Effect.uninterruptible(locks.take(round, { ttl: "1 hour" })))
            yield* pause
            const acts = yield* Random.shuffle([held.release, Fiber.interruptFork(taker), pause])
            yield* Effect.forEach(acts, (act) => Effect.zipRight(act, pause))
            const exit = yield* Fiber.await(taker)
            const ids = yield* holderIds(locks, round)
            assert.deepStrictEqual(ids, Exit.isSuccess(exit) ? [exit.value.id] : [], `seed ${seed}`)
          }).pipe(Effect.withRandom(Random.make(seed))),
        { discard: true }
      )
    )
  )
})

describe("a scoped lease", () => {
  it.effect("ends with its scope on success, failure, defect and interruption", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const uses: ReadonlyArray<Effect.Effect<void, string>> = [
          Effect.void,
          Effect.fail("failure"),
          Effect.die("defect"),
          Effect.interrupt
        ]
        for (const use of uses) {
          yield* Effect.exit(Effect.scoped(Effect.zipRight(locks.acquire(key), use)))
          yield* isFree(locks)
        }
        const holder = yield* Effect.fork(Effect.scoped(Effect.zipRight(locks.acquire(key), Effect.never)))
        yield* settle
        assert.lengthOf(yield* holderIds(locks), 1)
        yield* Fiber.interrupt(holder)
        yield* isFree(locks)
      })
    )
  )

  it.effect("has no end of its own: after a day it is held, and its check passes", () =>
    withLocks((locks) =>
      Effect.scoped(
        Effect.gen(function* () {
          const lease = yield* locks.acquire(key)
          yield* TestClock.adjust("1 day")
          yield* lease.check
          yield* fails("LockTimeout", locks.acquire(key, { wait: 0 }))
        })
      )
    )
  )

  it.effect("fails its check after its release", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const { lease, release } = yield* hold(locks)
        yield* lease.check
        yield* release
        yield* fails("LeaseLost", lease.check)
      })
    )
  )

  it.effect("that was ended and whose key another holds now frees nothing when its scope closes", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const old = yield* hold(locks)
        yield* locks.releaseAll
        const { lease, release } = yield* hold(locks)
        yield* old.release
        yield* lease.check
        assert.deepStrictEqual(yield* holderIds(locks), [lease.id])
        yield* release
      })
    )
  )
})

describe("fencing tokens", () => {
  it.effect("rise over another instance of the layer", () =>
    Effect.gen(function* () {
      const fence = Effect.scoped(
        Effect.flatMap(LockService.LockService, (locks) =>
          Effect.map(locks.acquire(key), (lease) => lease.fencingToken)
        )
      )
      const busy = Effect.map(Effect.replicateEffect(fence, 500), (fences) => Math.max(...fences))
      yield* TestClock.setTime(Date.parse("2026-01-01T00:00:00Z"))
      const before = yield* Effect.provide(busy, Layer.fresh(LockService.layerMemory))
      yield* TestClock.adjust("1 millis")
      assert.isAbove(yield* Effect.provide(fence, Layer.fresh(LockService.layerMemory)), before)
    })
  )

  it.effect("rise over a lease that was adopted, though the clock was set back meanwhile", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const fencingToken = Date.parse("2027-01-01T00:00:00Z") * 1000
        yield* locks.adopt({ id: "before", key, mode: "shared", fencingToken, ttl: "1 minute" })
        const { lease } = yield* hold(locks, { mode: "shared" })
        assert.isAbove(lease.fencingToken, fencingToken)
      })
    )
  )

  it.effect("of a renewed lease stay", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const taken = yield* locks.take(key, { ttl: "1 second" })
        const renewed = yield* locks.renew(key, taken.id, "1 second")
        assert.strictEqual(renewed.fencingToken, taken.fencingToken)
      })
    )
  )
})

describe("a taken lease", () => {
  it.effect("of an id or a key that was never granted is LeaseLost, and no lock is made of it", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        yield* locks.take(key, { ttl: "1 minute", id: "mine" })
        yield* fails("LeaseLost", locks.release(key, "another"))
        yield* fails("LeaseLost", locks.renew("another", "mine", "1 minute"))
        yield* fails("LeaseLost", locks.lend("another", "mine", "to"))
        assert.deepStrictEqual(yield* holderIds(locks), ["mine"])
      })
    )
  )

  it.effect("lasts its time, and then the next is served", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const taken = yield* locks.take(key, { ttl: "10 seconds" })
        const { enter, order } = yield* queue(locks)
        yield* enter("next")
        yield* TestClock.adjust("9999 millis")
        yield* taken.check
        assert.deepStrictEqual(order, [])
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(order, ["next"])
        yield* fails("LeaseLost", taken.check)
        yield* fails("LeaseLost", locks.renew(key, taken.id, "10 seconds"))
        yield* fails("LeaseLost", locks.release(key, taken.id))
        yield* isFree(locks)
      })
    )
  )

  it.effect("that is renewed for less than it had left ends then, and the next is served then", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const taken = yield* locks.take(key, { ttl: "1 minute" })
        yield* locks.renew(key, taken.id, "5 seconds")
        const { enter, order } = yield* queue(locks)
        yield* enter("next", { wait: "30 seconds" })
        yield* TestClock.adjust("5 seconds")
        yield* fails("LeaseLost", taken.check)
        assert.deepStrictEqual(order, ["next"])
      })
    )
  )

  it.effect("fails its check at its deadline though no timer has run: a stopped process cannot overlook it", () =>
    Effect.gen(function* () {
      let now = 1_000
      const stopped: Clock.Clock = {
        [Clock.ClockTypeId]: Clock.ClockTypeId,
        unsafeCurrentTimeMillis: () => now,
        currentTimeMillis: Effect.sync(() => now),
        unsafeCurrentTimeNanos: () => BigInt(now) * 1_000_000n,
        currentTimeNanos: Effect.sync(() => BigInt(now) * 1_000_000n),
        sleep: () => Effect.never
      }
      yield* withLocks((locks) =>
        Effect.gen(function* () {
          const taken = yield* locks.take(key, { ttl: "10 seconds" })
          now += 9_999
          yield* taken.check
          now += 1
          yield* fails("LeaseLost", taken.check)
          yield* fails("LeaseLost", locks.renew(key, taken.id, "10 seconds"))
          yield* fails("LeaseLost", locks.release(key, taken.id))
          // whoever comes finds it free
          yield* Effect.scoped(locks.acquire(key, { wait: 0 }))
        })
      ).pipe(Effect.withClock(stopped))
    })
  )
})

describe("lost", () => {
  it.effect("completes when the lease expires", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const taken = yield* locks.take(key, { ttl: "10 seconds" })
        const told = yield* Effect.fork(taken.lost)
        yield* TestClock.adjust("9999 millis")
        assert.isFalse(yield* isDone(told))
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(told)
        assert.isTrue(yield* hasPassed(taken.lost), "also for who asks later")
      })
    )
  )

  it.effect("completes on releaseAll", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const { lease } = yield* hold(locks)
        const told = yield* Effect.fork(lease.lost)
        yield* settle
        yield* locks.releaseAll
        yield* Fiber.join(told)
      })
    )
  )

  it.effect("does not complete on a release, for who waits by then and for who asks later", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const scoped = yield* hold(locks)
        const taken = yield* locks.take("another", { ttl: "1 hour" })
        const told = yield* Effect.all([Effect.fork(scoped.lease.lost), Effect.fork(taken.lost)])
        yield* settle
        yield* scoped.release
        yield* locks.release("another", taken.id)
        yield* settle
        assert.deepStrictEqual(yield* Effect.forEach(told, isDone), [false, false])
        assert.deepStrictEqual(yield* Effect.forEach([scoped.lease.lost, taken.lost], hasPassed), [false, false])
        yield* Fiber.interruptAll(told)
      })
    )
  )

  it.effect("races with the use of a lease: the use is stopped when the lease is", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const taken = yield* locks.take(key, { ttl: "1 second" })
        const use = yield* Effect.fork(
          Effect.raceFirst(Effect.never, Effect.zipRight(taken.lost, Effect.fail(new LeaseLost())))
        )
        yield* TestClock.adjust("1 second")
        yield* fails("LeaseLost", Fiber.join(use))
      })
    )
  )
})

describe("lend", () => {
  it.effect("by who does not hold (any more) is LeaseLost", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const held = yield* hold(locks)
        yield* held.release
        yield* fails("LeaseLost", locks.lend(key, held.lease.id, "named"))
        const taken = yield* locks.take(key, { ttl: "1 second" })
        yield* TestClock.adjust("1 second")
        yield* fails("LeaseLost", locks.lend(key, taken.id, "named"))
      })
    )
  )
})

describe("yieldsFor", () => {
  it.effect("lets no exclusive contender pass, and no reader that waits behind another exclusive one", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const reader = yield* hold(locks, { mode: "shared" })
        const { enter, order } = yield* queue(locks)
        yield* enter("yielding", { priority: "writer", yieldsFor: "10 seconds" })
        yield* enter("strict")
        yield* enter("reader", { mode: "shared" })
        assert.deepStrictEqual(order, [])
        yield* reader.release
        yield* settle
        assert.deepStrictEqual(order, ["yielding", "strict", "reader"])
      })
    )
  )

  it.effect("does not keep the contender out once nobody reads", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const reader = yield* hold(locks, { mode: "shared" })
        const { enter, order } = yield* queue(locks)
        yield* enter("exclusive", { yieldsFor: "10 minutes" })
        yield* reader.release
        yield* settle
        assert.deepStrictEqual(order, ["exclusive"])
      })
    )
  )
})

describe("adopt", () => {
  it.effect("of a lease whose time is over holds nothing", () =>
    withLocks((locks) =>
      Effect.gen(function* () {
        yield* locks.adopt({ id: "before", key, mode: "exclusive", fencingToken: 7, ttl: 0 })
        yield* isFree(locks)
        yield* Effect.scoped(locks.acquire(key, { wait: 0 }))
      })
    )
  )
})

describe("releaseAll", () => {
  it.effect("happens when the layer's scope closes", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(LockService.layerMemory, scope)
      const locks = Context.get(context, LockService.LockService)
      const { lease } = yield* hold(locks)
      const told = yield* Effect.fork(lease.lost)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(told)
      yield* fails("LeaseLost", lease.check)
    })
  )
})

describe("what is idle is forgotten", () => {
  const collectGarbage = (): void => {
    setFlagsFromString("--expose-gc")
    const gc: unknown = runInNewContext("gc")
    if (typeof gc === "function") gc()
  }

  const heap = Effect.sync(() => {
    collectGarbage()
    return process.memoryUsage().heapUsed
  })

  interface Use {
    readonly name: string
    readonly keys: number
    readonly use: (locks: LockService.LockService["Type"], of: string) => Effect.Effect<void, unknown>
  }

  const uses: ReadonlyArray<Use> = [
    { name: "scoped leases", keys: 100_000, use: (locks, of) => Effect.scoped(locks.acquire(of)) },
    {
      name: "taken leases",
      keys: 25_000,
      use: (locks, of) => Effect.flatMap(locks.take(of, { ttl: "1 hour" }), ({ id }) => locks.release(of, id))
    }
  ]

  it.live.each(uses)("memory does not grow with the number of keys ever seen: $name", ({ keys, use }) =>
    withLocks((locks) =>
      Effect.gen(function* () {
        const see = (keys: number) =>
          Effect.repeatN(
            Effect.suspend(() => use(locks, randomUUID())),
            keys - 1
          )
        yield* see(5_000)
        const before = yield* heap
        yield* see(keys)
        const grown = (yield* heap) - before
        assert.isBelow(grown, 8 * 1024 * 1024, `bytes, after ${keys} keys`)
      })
    )
  )
})

describe("over an authority that others share", () => {
  interface Asked {
    readonly mode: LockService.Mode
    readonly grant: (cover: Cover) => void
    readonly fail: () => void
  }

  const remote = () => {
    const asked: Array<Asked> = []
    const handedBack: Array<Cover> = []
    let withdrawn = 0
    const authority: Authority = {
      request: ({ failed, granted, mode }) => {
        asked.push({ mode, grant: granted, fail: () => failed(new LockUnavailable({ retryAfterSeconds: 1 })) })
        return () => withdrawn++
      },
      handBack: (_, cover) => handedBack.push(cover)
    }
    return {
      authority,
      asked,
      handedBack,
      get withdrawn() {
        return withdrawn
      }
    }
  }

  const cover = (fences: number, deadline = Number.POSITIVE_INFINITY): Cover => {
    let next = 100
    return { mode: "exclusive", deadline, nextFence: () => (next < 100 + fences ? next++ : undefined) }
  }

  it.effect("waits for its word, serves its contenders out of one cover, and hands it back when nobody is left", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const other = remote()
        const locks = yield* LockService.make(other.authority)
        const { enter, order } = yield* queue(locks)
        yield* enter("one")
        yield* enter("two")
        assert.deepStrictEqual(order, [])
        assert.lengthOf(other.asked, 1)
        const given = cover(10)
        other.asked[0]?.grant(given)
        yield* settle
        assert.deepStrictEqual(order, ["one", "two"])
        assert.deepStrictEqual(other.handedBack, [given])
        assert.lengthOf(other.asked, 1)
      })
    )
  )

  it.effect("asks again when the fences of a cover are spent", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const other = remote()
        const locks = yield* LockService.make(other.authority)
        const { enter, order } = yield* queue(locks)
        yield* Effect.forEach(["one", "two", "three"], (name) => enter(name))
        const [first, second] = [cover(2), cover(2)]
        other.asked[0]?.grant(first)
        yield* settle
        assert.deepStrictEqual(order, ["one", "two"])
        assert.deepStrictEqual(other.handedBack, [first])
        assert.lengthOf(other.asked, 2)
        other.asked[1]?.grant(second)
        yield* settle
        assert.deepStrictEqual(order, ["one", "two", "three"])
        assert.deepStrictEqual(other.handedBack, [first, second])
      })
    )
  )

  it.effect("all who wait get LockUnavailable when it fails, and nothing is left", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const other = remote()
        const locks = yield* LockService.make(other.authority)
        const waiting = yield* Effect.replicateEffect(Effect.fork(Effect.scoped(locks.acquire(key))), 3)
        yield* settle
        other.asked[0]?.fail()
        for (const fiber of waiting) yield* fails("LockUnavailable", Fiber.join(fiber))
        yield* isFree(locks)
      })
    )
  )

  it.effect("the request is withdrawn when the last who waited has gone", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const other = remote()
        const locks = yield* LockService.make(other.authority)
        const waiting = yield* Effect.replicateEffect(Effect.fork(Effect.scoped(locks.acquire(key))), 2)
        yield* settle
        for (const fiber of waiting) {
          assert.strictEqual(other.withdrawn, 0)
          yield* Fiber.interrupt(fiber)
        }
        assert.strictEqual(other.withdrawn, 1)
        yield* isFree(locks)
      })
    )
  )

  it.effect("a lease lives no longer than the cover, and then the next asks anew", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const other = remote()
        const locks = yield* LockService.make(other.authority)
        const granted = yield* Deferred.make<LockService.Lease>()
        yield* Effect.forkScoped(
          Effect.scoped(
            Effect.zipRight(
              Effect.flatMap(locks.acquire(key), (lease) => Deferred.succeed(granted, lease)),
              Effect.never
            )
          )
        )
        yield* settle
        other.asked[0]?.grant(cover(10, 1_000))
        const lease = yield* Deferred.await(granted)
        yield* lease.check
        yield* TestClock.adjust("1 second")
        yield* fails("LeaseLost", lease.check)
        assert.isTrue(yield* hasPassed(lease.lost))
        const { enter } = yield* queue(locks)
        yield* enter("next")
        assert.lengthOf(other.asked, 2)
      })
    )
  )
})
