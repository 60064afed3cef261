/**
 * One of three servers is killed, or stands still past its locks, while it renews; the others make of it what there is to be
 * made. One kill, or one stop, befalls all operations at once.
 */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as Proxy from "../servers/Proxy.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import * as Faults from "./Faults.ts"
import { atOnce, request } from "./Operations.ts"

const user = "ada"

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

type Provider = ScriptedProvider.ScriptedProvider["Type"]

/** A server that reaches Postgres by a way of its own, on which answers can be lost. */
const victimOf = Effect.fnUntraced(function* (cluster: Cluster.Cluster) {
  const toPostgres = yield* Proxy.listen({ host: "127.0.0.1", port: cluster.postgres.port })
  const url = new URL(cluster.env["DATABASE_URL"] ?? "")
  url.port = String(toPostgres.port)
  return { toPostgres, victim: yield* cluster.start({ env: { DATABASE_URL: url.href } }) }
})

/** A credential for each operation, whose access token expired a minute ago. */
const three = (cluster: Cluster.Cluster, provider: Provider = cluster.provider, name = "fake") =>
  atOnce((operation) => {
    const { accessToken, refreshToken } = provider.issue()
    return Effect.map(cluster.create(user, { provider: name, accessToken, refreshToken }), ({ id }) => ({
      operation,
      id,
      refreshToken
    }))
  })

type Three = Effect.Effect.Success<ReturnType<typeof three>>

const spent = (provider: Provider, credentials: Three) =>
  provider.awaitLedger((ledger) =>
    credentials.every(({ refreshToken }) =>
      ledger.some((entry) => entry.refreshToken === refreshToken && entry.outcome === "rotated")
    )
  )

const requestsFor = (provider: Provider, refreshToken: string) =>
  provider.ledger.filter((entry) => entry.refreshToken === refreshToken).map(({ outcome }) => outcome)

/** The attempts of each credential's first grant, by the refresh token's place among the grants that are open. */
const openAttempts = (cluster: Cluster.Cluster) =>
  Effect.map(cluster.attempts, (all) => all.filter(({ outcome }) => outcome === null))

const untilOpen = (cluster: Cluster.Cluster, count: number) =>
  Cluster.eventually(
    Effect.filterOrFail(
      openAttempts(cluster),
      (open) => open.length === count,
      () => "not yet"
    )
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
          return refused(request(operation, cluster.at(1), user, one?.id ?? "", { waitSeconds: 15 }))
        }),
        Effect.forEach(
          graced,
          ({ id, operation }) => Cluster.timed(ok(request(operation, cluster.at(0), user, id, { waitSeconds: 60 }))),
          { concurrency: "unbounded" }
        ),
        Effect.forEach(
          answered.flatMap((one) => Array.from({ length: 6 }, (_, index) => ({ ...one, index }))),
          ({ id, index, operation }) =>
            Effect.map(refused(request(operation, cluster.at(index), user, id, { waitSeconds: 200 })), ({ body }) => ({
              id,
              body
            })),
          { concurrency: "unbounded" }
        ),
        Effect.forEach(
          unsent,
          ({ id, operation }) => ok(request(operation, cluster.at(1), user, id, { waitSeconds: 200 })),
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

/** How long a lock lasts at Redis that nobody renews, and a little. */
const pastTheLease = "12 seconds"

const receiptsOf = (dataDir: string) =>
  Effect.promise(async () =>
    (await Fs.readdir(Path.join(dataDir, "receipts"))).filter((file) => file.endsWith(".receipt"))
  )

const stopped = Faults.together(
  ["stopped before the send", "stopped with the answer in hand", "stopped while the user replaces it"],
  "it sends nothing more, stores the answer that it holds, and keeps it beside what the user put in its place",
  Effect.gen(function* () {
    const { cluster } = yield* Two
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
      ({ id, operation }) => refused(request(operation, cluster.at(0), user, id, { waitSeconds: 3 })),
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
    assert.lengthOf(yield* receiptsOf(victim.dataDir), 3)
  })
)

Faults.playOver("beside two servers", servers, [...stopped, ...killed], 240_000)
