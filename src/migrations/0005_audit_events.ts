import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/** What happened. Read newest first, by the number that the database gave. */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`
    create table audit_events (
      id bigint generated always as identity primary key,
      at timestamptz not null,
      kind text not null,
      user_id text,
      credential_id text,
      provider text,
      generation integer,
      actor text not null,
      detail text,
      attempt_id text
    )`
})
