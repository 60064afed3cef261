/**
 * Spendings of a refresh token, counted by what they came to and timed.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Metrics from "../Metrics.ts"

interface Failure {
  readonly _tag: string
  /** Out of a fixed vocabulary where the tag is `ProviderError`. */
  readonly reason?: string
}

const words: Readonly<Record<string, string>> = {
  Moved: "superseded",
  NeedsReauth: "needs_reauth",
  OutboundRefused: "outbound_refused",
  LeaseLost: "lease_lost",
  StoreUnavailable: "store_unavailable"
}

const outcomeOf = (exit: Exit.Exit<unknown, Failure>): string => {
  if (Exit.isSuccess(exit)) return "renewed"
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  if (error === undefined) return "crashed"
  return error._tag === "ProviderError" && error.reason !== undefined ? error.reason : (words[error._tag] ?? "other")
}

/**
 * Counts and times a spending by its provider, which is one of the catalogue's or `mcp`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const make = <A, E extends Failure, R>(
  provider: string,
  spending: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.currentTimeNanos, (since) =>
    Effect.onExit(spending, (exit) =>
      Effect.map(Clock.currentTimeNanos, (ended) => {
        Metrics.refreshes.update(1, provider, outcomeOf(exit))
        Metrics.refreshSeconds.update(Number(ended - since) / 1e9, provider)
      })
    )
  )
