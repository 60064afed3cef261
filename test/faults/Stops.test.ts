/** One of three servers stands still past its locks while it renews, and goes on. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as Faults from "./Faults.ts"
import { request } from "./Operations.ts"
import { patiently, requestsFor, spent, type Three, three, untilOpen, user, victimOf } from "./Victim.ts"

class Two extends Context.Tag("test/TwoServers")<Two, Cluster.Cluster>() {}

const servers = Layer.scoped(Two, Effect.orDie(Cluster.make({ servers: 2 })))

/** How long a lock lasts at Redis that nobody renews, and a little. */
const pastTheLease = "12 seconds"

const stopped = Faults.together(
  ["stopped before the send", "stopped with the answer in hand", "stopped while the user replaces it"],
  "it sends nothing more, stores the answer that it holds, and keeps it beside what the user put in its place",
  Effect.gen(function* () {
    const cluster = yield* Two
    const { provider } = cluster
    const { toPostgres, victim } = yield* victimOf(cluster)
    const inHand = yield* three(cluster)
    const replaced = yield* three(cluster)
    const unsent = yield* three(cluster)
    const before = (yield* cluster.attempts).length
    const ask = (credentials: Three) =>
      Effect.forEach(credentials, ({ id, operation }) =>
        Effect.fork(ok(request(operation, victim.client, user, id, { waitSeconds: 90, givesBackAt: cluster.at(1) })))
      )
    const gate = yield* Deferred.make<void>()
    provider.next(...[...inHand, ...replaced].map(() => ({ onProcessed: Deferred.await(gate) })))
    const asked = { inHand: yield* ask(inHand), replaced: yield* ask(replaced) }
    yield* spent(provider, [...inHand, ...replaced])
    yield* toPostgres.loseCommits("silence")
    const askedUnsent = yield* ask(unsent)
    yield* untilOpen(cluster, 9)
    yield* victim.kill("SIGSTOP")
    yield* toPostgres.loseCommits("none")
    yield* Deferred.succeed(gate, undefined)
    yield* provider.awaitLedger((ledger) =>
      [...inHand, ...replaced].every(({ refreshToken }) =>
        ledger.some((entry) => entry.refreshToken === refreshToken && entry.sent === "answered")
      )
    )
    yield* Effect.sleep(pastTheLease)

    // its locks are over, its attempts are not
    const early = yield* Effect.forEach(
      inHand,
      ({ id, operation }) => refused(patiently(request(operation, cluster.at(0), user, id, { waitSeconds: 3 }))),
      { concurrency: "unbounded" }
    )
    for (const { body } of early) assert.strictEqual(body._tag, "LockTimeout")
    const theirs = new Map<string, string>()
    for (const { id } of [...replaced, ...unsent]) {
      const { accessToken, refreshToken } = provider.issue()
      theirs.set(id, accessToken)
      const accessTokenExpiresAt = Cluster.inSeconds(3600)
      yield* ok(
        cluster
          .at(1)
          .put(user, id, { type: "oauth2", provider: "fake", accessToken, refreshToken, accessTokenExpiresAt })
      )
    }
    yield* victim.kill("SIGCONT")

    for (const fiber of [...asked.inHand, ...asked.replaced, ...askedUnsent]) {
      assert.strictEqual((yield* Fiber.join(fiber)).generation, 2)
    }
    for (const { id, refreshToken } of inHand) {
      const brought = provider.ledger.find((entry) => entry.refreshToken === refreshToken)?.issued?.accessToken ?? ""
      for (const index of [0, 1]) {
        assert.deepInclude(yield* ok(cluster.at(index).secret(user, id)), { accessToken: brought, generation: 2 })
      }
      assert.deepStrictEqual(requestsFor(provider, refreshToken), ["rotated"])
    }
    for (const [credentials, requests] of [
      [replaced, "rotated"],
      [unsent, ""]
    ] as const) {
      for (const { id, refreshToken } of credentials) {
        const accessToken = theirs.get(id) ?? ""
        for (const index of [0, 1]) {
          assert.deepInclude(yield* ok(cluster.at(index).secret(user, id)), { accessToken, generation: 2 })
        }
        assert.strictEqual(requestsFor(provider, refreshToken).join(), requests)
      }
    }
    const outcomes = yield* Cluster.eventually(
      Effect.filterOrFail(
        Effect.map(cluster.attempts, (all) => all.slice(before).map(({ outcome }) => String(outcome))),
        (all) => !all.includes("null"),
        () => "not yet"
      )
    )
    assert.deepStrictEqual(
      outcomes.sort(),
      ["failed", "saved", "superseded"].flatMap((outcome) => [outcome, outcome, outcome])
    )
    // what came too late is kept
    assert.lengthOf(yield* Cluster.receiptsOf(victim.dataDir), 3)
  })
)

Faults.playOver("beside two servers", servers, stopped, 120_000)
