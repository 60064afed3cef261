import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/**
 * When the sweeper is to look at a credential next, and whether it has said that its user will have to log in again. Those that are there already are looked at once: expiries are sealed,
 * so only a process that holds the key can tell.
 */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`
    alter table credentials
    add column sweep_at timestamptz,
    add column reauth_soon_said boolean not null default false`
  yield* sql`
    update credentials set sweep_at = now()
    where type = 'oauth2' and grant_fingerprint is not null and reauth_reason is null`
  // a provider's, oldest first: each round reads a few rows from its beginning
  yield* sql`create index credentials_swept on credentials (provider, sweep_at) where sweep_at is not null`
})
