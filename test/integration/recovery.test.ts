/**
 * What one of several servers leaves when it is killed or stands still, and what the others make of it: over one Postgres and
 * one Redis, with a provider whose ledger says what it cost.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as Service from "../servers/Service.ts"

const user = "ada"

const processes = (cluster: Cluster.Cluster) =>
  Effect.map(cluster.query("select id from processes"), (rows) => rows.map(({ id }) => String(id)))

describe("a server that is killed between the provider's answer and the save", () => {
  it.scopedLive(
    "leaves an answer that it kept to the others, although its disk is gone with it",
    () =>
      Effect.gen(function* () {
        const cluster = yield* Cluster.make({ servers: 1, proxied: true })
        const { id } = yield* cluster.create(user)
        const gone = yield* cluster.start({ dataDir: yield* Service.temporaryDirectory })
        cluster.provider.next({ onProcessed: cluster.toPostgres.pause })
        const { accessToken } = yield* ok(gone.client.secret(user, id, { waitSeconds: 30 }))
        yield* gone.kill("SIGKILL")
        yield* gone.exited
        yield* cluster.toPostgres.resume
        const secret = yield* ok(cluster.at(0).secret(user, id, { waitSeconds: 60 }))
        assert.strictEqual(secret.accessToken, accessToken)
        assert.strictEqual(secret.generation, 2)
        assert.strictEqual(cluster.provider.refreshes, 1)
        assert.deepStrictEqual(
          (yield* cluster.attempts).map(({ outcome }) => outcome),
          ["saved"]
        )
      }),
    120_000
  )
})

describe("a server that stands still past its attempt's deadline", () => {
  it.scopedLive(
    "stores its answer on top of the loss that another one recorded",
    () =>
      Effect.gen(function* () {
        const cluster = yield* Cluster.make({ servers: 2 })
        const [first] = cluster.services
        if (first === undefined) return
        const { id } = yield* cluster.create(user)
        // it has asked, and waits; the answer is in its socket when it goes on
        const stopped = yield* Deferred.make<void>()
        cluster.provider.next({
          delayBefore: "1 second",
          onProcessed: Effect.zipRight(first.kill("SIGSTOP"), Deferred.succeed(stopped, undefined)),
          delayAfter: "1 second"
        })
        const reader = yield* Effect.fork(Effect.ignore(first.client.secret(user, id, { waitSeconds: 200 })))
        yield* Deferred.await(stopped)
        const dead = yield* refused(cluster.at(1).secret(user, id, { waitSeconds: 120 }))
        assert.deepInclude(dead.body, { _tag: "NeedsReauth", reason: "response_lost" })
        assert.strictEqual(cluster.provider.refreshes, 2)
        yield* first.kill("SIGCONT")
        yield* Fiber.join(reader)
        const found = yield* ok(cluster.at(1).get(user, id))
        assert.strictEqual(cluster.provider.refreshes, 2)
        assert.deepInclude(found, { status: "active", generation: 2 })
      }),
    240_000
  )
})

describe("servers", () => {
  it.scopedLive(
    "beat in the database while they live, and are gone from there at once when they are stopped",
    () =>
      Effect.gen(function* () {
        const cluster = yield* Cluster.make({ servers: 3 })
        const [first, second] = cluster.services
        if (first === undefined || second === undefined) return
        assert.lengthOf(yield* processes(cluster), 3)
        yield* first.stop()
        const left = yield* processes(cluster)
        assert.lengthOf(left, 2)
        yield* second.kill("SIGKILL")
        yield* second.exited
        yield* second.restart()
        const after = yield* processes(cluster)
        // the dead one is silent, and nobody has its id
        assert.lengthOf(after, 3)
        assert.includeMembers([...after], [...left])
        const silent = yield* Cluster.eventually(
          Effect.filterOrFail(
            cluster.query("select id from processes where beat_at < now() - interval '15 seconds'"),
            (rows) => rows.length === 1
          ),
          "40 seconds"
        )
        assert.include(left, String(silent[0]?.["id"]))
      }),
    120_000
  )
})
