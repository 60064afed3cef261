/**
 * Waits and holds, counted and timed. Times are on the monotonic clock in milliseconds.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Metrics from "../Metrics.ts"
import * as Span from "../Span.ts"
import type { Mode } from "./Authority.ts"
import type { Holder } from "./Holder.ts"
import type { Key } from "./Lease.ts"

/**
 * What a key is the lock of.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = "credential" | "refresh"

/**
 * @since 0.1.0
 */
export const kindOf = (key: Key): Kind => (key.startsWith("refresh:") ? "refresh" : "credential")

/**
 * One more waits, or (-1) one less.
 *
 * @since 0.1.0
 */
export const waiting = (kind: Kind, by: 1 | -1): void => Metrics.lockWaiters.move(by, kind)

/** Looked up once: a lease takes little longer than to look a metric up. */
const instrumentsOf = (kind: Kind, mode: Mode) => ({
  waited: Metrics.lockWaitSeconds.of(kind, mode),
  held: Metrics.lockHoldSeconds.of(kind, mode),
  lost: Metrics.locksLost.of(kind, mode)
})

const instruments = {
  credential: { exclusive: instrumentsOf("credential", "exclusive"), shared: instrumentsOf("credential", "shared") },
  refresh: { exclusive: instrumentsOf("refresh", "exclusive"), shared: instrumentsOf("refresh", "shared") }
}

/**
 * A hold begins that was waited for since a time; its end is seen too.
 *
 * @since 0.1.0
 */
export const began = (kind: Kind, holder: Holder, since: number, now: () => number): void => {
  const at = now()
  const { held, lost, waited } = instruments[kind][holder.mode]
  waited((at - since) / 1000)
  holder.onClose(() => {
    held((now() - at) / 1000)
    if (holder.state === "lost") lost(1)
  })
}

/**
 * The span of an operation; while nobody traces, nothing is made for it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const span =
  (operation: string, key: Key, mode?: Mode) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiberRuntime((fiber) =>
      Span.isTraced(fiber)
        ? Span.within(`LockService.${operation}`, {
            attributes: { "lock.kind": kindOf(key), ...(mode !== undefined && { "lock.mode": mode }) }
          })(self)
        : self
    )
