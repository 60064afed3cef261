/**
 * Audit events in a database that speaks Postgres.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { AuditEvent, Kind } from "../AuditEvent.ts"
import { AuditLog } from "../AuditLog.ts"
import type { CredentialId, ProviderId, UserId } from "../Credential.ts"
import * as Statement from "../Database/Statement.ts"
import * as Table from "../Database/Table.ts"

interface AuditRow {
  readonly at: Date
  readonly kind: string
  readonly userId: string | null
  readonly credentialId: string | null
  readonly provider: string | null
  readonly generation: number | null
  readonly actor: string
  readonly detail: string | null
  readonly attemptId: string | null
}

const events = Table.make<AuditRow>({
  at: "at",
  kind: "kind",
  userId: "user_id",
  credentialId: "credential_id",
  provider: "provider",
  generation: "generation",
  actor: "actor",
  detail: "detail",
  attemptId: "attempt_id"
})

const toRow = (event: AuditEvent): AuditRow => ({
  at: DateTime.toDateUtc(event.at),
  kind: event.kind,
  userId: event.userId ?? null,
  credentialId: event.credentialId ?? null,
  provider: event.provider ?? null,
  generation: event.generation ?? null,
  actor: event.actor,
  detail: event.detail ?? null,
  attemptId: event.attemptId ?? null
})

const fromRow = (row: AuditRow): AuditEvent => ({
  at: DateTime.unsafeMake(row.at),
  kind: row.kind as Kind,
  ...(row.userId !== null && { userId: row.userId as UserId }),
  ...(row.credentialId !== null && { credentialId: row.credentialId as CredentialId }),
  ...(row.provider !== null && { provider: row.provider as ProviderId }),
  ...(row.generation !== null && { generation: row.generation }),
  actor: row.actor,
  ...(row.detail !== null && { detail: row.detail }),
  ...(row.attemptId !== null && { attemptId: row.attemptId })
})

/**
 * A log over the table of `migrations`, which is only ever inserted into.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<AuditLog["Type"], never, SqlClient.SqlClient> = Effect.map(
  SqlClient.SqlClient,
  (client) => {
    const sql = client.withoutTransforms()
    const columns = sql.literal(events.selection)
    return AuditLog.of({
      append: (event) =>
        Statement.write(Effect.asVoid(sql`insert into audit_events ${sql.insert(events.encode(toRow(event)))}`)),
      recent: (limit) =>
        Statement.read(
          Effect.map(sql<AuditRow>`select ${columns} from audit_events order by id desc limit ${limit}`, (rows) =>
            rows.map(fromRow)
          )
        )
    })
  }
)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AuditLog, never, SqlClient.SqlClient> = Layer.effect(AuditLog, make)
