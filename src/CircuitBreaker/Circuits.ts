/**
 * What keeps circuits: a row for each endpoint that something is known against.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { StoreUnavailable } from "../CredentialsError.ts"
import type { Circuit } from "./Circuit.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Endpoint {
  readonly provider: string
  /** Scheme, host and port. */
  readonly origin: string
}

/**
 * What is known of an endpoint, as it is stored. Each `version` is there once.
 *
 * @since 0.1.0
 * @category models
 */
export interface CircuitRow extends Endpoint {
  readonly version: string
  readonly circuit: Circuit
}

/**
 * What keeps the circuits: a row for each endpoint, by the engine's clock.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Circuits {
  /** With the engine's time in milliseconds. */
  readonly find: (
    endpoint: Endpoint
  ) => Effect.Effect<{ readonly now: number; readonly row: Option.Option<CircuitRow> }, StoreUnavailable>
  readonly all: Effect.Effect<{ readonly now: number; readonly rows: ReadonlyArray<CircuitRow> }, StoreUnavailable>
  /** Stores the row where that version is, or none; else changes nothing, and answers `false`. */
  readonly put: (row: CircuitRow, before: Option.Option<string>) => Effect.Effect<boolean, StoreUnavailable>
  /** Removes the row where that version is. */
  readonly remove: (endpoint: Endpoint, version: string) => Effect.Effect<void, StoreUnavailable>
  /** Drops the rows of endpoints where no call failed for so long. */
  readonly prune: (silence: Duration.Duration) => Effect.Effect<void, StoreUnavailable>
}

/**
 * Circuits in this process's memory.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<Circuits> = Effect.sync(() => {
  const rows = new Map<string, CircuitRow>()
  const keyOf = ({ origin, provider }: Endpoint) => `${provider} ${origin}`
  const versionAt = (endpoint: Endpoint) => rows.get(keyOf(endpoint))?.version
  return {
    find: (endpoint) =>
      Effect.map(Clock.currentTimeMillis, (now) => ({ now, row: Option.fromNullable(rows.get(keyOf(endpoint))) })),
    all: Effect.map(Clock.currentTimeMillis, (now) => ({ now, rows: [...rows.values()] })),
    put: (row, before) =>
      Effect.sync(() => {
        const isSame = versionAt(row) === Option.getOrUndefined(before)
        if (isSame) rows.set(keyOf(row), row)
        return isSame
      }),
    remove: (endpoint, version) =>
      Effect.sync(() => {
        if (versionAt(endpoint) === version) rows.delete(keyOf(endpoint))
      }),
    prune: (silence) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        for (const [key, { circuit }] of rows) {
          if (now - circuit.failedAt >= Duration.toMillis(silence)) rows.delete(key)
        }
      })
  }
})
