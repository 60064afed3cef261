/**
 * The keys of the server's callers in a database that speaks Postgres.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { ApiKey, Driver } from "../ApiKeys.ts"
import * as ApiKeys from "../ApiKeys.ts"
import type { UserId } from "../Credential.ts"
import * as PointReads from "../Database/PointReads.ts"
import * as Statement from "../Database/Statement.ts"
import * as Table from "../Database/Table.ts"

interface ApiKeyRow {
  readonly keyId: string
  readonly name: string
  /** Words with spaces between them. */
  readonly scopes: string
  readonly userId: string | null
  readonly createdAt: Date
}

const columnsOfKey = {
  keyId: "key_id",
  name: "name",
  scopes: "scopes",
  userId: "user_id",
  createdAt: "created_at"
} as const

const apiKeys = Table.make<ApiKeyRow>(columnsOfKey)
const hashedApiKeys = Table.make<ApiKeyRow & { readonly hash: Uint8Array }>({ ...columnsOfKey, hash: "hash" })

const toRow = (apiKey: ApiKey): ApiKeyRow => ({
  keyId: apiKey.keyId,
  name: apiKey.name,
  scopes: apiKey.scopes.join(" "),
  userId: Option.getOrNull(apiKey.userId),
  createdAt: DateTime.toDateUtc(apiKey.createdAt)
})

const isScope = Schema.is(ApiKeys.Scope)

const fromRow = (row: ApiKeyRow): ApiKey => ({
  keyId: row.keyId,
  name: row.name,
  // a word that this version does not know permits nothing
  scopes: row.scopes.split(" ").filter(isScope),
  userId: Option.fromNullable(row.userId as UserId | null),
  createdAt: DateTime.unsafeMake(row.createdAt)
})

/**
 * A driver over the table of `migrations`. A key that is made or removed is so for every process at once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Driver, never, SqlClient.SqlClient> = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const columns = sql.literal(apiKeys.selection)
  const hashedColumns = sql.literal(hashedApiKeys.selection)
  const find = yield* PointReads.make({
    nameOf: (keyId: string) => keyId,
    read: (keyIds) =>
      Statement.read(
        Effect.map(
          sql<ApiKeyRow & { readonly hash: Uint8Array }>`
            select ${hashedColumns} from api_keys where key_id = any(${keyIds}::text[])`,
          (rows) => new Map(rows.map((row) => [row.keyId, { apiKey: fromRow(row), hash: row.hash }]))
        )
      )
  })
  return {
    insert: (apiKey, hash) =>
      Statement.write(
        Effect.asVoid(sql`insert into api_keys ${sql.insert(hashedApiKeys.encode({ ...toRow(apiKey), hash }))}`)
      ),
    find,
    list: Statement.read(
      Effect.map(sql<ApiKeyRow>`select ${columns} from api_keys order by created_at, key_id`, (rows) =>
        rows.map(fromRow)
      )
    ),
    remove: (keyId) =>
      Statement.write(
        Effect.map(sql`delete from api_keys where key_id = ${keyId} returning key_id`, (rows) => rows.length > 0)
      )
  }
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  readonly bootstrap: Redacted.Redacted
}): Layer.Layer<ApiKeys.ApiKeys, never, SqlClient.SqlClient> => ApiKeys.layer(make, options)
