/** Servers whose clocks are an hour ahead and an hour behind, beside one whose clock is right. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { ok, refused } from "../servers/Client.ts"
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
    const cluster = yield* Cluster.make({ servers: 1 })
    const start = (seconds: number) =>
      cluster.start({
        command: [process.execPath, "--import", `data:text/javascript,${encodeURIComponent(skew)}`, "dist/main.js"],
        env: { CLOCK_SKEW_SECONDS: String(seconds) }
      })
    const [ahead, behind] = yield* Effect.all([start(hour), start(-hour)], { concurrency: 2 })
    return { cluster, "an hour ahead": ahead, "an hour behind": behind }
  }).pipe(Effect.orDie)
)

/** What a busy machine adds. */
const slack = 2_000

const assertTook = (took: number, millis: number) => {
  assert.isAtLeast(took, millis - 100)
  assert.isAtMost(took, millis + slack)
}

const cases = (["an hour ahead", "an hour behind"] as const).flatMap((way) => [
  ...Faults.each(
    way,
    "its waits end in time, and who holds a lease holds it as long as at any other server",
    (operation) =>
      Effect.gen(function* () {
        const { cluster, [way]: wrong } = yield* Skewed
        const right = cluster.at(0)

        // a renewal that takes longer than the wait
        const slow = yield* cluster.create(user, { accessTokenExpiresAt: Cluster.inSeconds(-2 * hour) })
        const arrived = cluster.provider.ledger.length + 1
        cluster.provider.next(Fault.slow({ after: "4 seconds" }))
        const asked = yield* Effect.fork(ok(request(operation, right, user, slow.id)))
        yield* cluster.provider.awaitLedger((ledger) => ledger.length >= arrived)
        const [waited, told] = yield* Cluster.timed(
          refused(request(operation, wrong.client, user, slow.id, { waitSeconds: 1 }))
        )
        assert.strictEqual(told.body._tag, "LockTimeout")
        assertTook(waited, 1_000)
        assert.strictEqual((yield* Fiber.join(asked)).generation, 2)
        assert.lengthOf(cluster.provider.ledger, arrived)

        // leases of either, contended for at the other; the token outlives the hour that the clock is wrong
        const { id } = yield* cluster.create(user, { accessTokenExpiresAt: Cluster.inSeconds(10 * hour) })
        let fence = 0
        for (const [holder, other] of [
          [wrong.client, right],
          [right, wrong.client]
        ] as const) {
          const lease = yield* ok(holder.acquire(user, id, { ttlSeconds: 3, waitSeconds: 10 }))
          assert.isAbove(lease.fencingToken, fence)
          assert.strictEqual((yield* refused(other.acquire(user, id, { waitSeconds: 0 }))).body._tag, "LockTimeout")
          const [took, next] = yield* Cluster.timed(ok(other.acquire(user, id, { waitSeconds: 10 })))
          // some of it has passed by now
          assert.isAtLeast(took, 1_000)
          assert.isAtMost(took, 3_000 + slack)
          assert.isAbove(next.fencingToken, lease.fencingToken)
          assert.strictEqual((yield* refused(holder.renewLease(lease.leaseId))).body._tag, "LeaseLost")
          yield* ok(holder.releaseLease(next.leaseId))
          fence = next.fencingToken
        }
        assert.strictEqual(cluster.provider.reuses, 0)
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
