/** Two services at one Redis that goes away and comes back, and what they may and may not believe meanwhile. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as LockService from "../../src/LockService.ts"
import * as LockServiceRedis from "../../src/LockService/Redis.ts"
import * as Redis from "../../src/Redis.ts"
import * as Proxy from "../servers/Proxy.ts"
import * as Server from "../servers/Redis.ts"
import { fails, hasPassed, hold, queue, settle } from "./Contract.ts"
import { evaluations, service, timed } from "./Services.ts"

/** Waits that hang on the server are answered within this, whatever is down. */
const bound = 5_000

describe("commands", () => {
  it.scopedLive("an uncontended lease costs two scripts, scoped or taken, and forgotten scripts are sent again", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const { locks, redis } = yield* service(server.url)
      const once = [
        Effect.zipRight(Effect.scoped(locks.acquire(randomUUID())), settle),
        Effect.scoped(locks.acquire(randomUUID(), { mode: "shared" })).pipe(Effect.zipRight(settle)),
        Effect.flatMap(locks.take(randomUUID(), { ttl: "1 minute" }), ({ id, key }) => locks.release(key, id))
      ]
      for (const use of once) {
        yield* use
        const before = yield* evaluations(redis)
        yield* use
        assert.strictEqual((yield* evaluations(redis)) - before, 2)
      }
      yield* redis.command("SCRIPT", "FLUSH")
      for (const use of once) yield* use
    })
  )

  it.scopedLive("leases that are asked for at once share scripts, and in a cluster only those of one slot do", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const { redis } = yield* service(server.url)
      const keys = Array.from({ length: 64 }, () => randomUUID())
      for (const isCluster of [false, true]) {
        const sent: Array<ReadonlyArray<string>> = []
        const locks = yield* Effect.flatMap(LockServiceRedis.makeAuthority(), LockService.make).pipe(
          Effect.provideService(Redis.Redis, {
            ...redis,
            isCluster,
            evaluate: (script, keys, parameters, answer) => {
              sent.push(keys)
              redis.evaluate(script, keys, parameters, answer)
            }
          })
        )
        const fences = yield* Effect.forEach(
          keys,
          (key) =>
            Effect.flatMap(locks.take(key, { ttl: "1 minute" }), ({ fencingToken, id }) =>
              Effect.as(locks.release(key, id), fencingToken)
            ),
          { concurrency: "unbounded" }
        )
        assert.isAbove(Math.min(...fences), 0)
        assert.lengthOf(sent.flat(), 128)
        if (!isCluster) assert.isAtMost(sent.length, 8)
        else for (const together of sent) assert.strictEqual(new Set(together.map((key) => key.slice(0, 8))).size, 1)
      }
    })
  )

  it.scopedLive(
    "an exclusive lease names one key to Redis while nobody else is there, and all once it had to wait",
    () =>
      Effect.gen(function* () {
        const server = yield* Server.start
        const { locks, redis } = yield* service(server.url, { ttl: "1 minute" })
        const named: Array<number> = []
        const other = yield* Effect.flatMap(
          LockServiceRedis.makeAuthority({ ttl: "1 minute", waiterLease: "1 minute" }),
          LockService.make
        ).pipe(
          Effect.provideService(Redis.Redis, {
            ...redis,
            evaluate: (script, keys, parameters, answer) => {
              named.push(keys.length)
              redis.evaluate(script, keys, parameters, answer)
            }
          })
        )
        const key = randomUUID()
        yield* Effect.zipRight(Effect.scoped(other.acquire(key)), settle)
        const { id } = yield* other.take(key, { ttl: "1 minute" })
        yield* other.release(key, id)
        assert.deepStrictEqual(named.splice(0), [1, 1, 1, 1])
        const held = yield* hold(locks, key)
        const next = yield* Effect.fork(Effect.scoped(other.acquire(key)))
        yield* Effect.repeat(Effect.zipLeft(locks.inspect(key), settle), { until: ({ waiting }) => waiting === 1 })
        yield* held.release
        yield* Fiber.join(next)
        yield* settle
        assert.deepStrictEqual(named, [1, 5, 5])
      })
  )

  it.scopedLive("64 contenders of one process cost less than one script for 20 grants", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const { locks, redis } = yield* service(server.url)
      const key = randomUUID()
      const before = yield* evaluations(redis)
      const contender = Effect.repeatN(Effect.scoped(Effect.zipRight(locks.acquire(key), Effect.yieldNow())), 19)
      yield* Effect.all(
        Array.from({ length: 64 }, () => contender),
        { concurrency: "unbounded", discard: true }
      )
      assert.isAtMost(((yield* evaluations(redis)) - before) / (64 * 20), 0.05)
    })
  )

  it.scopedLive("nothing of a lock stays in Redis but its last fence", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url)
      const other = yield* service(server.url)
      const key = randomUUID()
      const held = yield* hold(one.locks, key, { mode: "shared" })
      const { enter } = yield* queue(other.locks, key)
      yield* enter("writer")
      yield* enter("reader", { mode: "shared" })
      yield* held.release
      yield* settle
      const keys = yield* one.redis.command("KEYS", "*")
      assert.lengthOf(Array.isArray(keys) ? keys : [], 1)
      assert.match(String(keys), /^lk:\{b\d\d\}:[\w-]{24}:s$/)
      assert.match(String(yield* one.redis.command("GET", String(keys))), /^\d{16} \d+$/)
    })
  )
})

