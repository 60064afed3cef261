/**
 * The beats of processes in a database that speaks Postgres.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { StoreUnavailable } from "../CredentialsError.ts"
import * as EngineClock from "../Database/EngineClock.ts"
import * as Statement from "../Database/Statement.ts"
import * as Processes from "../Processes.ts"

/**
 * Beats over the table of `migrations`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: EngineClock.Options): Effect.Effect<Processes.Heartbeats, never, SqlClient.SqlClient> =>
  Effect.map(SqlClient.SqlClient, (client) => {
    const sql = client.withoutTransforms()
    const time = EngineClock.timeBy(sql, options)
    const ago = (bound: Duration.Duration) =>
      Effect.map(time, (now) => sql`${now} - ${Duration.toMillis(bound)} * interval '1 millisecond'`)
    return {
      beat: (processId) =>
        Statement.write(
          Effect.flatMap(
            time,
            (now) => sql`
              insert into processes (id, started_at, beat_at) values (${processId}, ${now}, ${now})
              on conflict (id) do update set beat_at = excluded.beat_at`
          )
        ),
      hasBeaten: (processId, within) =>
        Statement.read(
          Effect.flatMap(
            ago(within),
            (since) => sql`
            select 1 from processes where id = ${processId} and beat_at > ${since}`
          )
        ).pipe(Effect.map((rows) => rows.length > 0)),
      end: (processId) => Statement.write(Effect.asVoid(sql`delete from processes where id = ${processId}`)),
      prune: (silence) =>
        Statement.write(
          Effect.flatMap(ago(silence), (since) => Effect.asVoid(sql`delete from processes where beat_at <= ${since}`))
        )
    }
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: EngineClock.Options & Processes.Options
): Layer.Layer<Processes.Processes, StoreUnavailable, SqlClient.SqlClient> => Processes.layer(make(options), options)
