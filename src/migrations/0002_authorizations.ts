import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/** Logins under way. */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`
    create table authorizations (
      state_hash text primary key,
      user_id text not null,
      provider text not null,
      expires_at timestamptz not null,
      key_id text not null,
      sealed bytea not null
    )`
  // what a user who is deleted has under way
  yield* sql`create index authorizations_user on authorizations (user_id)`
  // what has expired
  yield* sql`create index authorizations_expiry on authorizations (expires_at)`
})
