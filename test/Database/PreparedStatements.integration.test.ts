import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Server from "../../src/Database/Server.ts"
import * as Postgres from "../servers/Postgres.ts"

const session = Effect.flatMap(Postgres.database, (url) => Server.make({ url: Redacted.make(url), poolSize: 1 }))

it.scopedLive("what a session runs again and again is parsed once, and answers as before", () =>
  Effect.gen(function* () {
    const sql = yield* session
    const known = Effect.map(
      sql<{ readonly runs: number }>`
        select (generic_plans + custom_plans)::integer as runs from pg_prepared_statements where statement like '%prepared once%'`,
      (rows) => rows.map(({ runs }) => runs)
    )
    const double = (value: number) =>
      Effect.map(
        sql<{ readonly twice: number }>`select ${value}::integer * 2 as twice /* prepared once */`,
        ([row]) => row?.twice
      )
    for (const value of [1, 2, 3, 4]) assert.strictEqual(yield* double(value), 2 * value)
    assert.deepStrictEqual(yield* known, [])
    for (const value of [5, 6, 7]) assert.strictEqual(yield* double(value), 2 * value)
    assert.deepStrictEqual(yield* known, [3])
  })
)

it.scopedLive("a statement that fails under its name runs again under it, also after its table was altered", () =>
  Effect.gen(function* () {
    const sql = yield* session
    yield* sql`create table things (id integer primary key, name text not null)`
    yield* sql`insert into things values (1, 'one')`
    const find = (id: unknown) =>
      Effect.map(
        sql<{ readonly name: string }>`select name from things where id = ${id as number}`,
        ([row]) => row?.name
      )
    yield* Effect.repeatN(find(1), 6)
    assert.strictEqual((yield* Effect.flip(find("no number")))._tag, "SqlError")
    assert.strictEqual(yield* find(1), "one")
    yield* sql`alter table things add column more text`
    yield* sql`update things set name = 'first'`
    assert.strictEqual(yield* find(1), "first")
    yield* Effect.repeatN(find(1), 6)
    yield* sql`alter table things alter column name type varchar(20)`
    assert.strictEqual((yield* Effect.flip(find(1)))._tag, "SqlError")
    assert.strictEqual(yield* find(1), "first")
  })
)

it.scopedLive("of very many texts only the first have names", () =>
  Effect.gen(function* () {
    const sql = yield* session
    for (let text = 0; text < 300; text++) {
      for (let run = 0; run < 6; run++) yield* sql`select ${run}::integer as ${sql.literal(`c${text}`)}`
    }
    const [row] = yield* sql<{ readonly named: number }>`select count(*)::integer as named from pg_prepared_statements`
    assert.strictEqual(row?.named, 200)
  })
)
