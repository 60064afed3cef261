/** What a store promises when its server's processes, or the network before it, end in the middle of things. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomBytes, randomUUID } from "node:crypto"
import * as Server from "../../src/Database/Server.ts"
import * as Statement from "../../src/Database/Statement.ts"
import * as migrations from "../../src/migrations.ts"
import { type AttemptRow, type CredentialRow, RowChange } from "../../src/Store/Driver.ts"
import * as Sql from "../../src/Store/Sql.ts"
import * as Postgres from "../servers/Postgres.ts"

const aCredential = (fields: Partial<CredentialRow> = {}): CredentialRow => ({
  userId: "user",
  id: randomUUID(),
  provider: "github",
  type: "oauth2",
  title: null,
  generation: 1,
  grant: randomUUID(),
  reauthReason: null,
  reauthAttemptId: null,
  reportedGeneration: null,
  reportStreak: 0,
  failures: 0,
  retryAt: null,
  lastFailure: null,
  reauthSoonSaid: false,
  sweepAt: null,
  createdAt: new Date(),
  updatedAt: new Date(),
  storedAt: new Date(),
  keyId: "k1",
  sealed: randomBytes(600),
  ...fields
})

const anAttempt = (fields: Partial<AttemptRow> = {}): AttemptRow => ({
  id: randomUUID(),
  userId: "user",
  provider: "github",
  grant: randomUUID(),
  processId: "test",
  startedAt: new Date(),
  deadline: new Date(Date.now() + 60_000),
  probeOf: null,
  ...fields
})

const create = (row: CredentialRow) => RowChange.Create({ row, unlessForgottenSince: null })

/** A driver as servers have it. */
const driverOn = Effect.fnUntraced(function* (url: string, patience: Duration.DurationInput = "5 seconds") {
  const sql = yield* Server.make({ url: Redacted.make(url), poolSize: 4, patience })
  const driver = yield* Effect.provideService(Sql.make({ clock: "database" }), SqlClient.SqlClient, sql)
  return { sql, driver }
})

const migrated = (url: string) =>
  Effect.flatMap(Server.make({ url: Redacted.make(url) }), (sql) =>
    Effect.provideService(migrations.run, SqlClient.SqlClient, sql)
  ).pipe(Effect.scoped)

const count = (sql: PgClient.PgClient, table: string) =>
  Effect.map(
    Statement.read(sql<{ readonly n: number }>`select count(*)::int as n from ${sql(table)}`),
    ([row]) => row?.n ?? -1
  )

describe("commits", () => {
  it.scopedLive("while sessions are ended again and again: what was acknowledged is stored, nothing is by half", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.server
      const name = yield* server.createDatabase
      yield* migrated(server.url(name))
      const { proxy, url } = yield* Postgres.behindProxy(server.url(name))
      const { driver, sql } = yield* driverOn(url)
      const acknowledged: Array<string> = []
      let unavailable = 0
      const commit = Effect.suspend(() => {
        const id = randomUUID()
        const changes = [create(aCredential({ id })), RowChange.OpenAttempt({ row: anAttempt({ id }) })]
        return Effect.match(driver.commit(changes), {
          onSuccess: () => void acknowledged.push(id),
          onFailure: ({ _tag }) => {
            assert.strictEqual(_tag, "StoreUnavailable")
            unavailable++
          }
        })
      })
      const working = yield* Effect.fork(
        Effect.all(
          Array.from({ length: 8 }, () => Effect.forever(commit)),
          { concurrency: "unbounded" }
        )
      )
      for (let round = 0; round < 30; round++) {
        yield* Effect.sleep("80 millis")
        yield* round % 3 === 0 ? proxy.cut : server.killBackends(name)
      }
      yield* Fiber.interrupt(working)
      const stored = new Set(
        (yield* Statement.read(sql<{ readonly id: string }>`select id from credentials`)).map(({ id }) => id)
      )
      assert.isAbove(acknowledged.length, 100)
      assert.isAbove(unavailable, 10)
      assert.deepStrictEqual(
        acknowledged.filter((id) => !stored.has(id)),
        []
      )
      const halves = yield* Statement.read(
        sql`select 1 from credentials full join attempts using (id) where credentials.id is null or attempts.id is null`
      )
      assert.lengthOf(halves, 0)
    })
  )

  for (const how of ["reset", "silence"] as const) {
    it.scopedLive(
      `whose answer is lost (${how}) are StoreUnavailable, and reading back tells that they were done`,
      () =>
        Effect.gen(function* () {
          const direct = yield* Postgres.database
          yield* migrated(direct)
          const { proxy, url } = yield* Postgres.behindProxy(direct)
          const { driver } = yield* driverOn(url, "1 second")
          const [credential, attempt] = [aCredential(), anAttempt()]
          yield* proxy.loseCommits(how)
          const begun = performance.now()
          const error = yield* Effect.flip(driver.commit([create(credential), RowChange.OpenAttempt({ row: attempt })]))
          assert.isBelow(performance.now() - begun, 2_500)
          assert.strictEqual(error._tag, "StoreUnavailable")
          assert.strictEqual(proxy.lost(), 1)
          yield* proxy.loseCommits("none")
          assert.deepStrictEqual(yield* driver.outcome(attempt.id), Option.some("open"))
          assert.isTrue(Option.isSome(yield* driver.find(credential.userId, credential.id)))
          // done again it is told apart from another's
          const again = yield* Effect.flip(driver.commit([create(credential), RowChange.OpenAttempt({ row: attempt })]))
          assert.strictEqual(again._tag, "Conflict")
        })
    )
  }

  it.scopedLive(
    "that are cut off before their end are StoreUnavailable, and reading back tells that nothing was done",
    () =>
      Effect.gen(function* () {
        const direct = yield* Postgres.database
        yield* migrated(direct)
        const { proxy, url } = yield* Postgres.behindProxy(direct)
        const [{ driver }, { sql }] = [yield* driverOn(url), yield* driverOn(direct)]
        const [credential, attempt] = [aCredential(), anAttempt()]
        yield* driver.commit([create(credential)])
        // the second change waits for a lock, with the first one made
        const blocking = yield* Effect.fork(
          sql.withTransaction(
            Effect.zipRight(sql`select 1 from credentials for update`, Effect.zipRight(sql`select 1`, Effect.never))
          )
        )
        yield* Effect.sleep("50 millis")
        const expect = RowChange.Expect({ userId: credential.userId, id: credential.id, generation: 1 })
        const committing = yield* Effect.fork(
          Effect.flip(driver.commit([RowChange.OpenAttempt({ row: attempt }), expect]))
        )
        yield* untilBlocked(sql)
        yield* proxy.cut
        assert.strictEqual((yield* Fiber.join(committing))._tag, "StoreUnavailable")
        yield* Fiber.interrupt(blocking)
        assert.deepStrictEqual(yield* driver.outcome(attempt.id), Option.none())
      })
  )

  it.scopedLive("of a single statement whose answer is lost may be done: reading back tells", () =>
    Effect.gen(function* () {
      const direct = yield* Postgres.database
      yield* migrated(direct)
      const { proxy, url } = yield* Postgres.behindProxy(direct)
      const { driver, sql } = yield* driverOn(url)
      yield* proxy.delay(30)
      const attempt = anAttempt()
      const committing = yield* Effect.fork(Effect.either(driver.commit([RowChange.OpenAttempt({ row: attempt })])))
      yield* Effect.sleep("50 millis")
      yield* proxy.cut
      const either = yield* Fiber.join(committing)
      yield* proxy.delay(0)
      const isThere = (yield* count(sql, "attempts")) === 1
      assert.strictEqual(either._tag, "Left")
      assert.strictEqual(Option.isSome(yield* driver.outcome(attempt.id)), isThere)
    })
  )
})

