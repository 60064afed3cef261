/**
 * Receipts in Redis: within reach of every process, and gone when Redis loses its data. So never the only copy.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Receipts from "../Receipts.ts"
import { Redis, type RedisError, script } from "../Redis.ts"

/** One slot of a cluster has them all: there are few. */
const index = "rc:{receipts}"
const keyOf = (name: string) => `${index}:${name}`

/** Receipts are given up after 30 days; a day more leaves that to those who do it. */
const keptMillis = Duration.toMillis("31 days")

// the name last: who sees it finds the receipt
const write = script(`
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1`)

const remove = script(`
redis.call('SREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])`)

const replace = script(`
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL')
return 1`)

const encode = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64")
const decode = (text: string): Uint8Array => Buffer.from(text, "base64")

/**
 * A spool in Redis. Each receipt is there for 31 days after it was written.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Receipts.Spool, never, Redis> = Effect.map(Redis, (redis) => {
  const unavailable = (doing: "write" | "read") => () => new Receipts.SpoolUnavailable({ doing, place: "REDIS_URL" })

  const run = (step: typeof write, name: string, parameters: ReadonlyArray<string | number>) =>
    Effect.async<unknown, RedisError>((resume) =>
      redis.evaluate(step, [keyOf(name), index], [name, ...parameters], (error, reply) =>
        resume(error === undefined ? Effect.succeed(reply) : Effect.fail(error))
      )
    ).pipe(Effect.mapError(unavailable("write")))

  const read = (name: string) =>
    redis.command("GET", keyOf(name)).pipe(
      Effect.map((found) => (typeof found === "string" ? Option.some(decode(found)) : Option.none())),
      Effect.mapError(unavailable("read"))
    )

  return {
    write: (name, bytes) => Effect.asVoid(run(write, name, [encode(bytes), keptMillis])),
    read,
    names: redis.command("SMEMBERS", index).pipe(
      Effect.map((found) => (Array.isArray(found) ? found.map(String) : [])),
      Effect.mapError(unavailable("read")),
      // a name whose receipt has had its time
      Effect.flatMap(Effect.filter((name) => Effect.map(read(name), Option.isSome)))
    ),
    remove: (name) => Effect.asVoid(run(remove, name, [])),
    replace: (name, before, after) =>
      Effect.map(run(replace, name, [encode(before), encode(after)]), (replaced) => replaced === 1)
  }
})
