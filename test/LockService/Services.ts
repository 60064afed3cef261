/** Lock services at one Redis, each as another process would have it. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as LockService from "../../src/LockService.ts"
import * as LockServiceRedis from "../../src/LockService/Redis.ts"
import * as Redis from "../../src/Redis.ts"

export const millis = () => Number(process.hrtime.bigint()) / 1e6

export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const since = millis()
    return Effect.map(effect, (value) => ({ value, took: millis() - since }))
  })

/** A lock service of its own, as another process would have. */
export const service = (url: Redacted.Redacted, options: LockServiceRedis.Options = { ttl: "2 seconds" }) =>
  Effect.map(Layer.build(Layer.provideMerge(LockServiceRedis.layer(options), Redis.layer({ url }))), (context) => ({
    locks: Context.get(context, LockService.LockService),
    redis: Context.get(context, Redis.Redis)
  }))

/** How many scripts the server has run. */
export const evaluations = (redis: Redis.Redis["Type"]) =>
  Effect.map(redis.command("INFO", "commandstats"), (info) =>
    [...String(info).matchAll(/^cmdstat_(eval|evalsha):calls=(\d+)/gm)].reduce(
      (sum, [, , calls]) => sum + Number(calls),
      0
    )
  )
