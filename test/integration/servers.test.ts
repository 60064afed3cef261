/**
 * Several servers over one Postgres and one Redis keep the promise that one server keeps: a rotating token is spent once,
 * whoever asks where, and a lease is a lease at every one of them.
 *
 * `READS` and `ROUNDS` set the size of the first test: `READS=1000 ROUNDS=100` is the long form.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { measured } from "../Measured.ts"
import * as Browser from "../servers/Browser.ts"
import { body, ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as OidcProvider from "../servers/OidcProvider.ts"

const user = "ada"

const servers = 4
const reads = Number(process.env["READS"] ?? 250)
const rounds = Number(process.env["ROUNDS"] ?? 5)

const inParallel = <A, E, R>(count: number, make: (index: number) => Effect.Effect<A, E, R>) =>
  Effect.all(
    Array.from({ length: count }, (_, index) => make(index)),
    { concurrency: "unbounded" }
  )

describe("an expired token that four servers are asked for", () => {
  it.scopedLive(
    `is renewed once for ${servers} × ${reads} concurrent reads, in each of ${rounds} rounds`,
    () =>
      Effect.gen(function* () {
        const cluster = yield* Cluster.make({ servers })
        const { id } = yield* cluster.create(user)
        for (let round = 1; round <= rounds; round++) {
          const secrets = yield* inParallel(servers * reads, (index) =>
            ok(cluster.at(index).secret(user, id, { waitSeconds: 60 }))
          )
          assert.strictEqual(new Set(secrets.map(({ accessToken }) => accessToken)).size, 1)
          assert.isTrue(cluster.provider.isLive(secrets[0]?.accessToken ?? ""))
          assert.strictEqual(cluster.provider.refreshes, round)
          // the same refresh token, with an access token that is over
          const expired = { type: "oauth2", provider: "fake", accessTokenExpiresAt: Cluster.inSeconds(-60) }
          yield* ok(cluster.at(round).put(user, id, expired))
        }
        assert.strictEqual(cluster.provider.spends, rounds)
        assert.strictEqual(cluster.provider.reuses, 0)
        const outcomes = (yield* cluster.attempts).map(({ outcome }) => outcome)
        assert.deepStrictEqual(
          outcomes,
          Array.from({ length: rounds }, () => "saved")
        )
        const { reuses, spends } = cluster.provider
        yield* measured("stampede", { gets: servers * reads * rounds, rounds, spends, reuses, failures: 0 })
      }),
    60_000 + rounds * reads * 40
  )

  it.scopedLive(
    "is renewed once after each expiry at a provider that ends the grant when a token comes back",
    () =>
      Effect.gen(function* () {
        const redirectUri = "http://127.0.0.1:1/oauth/callback"
        const provider = yield* OidcProvider.make({ redirectUris: [redirectUri], accessTokenSeconds: 5 })
        const cluster = yield* Cluster.make({
          servers,
          more: [provider.definition("oidc")],
          env: { ...provider.environment("oidc"), OAUTH_REDIRECT_URI: redirectUri }
        })
        // the login begins at one server and ends at another
        const { authorizationUrl } = yield* ok(cluster.at(0).authorize(user, "oidc", {}))
        const page = yield* Browser.make().follow(authorizationUrl, {
          stopAt: (url) => url.href.startsWith(redirectUri)
        })
        const { code, iss, state } = Object.fromEntries(new URL(page.url).searchParams)
        const { id } = yield* ok(
          cluster.at(1).callback(user, "oidc", { code: code ?? "", state: state ?? "", ...(iss && { iss }) })
        )
        for (const round of [1, 2]) {
          yield* Effect.sleep("5200 millis")
          const secrets = yield* inParallel(200, (index) => ok(cluster.at(index).secret(user, id)))
          assert.strictEqual(new Set(secrets.map(({ accessToken }) => accessToken)).size, 1)
          assert.isTrue(yield* provider.isLive(secrets[0]?.accessToken ?? ""))
          assert.strictEqual(provider.refreshes, round)
        }
        assert.strictEqual(provider.reuses, 0)
        assert.deepStrictEqual(provider.errors, [])
      }),
    60_000
  )
})

describe("tokens that are due while nobody reads them", () => {
  it.scopedLive(
    "are renewed by the servers themselves, each once, and the first reader does not wait",
    () =>
      Effect.gen(function* () {
        const cluster = yield* Cluster.make({ servers: 3 })
        const count = 60
        const ids = yield* Effect.forEach(
          Array.from({ length: count }),
          () =>
            Effect.gen(function* () {
              const { id } = yield* cluster.create(user, { accessTokenExpiresAt: Cluster.inSeconds(3600) })
              yield* ok(cluster.at(0).report(user, id, { generation: 1, status: 401 }))
              return id
            }),
          { concurrency: 8 }
        )
        const renewed = Effect.map(
          cluster.query("select count(*)::int as n from credentials where generation = 2"),
          ([row]) => row?.["n"]
        )
        yield* renewed.pipe(
          Effect.delay("500 millis"),
          Effect.repeat({ until: (n) => n === count }),
          Effect.timeout("50 seconds")
        )
        assert.strictEqual(cluster.provider.spends, count)
        assert.strictEqual(cluster.provider.reuses, 0)
        const outcomes = (yield* cluster.attempts).map(({ outcome }) => outcome)
        assert.deepStrictEqual(
          outcomes,
          Array.from({ length: count }, () => "saved")
        )
        // nothing is left to be done, and the next time is ahead of the next readers
        const [next] = yield* cluster.query("select count(*)::int as n from credentials where sweep_at > now()")
        assert.strictEqual(next?.["n"], count)
        yield* inParallel(count, (index) => ok(cluster.at(index).secret(user, ids[index] ?? "", { waitSeconds: 0 })))
        assert.strictEqual(cluster.provider.spends, count)
      }),
    90_000
  )
})

describe("servers that start at once", () => {
  it.scopedLive(
    "on an empty database make its tables once, two or four of them",
    () =>
      Effect.gen(function* () {
        for (const count of [2, 4]) {
          const cluster = yield* Cluster.make({ servers: count })
          const ran = yield* cluster.query(
            "select name, count(*)::int as times from effect_credentials_migrations group by name"
          )
          assert.isNotEmpty(ran)
          assert.deepStrictEqual(
            ran.map(({ times }) => times),
            ran.map(() => 1)
          )
          const { id } = yield* cluster.create(user)
          const found = yield* inParallel(count, (index) => cluster.at(index).exists(user, id))
          assert.deepStrictEqual(
            found,
            found.map(() => true)
          )
        }
      }).pipe(Effect.scoped),
    60_000
  )
})

class Three extends Context.Tag("test/ThreeServers")<Three, Cluster.Cluster>() {}

/** The servers, and a credential whose token is good for an hour. */
const lending = Effect.gen(function* () {
  const cluster = yield* Three
  const { id } = yield* cluster.create(user, { accessTokenExpiresAt: Cluster.inSeconds(3600) })
  return { cluster, id }
})

