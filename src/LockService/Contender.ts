/**
 * Who wants a lock, and in which order.
 *
 * @since 0.1.0
 */
import type { LockUnavailable } from "../CredentialsError.ts"
import type { Mode } from "./Authority.ts"
import type { Holder } from "./Holder.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Contender {
  readonly id: string
  readonly mode: Mode
  /** Its place in the queue: when it came, in milliseconds, plus the penalty of its class. */
  readonly virtualTime: number
  /** Until then readers may pass an exclusive contender that is waiting. */
  readonly yieldsUntil: number
  /** How long the hold lasts unless renewed, in milliseconds. */
  readonly ttl: number
  /** Called once, as soon as it is known that the contender has to wait; it may leave. */
  readonly mustWait: () => void
  readonly granted: (holder: Holder) => void
  readonly failed: (error: LockUnavailable) => void
}

/**
 * Contenders by virtual time; equals in the order of arrival.
 *
 * @since 0.1.0
 * @category models
 */
export class Queue {
  readonly #contenders: Array<Contender> = []

  get length(): number {
    return this.#contenders.length
  }

  get all(): ReadonlyArray<Contender> {
    return this.#contenders
  }

  at(index: number): Contender | undefined {
    return this.#contenders[index]
  }

  has(contender: Contender): boolean {
    return this.#contenders.includes(contender)
  }

  hasMode(mode: Mode): boolean {
    return this.#contenders.some((contender) => contender.mode === mode)
  }

  add(contender: Contender): void {
    let at = this.#contenders.length
    while (at > 0 && (this.#contenders[at - 1]?.virtualTime ?? 0) > contender.virtualTime) at--
    this.#contenders.splice(at, 0, contender)
  }

  /** False when it is not there (any more). */
  remove(contender: Contender): boolean {
    const at = this.#contenders.indexOf(contender)
    if (at < 0) return false
    this.#contenders.splice(at, 1)
    return true
  }

  /** Takes all out. */
  clear(): ReadonlyArray<Contender> {
    return this.#contenders.splice(0)
  }
}
