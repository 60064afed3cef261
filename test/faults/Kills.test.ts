/** One of three servers is killed while it renews; the others make of it what there is to be made. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import * as Faults from "./Faults.ts"
import { atOnce, request } from "./Operations.ts"
import { openAttempts, patiently, requestsFor, spent, type Three, three, untilOpen, user, victimOf } from "./Victim.ts"

class Two extends Context.Tag("test/TwoServers")<
  Two,
  { readonly cluster: Cluster.Cluster; readonly gracious: ScriptedProvider.ScriptedProvider["Type"] }
>() {}

/** Two servers, to which a third comes, and a provider beside that answers a spent token again for a while. */
const servers = Layer.scoped(
  Two,
  Effect.gen(function* () {
    const gracious = yield* ScriptedProvider.make({ reuseGraceSeconds: 600 })
    const cluster = yield* Effect.orDie(
      Cluster.make({
        servers: 2,
        more: [gracious.definition("gracious")],
        env: gracious.environment("gracious")
      })
    )
    return { cluster, gracious }
  })
)

const killed = Faults.together(
  ["killed before the send", "killed between answer and save", "killed where there is a grace"],
  "what was not sent is tried again after the deadline, what has a grace at once, and a loss is asked about once and recorded",
  Effect.gen(function* () {
    const { cluster, gracious } = yield* Two
    const { provider } = cluster
    const { toPostgres, victim } = yield* victimOf(cluster)
    const answered = yield* three(cluster)
    const graced = yield* three(cluster, gracious, "gracious")
    const unsent = yield* three(cluster)
    const ask = (credentials: Three) =>
      Effect.forEach(credentials, ({ id, operation }) =>
        Effect.fork(Effect.ignore(request(operation, victim.client, user, id, { waitSeconds: 60 })))
      )
    const never = Faults.operations.map(() => ({ delayAfter: "10 minutes" }) as const)
    provider.next(...never)
    gracious.next(...never)
    yield* ask(answered)
    yield* ask(graced)
    yield* spent(provider, answered)
    yield* spent(gracious, graced)
    const lost = new Set((yield* untilOpen(cluster, 6)).map(({ id }) => id))
    // written down, and the server does not get to know
    yield* toPostgres.loseCommits("silence")
    yield* ask(unsent)
    yield* untilOpen(cluster, 9)
    yield* victim.kill("SIGKILL")
    yield* victim.exited
    assert.deepStrictEqual(
      unsent.flatMap(({ refreshToken }) => requestsFor(provider, refreshToken)),
      []
    )

    const [early, inGrace, told, tried] = yield* Effect.all(
      [
        // what the dead one held in Redis is over long before its attempts are
        atOnce((operation) => {
          const one = answered.find((credential) => credential.operation === operation)
          return refused(patiently(request(operation, cluster.at(1), user, one?.id ?? "", { waitSeconds: 15 })))
        }),
        Effect.forEach(
          graced,
          ({ id, operation }) =>
            Cluster.timed(ok(patiently(request(operation, cluster.at(0), user, id, { waitSeconds: 60 })))),
          { concurrency: "unbounded" }
        ),
        Effect.forEach(
          answered.flatMap((one) => Array.from({ length: 6 }, (_, index) => ({ ...one, index }))),
          ({ id, index, operation }) =>
            Effect.map(
              refused(patiently(request(operation, cluster.at(index), user, id, { waitSeconds: 200 }))),
              ({ body }) => ({
                id,
                body
              })
            ),
          { concurrency: "unbounded" }
        ),
        Effect.forEach(
          unsent,
          ({ id, operation }) => ok(patiently(request(operation, cluster.at(1), user, id, { waitSeconds: 200 }))),
          { concurrency: "unbounded" }
        )
      ],
      { concurrency: "unbounded" }
    )

    for (const { body } of early) assert.strictEqual(body._tag, "LockTimeout")
    for (const [took, { generation }] of inGrace) {
      assert.strictEqual(generation, 2)
      // locks of the dead one, and no attempt's deadline
      assert.isBelow(took, 30_000)
    }
    for (const { refreshToken } of graced) {
      assert.deepStrictEqual(requestsFor(gracious, refreshToken), ["rotated", "graced"])
    }
    assert.strictEqual(gracious.reuses, 0)

    for (const { generation } of tried) assert.strictEqual(generation, 2)
    for (const { id, refreshToken } of unsent) {
      assert.deepStrictEqual(requestsFor(provider, refreshToken), ["rotated"])
      assert.isTrue(provider.isLive((yield* ok(cluster.at(0).secret(user, id))).accessToken ?? ""))
    }

    const attempts = yield* cluster.attempts
    for (const { id, refreshToken } of answered) {
      const named = new Set(told.filter((one) => one.id === id).map(({ body }) => body["attemptId"]))
      assert.strictEqual(named.size, 1)
      const [attemptId] = named
      for (const { body } of told) assert.deepInclude(body, { _tag: "NeedsReauth", reason: "response_lost" })
      assert.isTrue(lost.has(String(attemptId)))
      const began = attempts.find((attempt) => attempt.id === attemptId)
      const probes = attempts.filter(({ probe_of }) => probe_of === attemptId)
      assert.deepInclude(began, { outcome: "probed" })
      assert.deepStrictEqual(
        probes.map(({ outcome }) => outcome),
        ["lost"]
      )
      assert.notStrictEqual(probes[0]?.process_id, began?.process_id)
      // the one question is the only time that it comes back
      assert.deepStrictEqual(requestsFor(provider, refreshToken), ["rotated", "reused"])
      assert.deepInclude(yield* ok(cluster.at(0).get(user, id)), {
        status: "needs_reauth",
        statusReason: "response_lost",
        generation: 1
      })
      yield* refused(cluster.at(1).secret(user, id))
      assert.lengthOf(requestsFor(provider, refreshToken), 2)
    }
    assert.deepStrictEqual(yield* openAttempts(cluster), [])
  })
)

Faults.playOver("beside two servers", servers, killed, 240_000)
