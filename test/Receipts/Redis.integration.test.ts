/** Receipts in a real Redis. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { randomUUID } from "node:crypto"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import * as Receipts from "../../src/Receipts.ts"
import * as RedisSpool from "../../src/Receipts/Redis.ts"
import * as SecondCopy from "../../src/Receipts/SecondCopy.ts"
import * as Redis from "../../src/Redis.ts"
import { Spool, suite } from "../contract/Spool.ts"
import * as ScriptedHandler from "../ScriptedHandler.ts"
import { accessToken, given, userId, world } from "../ScriptedHandler.ts"
import * as Server from "../servers/Redis.ts"

const redis = Layer.unwrapScoped(Effect.map(Server.url, (url) => Redis.layer({ url })))

suite("Redis", Layer.provide(Layer.effect(Spool, RedisSpool.make), redis))

describe("receipts in Redis", () => {
  it.scopedLive("are there for 31 days, under keys of one slot, and are no longer named after that", () =>
    Effect.gen(function* () {
      const { command } = yield* Redis.Redis
      const spool = yield* RedisSpool.make
      const id = randomUUID()
      yield* spool.write(id, Buffer.from("sealed"))
      const key = `rc:{receipts}:${id}`
      const days = Number(yield* command("PTTL", key)) / 86_400_000
      assert.isAbove(days, 30.9)
      assert.isAtMost(days, 31)
      assert.isTrue(yield* spool.replace(id, Buffer.from("sealed"), Buffer.from("anew")))
      assert.isAbove(Number(yield* command("PTTL", key)) / 86_400_000, 30.9)
      yield* command("DEL", key)
      assert.notInclude(yield* spool.names, id)
    }).pipe(Effect.provide(redis))
  )

  it.scopedLive("hold no secret, and let a process with another disk store what a dead one kept", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(redis)
      const engine = yield* ScriptedHandler.engine
      const at = ScriptedHandler.make()
      const start = Effect.gen(function* () {
        const copy = yield* Effect.provide(RedisSpool.make, context)
        const { layer, reach } = world({
          engine,
          at,
          spool: SecondCopy.make(yield* Receipts.makeMemory, copy)
        })
        const built = yield* Layer.build(layer)
        return { reach, context: built, manager: Context.get(built, CredentialsManager), copy }
      })
      const [one, other] = [yield* start, yield* start]
      const id = yield* Effect.provide(given(), one.context)
      at.scripted.next((spend) =>
        Effect.sync(() => {
          one.reach.down = "before"
          return spend()
        })
      )
      assert.strictEqual(accessToken(yield* one.manager.get(userId, id)), "access-1")
      const names = yield* other.copy.names
      assert.lengthOf(names, 1)
      const { command } = Context.get(context, Redis.Redis)
      const stored = Buffer.from(String(yield* command("GET", `rc:{receipts}:${names[0]}`)), "base64")
      for (const secret of ["access-1", "refresh-1", "refresh-0"]) {
        assert.isFalse(stored.includes(secret))
        assert.isFalse(stored.includes(Buffer.from(secret).toString("base64")))
      }
      assert.strictEqual(accessToken(yield* other.manager.get(userId, id)), "access-1")
      assert.deepStrictEqual(at.scripted.spent, ["refresh-0"])
      assert.deepStrictEqual(yield* other.copy.names, [])
    })
  )

  it.scopedLive("that cannot be reached fail in time", () =>
    Effect.gen(function* () {
      const server = yield* Server.start
      const spool = yield* Effect.provide(RedisSpool.make, Redis.layer({ url: server.url }))
      yield* server.kill
      for (const error of [
        yield* Effect.flip(spool.write("one", Buffer.from("sealed"))),
        yield* Effect.flip(spool.read("one")),
        yield* Effect.flip(spool.names),
        yield* Effect.flip(spool.remove("one"))
      ]) {
        assert.deepInclude(error, { _tag: "SpoolUnavailable", place: "REDIS_URL" })
      }
    })
  )
})
