/**
 * What is known of an endpoint that fails, and what follows from it: pure steps, so that every engine takes the same ones.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type { FailureReason } from "../Credential.ts"

/**
 * None is known of an endpoint that works. Times are milliseconds by the engine's clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Circuit {
  /** The grants whose last call failed here, one after the other; once it is open, those that opened it. */
  readonly failing: ReadonlyArray<string>
  readonly reason: FailureReason
  /** When a call failed last. */
  readonly failedAt: number
  /** How often in a row it was opened. */
  readonly openings: number
  /** Nothing is sent before; none while it is closed. */
  readonly openUntil: number | null
  /** Until then somebody tries. */
  readonly trialUntil: number | null
}

/**
 * How eagerly a circuit opens, and for how long. Milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy {
  /** So many grants in a row open it. */
  readonly threshold: number
  /** The first pause; it doubles with each opening in a row. */
  readonly pause: number
  readonly longestPause: number
}

/**
 * - `Closed`: calls are made
 * - `Open`: none is, before `until`
 * - `HalfOpen`: one may be tried
 *
 * @since 0.1.0
 * @category models
 */
export type Stand = Data.TaggedEnum<{
  Closed: {}
  Open: { readonly until: number; readonly reason: FailureReason }
  HalfOpen: {}
}>
export const Stand = Data.taggedEnum<Stand>()

/** Failures further apart are not in a row. */
const window = 60_000

/** A trial that has not ended by then is given up: longer than any exchange. */
const trialMillis = 90_000

/** On demand there is a try before the pause is over, but not more often. */
const demandPause = 1_000

/**
 * Where a call stands that would be made now; one that was asked for by hand need not wait for the end of the pause.
 *
 * @since 0.1.0
 */
export const standOf = (circuit: Circuit | null, now: number, onDemand: boolean): Stand => {
  if (circuit === null || circuit.openUntil === null) return Stand.Closed()
  const tried = circuit.trialUntil !== null && now < circuit.trialUntil
  const from = onDemand ? Math.min(circuit.openUntil, circuit.failedAt + demandPause) : circuit.openUntil
  if (!tried && now >= from) return Stand.HalfOpen()
  // whoever is told comes back when the trial may have ended
  return Stand.Open({ until: Math.max(from, now + demandPause), reason: circuit.reason })
}

/**
 * @since 0.1.0
 */
export const tried = (circuit: Circuit, now: number): Circuit => ({ ...circuit, trialUntil: now + trialMillis })

/**
 * The trial ended without telling anything.
 *
 * @since 0.1.0
 */
export const untried = (circuit: Circuit): Circuit => ({ ...circuit, trialUntil: null })

/**
 * A call failed. `spread`, about 1, keeps processes from asking all at once.
 *
 * @since 0.1.0
 */
export const failed = (
  circuit: Circuit | null,
  failure: { readonly grant: string; readonly reason: FailureReason; readonly isTrial: boolean },
  now: number,
  policy: Policy,
  spread: number
): Circuit => {
  const { grant, isTrial, reason } = failure
  const isOpen = circuit !== null && circuit.openUntil !== null
  // one that was under way when it opened
  if (isOpen && !isTrial) return circuit
  const before = circuit !== null && (isOpen || now - circuit.failedAt <= window) ? circuit : null
  const failing = [...new Set([...(before?.failing ?? []), grant])].slice(-policy.threshold)
  const openings = before?.openings ?? 0
  const opens = isOpen || failing.length >= policy.threshold
  const pause = Math.min(policy.pause * 2 ** openings, policy.longestPause) * spread
  return {
    failing,
    reason,
    failedAt: now,
    openings: opens ? openings + 1 : openings,
    openUntil: opens ? Math.round(now + pause) : null,
    trialUntil: null
  }
}
