import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/** The processes that work on this store, as long as they beat. */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`
    create table processes (
      id text primary key,
      started_at timestamptz not null,
      beat_at timestamptz not null
    )`
})
