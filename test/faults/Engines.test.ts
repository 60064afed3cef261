/** Redis and Postgres go away, come back empty, and lose answers, under servers that renew; holders that lose their leases. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { CredentialId, UserId } from "../../src/Credential.ts"
import { credentialKey, LockService } from "../../src/LockService.ts"
import * as LockServiceRedis from "../../src/LockService/Redis.ts"
import * as RedisClient from "../../src/Redis.ts"
import * as OtherProcess from "../LockService/OtherProcess.ts"
import { ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as Redis from "../servers/Redis.ts"
import * as Faults from "./Faults.ts"
import { atOnce, request } from "./Operations.ts"

const user = "ada"

class Two extends Context.Tag("test/TwoServers")<Two, Cluster.Cluster>() {}

const servers = Layer.scoped(Two, Effect.orDie(Cluster.make({ servers: 2, proxied: true })))

const fresh = () => ({ accessTokenExpiresAt: Cluster.inSeconds(3600) })

const keyOf = (id: string) => credentialKey(UserId.make(user), CredentialId.to.make(id))

/** Fails unless it takes less than so many milliseconds. */
const within = <A, E, R>(millis: number, self: Effect.Effect<A, E, R>) =>
  Effect.map(Cluster.timed(self), ([took, value]) => {
    assert.isBelow(took, millis)
    return value
  })

/** A credential for each operation. */
const three = (cluster: Cluster.Cluster, fields?: Readonly<Record<string, unknown>>) =>
  atOnce((operation) => Effect.map(cluster.create(user, fields), ({ id }) => ({ operation, id })))

/** What was asked of the provider, and written down, since then. */
const since = Effect.fnUntraced(function* (cluster: Cluster.Cluster) {
  const { provider } = cluster
  const [refreshes, spends, attempts] = [provider.refreshes, provider.spends, (yield* cluster.attempts).length]
  return {
    refreshes: () => provider.refreshes - refreshes,
    arrived: (count: number) =>
      provider.awaitLedger((all) => all.filter(({ outcome }) => outcome === "rotated").length >= spends + count),
    /** Each of so many was spent once, by an attempt that was saved. */
    assertOnce: (count: number) =>
      Effect.gen(function* () {
        assert.deepStrictEqual(
          [provider.refreshes - refreshes, provider.spends - spends, provider.reuses],
          [count, count, 0]
        )
        const outcomes = (yield* cluster.attempts).slice(attempts).map(({ outcome }) => outcome)
        assert.deepStrictEqual(
          outcomes.filter((outcome) => outcome !== "failed"),
          Array.from({ length: count }, () => "saved")
        )
      })
  }
})

/** These servers have the second generation, by itself and soon, with one living token. */
const assertRenewed = (cluster: Cluster.Cluster, id: string, at: ReadonlyArray<number> = [0, 1]) =>
  Effect.gen(function* () {
    const [one, ...others] = yield* Effect.all(
      at.map((index) =>
        Cluster.eventually(
          Effect.filterOrFail(
            ok(cluster.at(index).secret(user, id, { refresh: "never" })),
            ({ generation }) => generation === 2,
            () => "not yet"
          ),
          "30 seconds"
        )
      )
    )
    for (const other of others) assert.strictEqual(other.accessToken, one?.accessToken)
    assert.isTrue(cluster.provider.isLive(one?.accessToken ?? ""))
    return one?.accessToken
  })

/** The fence of a lease that is had and given back. */
const borrow = (cluster: Cluster.Cluster, index: number, id: string) =>
  Effect.gen(function* () {
    const { fencingToken, leaseId } = yield* ok(cluster.at(index).acquire(user, id, { waitSeconds: 10 }))
    yield* ok(cluster.at(index).releaseLease(leaseId))
    return fencingToken
  })

/** Holds the provider's answers back until it is opened: the tokens are spent by then. */
const gated = Effect.fnUntraced(function* ({ provider }: Cluster.Cluster) {
  const gate = yield* Deferred.make<void>()
  provider.next(...Faults.operations.map(() => ({ onProcessed: Deferred.await(gate) })))
  return Deferred.succeed(gate, undefined)
})

