import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/** The endpoints where calls fail; none of those that work. */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`
    create table circuits (
      provider text not null,
      origin text not null,
      version text not null,
      failing text[] not null,
      reason text not null,
      failed_at timestamptz not null,
      openings integer not null,
      open_until timestamptz,
      trial_until timestamptz,
      primary key (provider, origin)
    )`
})
