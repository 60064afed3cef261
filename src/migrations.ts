/**
 * The tables, as numbered steps that are each run once. The same steps serve the embedded engine and Postgres.
 *
 * @since 0.1.0
 */
import * as Migrator from "@effect/sql/Migrator"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import store from "./migrations/0001_store.ts"
import authorizations from "./migrations/0002_authorizations.ts"
import leases from "./migrations/0003_leases.ts"
import apiKeys from "./migrations/0004_api_keys.ts"
import auditEvents from "./migrations/0005_audit_events.ts"
import keyOrder from "./migrations/0006_key_order.ts"
import processes from "./migrations/0007_processes.ts"
import sweeping from "./migrations/0008_sweeping.ts"
import circuits from "./migrations/0009_circuits.ts"

/**
 * Every step, in order. A step that was released is never changed: a new one follows it.
 *
 * @since 0.1.0
 */
export const migrations = {
  "0001_store": store,
  "0002_authorizations": authorizations,
  "0003_leases": leases,
  "0004_api_keys": apiKeys,
  "0005_audit_events": auditEvents,
  "0006_key_order": keyOrder,
  "0007_processes": processes,
  "0008_sweeping": sweeping,
  "0009_circuits": circuits
} as const

/** Of its own, so that a program with migrations of its own in this database is not in the way. */
const table = "effect_credentials_migrations"

/** "ec" and a number: whoever holds this lock migrates. */
const lock = 0x65_63_00_01

const migrate = Migrator.make({})({ loader: Migrator.fromRecord(migrations), table })

const asFailure = (defect: unknown) =>
  defect instanceof Migrator.MigrationError || defect instanceof SqlError
    ? Option.some(Effect.fail(defect))
    : Option.none()

/**
 * Runs the steps that this database has not seen, all in one transaction: after a failure nothing has changed. Of
 * servers that start at once, one migrates and the others wait for it, then find nothing to do. Answers what was run.
 *
 * @since 0.1.0
 */
export const run: Effect.Effect<
  ReadonlyArray<readonly [id: number, name: string]>,
  Migrator.MigrationError | SqlError,
  SqlClient.SqlClient
> = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  return yield* Effect.zipRight(
    sql`select pg_advisory_xact_lock(${lock})`,
    // the migrator makes its table without a lock, by way of an error that would end this transaction: so it is here before
    Effect.zipRight(
      sql`create table if not exists ${sql(table)} (
        migration_id integer primary key,
        created_at timestamptz not null default now(),
        name text not null
      )`,
      migrate
    )
  ).pipe(
    sql.withTransaction,
    // a step that fails, and a commit that does, arrive as defects
    Effect.catchSomeDefect(asFailure)
  )
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, Migrator.MigrationError | SqlError, SqlClient.SqlClient> =
  Layer.effectDiscard(run)
