/**
 * Redis and Postgres are stopped, killed, paused, started again empty and cut off while several servers work. What does not
 * need them is served, what does is refused in time, nothing is spent twice, and all comes back by itself.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { type Answer, ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"

const user = "ada"

const fresh = () => ({ accessTokenExpiresAt: Cluster.inSeconds(3600) })

/** Forced renewals of a few credentials at every server, until it is interrupted; whatever comes of them is counted. */
const load = Effect.fnUntraced(function* (cluster: Cluster.Cluster) {
  const ids = yield* Effect.replicateEffect(
    Effect.map(cluster.create(user, fresh()), ({ id }) => id),
    4
  )
  const seen = new Map<string, number>()
  const one = (index: number) =>
    cluster
      .at(index)
      .secret(user, ids[index % ids.length] ?? "", { refresh: "force", waitSeconds: 2 })
      .pipe(
        Effect.match({
          onFailure: (error) => error._tag,
          onSuccess: (answer) =>
            answer.ok ? "served" : [answer.status, answer.body._tag, answer.body.reason].join(" ").trim()
        }),
        Effect.tap((what) => Effect.sync(() => seen.set(what, (seen.get(what) ?? 0) + 1))),
        Effect.zipRight(Effect.sleep("50 millis"))
      )
  const fiber = yield* Effect.forkScoped(
    Effect.all(
      Array.from({ length: 8 }, (_, index) => Effect.forever(one(index))),
      { concurrency: "unbounded" }
    )
  )
  /** Ends it; nothing was spent twice or lost meanwhile, every exchange had an attempt, and nothing worse was answered. */
  const end = (allowed: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      yield* Fiber.interrupt(fiber)
      assert.isAbove(seen.get("served") ?? 0, 0)
      assert.includeMembers(["served", "423 LockTimeout", ...allowed], [...seen.keys()])
      assert.strictEqual(cluster.provider.reuses, 0)
      for (const [index, id] of ids.entries()) {
        // what was asked for last may still be under way
        const living = Effect.filterOrFail(
          ok(cluster.at(index).secret(user, id)),
          ({ accessToken }) => cluster.provider.isLive(accessToken ?? ""),
          () => "not yet"
        )
        yield* Cluster.eventually(living, "10 seconds")
      }
      const attempts = yield* cluster.attempts
      const sent = new Set(cluster.provider.ledger.map(({ refreshToken }) => refreshToken))
      assert.strictEqual(sent.size, cluster.provider.refreshes)
      assert.isAtLeast(attempts.length, cluster.provider.refreshes)
      yield* Effect.logInfo("under load", Object.fromEntries(seen))
    })
  return { end }
})

/** Fails unless it takes less than so many milliseconds. */
const within = <A, E, R>(millis: number, self: Effect.Effect<A, E, R>) =>
  Effect.map(Cluster.timed(self), ([took, value]) => {
    assert.isBelow(took, millis)
    return value
  })

interface Outage {
  readonly name: string
  readonly begin: (cluster: Cluster.Cluster) => Effect.Effect<unknown>
  readonly end: (cluster: Cluster.Cluster) => Effect.Effect<unknown>
}

const redisOutages: ReadonlyArray<Outage> = [
  { name: "killed, and started again empty", begin: ({ redis }) => redis.kill, end: ({ redis }) => redis.start },
  { name: "paused", begin: ({ redis }) => redis.pause, end: ({ redis }) => redis.resume },
  {
    name: "cut off",
    begin: ({ toRedis }) => Effect.zipRight(toRedis.pause, toRedis.cut),
    end: ({ toRedis }) => toRedis.resume
  }
]

const postgresOutages: ReadonlyArray<Outage> = [
  { name: "stopped fast", begin: ({ postgres }) => postgres.stop("fast"), end: ({ postgres }) => postgres.start },
  { name: "crashed", begin: ({ postgres }) => postgres.stop("crash"), end: ({ postgres }) => postgres.start },
  { name: "paused", begin: ({ postgres }) => postgres.pause, end: ({ postgres }) => postgres.resume },
  {
    name: "cut off",
    begin: ({ toPostgres }) => Effect.zipRight(toPostgres.pause, toPostgres.cut),
    end: ({ toPostgres }) => toPostgres.resume
  }
]

class Two extends Context.Tag("test/TwoServers")<Two, Cluster.Cluster>() {}

