/** The rules without which two could hold at once, each met by what breaks it: late messages, old fences, dead waiters. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomUUID } from "node:crypto"
import * as LockService from "../../src/LockService.ts"
import * as LockServiceRedis from "../../src/LockService/Redis.ts"
import type { Cover } from "../../src/LockService/Authority.ts"
import * as Redis from "../../src/Redis.ts"
import * as Proxy from "../servers/Proxy.ts"
import * as Server from "../servers/Redis.ts"
import { fails, hold, settle } from "./Contract.ts"
import * as OtherProcess from "./OtherProcess.ts"
import { service, timed } from "./Services.ts"

const listOf = (reply: unknown): ReadonlyArray<string> => (Array.isArray(reply) ? reply.map(String) : [])

describe("a grant that is heard of", () => {
  it.scopedLive("is dropped when its fence is not above the last one used", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const { locks, redis } = yield* service(server.url)
      const key = randomUUID()
      const held = yield* hold(locks, key)
      const above = held.lease.fencingToken + 1_000
      const authority = yield* Effect.provideService(LockServiceRedis.makeAuthority(), Redis.Redis, redis)
      const granted = yield* Deferred.make<Cover>()
      authority.request({
        key,
        mode: "exclusive",
        virtualTime: 0,
        yieldsUntil: 0,
        above,
        granted: (cover) => Deferred.unsafeDone(granted, Effect.succeed(cover)),
        failed: () => {},
        waits: () => {},
        ended: () => {}
      })
      yield* settle
      const [queue = ""] = listOf(yield* redis.command("KEYS", "lk:*:q"))
      const [owner = ""] = listOf(yield* redis.command("ZRANGE", queue, 0, -1))
      const [seconds] = listOf(yield* redis.command("TIME"))
      const inbox = owner.slice(0, owner.lastIndexOf("."))
      yield* redis.command("PUBLISH", inbox, `g|${above}|${seconds}000|10000|${owner}`)
      yield* settle
      assert.isFalse(yield* Deferred.isDone(granted))
      yield* held.release
      const cover = yield* Deferred.await(granted)
      assert.isAbove(cover.nextFence() ?? 0, above)
    })
  )

  it.scopedLive("late, counts from when it was given: who is told after its time has not got it", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url)
      const { redis } = yield* service(server.url)
      const slow = yield* Effect.flatMap(
        LockServiceRedis.makeAuthority({ ttl: "2 seconds", claim: "300 millis" }),
        LockService.make
      ).pipe(
        Effect.provideService(Redis.Redis, {
          ...redis,
          subscribe: (channel, listener) =>
            redis.subscribe(channel, (message) => void globalThis.setTimeout(() => listener(message), 600))
        })
      )
      const key = randomUUID()
      const held = yield* hold(one.locks, key)
      const late = yield* Effect.fork(hold(slow, key, { priority: "writer" }))
      yield* settle
      const next = yield* Effect.fork(hold(one.locks, key))
      yield* settle
      yield* held.release
      // the grant that nobody claimed is over
      const holding = yield* Fiber.join(next)
      yield* Effect.sleep("600 millis")
      assert.isTrue(Option.isNone(yield* Fiber.poll(late)))
      yield* holding.lease.check
      yield* holding.release
      const { lease } = yield* Fiber.join(late)
      assert.isAbove(lease.fencingToken, holding.lease.fencingToken)
    })
  )

  it.scopedLive(
    "by nobody, costs the others the time to claim it, not the time of a lease",
    () =>
      Effect.gen(function* () {
        const server = yield* Server.start
        const { locks } = yield* service(server.url, { ttl: "30 seconds" })
        const key = randomUUID()
        const held = yield* hold(locks, key)
        const dead = yield* OtherProcess.start({ url: server.url, key, role: "hold", ttl: 30_000 })
        yield* dead.said("ready")
        yield* Effect.repeat(Effect.zipLeft(locks.inspect(key), settle), { until: ({ waiting }) => waiting === 1 })
        yield* dead.signal("SIGSTOP")
        const next = yield* Effect.fork(timed(Effect.scoped(locks.acquire(key))))
        yield* settle
        yield* held.release
        assert.isBelow((yield* Fiber.join(next)).took, 4_000)
      }),
    30_000
  )
})

describe("fencing tokens", () => {
  it.scopedLive("rise though the clock of Redis was stepped back", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const { locks } = yield* service(server.url)
      const ahead = 4_000_000_000_000_000
      for (const mode of ["exclusive", "shared"] as const) {
        const key = randomUUID()
        const id = randomUUID()
        yield* locks.adopt({ id, key, mode, fencingToken: ahead, ttl: "1 minute" })
        yield* locks.release(key, id)
        let last = ahead
        for (const mode of ["shared", "exclusive", "shared", "exclusive"] as const) {
          const fence = yield* Effect.scoped(
            Effect.map(locks.acquire(key, { mode }), ({ fencingToken }) => fencingToken)
          )
          assert.isAbove(fence, last)
          last = fence
          yield* settle
        }
      }
    })
  )
})

describe("fencing tokens that were reserved", () => {
  it.scopedLive(
    "and not used are given back: they do not run ahead of the clock that they start from after a loss",
    () =>
      Effect.gen(function* () {
        const server = yield* Server.start
        const { locks } = yield* service(server.url)
        const key = randomUUID()
        const next = Effect.scoped(Effect.map(locks.acquire(key), ({ fencingToken }) => fencingToken))
        let last = yield* next
        // joined with the release before it, and alone
        for (const pause of [Effect.void, settle]) {
          for (let round = 0; round < 20; round++) {
            const fence = yield* Effect.zipRight(pause, next)
            assert.isAbove(fence, last)
            last = fence
          }
        }
        const id = randomUUID()
        const ahead = 4_000_000_000_000_000
        yield* locks.adopt({ id, key, mode: "exclusive", fencingToken: ahead, ttl: "1 minute" })
        yield* locks.release(key, id)
        for (let round = 1; round <= 20; round++)
          assert.strictEqual(yield* Effect.zipRight(settle, next), ahead + round)
      })
  )

  it.scopedLive("and not used stay so where a guest's came after them", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const one = yield* service(server.url)
      const other = yield* service(server.url)
      for (const order of ["released, then asked for", "asked for, then released"]) {
        const key = randomUUID()
        const id = randomUUID()
        yield* one.locks.adopt({ id, key, mode: "exclusive", fencingToken: 4_000_000_000_000_000, ttl: "1 minute" })
        const guest = randomUUID()
        yield* other.locks.lend(key, id, guest)
        const passed = yield* hold(other.locks, key, { id: guest })
        yield* passed.release
        const asked = order.startsWith("asked") ? yield* Effect.fork(hold(one.locks, key)) : undefined
        yield* settle
        yield* one.locks.release(key, id)
        const next = yield* asked === undefined ? hold(one.locks, key) : Fiber.join(asked)
        assert.isAbove(next.lease.fencingToken, passed.lease.fencingToken, order)
      }
    })
  )
})

describe("the connection before", () => {
  it.scopedLive("is ended as soon as there is a new one, so that nothing late comes out of it", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const proxy = yield* Proxy.listen({ host: "127.0.0.1", port: server.port })
      const { locks } = yield* service(Redacted.make(`redis://127.0.0.1:${proxy.port}`))
      const { redis } = yield* service(server.url)
      const connections = Effect.map(
        redis.command("CLIENT", "LIST"),
        (list) => [...String(list).matchAll(/name=effect-credentials /g)].length
      )
      yield* settle
      assert.strictEqual(yield* connections, 2)
      yield* proxy.orphan
      yield* Effect.retry(Effect.zipRight(Effect.sleep("50 millis"), locks.ping), { times: 100 })
      yield* settle
      assert.strictEqual(yield* connections, 2)
    })
  )
})

describe("inspect", () => {
  it.scopedLive("tells of a process that does not answer as Redis knows it", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const { locks } = yield* service(server.url)
      const key = randomUUID()
      const gone = yield* OtherProcess.start({ url: server.url, key, role: "hold", ttl: 10_000 })
      yield* gone.said("held")
      yield* gone.signal("SIGSTOP")
      const { took, value } = yield* timed(locks.inspect(key))
      assert.isBelow(took, 1_000)
      assert.lengthOf(value.holders, 1)
      yield* fails("LockTimeout", Effect.scoped(locks.acquire(key, { wait: 0 })))
    })
  )
})