layer(Layer.scoped(Three, Effect.orDie(Cluster.make({ servers: 3 }))), {
  excludeTestServices: true,
  timeout: "2 minutes"
})("three servers:", (it) => {
  describe("a lease that one server granted", () => {
    it.scoped(
      "is renewed, released and refused by any other, and the next one's fencing token is higher",
      () =>
        Effect.gen(function* () {
          const { cluster, id } = yield* lending
          const first = yield* ok(cluster.at(0).acquire(user, id, { ttlSeconds: 30 }))
          const contender = yield* refused(cluster.at(1).acquire(user, id, { waitSeconds: 0 }))
          assert.strictEqual(contender.body._tag, "LockTimeout")
          const renewed = yield* ok(cluster.at(1).renewLease(first.leaseId, { ttlSeconds: 60 }))
          assert.strictEqual(renewed.fencingToken, first.fencingToken)
          assert.isAbove(Date.parse(renewed.expiresAt), Date.parse(first.expiresAt))
          const next = yield* Effect.fork(ok(cluster.at(0).acquire(user, id, { waitSeconds: 20 })))
          yield* Effect.sleep("200 millis")
          const [took, second] = yield* Cluster.timed(
            Effect.zipRight(ok(cluster.at(2).releaseLease(first.leaseId)), Fiber.join(next))
          )
          assert.isAbove(second.fencingToken, first.fencingToken)
          assert.isBelow(took, 2_000)
          for (const index of [0, 1, 2]) {
            assert.strictEqual((yield* refused(cluster.at(index).renewLease(first.leaseId))).body._tag, "LeaseLost")
            assert.strictEqual((yield* refused(cluster.at(index).releaseLease(first.leaseId))).body._tag, "LeaseLost")
          }
          yield* ok(cluster.at(1).releaseLease(second.leaseId))
        }),
      60_000
    )

    it.scoped(
      "outlives a kill -9 of that server, and ends at its own time",
      () =>
        Effect.gen(function* () {
          const { cluster, id } = yield* lending
          const [first] = cluster.services
          const lease = yield* ok(cluster.at(0).acquire(user, id, { ttlSeconds: 30 }))
          yield* first?.stop(0) ?? Effect.void
          assert.strictEqual((yield* refused(cluster.at(1).acquire(user, id, { waitSeconds: 0 }))).status, 423)
          const renewed = yield* ok(cluster.at(1).renewLease(lease.leaseId, { ttlSeconds: 2 }))
          assert.strictEqual(renewed.fencingToken, lease.fencingToken)
          const next = yield* ok(cluster.at(2).acquire(user, id, { waitSeconds: 20 }))
          const late = Date.now() - Date.parse(renewed.expiresAt)
          assert.isAbove(late, -200)
          assert.isBelow(late, 1_500)
          assert.isAbove(next.fencingToken, lease.fencingToken)
          yield* first?.restart() ?? Effect.void
          for (const index of [0, 1]) {
            assert.strictEqual((yield* refused(cluster.at(index).renewLease(lease.leaseId))).status, 410)
          }
          yield* ok(cluster.at(0).releaseLease(next.leaseId))
        }),
      60_000
    )

    it.scoped(
      "lets its holder refresh and replace the credential at another server, in the body or in the query, without waiting for itself",
      () =>
        Effect.gen(function* () {
          const { cluster, id } = yield* lending
          const { leaseId } = yield* ok(cluster.at(0).acquire(user, id, { ttlSeconds: 60 }))
          const named: ReadonlyArray<(index: number) => Effect.Effect<unknown, unknown>> = [
            (index) => ok(cluster.at(index).refresh(user, id, { leaseId }, { waitSeconds: 10 })),
            (index) => ok(cluster.at(index).refresh(user, id, {}, { leaseId, waitSeconds: 10 })),
            (index) => ok(cluster.at(index).secret(user, id, { refresh: "force", leaseId, waitSeconds: 10 })),
            (index) =>
              ok(
                cluster
                  .at(index)
                  .put(
                    user,
                    id,
                    { type: "oauth2", provider: "fake", title: "t" },
                    { query: { leaseId, waitSeconds: 10 } }
                  )
              )
          ]
          let generation = 1
          for (const [index, call] of named.entries()) {
            const [took] = yield* Cluster.timed(call(index + 1))
            assert.isBelow(took, 5_000)
            generation++
            assert.strictEqual((yield* ok(cluster.at(index).get(user, id))).generation, generation)
          }
          // unnamed, the same waits for the holder
          const waiting = yield* refused(cluster.at(1).refresh(user, id, {}, { waitSeconds: 1 }))
          assert.strictEqual(waiting.status, 423)
          yield* ok(cluster.at(2).releaseLease(leaseId))
          assert.strictEqual(cluster.provider.reuses, 0)
        }),
      60_000
    )
  })

  describe("Redis", () => {
    it.scoped(
      "is not asked for a token that is fresh, and twice for a lease that nobody contends for",
      () =>
        Effect.gen(function* () {
          const { cluster, id } = yield* lending
          const commands = yield* Cluster.redisCommands(cluster.redis)
          const lease = Effect.flatMap(ok(cluster.at(0).acquire(user, id)), ({ leaseId }) =>
            ok(cluster.at(0).releaseLease(leaseId))
          )
          // the scripts are known from here on
          yield* lease
          yield* commands.reset
          yield* inParallel(100, (index) => ok(cluster.at(index).secret(user, id)))
          assert.deepStrictEqual(yield* commands.count, {})
          yield* Effect.repeatN(lease, 9)
          const { eval: texts = 0, evalsha = 0 } = yield* commands.count
          assert.deepStrictEqual({ texts, evalsha }, { texts: 0, evalsha: 20 })
        }),
      60_000
    )
  })

  describe("one of several servers that is told to stop", () => {
    it.scoped(
      "finishes its exchange, gives back its locks, and the others go on at once",
      () =>
        Effect.gen(function* () {
          const { cluster, id } = yield* lending
          const [first] = cluster.services
          if (first === undefined) return
          const before = cluster.provider.refreshes
          const arrived = cluster.provider.ledger.length + 1
          cluster.provider.next({ delayAfter: "1500 millis" })
          const forced = yield* Effect.fork(ok(cluster.at(0).secret(user, id, { refresh: "force" })))
          yield* cluster.provider.awaitLedger((ledger) => ledger.length === arrived)
          // the exchange ends the token, so that it holds the credential's lock meanwhile
          const lease = yield* Effect.fork(Cluster.timed(cluster.at(1).acquire(user, id, { waitSeconds: 20 })))
          const reader = yield* Effect.fork(ok(cluster.at(2).secret(user, id, { refresh: "force" })))
          const [took, exit] = yield* Cluster.timed(first.stop("20 seconds"))
          assert.deepStrictEqual(exit, { code: 0, signal: null })
          assert.isBelow(took, 9_000)
          const { accessToken } = yield* Fiber.join(forced)
          const [waited, granted] = yield* Fiber.join(lease)
          assert.isBelow(waited, took + 2_000)
          assert.strictEqual(body(granted).secret.accessToken, accessToken)
          assert.strictEqual((yield* Fiber.join(reader)).accessToken, accessToken)
          assert.strictEqual(cluster.provider.refreshes, before + 1)
          yield* first.restart()
        }),
      60_000
    )

    it.scoped(
      "leaves the queue that it waited in",
      () =>
        Effect.gen(function* () {
          const { cluster, id } = yield* lending
          const [first] = cluster.services
          const lease = yield* ok(cluster.at(1).acquire(user, id, { mode: "shared", ttlSeconds: 60 }))
          const writer = yield* Effect.fork(
            cluster.at(0).put(user, id, { type: "oauth2", provider: "fake", title: "t" })
          )
          // as long as the writer waits, no reader passes it
          yield* Cluster.eventually(
            Effect.filterOrFail(
              cluster.at(2).acquire(user, id, { mode: "shared", waitSeconds: 0, ttlSeconds: 1 }),
              ({ status }) => status === 423
            )
          )
          yield* first?.stop() ?? Effect.void
          yield* Fiber.await(writer)
          const [took, reader] = yield* Cluster.timed(
            ok(cluster.at(2).acquire(user, id, { mode: "shared", waitSeconds: 10 }))
          )
          assert.isBelow(took, 2_000)
          yield* ok(cluster.at(1).releaseLease(reader.leaseId))
          yield* ok(cluster.at(1).releaseLease(lease.leaseId))
        }),
      60_000
    )
  })
})
