import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Redis from "../src/Redis.ts"
import * as RedisServer from "./servers/Redis.ts"

const ping = Redis.script("return 'here'")

const evaluate = (redis: Redis.Redis["Type"]) =>
  Effect.flatMap(Deferred.make<unknown, Redis.RedisError>(), (reply) => {
    redis.evaluate(ping, ["k"], [], (error, value) =>
      Deferred.unsafeDone(reply, error === undefined ? Effect.succeed(value) : Effect.fail(error))
    )
    return Deferred.await(reply)
  })

describe("a command", () => {
  it.scopedLive("that is not answered in time fails, and its late answer is nobody's", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.start
      const redis = yield* Redis.make({ url: server.url, answerWithin: "400 millis" })
      assert.strictEqual(yield* evaluate(redis), "here")
      yield* server.pause
      const since = performance.now()
      const [scripted, pinged] = yield* Effect.all([Effect.flip(evaluate(redis)), Effect.flip(redis.ping)], {
        concurrency: 2
      })
      assert.deepStrictEqual([scripted.reason, pinged.reason], ["timeout", "timeout"])
      assert.isAtLeast(performance.now() - since, 350)
      assert.isBelow(performance.now() - since, 1_500)
      yield* server.resume
      assert.strictEqual(yield* evaluate(redis), "here")
    })
  )

  it.scopedLive("is answered to a process that was busy for longer than the server may be silent", () =>
    Effect.gen(function* () {
      const redis = yield* Redis.make({ url: yield* RedisServer.url, answerWithin: "200 millis" })
      yield* redis.ping
      const reply = evaluate(redis)
      const busy = Effect.sync(() => {
        const until = performance.now() + 1_000
        while (performance.now() < until);
      })
      const [value] = yield* Effect.all([reply, busy], { concurrency: 2 })
      assert.strictEqual(value, "here")
    })
  )
})
