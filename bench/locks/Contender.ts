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

export const ttl = 10_000

export interface Contender {
  /** Holds the key while `use` runs, and returns when the release is done. */
  readonly hold: (key: string, use: () => Promise<void>) => Promise<void>
  /** The same, and does not wait for the release where it need not. */
  readonly holdAndGo: (key: string, use: () => Promise<void>) => Promise<void>
  readonly close: () => Promise<void>
}

export const names = ["effect-credentials", "bare", "redis-semaphore", "redlock"] as const
export type Name = (typeof names)[number]

const client = (url: string) => new Client(url, { protocol: 2 })

const deleteOwn = `if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end`

const bare = (url: string): Contender => {
  const redis = client(url)
  redis.defineCommand("deleteOwn", { numberOfKeys: 1, lua: deleteOwn })
  const hold: Contender["hold"] = async (key, use) => {
    const owner = randomUUID()
    while ((await redis.set(key, owner, "PX", ttl, "NX")) === null) await setTimeout(5 + 5 * Math.random())
    await use()
    // deleteOwn is defined by defineCommand, which no type knows
    const release: unknown = Reflect.get(redis, "deleteOwn")
    if (typeof release === "function") await release.call(redis, key, owner)
  }
  return { hold, holdAndGo: hold, close: async () => void (await redis.quit()) }
}

const semaphore = (url: string): Contender => {
  const redis = client(url)
  const hold: Contender["hold"] = async (key, use) => {
    const mutex = new Mutex(redis, key, { lockTimeout: ttl, acquireTimeout: 60_000, retryInterval: 10 })
    await mutex.acquire()
    await use()
    await mutex.release()
  }
  return { hold, holdAndGo: hold, close: async () => void (await redis.quit()) }
}

const redlock = (url: string): Contender => {
  const redis = client(url)
  const locks = new Redlock([redis], { retryCount: -1, retryDelay: 10, retryJitter: 5 })
  const hold: Contender["hold"] = async (key, use) => {
    const lock = await locks.acquire([key], ttl)
    await use()
    await lock.release()
  }
  return { hold, holdAndGo: hold, close: async () => void (await redis.quit()) }
}

const ours = (url: string): Contender => {
  const runtime = ManagedRuntime.make(
    Layer.provide(LockServiceRedis.layer({ ttl }), Redis.layer({ url: Redacted.make(url) }))
  )
  return {
    hold: (key, use) =>
      runtime.runPromise(
        Effect.flatMap(LockService.LockService, (locks) =>
          Effect.acquireUseRelease(
            locks.take(key, { ttl, wait: "1 minute" }),
            () => Effect.promise(use),
            ({ id }) => Effect.orDie(locks.release(key, id))
          )
        )
      ),
    holdAndGo: (key, use) =>
      runtime.runPromise(
        Effect.flatMap(LockService.LockService, (locks) =>
          Effect.scoped(Effect.zipRight(locks.acquire(key, { wait: "1 minute" }), Effect.promise(use)))
        )
      ),
    close: () => runtime.dispose()
  }
}

export const make = (name: Name, url: string): Contender =>
  ({ "effect-credentials": ours, bare, "redis-semaphore": semaphore, redlock })[name](url)
