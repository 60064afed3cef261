/**
 * What a Postgres server does in processes of its own, and the embedded one, which has none, does not: checkpoints,
 * without which its log only grows, and the removal of dead rows.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

/**
 * Looks every ten seconds, between other callers' statements, and works only when there is something to do. Never
 * fails: what went wrong is logged and tried again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const run = (sql: SqlClient.SqlClient): Effect.Effect<never> =>
  once(sql).pipe(
    Effect.catchAllCause((cause) => Effect.logWarning("The embedded database's housekeeping failed", cause)),
    Effect.delay("10 seconds"),
    Effect.withTracerEnabled(false),
    Effect.forever
  )

/**
 * One round.
 *
 * @since 0.1.0
 * @category constructors
 */
export const once = (sql: SqlClient.SqlClient): Effect.Effect<void, SqlError> =>
  Effect.zipRight(vacuum(sql), checkpoint(sql))

/** Bounds the log on disk, and with it the time of a start after a crash. */
const checkpointBytes = 8 * 1024 * 1024

const checkpoint = (sql: SqlClient.SqlClient) =>
  Effect.gen(function* () {
    const rows = yield* sql<{ readonly isDue: boolean }>`
      select pg_current_wal_lsn() - redo_lsn > ${checkpointBytes} as "isDue" from pg_control_checkpoint()`
    if (rows[0]?.isDue) yield* sql`checkpoint`
  })

/** Postgres' own rule for when a table is worth it; and long before its 32-bit transaction numbers run out, all of them. */
const vacuum = (sql: SqlClient.SqlClient) =>
  Effect.gen(function* () {
    const tables = yield* sql<{ readonly schema: string; readonly name: string }>`
      select schemaname as schema, relname as name from pg_stat_all_tables
      where schemaname <> 'pg_toast' and (
        n_dead_tup > 50 + 0.2 * n_live_tup
        or n_ins_since_vacuum > 1000 + 0.2 * n_live_tup
        or n_mod_since_analyze > 50 + 0.1 * n_live_tup)`
    for (const { schema, name } of tables) yield* sql`vacuum (analyze) ${sql(schema)}.${sql(name)}`

    const ages = yield* sql<{ readonly isOld: boolean }>`
      select age(datfrozenxid) > 200000000 as "isOld" from pg_database where datname = current_database()`
    if (ages[0]?.isOld) yield* sql`vacuum (freeze)`
  })
