/** Servers whose clocks are an hour ahead and an hour behind, beside one whose clock is right. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { type Client, ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import { Fault } from "../servers/ScriptedProvider.ts"
import type * as Service from "../servers/Service.ts"
import * as Faults from "./Faults.ts"
import { atOnce, request } from "./Operations.ts"

const user = "ada"

const hour = 3_600

/** Loaded before the server: its wall clock is wrong, its timers are not. */
const skew = `
  const Right = Date
  const by = Number(process.env.CLOCK_SKEW_SECONDS) * 1000
  globalThis.Date = class extends Right {
    constructor(...given) { given.length === 0 ? super(Right.now() + by) : super(...given) }
    static now() { return Right.now() + by }
  }`

class Skewed extends Context.Tag("test/SkewedServers")<
  Skewed,
  {
    readonly cluster: Cluster.Cluster
    readonly "an hour ahead": Service.Service
    readonly "an hour behind": Service.Service
  }
>() {}

const servers = Layer.scoped(
  Skewed,
  Effect.gen(function* () {
    // a token that outlives the hour by which a clock is wrong
    const cluster = yield* Cluster.make({ servers: 1, provider: { accessTokenSeconds: 10 * hour } })
    const start = (seconds: number) =>
      cluster.start({
        command: [process.execPath, "--import", `data:text/javascript,${encodeURIComponent(skew)}`, "dist/main.js"],
        env: { CLOCK_SKEW_SECONDS: String(seconds) }
      })
    const [ahead, behind] = yield* Effect.all([start(hour), start(-hour)], { concurrency: 2 })
    return { cluster, "an hour ahead": ahead, "an hour behind": behind }
  }).pipe(Effect.orDie)
)

const lasting = () => ({ accessTokenExpiresAt: Cluster.inSeconds(10 * hour) })

/** What a busy machine adds. */
const slack = 2_000

const assertTook = (took: number, millis: number) => {
  assert.isAtLeast(took, millis - 100)
  assert.isAtMost(took, millis + slack)
}

const cases = (["an hour ahead", "an hour behind"] as const).flatMap((way) => [
  ...Faults.together(
    way,
    "its waits end in time, and who holds a lease holds it as long as at any other server",
    Effect.gen(function* () {
      const { cluster, [way]: wrong } = yield* Skewed
      const { at, provider } = cluster

      // a renewal that takes longer than the wait
      const arrived = provider.ledger.length + 3
      provider.next(...Faults.operations.map(() => Fault.slow({ after: "4 seconds" })))
      yield* atOnce((operation) =>
        Effect.gen(function* () {
          const { id } = yield* cluster.create(user, { accessTokenExpiresAt: Cluster.inSeconds(-2 * hour) })
          const asked = yield* Effect.fork(ok(request(operation, at(0), user, id)))
          yield* provider.awaitLedger((ledger) => ledger.length >= arrived)
          const [waited, told] = yield* Cluster.timed(
            refused(request(operation, wrong.client, user, id, { waitSeconds: 1 }))
          )
          assert.strictEqual(told.body._tag, "LockTimeout")
          assertTook(waited, 1_000)
          assert.strictEqual((yield* Fiber.join(asked)).generation, 2)
        })
      )
      assert.lengthOf(provider.ledger, arrived)

      // leases of either, contended for at the other by each operation that waits for holders
      const leased = ([holder, other]: readonly [Client, Client]) =>
        Effect.gen(function* () {
          const { id } = yield* cluster.create(user, lasting())
          const lease = yield* ok(holder.acquire(user, id, { ttlSeconds: 3 }))
          assert.strictEqual((yield* ok(request("get", other, user, id))).generation, 1)
          assert.strictEqual((yield* refused(other.acquire(user, id, { waitSeconds: 0 }))).body._tag, "LockTimeout")
          const early = yield* refused(request("refresh", other, user, id, { waitSeconds: 1 }))
          assert.strictEqual(early.body._tag, "LockTimeout")
          const [[took, next], [refreshed]] = yield* Effect.all(
            [
              Cluster.timed(ok(other.acquire(user, id, { waitSeconds: 10, ttlSeconds: 1 }))),
              Cluster.timed(ok(request("refresh", other, user, id, { waitSeconds: 10 })))
            ],
            { concurrency: 2 }
          )
          // some of the three seconds has passed by now
          assert.isAtLeast(Math.min(took, refreshed), 500)
          assert.isAtMost(Math.max(took, refreshed), 4_000 + slack)
          assert.isAbove(next.fencingToken, lease.fencingToken)
          assert.strictEqual((yield* refused(holder.renewLease(lease.leaseId))).body._tag, "LeaseLost")
        })
      yield* Effect.all(
        [
          [wrong.client, at(0)],
          [at(0), wrong.client]
        ].map(([holder = at(0), other = at(0)]) => leased([holder, other])),
        { concurrency: 2 }
      )
      assert.strictEqual(provider.reuses, 0)
    })
  ),
  ...Faults.together(
    way,
    "beside others it renews once what has expired by all clocks",
    Effect.gen(function* () {
      const { cluster, [way]: wrong } = yield* Skewed
      yield* atOnce((operation) =>
        Effect.gen(function* () {
          const { accessToken, refreshToken } = cluster.provider.issue()
          const accessTokenExpiresAt = Cluster.inSeconds(-2 * hour)
          const { id } = yield* cluster.create(user, { accessToken, refreshToken, accessTokenExpiresAt })
          const answers = yield* Effect.all(
            Array.from({ length: 20 }, (_, index) =>
              ok(request(operation, index % 2 === 0 ? wrong.client : cluster.at(0), user, id))
            ),
            { concurrency: "unbounded" }
          )
          for (const { generation } of answers) assert.strictEqual(generation, 2)
          assert.deepStrictEqual(
            cluster.provider.ledger
              .filter((entry) => entry.refreshToken === refreshToken)
              .map(({ outcome }) => outcome),
            ["rotated"]
          )
        })
      )
      assert.strictEqual(cluster.provider.reuses, 0)
    })
  )
])

Faults.playOver("servers with other clocks", servers, cases, 90_000)
