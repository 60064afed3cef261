/**
 * The same work for every way of locking: hold a key, do something, let go.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import { Redis as Client } from "ioredis"
import { randomUUID } from "node:crypto"
import { setTimeout } from "node:timers/promises"
import Redlock from "redlock"
import { Mutex } from "redis-semaphore"
import * as LockService from "../../src/LockService.ts"
import * as LockServiceRedis from "../../src/LockService/Redis.ts"
import * as Redis from "../../src/Redis.ts"

export interface Work {
  /** So many at once. */
  readonly tasks: number
  /** Each holds so many times, one after the other. */
  readonly times: number
  readonly key: (task: number, time: number) => string
  readonly holdMillis?: number
  /** How our own leases are had: by `take` and an awaited `release`, or by `acquire` in a scope, whose end is only sent. */
  readonly how: "taken" | "scoped"
}

export interface Contender {
  /** Answers the longest wait, in milliseconds. */
  readonly run: (work: Work) => Promise<number>
  /** Holds until the process ends. */
  readonly holdOn: (key: string) => Promise<void>
  readonly close: () => Promise<void>
}

export const names = ["effect-credentials", "bare", "redis-semaphore", "redlock"] as const
export type Name = (typeof names)[number]

const client = (url: string) => new Client(url, { protocol: 2 })

/** Ways that know promises: get hold, and how to let go. */
const promised = (
  acquire: (key: string) => Promise<() => Promise<unknown>>,
  close: () => Promise<unknown>
): Contender => ({
  run: async ({ holdMillis = 0, key, tasks, times }) => {
    let longest = 0
    await Promise.all(
      Array.from({ length: tasks }, async (_, task) => {
        for (let time = 0; time < times; time++) {
          const since = performance.now()
          const release = await acquire(key(task, time))
          longest = Math.max(longest, performance.now() - since)
          if (holdMillis > 0) await setTimeout(holdMillis)
          await release()
        }
      })
    )
    return longest
  },
  holdOn: async (key) => void (await acquire(key)),
  close: async () => void (await close())
})

const deleteOwn = `if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end`

const bare = (url: string, ttl: number): Contender => {
  const redis = client(url)
  redis.defineCommand("deleteOwn", { numberOfKeys: 1, lua: deleteOwn })
  return promised(
    async (key) => {
      const owner = randomUUID()
      while ((await redis.set(key, owner, "PX", ttl, "NX")) === null) await setTimeout(5 + 5 * Math.random())
      // deleteOwn is defined by defineCommand, which no type knows
      const release: unknown = Reflect.get(redis, "deleteOwn")
      return async () => (typeof release === "function" ? release.call(redis, key, owner) : undefined)
    },
    () => redis.quit()
  )
}

const semaphore = (url: string, ttl: number): Contender => {
  const redis = client(url)
  return promised(
    async (key) => {
      const mutex = new Mutex(redis, key, { lockTimeout: ttl, acquireTimeout: 60_000, retryInterval: 10 })
      await mutex.acquire()
      return () => mutex.release()
    },
    () => redis.quit()
  )
}

const redlock = (url: string, ttl: number): Contender => {
  const redis = client(url)
  const locks = new Redlock([redis], { retryCount: -1, retryDelay: 10, retryJitter: 5 })
  return promised(
    async (key) => {
      const lock = await locks.acquire([key], ttl)
      return () => lock.release()
    },
    () => redis.quit()
  )
}

const wait = "1 minute"

const ours = (url: string, ttl: number): Contender => {
  const runtime = ManagedRuntime.make(
    Layer.provide(LockServiceRedis.layer({ ttl }), Redis.layer({ url: Redacted.make(url) }))
  )
  const now = Effect.sync(() => performance.now())
  return {
    run: ({ holdMillis = 0, how, key, tasks, times }) =>
      runtime.runPromise(
        Effect.gen(function* () {
          const locks = yield* LockService.LockService
          let longest = 0
          const use = (since: number) =>
            Effect.suspend(() => {
              longest = Math.max(longest, performance.now() - since)
              return holdMillis > 0 ? Effect.sleep(holdMillis) : Effect.void
            })
          const hold = (key: string) =>
            how === "taken"
              ? Effect.flatMap(now, (since) =>
                  Effect.acquireUseRelease(
                    locks.take(key, { ttl, wait }),
                    () => use(since),
                    ({ id }) => Effect.orDie(locks.release(key, id))
                  )
                )
              : Effect.scoped(Effect.flatMap(now, (since) => Effect.zipRight(locks.acquire(key, { wait }), use(since))))
          yield* Effect.forEach(
            Array.from({ length: tasks }, (_, task) => task),
            (task) =>
              Effect.iterate(0, {
                while: (time) => time < times,
                body: (time) => Effect.as(hold(key(task, time)), time + 1)
              }),
            { concurrency: "unbounded", discard: true }
          )
          return longest
        })
      ),
    holdOn: (key) =>
      new Promise((resolve, reject) => {
        runtime.runFork(
          Effect.gen(function* () {
            const locks = yield* LockService.LockService
            const lease = yield* locks.acquire(key, { wait })
            resolve()
            // each line is a side effect
            yield* lease.check.pipe(
              Effect.zipRight(Effect.sync(() => process.stdout.write(`effect ${process.hrtime.bigint()}\n`))),
              Effect.zipRight(Effect.sleep(1)),
              Effect.forever,
              Effect.catchAll(() => Effect.sync(() => process.stdout.write("lost\n")))
            )
          }).pipe(
            Effect.scoped,
            Effect.tapErrorCause((cause) => Effect.sync(() => reject(cause)))
          )
        )
      }),
    close: () => runtime.dispose()
  }
}

const makers = { "effect-credentials": ours, bare, "redis-semaphore": semaphore, redlock }

/** `ttl` is in milliseconds. */
export const make = (name: Name, url: string, ttl = 10_000): Contender => makers[name](url, ttl)
