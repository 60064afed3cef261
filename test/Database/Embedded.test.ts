import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Database from "../../src/Database.ts"
import * as Embedded from "../../src/Database/Embedded.ts"
import * as Housekeeping from "../../src/Database/Housekeeping.ts"
import * as OtherProcess from "./OtherProcess.ts"

const embedded = Layer.unwrapScoped(
  Effect.map(OtherProcess.temporaryFolder, (directory) => Embedded.layer({ directory }))
)

let tables = 0
/** A new table, so that the tests do not meet. */
const table = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const name = sql(`t${++tables}`)
  yield* sql`create table ${name} (id int primary key, v text)`
  const ids = Effect.map(sql<{ readonly id: number }>`select id from ${name} order by id`, (rows) =>
    rows.map((row) => row.id)
  )
  return { sql, name, ids }
})

describe("the embedded database", () => {
  layer(embedded, { timeout: 60_000, excludeTestServices: true })((it) => {
    it.effect("reaches the disk at each commit, by its settings", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const rows = yield* sql`
          select current_setting('fsync') as fsync, current_setting('wal_sync_method') as method,
            current_setting('synchronous_commit') as commit, current_setting('full_page_writes') as pages`
        assert.deepStrictEqual(rows, [{ fsync: "on", method: "fsync", commit: "on", pages: "on" }])
      })
    )

    it.effect("a transaction commits all or nothing", () =>
      Effect.gen(function* () {
        const { ids, name, sql } = yield* table
        yield* sql.withTransaction(sql`insert into ${name} values (1), (2)`)
        const failed = yield* sql
          .withTransaction(Effect.zipRight(sql`insert into ${name} values (3)`, Effect.fail("no")))
          .pipe(Effect.flip)
        assert.strictEqual(failed, "no")
        assert.deepStrictEqual(yield* ids, [1, 2])
      })
    )

    it.effect("an inner transaction is a savepoint of the outer one", () =>
      Effect.gen(function* () {
        const { ids, name, sql } = yield* table
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`insert into ${name} values (1)`
            yield* Effect.ignore(
              sql.withTransaction(Effect.zipRight(sql`insert into ${name} values (2)`, sql`select 1 / 0`))
            )
            yield* sql`insert into ${name} values (3)`
          })
        )
        assert.deepStrictEqual(yield* ids, [1, 3])
      })
    )

    it.effect("bytea, jsonb, timestamptz, bigint and text come back as they went", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const pg = yield* PgClient.PgClient
        yield* sql`create table kinds (b bytea, j jsonb, t timestamptz, n bigint, s text, e text)`
        const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
        const json = { a: [1, "zwei", null], ü: { deep: true } }
        const at = new Date("2031-02-03T04:05:06.789Z")
        yield* sql`insert into kinds values (
          ${bytes}, ${pg.json(json)}, ${at}, ${9007199254740993n}, ${"Grüße, 世界 👋"}, ${null})`
        const rows = yield* sql`select * from kinds`
        assert.deepStrictEqual(rows, [
          { b: bytes, j: json, t: at, n: "9007199254740993", s: "Grüße, 世界 👋", e: null }
        ])
      })
    )

    it.effect("a unique violation shows its SQLSTATE, and the connection goes on", () =>
      Effect.gen(function* () {
        const { ids, name, sql } = yield* table
        yield* sql`insert into ${name} values (1)`
        const error: SqlError = yield* Effect.flip(sql`insert into ${name} values (1)`)
        assert.strictEqual(Database.sqlState(error), "23505")
        assert.isFalse(Database.isUnavailable(error))
        assert.deepStrictEqual(yield* ids, [1])
      })
    )

    it.effect("an interrupted statement, waiting or running, leaves the connection usable", () =>
      Effect.gen(function* () {
        const { ids, name, sql } = yield* table
        yield* Effect.forEach(
          Array.from({ length: 100 }, (_, id) => id),
          (id) =>
            Effect.gen(function* () {
              const fiber = yield* Effect.fork(sql`insert into ${name} values (${id})`)
              for (let turn = 0; turn < id % 5; turn++) yield* Effect.promise(() => new Promise(setImmediate))
              yield* Fiber.interrupt(fiber)
            }),
          { concurrency: 10 }
        )
        yield* sql`insert into ${name} values (1000)`
        assert.strictEqual((yield* ids).at(-1), 1000)
      })
    )

    it.effect("an interrupted transaction is rolled back, and the next caller's is its own", () =>
      Effect.gen(function* () {
        const { ids, name, sql } = yield* table
        for (let turns = 0; turns < 12; turns++) {
          const fiber = yield* Effect.fork(
            sql.withTransaction(Effect.zipRight(sql`insert into ${name} values (1)`, Effect.never))
          )
          for (let turn = 0; turn < turns; turn++) yield* Effect.promise(() => new Promise(setImmediate))
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual(yield* ids, [])
        }
        yield* sql.withTransaction(sql`insert into ${name} values (2)`)
        assert.deepStrictEqual(yield* ids, [2])
      })
    )

    it.effect("who gives up waiting for a transaction's turn does not keep the turn", () =>
      Effect.gen(function* () {
        const { ids, name, sql } = yield* table
        const busy = yield* Effect.fork(
          sql.withTransaction(Effect.zipRight(sql`insert into ${name} values (1)`, Effect.sleep("100 millis")))
        )
        yield* Effect.sleep("20 millis")
        const waiting = yield* Effect.fork(sql.withTransaction(sql`insert into ${name} values (2)`))
        yield* Effect.sleep("20 millis")
        yield* Fiber.interrupt(waiting)
        yield* Fiber.join(busy)
        yield* sql.withTransaction(sql`insert into ${name} values (3)`)
        assert.include(yield* ids, 3)
      })
    )

    it.effect("fifty callers at once get their own answers, inside transactions too", () =>
      Effect.gen(function* () {
        const { ids, name, sql } = yield* table
        const answers = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, id) => id),
          (id) =>
            sql
              .withTransaction(
                Effect.zipRight(
                  sql`insert into ${name} values (${id}, ${`v${id}`})`,
                  sql<{ readonly v: string }>`select v from ${name} where id = ${id}`
                )
              )
              .pipe(Effect.zip(sql<{ readonly n: number }>`select ${id}::int as n`)),
          { concurrency: "unbounded" }
        )
        for (const [id, [[inside], [outside]]] of answers.entries()) {
          assert.deepStrictEqual([inside, outside], [{ v: `v${id}` }, { n: id }])
        }
        assert.strictEqual((yield* ids).length, 50)
      })
    )

    it.effect("the event loop turns between statements, however many are waiting", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        let turns = 0
        const timer = setInterval(() => turns++, 1)
        yield* Effect.forEach(Array.from({ length: 300 }), () => sql`select count(*) from generate_series(1, 2000)`, {
          concurrency: 50
        })
        clearInterval(timer)
        assert.isAbove(turns, 10)
      })
    )

    it.effect("what is larger than any buffer passes whole, in both directions", () =>
      Effect.gen(function* () {
        const { name, sql } = yield* table
        const large = "x".repeat(5_000_000)
        yield* sql`insert into ${name} values (1, ${large})`
        yield* sql`insert into ${name} ${sql.insert(
          Array.from({ length: 2000 }, (_, index) => ({ id: index + 2, v: String(index).repeat(50) }))
        )}`
        const rows = yield* sql<{ readonly id: number; readonly v: string }>`select * from ${name} order by id`
        assert.strictEqual(rows.length, 2001)
        assert.strictEqual(rows[0]?.v, large)
        assert.strictEqual(rows[2000]?.v, "1999".repeat(50))
      })
    )

    it.effect("rows can be streamed by a cursor", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const rows = yield* Stream.runCollect(
          sql<{ readonly n: number }>`select n from generate_series(1, 1000) as n`.stream
        )
        assert.strictEqual(rows.length, 1000)
      })
    )

    it.effect("a second connection is refused and disturbs nothing", () =>
      Effect.gen(function* () {
        const { ids, name, sql } = yield* table
        const pg = yield* PgClient.PgClient
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`insert into ${name} values (1)`
            const error = yield* Effect.flip(Stream.runDrain(pg.listen("channel")))
            assert.strictEqual(Database.sqlState(error), "53300")
          })
        )
        assert.deepStrictEqual(yield* ids, [1])
      })
    )

    it.effect("housekeeping bounds the log and removes dead rows", () =>
      Effect.gen(function* () {
        const { name, sql } = yield* table
        yield* sql`insert into ${name} select n, repeat('x', 500) from generate_series(1, 5000) as n`
        yield* sql`update ${name} set v = v || 'y'`
        yield* sql`update ${name} set v = v || 'z'`
        const lag = Effect.map(
          sql<{ readonly lag: number }>`
            select (pg_current_wal_lsn() - redo_lsn)::float8 as lag from pg_control_checkpoint()`,
          ([row]) => row?.lag ?? 0
        )
        assert.isAbove(yield* lag, 8e6)
        // Postgres keeps its counts to itself for up to a second; here they are to be those that housekeeping goes by
        yield* sql`select pg_stat_force_next_flush()`
        const exit = yield* Effect.exit(Housekeeping.once(sql))
        assert.isTrue(Exit.isSuccess(exit), String(exit))
        assert.isBelow(yield* lag, 1e6)
        const [counts] = yield* sql<{ readonly dead: number }>`
          select n_dead_tup::int as dead from pg_stat_user_tables where relname = ${`t${tables}`}`
        assert.strictEqual(counts?.dead, 0)
      })
    )
  })
})
