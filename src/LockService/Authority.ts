/**
 * Who may say that this process has a lock: nobody else (one process), or a server that several processes ask. The key
 * actor is the same above either.
 *
 * @since 0.1.0
 */
import type { LockUnavailable } from "../CredentialsError.ts"

/**
 * @since 0.1.0
 * @category models
 */
export type Mode = "exclusive" | "shared"

/**
 * This process's right to a key, out of which its own contenders are served: a shared one serves readers alone.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cover {
  readonly mode: Mode
  /** The next fencing token, above every one issued before; none when this cover's are spent. */
  readonly nextFence: () => number | undefined
  /** When the cover ends by itself, on the monotonic clock in milliseconds. */
  readonly deadline: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly key: string
  readonly mode: Mode
  /** The place in the queue of all processes. */
  readonly virtualTime: number
  readonly granted: (cover: Cover) => void
  readonly failed: (error: LockUnavailable) => void
}

/**
 * @since 0.1.0
 * @category ports
 */
export interface Authority {
  /** Answers by exactly one of `granted` and `failed`, perhaps before it returns; the result withdraws the request. */
  readonly request: (request: Request) => () => void
  /** A fencing token of before a restart: those to come are above it. */
  readonly issued: (key: string, fence: number) => void
  readonly handBack: (key: string, cover: Cover) => void
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
    mode: "exclusive",
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
    issued: (_, fence) => {
      last = Math.max(last, fence)
    },
    handBack: () => {}
  }
}
