/**
 * Whose time is the engine's, for the adapters that compare times inside a statement.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Whose time is the engine's: `process`, Effect's `Clock`, where this process is the only one (the embedded engine);
   * `database` where several processes must agree.
   */
  readonly clock: "process" | "database"
}

/**
 * The engine's time, inside a statement.
 *
 * @since 0.1.0
 * @category constructors
 */
export const timeBy = (sql: SqlClient.SqlClient, { clock }: Options): Effect.Effect<Fragment> =>
  clock === "process"
    ? Effect.map(DateTime.now, (now) => sql`${DateTime.toDateUtc(now)}::timestamptz`)
    : // not clock_timestamp(), which may differ from row to row: no index would be used
      Effect.succeed(sql.literal("now()"))