layer(Layer.scoped(Two, Effect.orDie(Cluster.make({ servers: 2, proxied: true }))), {
  excludeTestServices: true,
  timeout: "2 minutes"
})("over two servers:", (it) => {
  describe("Redis", () => {
    it.scoped(
      "out of reach (killed, paused, cut off): fresh tokens are served, locks are refused in time, and all comes back by itself",
      () =>
        Effect.gen(function* () {
          const cluster = yield* Two
          const { id } = yield* cluster.create(user, fresh())
          const { end } = yield* load(cluster)
          let fence = 0
          const borrow = (index: number) =>
            Effect.gen(function* () {
              const lease = yield* ok(cluster.at(index).acquire(user, id, { waitSeconds: 5 }))
              yield* ok(cluster.at(index).releaseLease(lease.leaseId))
              assert.isAbove(lease.fencingToken, fence)
              fence = lease.fencingToken
            })
          for (const outage of redisOutages) {
            yield* borrow(0)
            yield* outage.begin(cluster)
            const due = yield* cluster.create(user)
            yield* within(1_500, ok(cluster.at(0).secret(user, id)))
            yield* within(1_500, ok(cluster.at(1).get(user, id)))
            const calls: ReadonlyArray<Effect.Effect<Answer<unknown>, unknown>> = [
              cluster.at(0).acquire(user, id, { waitSeconds: 3 }),
              cluster.at(1).secret(user, due.id, { waitSeconds: 3 }),
              cluster.at(0).refresh(user, id, {}, { waitSeconds: 3 }),
              cluster.at(1).put(user, id, { type: "oauth2", provider: "fake" }, { query: { waitSeconds: 3 } }),
              cluster.at(0).delete(user, id, { waitSeconds: 3 })
            ]
            const answers = yield* Effect.all(
              calls.map((call) => within(5_000, refused(call))),
              { concurrency: "unbounded" }
            )
            for (const { body, status } of answers) {
              assert.strictEqual(`${outage.name}: ${status} ${body._tag}`, `${outage.name}: 503 LockUnavailable`)
            }
            assert.strictEqual((yield* cluster.at(0).raw("GET", "/readyz")).status, 503)
            yield* outage.end(cluster)
            // by itself, at both servers
            yield* Cluster.eventually(borrow(0), "10 seconds")
            yield* Cluster.eventually(borrow(1), "10 seconds")
            yield* Cluster.eventually(ok(cluster.at(1).secret(user, due.id)), "10 seconds")
          }
          yield* end(["503 LockUnavailable"])
        }),
      150_000
    )
  })

  describe("Postgres", () => {
    it.scoped(
      "out of reach (stopped, crashed, paused, cut off) under load: nothing is spent without an attempt, and all comes back by itself",
      () =>
        Effect.gen(function* () {
          const cluster = yield* Two
          const { id } = yield* cluster.create(user, fresh())
          const { end } = yield* load(cluster)
          for (const outage of postgresOutages) {
            yield* Effect.sleep("1 second")
            yield* outage.begin(cluster)
            const answers = yield* Effect.all(
              [0, 1].map((index) => within(5_000, refused(cluster.at(index).secret(user, id, { waitSeconds: 3 })))),
              { concurrency: "unbounded" }
            )
            for (const { body } of answers) assert.include(["StoreUnavailable", "LockTimeout"], body._tag)
            yield* outage.end(cluster)
            for (const index of [0, 1]) yield* Cluster.eventually(ok(cluster.at(index).secret(user, id)), "10 seconds")
          }
          // an attempt whose commit was not answered may have been sent, for all that another server knows
          yield* end(["503 StoreUnavailable", "502 ProviderError timeout"])
        }),
      150_000
    )
  })
})

describe("one server over Postgres without Redis", () => {
  it.scopedLive(
    "keeps a second one out, comes back after Postgres, and is followed soon when it is killed",
    () =>
      Effect.gen(function* () {
        const cluster = yield* Cluster.make({ servers: 1, redis: false })
        const [first] = cluster.services
        if (first === undefined) return
        const { id } = yield* cluster.create(user)
        const error = yield* Effect.flip(cluster.start())
        assert.include(error.output, "The database is in use by another process")
        assert.include(error.output, "REDIS_URL")
        assert.notInclude(error.output, "    at ")
        for (const how of ["fast", "crash"] as const) {
          yield* cluster.postgres.stop(how)
          yield* cluster.postgres.start
          yield* Cluster.eventually(ok(cluster.at(0).secret(user, id)), "15 seconds")
        }
        yield* first.kill("SIGKILL")
        const [took, second] = yield* Cluster.timed(cluster.start())
        assert.isBelow(took, 15_000)
        assert.isTrue(cluster.provider.isLive((yield* ok(second.client.secret(user, id))).accessToken ?? ""))
        assert.strictEqual(cluster.provider.refreshes, 1)
      }),
    120_000
  )
})
