/**
 * Counts failed authentications by address, so that keys cannot be guessed at speed.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/**
 * @since 0.1.0
 * @category models
 */
export interface FailedAttempts {
  /** Counts one more; answers after how many seconds another may be made, 0 for at once. */
  readonly count: (address: string) => Effect.Effect<number>
}

const windowMillis = 60_000
const mostAddresses = 10_000

/**
 * `limit` a minute for each address; what is counted beyond it counts no further.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (limit: number): FailedAttempts => {
  const windows = new Map<string, { readonly until: number; failures: number }>()

  /** Of too many addresses the oldest windows go, which end first. */
  const makeRoom = (now: number) => {
    for (const [address, window] of windows) {
      if (window.until > now && windows.size < mostAddresses) return
      windows.delete(address)
    }
  }

  return {
    count: (address) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const window = windows.get(address)
        if (window === undefined || window.until <= now) {
          makeRoom(now)
          windows.delete(address)
          windows.set(address, { until: now + windowMillis, failures: 1 })
          return 0
        }
        if (window.failures >= limit) return Math.ceil((window.until - now) / 1000)
        window.failures++
        return 0
      })
  }
}
