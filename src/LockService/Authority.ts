/**
 * Who may say that this process has a lock: nobody else (one process), or a server that several processes ask. The key
 * actor is the same above either.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { LeaseLost, LockUnavailable } from "../CredentialsError.ts"

/**
 * @since 0.1.0
 * @category models
 */
export type Mode = "exclusive" | "shared"

/**
 * This process's right to a key, out of which its own contenders are served.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cover {
  /** Whom it serves; `both` where nobody outside this process could be kept waiting by it. */
  readonly mode: Mode | "both"
  /** A fencing token above every one issued before; none when no more may be granted out of this cover. */
  readonly nextFence: () => number | undefined
  /** When the cover ends by itself, on the monotonic clock in milliseconds; renewals move it. */
  readonly deadline: number
  /** The name of the cover where others see it: who is lent it is granted beside that name. */
  readonly name?: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly key: string
  readonly mode: Mode
  /** The place in the queue of all processes, on the monotonic clock in milliseconds. */
  readonly virtualTime: number
  /** Until then readers may pass, on the same clock. */
  readonly yieldsUntil: number
  /** The last fencing token that was used: a grant's are above it. */
  readonly above: number
  /** Ahead of the queue, and beside the holder of this name. */
  readonly beside?: string | undefined
  /** For a lease that stands by itself, under this id and for so many milliseconds. */
  readonly standing?: { readonly id: string; readonly ttl: number } | undefined
  /** What this process's own contenders for the key do: others may ask. */
  readonly sight?: () => Sight
  readonly granted: (cover: Cover) => void
  readonly failed: (error: LockUnavailable) => void
  /** Others hold it: the answer will take its time. */
  readonly waits: () => void
  /** The cover that was granted has ended before its deadline. */
  readonly ended: () => void
}

/**
 * Who holds and how many wait.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sight {
  readonly holders: ReadonlyArray<{ readonly id: string; readonly mode: Mode; readonly fence: number }>
  readonly waiting: number
}

/**
 * A lease that no process renews by itself, as the authority knows it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stand {
  readonly id: string
  readonly mode: Mode
  readonly fence: number
  /** On the monotonic clock in milliseconds. */
  readonly deadline: number
}

/**
 * Leases that stand by themselves, by key and id, whichever process they were granted to.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Standing {
  readonly renew: (key: string, id: string, ttl: number) => Effect.Effect<Stand, LeaseLost | LockUnavailable>
  /** `cover`: what was granted to this process, unless it was renewed since. */
  readonly release: (key: string, id: string, cover?: Cover) => Effect.Effect<void, LeaseLost | LockUnavailable>
  /** Puts a lease back where the authority has lost what it knew; a lease that has ended stays so. */
  readonly adopt: (key: string, stand: Stand) => Effect.Effect<void, LockUnavailable>
  /** All such leases of a key. */
  readonly holders: (key: string) => Effect.Effect<ReadonlyArray<Stand>, LockUnavailable>
  /** The name under which others see such a lease. */
  readonly nameOf: (id: string) => string
}

/**
 * @since 0.1.0
 * @category ports
 */
export interface Authority {
  /** Answers by exactly one of `granted` and `failed`, perhaps before it returns; the result withdraws the request. */
  readonly request: (request: Request) => () => void
  /** A request that follows at once may be joined with it. */
  readonly handBack: (key: string, cover: Cover) => void
  /** Absent where the key actor itself keeps them. */
  readonly standing?: Standing
  /** Fencing tokens issued from now on are above this one. */
  readonly surpass?: (fence: number) => void
  /** All that the key actors of this process do not do themselves. */
  readonly others?: (key: string) => Effect.Effect<Sight, LockUnavailable>
  readonly ping?: Effect.Effect<void, LockUnavailable>
}

/**
 * The authority of a process that has no rivals: always granted, at once, for as long as it takes. Fencing tokens rise
 * over restarts too, as they start from the clock, in microseconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeSole = (options: { readonly nowMicros: () => number }): Authority => {
  let last = 0
  const cover: Cover = {
    mode: "both",
    deadline: Number.POSITIVE_INFINITY,
    nextFence: () => {
      last = Math.max(last + 1, options.nowMicros())
      return last
    }
  }
  return {
    request: ({ granted }) => {
      granted(cover)
      return () => {}
    },
    handBack: () => {},
    surpass: (fence) => {
      last = Math.max(last, fence)
    }
  }
}
