/**
 * The circuits of endpoints in a database that speaks Postgres.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as CircuitBreaker from "../CircuitBreaker.ts"
import type * as Circuits from "./Circuits.ts"
import type { FailureReason } from "../Credential.ts"
import * as EngineClock from "../Database/EngineClock.ts"
import * as Statement from "../Database/Statement.ts"
import * as Table from "../Database/Table.ts"

interface Row {
  readonly provider: string
  readonly origin: string
  readonly version: string
  readonly failing: ReadonlyArray<string>
  readonly reason: string
  readonly failedAt: Date
  readonly openings: number
  readonly openUntil: Date | null
  readonly trialUntil: Date | null
}

const table = Table.make<Row>({
  provider: "provider",
  origin: "origin",
  version: "version",
  failing: "failing",
  reason: "reason",
  failedAt: "failed_at",
  openings: "openings",
  openUntil: "open_until",
  trialUntil: "trial_until"
})

const dateOf = (millis: number | null) => (millis === null ? null : new Date(millis))

const toRow = ({ circuit, origin, provider, version }: Circuits.CircuitRow): Row => ({
  provider,
  origin,
  version,
  failing: circuit.failing,
  reason: circuit.reason,
  failedAt: new Date(circuit.failedAt),
  openings: circuit.openings,
  openUntil: dateOf(circuit.openUntil),
  trialUntil: dateOf(circuit.trialUntil)
})

const fromRow = (row: Row): Circuits.CircuitRow => ({
  provider: row.provider,
  origin: row.origin,
  version: row.version,
  circuit: {
    failing: row.failing,
    reason: row.reason as FailureReason,
    failedAt: row.failedAt.getTime(),
    openings: row.openings,
    openUntil: row.openUntil?.getTime() ?? null,
    trialUntil: row.trialUntil?.getTime() ?? null
  }
})

/**
 * Circuits over the table of `migrations`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: EngineClock.Options): Effect.Effect<Circuits.Circuits, never, SqlClient.SqlClient> =>
  Effect.map(SqlClient.SqlClient, (client) => {
    const sql = client.withoutTransforms()
    const columns = sql.literal(table.selection)
    const time = EngineClock.timeBy(sql, options)
    const at = ({ origin, provider }: Circuits.Endpoint) => sql`provider = ${provider} and origin = ${origin}`
    const timed = (condition: ReturnType<typeof at>) =>
      Statement.read(
        Effect.flatMap(
          time,
          (now) => sql<Row & { readonly now: Date; readonly version: string | null }>`
            select clock.now as "now", ${columns} from (select ${now} as now) clock left join circuits on ${condition}`
        )
      ).pipe(
        Effect.flatMap((rows) =>
          Effect.map(Effect.orDie(Arr.head(rows)), (first) => ({
            now: first.now.getTime(),
            rows: rows.filter(({ version }) => version !== null).map(fromRow)
          }))
        )
      )
    return {
      find: (endpoint) => Effect.map(timed(at(endpoint)), ({ now, rows }) => ({ now, row: Arr.head(rows) })),
      all: timed(sql`true`),
      put: (row, before) => {
        const encoded = table.encode(toRow(row))
        return Statement.write(
          Option.match(before, {
            onNone: () => sql`insert into circuits ${sql.insert(encoded)} on conflict do nothing returning 1`,
            onSome: (version) =>
              sql`
                update circuits set ${sql.update(encoded, ["provider", "origin"])}
                where ${at(row)} and version = ${version} returning 1`
          })
        ).pipe(Effect.map((changed) => changed.length > 0))
      },
      remove: (endpoint, version) =>
        Statement.write(Effect.asVoid(sql`delete from circuits where ${at(endpoint)} and version = ${version}`)),
      prune: (silence) =>
        Statement.write(
          Effect.flatMap(time, (now) =>
            Effect.asVoid(sql`
              delete from circuits
              where failed_at <= ${now} - ${Duration.toMillis(silence)} * interval '1 millisecond'`)
          )
        )
    }
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: EngineClock.Options & CircuitBreaker.Options
): Layer.Layer<CircuitBreaker.CircuitBreaker, never, SqlClient.SqlClient> =>
  CircuitBreaker.layer(make(options), options)
