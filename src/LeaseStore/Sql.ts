/**
 * Leases of outside holders in a database that speaks Postgres.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { CredentialId, UserId } from "../Credential.ts"
import * as Statement from "../Database/Statement.ts"
import * as Table from "../Database/Table.ts"
import type { LeaseRecord } from "../LeaseStore.ts"
import { LeaseStore } from "../LeaseStore.ts"
import type { Mode } from "../LockService.ts"

interface LeaseRow {
  readonly idHash: string
  readonly userId: string
  readonly credentialId: string
  readonly owner: string
  readonly mode: string
  /** A `bigint`, which the driver reads as text. */
  readonly fencingToken: string
  readonly expiresAt: Date
}

const leases = Table.make<LeaseRow>({
  idHash: "id_hash",
  userId: "user_id",
  credentialId: "credential_id",
  owner: "owner",
  mode: "mode",
  fencingToken: "fencing_token",
  expiresAt: "expires_at"
})

const toRow = (record: LeaseRecord): LeaseRow => ({
  ...record,
  fencingToken: String(record.fencingToken),
  expiresAt: DateTime.toDateUtc(record.expiresAt)
})

const fromRow = (row: LeaseRow): LeaseRecord => ({
  idHash: row.idHash,
  userId: row.userId as UserId,
  credentialId: row.credentialId as CredentialId,
  owner: row.owner,
  mode: row.mode as Mode,
  fencingToken: Number(row.fencingToken),
  expiresAt: DateTime.unsafeMake(row.expiresAt)
})

/**
 * A store over the table of `migrations`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<LeaseStore["Type"], never, SqlClient.SqlClient> = Effect.map(
  SqlClient.SqlClient,
  (client) => {
    const sql = client.withoutTransforms()
    const columns = sql.literal(leases.selection)
    return LeaseStore.of({
      put: (record) => {
        const encoded = leases.encode(toRow(record))
        return Statement.write(
          Effect.asVoid(sql`
            insert into leases ${sql.insert(encoded)}
            on conflict (id_hash) do update set ${sql.update(encoded, ["id_hash"])}`)
        )
      },
      find: (idHash) =>
        Statement.read(
          Effect.map(sql<LeaseRow>`select ${columns} from leases where id_hash = ${idHash}`, ([row]) =>
            Option.map(Option.fromNullable(row), fromRow)
          )
        ),
      remove: (idHash) => Statement.write(Effect.asVoid(sql`delete from leases where id_hash = ${idHash}`)),
      all: Statement.read(Effect.map(sql<LeaseRow>`select ${columns} from leases`, (rows) => rows.map(fromRow))),
      ofUser: (userId) =>
        Statement.read(
          Effect.map(sql<LeaseRow>`select ${columns} from leases where user_id = ${userId}`, (rows) =>
            rows.map(fromRow)
          )
        ),
      prune: (before) =>
        Statement.write(Effect.asVoid(sql`delete from leases where expires_at <= ${DateTime.toDateUtc(before)}`))
    })
  }
)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<LeaseStore, never, SqlClient.SqlClient> = Layer.effect(LeaseStore, make)