const redisDown = Faults.together(
  "Redis down",
  "all are refused in time, nothing is sent, and all is well once it is back",
  Effect.gen(function* () {
    const cluster = yield* Two
    const credentials = yield* three(cluster)
    const seen = yield* since(cluster)
    yield* cluster.redis.kill
    for (const index of [0, 1]) {
      const answers = yield* Effect.all(
        credentials.map(({ id, operation }) =>
          within(5_000, refused(request(operation, cluster.at(index), user, id, { waitSeconds: 3 })))
        ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        answers.map(({ body, status }) => `${status} ${body._tag}`),
        credentials.map(() => "503 LockUnavailable")
      )
    }
    assert.strictEqual(seen.refreshes(), 0)
    yield* cluster.redis.start
    for (const { id, operation } of credentials) {
      yield* Cluster.eventually(ok(request(operation, cluster.at(0), user, id)), "15 seconds")
      yield* assertRenewed(cluster, id)
    }
    yield* seen.assertOnce(3)
  })
)

const forgetting = (
  way: Faults.Way,
  forget: (cluster: Cluster.Cluster) => Effect.Effect<unknown, unknown, Scope.Scope>
) =>
  Faults.together(
    way,
    "forgets the locks of exchanges that are under way: no other is begun, their answers are stored, and fences rise",
    Effect.gen(function* () {
      const cluster = yield* Two
      const credentials = yield* three(cluster)
      const { id: lent } = yield* cluster.create(user, fresh())
      const fence = yield* borrow(cluster, 0, lent)
      const seen = yield* since(cluster)
      const open = yield* gated(cluster)
      const asked = yield* Effect.forEach(credentials, ({ id, operation }) =>
        Effect.fork(ok(request(operation, cluster.at(0), user, id)))
      )
      yield* seen.arrived(3)
      yield* forget(cluster)
      yield* Cluster.eventually(
        Effect.filterOrFail(
          cluster.at(1).raw("GET", "/readyz"),
          ({ status }) => status === 200,
          () => "not yet"
        ),
        "15 seconds"
      )
      const others = yield* Effect.all(
        credentials.map(({ id, operation }) => request(operation, cluster.at(1), user, id, { waitSeconds: 3 })),
        { concurrency: "unbounded" }
      )
      for (const { body, status } of others) {
        assert.include([423, 503], status, JSON.stringify(body))
      }
      assert.strictEqual(seen.refreshes(), 3)
      yield* open
      for (const fiber of asked) assert.strictEqual((yield* Fiber.join(fiber)).generation, 2)
      for (const { id } of credentials) yield* assertRenewed(cluster, id)
      yield* seen.assertOnce(3)
      const next = yield* Cluster.eventually(borrow(cluster, 1, lent), "15 seconds")
      assert.isAbove(next, fence)
      assert.isAbove(yield* Cluster.eventually(borrow(cluster, 0, lent), "15 seconds"), next)
    })
  )

const flush = (cluster: Cluster.Cluster) =>
  Effect.scoped(Effect.flatMap(RedisClient.make({ url: cluster.redis.url }), ({ command }) => command("FLUSHALL")))

/** Another Redis, which knows nothing, answers in its place for a while. */
const failOver = (cluster: Cluster.Cluster) =>
  Effect.gen(function* () {
    const replica = yield* Redis.start
    yield* Effect.acquireRelease(cluster.toRedis.divert({ host: "127.0.0.1", port: replica.port }), () =>
      cluster.toRedis.divert({ host: "127.0.0.1", port: cluster.redis.port })
    )
  })

const postgresBefore = Faults.together(
  "Postgres down before the intent",
  "all are refused in time, nothing is sent, and all is well once it is back",
  Effect.gen(function* () {
    const cluster = yield* Two
    const credentials = yield* three(cluster)
    const seen = yield* since(cluster)
    yield* cluster.postgres.stop("fast")
    const answers = yield* Effect.all(
      credentials.map(({ id, operation }) =>
        within(6_000, refused(request(operation, cluster.at(0), user, id, { waitSeconds: 3 })))
      ),
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual(
      answers.map(({ body, status }) => `${status} ${body._tag}`),
      credentials.map(() => "503 StoreUnavailable")
    )
    assert.strictEqual(seen.refreshes(), 0)
    yield* cluster.postgres.start
    for (const { id, operation } of credentials) {
      yield* Cluster.eventually(ok(request(operation, cluster.at(1), user, id)), "15 seconds")
      yield* assertRenewed(cluster, id)
    }
    yield* seen.assertOnce(3)
  })
)

const postgresAfter = [false, true].flatMap((dies) =>
  Faults.together(
    "Postgres down after the answer",
    `the tokens are spooled, and handed out where that needs no database; they are stored later${dies ? ", by another server" : ""}`,
    Effect.gen(function* () {
      const cluster = yield* Two
      const [first] = cluster.services
      if (first === undefined) return
      const credentials = yield* three(cluster)
      const seen = yield* since(cluster)
      const open = yield* gated(cluster)
      const asked = yield* Effect.forEach(credentials, ({ id, operation }) =>
        Effect.map(Effect.fork(request(operation, cluster.at(0), user, id)), (fiber) => ({ fiber, operation }))
      )
      yield* seen.arrived(3)
      yield* cluster.postgres.stop("crash")
      yield* open
      const handedOut: Array<string> = []
      for (const { fiber, operation } of asked) {
        const answer = yield* Fiber.join(fiber)
        if (operation === "acquire") {
          // a lease is durable or none
          assert.deepInclude(answer, { ok: false, status: 503 })
        } else {
          assert.deepInclude(answer, { ok: true, status: 200 })
          if (answer.ok) assert.strictEqual(answer.body.generation, 2)
          if (answer.ok && answer.body.accessToken !== undefined) handedOut.push(answer.body.accessToken)
        }
      }
      assert.lengthOf(handedOut, 1)
      assert.isTrue(cluster.provider.isLive(handedOut[0] ?? ""))
      yield* Cluster.eventually(
        Effect.filterOrFail(
          Cluster.receiptsOf(first.dataDir),
          (files) => files.length === 3,
          () => "not yet"
        )
      )
      if (dies) yield* first.stop(0)
      yield* cluster.postgres.start
      const tokens = yield* Effect.forEach(credentials, ({ id }) => assertRenewed(cluster, id, dies ? [1] : [0, 1]))
      assert.includeMembers(tokens, handedOut)
      yield* Cluster.eventually(
        Effect.filterOrFail(
          Cluster.receiptsOf(first.dataDir),
          (files) => files.length === 0,
          () => "not yet"
        ),
        "30 seconds"
      )
      yield* seen.assertOnce(3)
      if (dies) yield* first.restart()
    })
  )
)

const commitLost = (["reset", "silence"] as const).flatMap((how) =>
  (["attempt", "save"] as const).flatMap((which) =>
    Faults.together(
      `the ${which}'s COMMIT, ${how}`,
      "it is read back; nothing is lost, sent or stored twice",
      Effect.gen(function* () {
        const cluster = yield* Two
        const { toPostgres } = cluster
        const credentials = yield* three(cluster)
        const seen = yield* since(cluster)
        const before = toPostgres.lost()
        const lost = Cluster.eventually(
          Effect.filterOrFail(
            Effect.sync(toPostgres.lost),
            (count) => count >= before + 3,
            () => "not yet"
          )
        )
        const open = yield* gated(cluster)
        if (which === "attempt") yield* Effect.zipRight(open, toPostgres.loseCommits(how))
        const asked = yield* Effect.forEach(credentials, ({ id, operation }) =>
          Effect.map(Effect.fork(ok(request(operation, cluster.at(0), user, id))), (fiber) => ({
            id,
            operation,
            fiber
          }))
        )
        if (which === "save") {
          yield* seen.arrived(3)
          yield* Effect.zipRight(toPostgres.loseCommits(how), open)
        }
        yield* Effect.zipRight(lost, toPostgres.loseCommits("none"))
        for (const { fiber, id, operation } of asked) {
          const answer = yield* Fiber.join(fiber)
          assert.strictEqual(answer.generation, 2)
          const accessToken = yield* assertRenewed(cluster, id)
          if (operation !== "refresh") assert.strictEqual(answer.accessToken, accessToken)
        }
        yield* seen.assertOnce(3)
      })
    )
  )
)

/** Every third change of a credential or an attempt ends like this. */
const spoil = (sqlState: string) => `
  create sequence spoilt;
  create function spoil() returns trigger language plpgsql as $$
    begin
      if nextval('spoilt') % 3 = 1 then raise exception 'spoilt' using errcode = '${sqlState}'; end if;
      return new;
    end $$;
  create trigger spoil before insert or update on credentials for each row execute function spoil();
  create trigger spoil before insert or update on attempts for each row execute function spoil();`

const mend = `
  drop trigger spoil on credentials;
  drop trigger spoil on attempts;
  drop function spoil;
  drop sequence spoilt;`

const conflicts = (["40001", "40P01"] as const).flatMap((sqlState) =>
  Faults.together(
    sqlState,
    "the transaction is done again, the exchange is not",
    Effect.gen(function* () {
      const cluster = yield* Two
      const credentials = yield* three(cluster)
      const seen = yield* since(cluster)
      yield* Effect.acquireRelease(cluster.query(spoil(sqlState)), () => cluster.query(mend))
      yield* Effect.forEach(
        credentials,
        ({ id, operation }, index) => ok(request(operation, cluster.at(index), user, id)),
        { concurrency: "unbounded" }
      )
      // an attempt, a credential and the attempt's end, for each, and what was spoilt of them
      const [changes] = yield* cluster.query("select last_value::int as count from spoilt")
      assert.isAtLeast(Number(changes?.["count"]), 12)
      for (const { id } of credentials) yield* assertRenewed(cluster, id)
      yield* seen.assertOnce(3)
    })
  )
)

const unrenewed = Faults.together(
  "the lease cannot be renewed",
  "its holder knows in time, and is told so when it gives it back; the next ones go on with higher fences",
  Effect.gen(function* () {
    const cluster = yield* Two
    const ttl = 1_000
    const locks = Context.get(
      yield* Layer.build(Layer.provide(LockServiceRedis.layer({ ttl }), RedisClient.layer({ url: cluster.redis.url }))),
      LockService
    )
    const held = yield* atOnce((operation) =>
      Effect.gen(function* () {
        const { id } = yield* cluster.create(user, fresh())
        return { operation, id, lease: yield* locks.acquire(keyOf(id)) }
      })
    )
    const seen = yield* since(cluster)
    yield* cluster.redis.pause
    for (const { id, lease } of held) {
      yield* within(ttl + 1_500, lease.lost)
      assert.strictEqual((yield* Effect.flip(lease.check))._tag, "LeaseLost")
      const told = yield* Effect.flip(locks.release(keyOf(id), lease.id))
      assert.include(["LeaseLost", "LockUnavailable"], told._tag)
    }
    yield* cluster.redis.resume
    yield* atOnce((operation) =>
      Effect.gen(function* () {
        const mine = held.find((one) => one.operation === operation)
        if (mine === undefined) return
        const answer = yield* Cluster.eventually(ok(request(operation, cluster.at(1), user, mine.id)), "15 seconds")
        assert.strictEqual(answer.generation, operation === "refresh" ? 2 : 1)
        assert.isAbove(yield* borrow(cluster, 0, mine.id), mine.lease.fencingToken)
        assert.strictEqual((yield* Effect.flip(locks.release(keyOf(mine.id), mine.lease.id)))._tag, "LeaseLost")
      })
    )
    yield* seen.assertOnce(1)
  })
)

const holderDies = Faults.together(
  "the holder dies",
  "readers are served meanwhile; who must wait has it when its time is over, not before, with a higher fence",
  Effect.gen(function* () {
    const cluster = yield* Two
    const ttl = 3_000
    const held = yield* atOnce((operation) =>
      Effect.gen(function* () {
        const { id } = yield* cluster.create(user, fresh())
        const holder = yield* OtherProcess.start({ url: cluster.redis.url, key: keyOf(id), role: "hold", ttl })
        return { operation, id, holder, fence: Number((yield* holder.said("held")).split(" ")[1]) }
      })
    )
    const seen = yield* since(cluster)
    for (const { holder } of held) yield* holder.signal("SIGKILL")
    yield* atOnce((operation) =>
      Effect.gen(function* () {
        const mine = held.find((one) => one.operation === operation)
        if (mine === undefined) return
        const [took, answer] = yield* Cluster.timed(ok(request(operation, cluster.at(0), user, mine.id)))
        assert.strictEqual(answer.generation, operation === "refresh" ? 2 : 1)
        if (operation === "get") assert.isBelow(took, 1_500)
        else {
          // it renews at a third of its time
          assert.isAtLeast(took, ttl / 2)
          assert.isAtMost(took, ttl + 2_000)
        }
        assert.isAbove(yield* borrow(cluster, 1, mine.id), mine.fence)
      })
    )
    yield* seen.assertOnce(1)
  })
)

Faults.playOver(
  "two servers",
  servers,
  [
    ...redisDown,
    ...forgetting("Redis restarted", ({ redis }) => Effect.zipRight(redis.kill, redis.start)),
    ...forgetting("Redis flushed", flush),
    ...forgetting("Redis failed over", failOver),
    ...unrenewed,
    ...holderDies,
    ...postgresBefore,
    ...postgresAfter,
    ...commitLost,
    ...conflicts
  ],
  120_000
)
