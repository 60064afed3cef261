import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/** Leases of holders outside this process. */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`
    create table leases (
      id_hash text primary key,
      user_id text not null,
      credential_id text not null,
      owner text not null,
      mode text not null,
      fencing_token bigint not null,
      expires_at timestamptz not null
    )`
  // a user's leases
  yield* sql`create index leases_user on leases (user_id)`
  // what has expired
  yield* sql`create index leases_expiry on leases (expires_at)`
})
