/**
 * Logins under way in a database that speaks Postgres.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { AuthorizationRow, Driver } from "../AuthorizationStore.ts"
import * as AuthorizationStore from "../AuthorizationStore.ts"
import type { Cipher } from "../Cipher.ts"
import * as Statement from "../Database/Statement.ts"
import * as Table from "../Database/Table.ts"
import * as Rewrapping from "../Rewrapping/Sql.ts"

const authorizations = Table.make<AuthorizationRow>({
  stateHash: "state_hash",
  userId: "user_id",
  provider: "provider",
  expiresAt: "expires_at",
  keyId: "key_id",
  sealed: "sealed"
})

/**
 * A driver over the table of `migrations`. A login is taken by deleting it: of all callers, in any process, one gets it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Driver, never, SqlClient.SqlClient> = Effect.map(SqlClient.SqlClient, (client) => {
  const sql = client.withoutTransforms()
  const columns = sql.literal(authorizations.selection)
  return {
    put: (row) => {
      const encoded = authorizations.encode(row)
      return Statement.write(
        Effect.asVoid(sql`
          insert into authorizations ${sql.insert(encoded)}
          on conflict (state_hash) do update set ${sql.update(encoded, ["state_hash"])}`)
      )
    },
    find: (stateHash) =>
      Statement.read(
        Effect.map(
          sql<AuthorizationRow>`select ${columns} from authorizations where state_hash = ${stateHash}`,
          ([row]) => Option.fromNullable(row)
        )
      ),
    take: (stateHash, userId, provider) =>
      Statement.write(
        Effect.map(
          sql<AuthorizationRow>`
            delete from authorizations
            where ${sql.and([
              sql`state_hash = ${stateHash}`,
              ...(userId === null ? [] : [sql`user_id = ${userId}`]),
              ...(provider === null ? [] : [sql`provider = ${provider}`])
            ])}
            returning ${columns}`,
          ([row]) => Option.fromNullable(row)
        )
      ),
    removeUser: (userId) => Statement.write(Effect.asVoid(sql`delete from authorizations where user_id = ${userId}`)),
    prune: (before) => Statement.write(Effect.asVoid(sql`delete from authorizations where expires_at <= ${before}`)),
    sealed: Rewrapping.make(sql, { name: "authorizations", table: authorizations, id: ["stateHash"] })
  }
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AuthorizationStore.AuthorizationStore, never, SqlClient.SqlClient | Cipher> =
  AuthorizationStore.layer(make)
