import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/** The keys of the server's callers: few, so the list is sorted as it is read. */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`
    create table api_keys (
      key_id text collate "C" primary key,
      name text not null,
      scopes text not null,
      user_id text,
      created_at timestamptz not null,
      hash bytea not null
    )`
})