const untilBlocked = (sql: PgClient.PgClient) =>
  Effect.repeat(Effect.zipRight(Effect.sleep("5 millis"), sql`select 1 from pg_locks where not granted`), {
    until: (rows) => rows.length > 0
  })

describe("conflicts that Postgres ends", () => {
  it.scopedLive("a commit that is the victim of a deadlock is done again as a whole", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      yield* migrated(url)
      const { driver, sql } = yield* driverOn(url)
      const [one, other] = [aCredential({ id: "1" }), aCredential({ id: "2" })]
      yield* driver.commit([create(one), create(other)])
      const lock = (id: string) => sql`select 1 from credentials where id = ${id} for update`
      const [isLocked, isBlocked] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const foreign = yield* Effect.gen(function* () {
        // who looks for a deadlock first gives up: not this one
        yield* sql`set local deadlock_timeout = '10s'`
        yield* lock("2")
        yield* Deferred.succeed(isLocked, undefined)
        yield* Deferred.await(isBlocked)
        yield* lock("1")
      }).pipe(sql.withTransaction, Effect.fork)
      yield* Deferred.await(isLocked)
      const replace = (row: CredentialRow) => RowChange.Replace({ row: { ...row, generation: 2 } })
      const committing = yield* Effect.fork(driver.commit([replace(one), replace(other)]))
      yield* untilBlocked(sql)
      yield* Deferred.succeed(isBlocked, undefined)
      // each has what the other wants: only by giving one up can both end well
      yield* Fiber.join(foreign)
      yield* Fiber.join(committing)
      for (const { id } of [one, other]) {
        const row = Option.getOrThrow(yield* driver.find("user", id))
        assert.strictEqual(row.generation, 2)
      }
    })
  )

  it.scopedLive("transactions that cannot be serialised (40001) are each done again, until all are done", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      const { sql } = yield* driverOn(url)
      yield* sql`create table counters (n int not null)`
      yield* sql`insert into counters values (0)`
      let runs = 0
      const increment = Statement.write(
        Effect.gen(function* () {
          runs++
          yield* sql`set transaction isolation level repeatable read`
          const [row] = yield* sql<{ readonly n: number }>`select n from counters`
          yield* Effect.sleep("20 millis")
          yield* sql`update counters set n = ${(row?.n ?? 0) + 1}`
        }).pipe(sql.withTransaction)
      )
      yield* Effect.all([increment, increment, increment], { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* sql`select n from counters`, [{ n: 3 }])
      assert.isAbove(runs, 3)
    })
  )
})
