/**
 * A process that owns a database: it says `ready`, then commits rows one after another and says each one's number after
 * its acknowledgement, until it is killed. A `refused` says that another process owns the directory.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Embedded from "../../src/Database/Embedded.ts"

const [directory = "", mode = "hold"] = process.argv.slice(2)
const say = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

const program = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`create table if not exists commits (id int primary key, filler text not null)`
  yield* sql`create table if not exists ends (id int primary key references commits)`
  yield* say("ready")
  if (mode === "hold") return yield* Effect.never
  const rows = yield* sql<{ readonly last: number }>`select coalesce(max(id), 0) as last from commits`
  for (let id = (rows[0]?.last ?? 0) + 1; ; id++) {
    yield* sql.withTransaction(
      Effect.zipRight(
        sql`insert into commits values (${id}, ${"x".repeat(id % 2000)})`,
        sql`insert into ends values (${id})`
      )
    )
    yield* say(String(id))
  }
})

await Effect.runPromise(
  program.pipe(
    Effect.provide(Embedded.layer({ directory })),
    Effect.catchTag("DirectoryInUse", (error) => say(`refused ${error.message}`))
  )
)
