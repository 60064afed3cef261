/**
 * A process that contends for a lock and says what happens, each with the time of the clock that all processes share.
 *
 * - `many`: contenders that acquire again and again; at the end a line of JSON with each hold's fence, begin and end
 * - `hold`: acquires once, and does a side effect after each check until the lease is lost; then lets its scope close
 * - `take`: the same with a taken lease, which it then tries to renew and to release
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as LockService from "../../src/LockService.ts"
import * as LockServiceRedis from "../../src/LockService/Redis.ts"
import * as Redis from "../../src/Redis.ts"

const [url = "", key = "", role = "hold", ttlMillis = "1000", contenders = "1", rounds = "1"] = process.argv.slice(2)
const ttl = Duration.millis(Number(ttlMillis))

const say = (line: string) => Effect.sync(() => void process.stdout.write(`${line}\n`))
const millis = () => Number(process.hrtime.bigint()) / 1e6

const many = Effect.gen(function* () {
  const locks = yield* LockService.LockService
  const holds: Array<readonly [fence: number, begin: number, end: number]> = []
  const contender = Effect.scoped(
    Effect.gen(function* () {
      const lease = yield* locks.acquire(key, { wait: "1 minute" })
      const begin = millis()
      yield* Effect.yieldNow()
      yield* lease.check
      holds.push([lease.fencingToken, begin, millis()])
    })
  )
  yield* Effect.all(
    Array.from({ length: Number(contenders) }, () => Effect.repeatN(contender, Number(rounds) - 1)),
    { concurrency: "unbounded", discard: true }
  )
  yield* say(JSON.stringify(holds))
})

const act = Effect.fnUntraced(function* (lease: LockService.Lease) {
  yield* say(`held ${lease.fencingToken} ${lease.id}`)
  yield* lease.check.pipe(
    Effect.zipRight(Effect.suspend(() => say(`effect ${millis()}`))),
    Effect.zipRight(Effect.sleep(1)),
    Effect.forever,
    Effect.ignore
  )
  yield* say(`lost ${millis()}`)
  yield* lease.lost
})

const hold = Effect.gen(function* () {
  const locks = yield* LockService.LockService
  yield* Effect.scoped(Effect.flatMap(locks.acquire(key), act))
  yield* say("released")
})

const take = Effect.gen(function* () {
  const locks = yield* LockService.LockService
  const lease = yield* locks.take(key, { ttl })
  yield* act(lease)
  const tag = <A, E extends { readonly _tag: string }>(effect: Effect.Effect<A, E>) =>
    Effect.merge(Effect.mapBoth(effect, { onFailure: ({ _tag }) => _tag, onSuccess: () => "done" }))
  yield* say(`renew ${yield* tag(locks.renew(key, lease.id, ttl))}`)
  yield* say(`release ${yield* tag(locks.release(key, lease.id))}`)
})

const roles = { many, hold, take }

await Effect.runPromise(
  Effect.zipRight(say("ready"), roles[role === "many" || role === "take" ? role : "hold"]).pipe(
    Effect.provide(Layer.provide(LockServiceRedis.layer({ ttl }), Redis.layer({ url: Redacted.make(url) })))
  )
)
