import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import fs from "node:fs"
import { mkdir, rename, writeFile } from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"
import { join } from "node:path"
import * as Database from "../../src/Database.ts"
import * as Embedded from "../../src/Database/Embedded.ts"
import * as OtherProcess from "./OtherProcess.ts"

const ids = (directory: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<{ readonly id: number; readonly end: number | null; readonly length: number }>`
      select commits.id, ends.id as end, length(filler) as length from commits left join ends using (id) order by id`
    return rows
  }).pipe(Effect.provide(Embedded.layer({ directory })))

/** Every fsync fails, as on a broken disk, while the effect runs. */
const whileDiskFails = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const real = fs.fsyncSync
      fs.fsyncSync = () => {
        throw Object.assign(new Error("the disk is broken"), { code: "EIO" })
      }
      syncBuiltinESMExports()
      return real
    }),
    () => effect,
    (real) =>
      Effect.sync(() => {
        fs.fsyncSync = real
        syncBuiltinESMExports()
      })
  )

describe("the embedded database's durability", () => {
  it.scoped(
    "no acknowledged commit is lost, and none is there by half, when the process is killed again and again",
    () =>
      Effect.gen(function* () {
        const directory = join(yield* OtherProcess.temporaryFolder, "database")
        let acknowledged = 0
        for (let round = 0; round < 5; round++) {
          const child = yield* OtherProcess.start(directory, "commit")
          yield* child.said(60 + 37 * round)
          yield* child.kill
          acknowledged = Math.max(acknowledged, Number(child.lines.at(-1)))
        }
        const rows = yield* ids(directory)
        assert.isAtLeast(acknowledged, 5 * 60 - 5)
        assert.isAtLeast(rows.length, acknowledged)
        for (const [index, { end, id, length }] of rows.entries()) {
          assert.deepStrictEqual({ id, end, length }, { id: index + 1, end: index + 1, length: (index + 1) % 2000 })
        }
      }),
    90_000
  )

  it.scoped(
    "a first start that was killed half way is begun anew",
    () =>
      Effect.gen(function* () {
        const directory = yield* OtherProcess.temporaryFolder
        yield* Effect.promise(async () => {
          await mkdir(join(directory, "pgdata.new", "base"), { recursive: true })
          await writeFile(join(directory, "pgdata.new", "PG_VERSION"), "1")
        })
        const child = yield* OtherProcess.start(directory, "hold")
        yield* child.said(1)
        assert.deepStrictEqual(child.lines, ["ready"])
        assert.isFalse(fs.existsSync(join(directory, "pgdata.new")))
      }),
    60_000
  )

  it.scoped(
    "a commit that the disk refuses is not acknowledged, nor is anything after it until a new start, which keeps the rest",
    () =>
      Effect.gen(function* () {
        const directory = yield* OtherProcess.temporaryFolder
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`create table t (id int primary key)`
          yield* sql`insert into t values (1)`
          const refused = yield* Effect.flip(whileDiskFails(sql`insert into t values (2)`))
          assert.isTrue(Database.isUnavailable(refused), String(refused.cause))
          const after = yield* Effect.flip(sql`insert into t values (3)`)
          assert.strictEqual(Database.sqlState(after), "57P02")
          assert.match(String(after.cause), /could not fsync/)
        }).pipe(Effect.provide(Embedded.layer({ directory })))

        const rows = yield* Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql<{ readonly id: number }>`select id from t where id <> 2`
        ).pipe(Effect.provide(Embedded.layer({ directory })))
        assert.deepStrictEqual(rows, [{ id: 1 }])
      }),
    60_000
  )

  it.scoped(
    "a damaged database fails the layer with the engine's own words, and frees the directory",
    () =>
      Effect.gen(function* () {
        const directory = yield* OtherProcess.temporaryFolder
        yield* Effect.void.pipe(Effect.provide(Embedded.layer({ directory })))
        const control = join(directory, "pgdata", "global", "pg_control")
        yield* Effect.promise(() => rename(control, `${control}.away`))
        const error = yield* Effect.flip(Effect.void.pipe(Effect.provide(Embedded.layer({ directory }))))
        assert.strictEqual(error._tag, "EmbeddedDatabaseError")
        assert.match(error.message, /pg_control/)
        yield* Effect.promise(() => rename(`${control}.away`, control))
        yield* Effect.void.pipe(Effect.provide(Embedded.layer({ directory })))
      }),
    60_000
  )
})
