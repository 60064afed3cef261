import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/** Which keys are in use, and the rows under one, in order: for the rotation of keys, which goes on from any row. */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`create index credentials_sealed_with on credentials (key_id, user_id, id)`
  yield* sql`drop index credentials_key_id`
})