describe("two processes", () => {
  it.scopedLive(
    "a taken lease is renewed, released, lent and seen by another process, and outlives the one that took it",
    () =>
      Effect.gen(function* () {
        const server = yield* Server.start
        const scope = yield* Scope.make()
        const one = yield* Scope.extend(service(server.url), scope)
        const other = yield* service(server.url)
        const key = randomUUID()
        const taken = yield* one.locks.take(key, { ttl: "1 minute" })
        const scoped = randomUUID()
        yield* hold(one.locks, scoped)
        yield* Scope.close(scope, Exit.void)
        // the scoped lease went with its process
        yield* Effect.scoped(other.locks.acquire(scoped, { wait: "1 second" }))
        const { fencingToken, id } = taken
        assert.deepStrictEqual((yield* other.locks.inspect(key)).holders, [{ id, mode: "exclusive", fencingToken }])
        yield* fails("LockTimeout", other.locks.acquire(key, { wait: 0 }))
        assert.strictEqual((yield* other.locks.renew(key, id, "2 minutes")).fencingToken, fencingToken)
        const named = randomUUID()
        yield* other.locks.lend(key, id, named)
        const passed = yield* hold(other.locks, key, { id: named, wait: 0 })
        assert.isAbove(passed.lease.fencingToken, fencingToken)
        yield* other.locks.release(key, id)
        yield* fails("LockTimeout", other.locks.acquire(key, { wait: 0 }))
        yield* passed.release
        yield* Effect.scoped(other.locks.acquire(key, { wait: 0 }))
      })
  )

  it.scopedLive("see who holds and how many wait in each other, taken and scoped", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const services = yield* Effect.replicateEffect(service(server.url), 3)
      const [one, other, third] = services.map(({ locks }) => locks)
      assert(one !== undefined && other !== undefined && third !== undefined)
      const key = randomUUID()
      const readers = yield* Effect.replicateEffect(hold(one, key, { mode: "shared" }), 3)
      const taken = yield* other.take(key, { mode: "shared", ttl: "1 minute" })
      const { enter } = yield* queue(other, key)
      for (const name of ["first", "second"]) yield* enter(name)
      yield* Effect.forkScoped(Effect.ignore(third.take(key, { ttl: "1 minute" })))
      yield* settle
      const ids = [taken.id, ...readers.map(({ lease }) => lease.id)].sort()
      for (const locks of [one, other, third]) {
        const { holders, waiting } = yield* locks.inspect(key)
        assert.deepStrictEqual(holders.map(({ id }) => id).sort(), ids)
        assert.strictEqual(waiting, 3)
      }
    })
  )

  it.scopedLive("a holder's own flight passes the flight of another process that waits for it, and both end", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url)
      const other = yield* service(server.url)
      const key = randomUUID()
      // the lease was granted by the other process, whose flight then waits for its end
      const { id } = yield* other.locks.take(key, { ttl: "1 minute" })
      const flight = { priority: "writer", yieldsFor: "30 seconds" } as const
      const waiting = yield* Effect.fork(Effect.scoped(other.locks.acquire(key, flight)))
      yield* settle
      // its holder asks this process
      const named = randomUUID()
      const passing = yield* Effect.fork(hold(one.locks, key, { ...flight, id: named }))
      yield* settle
      yield* one.locks.lend(key, id, named)
      const passed = yield* Fiber.join(passing)
      assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)))
      yield* passed.release
      assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)))
      yield* one.locks.release(key, id)
      yield* Fiber.join(waiting)
    })
  )

  it.scopedLive("readers that keep coming in one process do not starve a writer of the other", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url)
      const other = yield* service(server.url)
      const key = randomUUID()
      const reader = Effect.scoped(Effect.zipRight(one.locks.acquire(key, { mode: "shared" }), Effect.sleep(50)))
      // one begins every 10 ms, so that some always read
      const readers = yield* Effect.fork(Effect.forever(Effect.zipRight(Effect.fork(reader), Effect.sleep(10))))
      yield* Effect.sleep(100)
      const { took } = yield* timed(Effect.scoped(other.locks.acquire(key, { priority: "writer" })))
      assert.isBelow(took, 300)
      yield* Fiber.interrupt(readers)
    })
  )

  it.scopedLive("readers of both read together, out of one share a process", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url)
      const other = yield* service(server.url)
      const key = randomUUID()
      yield* Effect.replicateEffect(hold(one.locks, key, { mode: "shared", wait: 0 }), 5)
      const before = yield* evaluations(one.redis)
      yield* Effect.replicateEffect(hold(other.locks, key, { mode: "shared", wait: 0 }), 5)
      assert.strictEqual((yield* evaluations(one.redis)) - before, 1)
      yield* fails("LockTimeout", other.locks.acquire(key, { wait: 0 }))
    })
  )

  it.scopedLive("take turns: of 2 × 16 contenders that hold for 5 ms none waits longer than 500 ms", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const services = yield* Effect.replicateEffect(service(server.url), 2)
      const key = randomUUID()
      const waits: Array<number> = []
      const contender = (locks: LockService.LockService["Type"]) =>
        Effect.repeatN(
          Effect.scoped(
            Effect.gen(function* () {
              waits.push((yield* timed(locks.acquire(key))).took)
              yield* Effect.sleep(5)
            })
          ),
          5
        )
      yield* Effect.all(
        services.flatMap(({ locks }) => Array.from({ length: 16 }, () => contender(locks))),
        { concurrency: "unbounded", discard: true }
      )
      assert.lengthOf(waits, 192)
      assert.isBelow(Math.max(...waits), 500)
    })
  )

  it.scopedLive("a waiter is not forgotten though every message is lost", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url)
      const { redis } = yield* service(server.url)
      const deaf = yield* Effect.flatMap(LockServiceRedis.makeAuthority({ ttl: "2 seconds" }), LockService.make).pipe(
        Effect.provideService(Redis.Redis, { ...redis, subscribe: () => Effect.void })
      )
      for (const options of [{}, { mode: "shared" }] as const) {
        const key = randomUUID()
        const held = yield* hold(one.locks, key)
        const waiting = yield* Effect.fork(timed(Effect.scoped(deaf.acquire(key, options))))
        const taking = yield* Effect.fork(deaf.take(key, { ...options, ttl: "1 minute" }))
        yield* settle
        yield* held.release
        assert.isBelow((yield* Fiber.join(waiting)).took, 2_500)
        yield* (yield* Fiber.join(taking)).check
      }
    })
  )

  it.scopedLive("a lease that Redis has forgotten is adopted, one that has ended is not", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url)
      const other = yield* service(server.url)
      const key = randomUUID()
      const taken = yield* one.locks.take(key, { ttl: "1 minute" })
      const record = { ...taken, ttl: "1 minute" } as const
      // it is there: nothing changes
      yield* other.locks.adopt(record)
      yield* one.redis.command("FLUSHALL")
      yield* other.locks.adopt(record)
      assert.strictEqual((yield* one.locks.renew(key, taken.id, "1 minute")).fencingToken, taken.fencingToken)
      yield* one.locks.release(key, taken.id)
      yield* other.locks.adopt(record)
      assert.deepStrictEqual((yield* other.locks.inspect(key)).holders, [])
      const next = yield* hold(other.locks, key, { wait: 0 })
      assert.isAbove(next.lease.fencingToken, taken.fencingToken)
    })
  )
})

