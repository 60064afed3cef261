/**
 * Waits and holds, counted and timed. Times are on the monotonic clock in milliseconds.
 *
 * @since 0.1.0
 */
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

/**
 * A hold begins that was waited for since a time; its end is seen too.
 *
 * @since 0.1.0
 */
export const began = (kind: Kind, holder: Holder, since: number, now: () => number): void => {
  const at = now()
  const { mode } = holder
  Metrics.lockWaitSeconds.update((at - since) / 1000, kind, mode)
  holder.onClose(() => {
    Metrics.lockHoldSeconds.update((now() - at) / 1000, kind, mode)
    if (holder.state === "lost") Metrics.locksLost.update(1, kind, mode)
  })
}

/**
 * The span of an operation.
 *
 * @since 0.1.0
 * @category combinators
 */
export const span = (operation: string, key: Key, mode?: Mode) =>
  Span.within(`LockService.${operation}`, {
    attributes: { "lock.kind": kindOf(key), ...(mode !== undefined && { "lock.mode": mode }) }
  })
