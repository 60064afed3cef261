import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Server from "../src/Database/Server.ts"
import * as migrations from "../src/migrations.ts"
import * as Postgres from "./servers/Postgres.ts"

const steps = Object.keys(migrations.migrations).length

const on = (url: string) => Effect.provide(Server.layer({ url: Redacted.make(url), patience: "10 minutes" }))

const tables = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<{ readonly name: string }>`
    select table_name as name from information_schema.tables where table_schema = 'public' order by 1`
).pipe(Effect.map((rows) => rows.map(({ name }) => name)))

describe("migrations on a server", () => {
  it.scopedLive("of ten servers that start at once one migrates, and the others find nothing to do", () =>
    Effect.gen(function* () {
      for (let round = 0; round < 3; round++) {
        const url = yield* Postgres.database
        const ran = yield* Effect.forEach(
          Array.from({ length: 10 }),
          () => Effect.map(on(url)(migrations.run), (all) => all.length),
          {
            concurrency: "unbounded"
          }
        )
        assert.deepStrictEqual(
          ran.sort((one, other) => one - other),
          [...Array.from({ length: 9 }, () => 0), steps]
        )
      }
    })
  )

  it.scopedLive("a server waits for one that migrates longer than a statement may take", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const slow = yield* Effect.fork(
          sql.withTransaction(
            Effect.zipRight(sql`select pg_advisory_xact_lock(${0x65_63_00_01})`, sql`select pg_sleep(6)`)
          )
        )
        yield* Effect.sleep("200 millis")
        assert.lengthOf(yield* migrations.run, steps)
        yield* Fiber.join(slow)
      }).pipe(on(url))
    })
  )

  it.scopedLive("a step that fails changes nothing, and may be done again", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table api_keys (not_ours int)`
      yield* Effect.flip(migrations.run)
      assert.deepStrictEqual(yield* tables, ["api_keys"])
      yield* sql`drop table api_keys`
      assert.lengthOf(yield* migrations.run, steps)
      assert.lengthOf(yield* migrations.run, 0)
    }).pipe((effect) => Effect.flatMap(Postgres.database, (url) => on(url)(effect)))
  )

  it.scopedLive("a server that is killed while it migrates leaves nothing half done", () =>
    Effect.gen(function* () {
      let cutOff = 0
      for (let millis = 8; millis < 80; millis += 4) {
        const { proxy, url } = yield* Postgres.behindProxy(yield* Postgres.database)
        const run = yield* Effect.fork(Effect.either(on(url)(migrations.run)))
        yield* Effect.sleep(millis)
        yield* proxy.cut
        const [either, found] = [yield* Fiber.join(run), yield* on(url)(tables)]
        if (found.length === 0) {
          // so it cannot have said that it had made anything
          assert.strictEqual(either._tag, "Left")
          cutOff++
        } else {
          assert.lengthOf(yield* on(url)(migrations.run), 0)
        }
        assert.isTrue(found.length === 0 || found.includes("audit_events"), found.join())
      }
      assert.isAbove(cutOff, 0)
    })
  )
})
