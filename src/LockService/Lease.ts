/**
 * The right to use what a key stands for, and how it is asked for.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { LeaseLost } from "../CredentialsError.ts"
import type { Mode } from "./Authority.ts"
import type { Holder } from "./Holder.ts"

/**
 * What is locked. The order of locking is: credentials in the order of their ids, then a grant.
 *
 * @since 0.1.0
 * @category keys
 */
export type Key = string

/**
 * The right to use what a key stands for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease {
  readonly id: string
  readonly key: Key
  readonly mode: Mode
  /** Rises with every lease of the key, over restarts too. */
  readonly fencingToken: number
  /**
   * Fails with `LeaseLost` once the lease has ended or its time is over, by the monotonic clock and without any wait.
   * Call it before each side effect: after the process was stopped for a while, nothing else can know in time.
   */
  readonly check: Effect.Effect<void, LeaseLost>
  /** Completes when the lease is known to have ended other than by its release. */
  readonly lost: Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Default `exclusive`. */
  readonly mode?: Mode | undefined
  /** How long to wait for it; default 30 seconds. */
  readonly wait?: Duration.DurationInput | undefined
  /** Writers overtake users that came less than 3 seconds before them. Default `user`. */
  readonly priority?: "writer" | "user" | undefined
  /** For so long, readers may pass while this exclusive request waits. */
  readonly yieldsFor?: Duration.DurationInput | undefined
  /** The id of the lease to be; a holder can `lend` to it. Default: one that nobody else has. */
  readonly id?: string | undefined
}

/**
 * A lease that no scope holds, as it is remembered over a restart.
 *
 * @since 0.1.0
 * @category models
 */
export interface Taken {
  readonly id: string
  readonly key: Key
  readonly mode: Mode
  readonly fencingToken: number
  readonly ttl: Duration.DurationInput
}

/** A hold as its holder sees it; what few ask for is made when it is asked for. */
class HeldLease implements Lease {
  readonly id: string
  readonly key: Key
  readonly mode: Mode
  readonly fencingToken: number
  readonly #holder: Holder
  readonly #now: () => number
  readonly #expire: (key: Key, holder: Holder) => void

  constructor(key: Key, holder: Holder, now: () => number, expire: (key: Key, holder: Holder) => void) {
    this.id = holder.id
    this.key = key
    this.mode = holder.mode
    this.fencingToken = holder.fence
    this.#holder = holder
    this.#now = now
    this.#expire = expire
  }

  get check(): Effect.Effect<void, LeaseLost> {
    return Effect.suspend(() => {
      const holder = this.#holder
      if (holder.state === "held" && holder.end > this.#now()) return Effect.void
      // what is once known to be over stays so
      this.#expire(this.key, holder)
      return Effect.fail(new LeaseLost())
    })
  }

  get lost(): Effect.Effect<void> {
    return Effect.async((resume) => {
      const holder = this.#holder
      const listener = () => {
        if (holder.state === "lost") resume(Effect.void)
      }
      if (holder.state !== "held") return listener()
      return Effect.sync(holder.onClose(listener))
    })
  }
}

/**
 * The lease of a hold; `expire` ends one whose time is over.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (key: Key, holder: Holder, now: () => number, expire: (key: Key, holder: Holder) => void): Lease =>
  new HeldLease(key, holder, now, expire)