describe("Redis", () => {
  for (const how of ["kill", "pause"] as const) {
    it.scopedLive(
      `out of reach (${how}): nobody is granted anything, holders lose their leases at their deadline, and all comes back`,
      () =>
        Effect.gen(function* () {
          const server = yield* Server.start
          const { locks } = yield* service(server.url)
          const [key, free] = [randomUUID(), randomUUID()]
          const { lease } = yield* hold(locks, key)
          const fences = [lease.fencingToken]
          const told = yield* Effect.fork(timed(lease.lost))
          const waiting = yield* Effect.fork(timed(Effect.flip(Effect.scoped(locks.acquire(key)))))
          yield* settle
          yield* server[how]
          yield* lease.check
          const asks: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
            Effect.scoped(locks.acquire(free)),
            Effect.scoped(locks.acquire(free, { wait: 0 })),
            locks.take(free, { ttl: "1 minute" }),
            locks.renew(key, "unknown", "1 minute"),
            locks.release(key, "unknown"),
            locks.ping
          ]
          for (const ask of asks) {
            const { took, value } = yield* timed(Effect.flip(ask))
            assert.strictEqual(value._tag, "LockUnavailable")
            assert.isBelow(took, bound)
          }
          assert.isBelow((yield* Fiber.join(told)).took, 2_000 + 250)
          yield* fails("LeaseLost", lease.check)
          const { took, value } = yield* Fiber.join(waiting)
          assert.strictEqual(value._tag, "LockUnavailable")
          assert.isBelow(took, bound + 2_000)
          yield* how === "kill" ? server.start : server.resume
          yield* Effect.eventually(Effect.zipRight(Effect.sleep("50 millis"), locks.ping))
          const next = yield* hold(locks, key, { wait: "5 seconds" })
          fences.push(next.lease.fencingToken)
          assert.isAbove(next.lease.fencingToken, lease.fencingToken)
          // what was asked meanwhile holds nothing
          yield* Effect.scoped(locks.acquire(free, { wait: "5 seconds" }))
        }),
      60_000
    )
  }

  it.scopedLive("restarted empty: holders know at once, a waiter is served, and fences rise", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url, { ttl: "10 seconds" })
      const other = yield* service(server.url, { ttl: "10 seconds" })
      const key = randomUUID()
      const { lease } = yield* hold(one.locks, key)
      const told = yield* Effect.fork(timed(lease.lost))
      const next = yield* Effect.fork(
        Effect.scoped(Effect.map(other.locks.acquire(key), ({ fencingToken }) => fencingToken))
      )
      yield* settle
      yield* server.start
      assert.isBelow((yield* Fiber.join(told)).took, 2_000)
      yield* fails("LeaseLost", lease.check)
      assert.isAbove(yield* Fiber.join(next), lease.fencingToken)
    })
  )

  it.scopedLive(
    "paused for less than the ttl, or the connection cut: holders hold on and waiters wait on",
    () =>
      Effect.gen(function* () {
        const server = yield* Server.start
        const proxy = yield* Proxy.listen({ host: "127.0.0.1", port: server.port })
        const { locks } = yield* service(Redacted.make(`redis://127.0.0.1:${proxy.port}`))
        const key = randomUUID()
        const held = yield* hold(locks, key)
        const taken = yield* locks.take(randomUUID(), { ttl: "10 seconds" })
        const next = yield* Effect.fork(Effect.scoped(locks.acquire(key)))
        for (let round = 0; round < 4; round++) {
          if (round % 2 === 0) yield* proxy.cut
          else {
            yield* server.pause
            yield* Effect.sleep("700 millis")
            yield* server.resume
          }
          yield* Effect.sleep("800 millis")
          yield* held.lease.check
          yield* locks.renew(taken.key, taken.id, "10 seconds")
        }
        assert.isFalse(yield* hasPassed(held.lease.lost))
        yield* held.release
        yield* Fiber.join(next)
      }),
    30_000
  )

  it.scopedLive("not there at the start: the layer fails within its bound", () =>
    Effect.gen(function* () {
      const { took, value } = yield* timed(
        Effect.flip(
          Layer.build(Redis.layer({ url: Redacted.make("redis://127.0.0.1:1"), connectWithin: "500 millis" }))
        )
      )
      assert.strictEqual(value.reason, "unreachable")
      assert.isBelow(took, 1_500)
    })
  )
})
