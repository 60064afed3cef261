/**
 * Who holds a lock, and out of what it was granted.
 *
 * @since 0.1.0
 */
import type { Cover, Mode } from "./Authority.ts"

/**
 * A cover, and how many hold out of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Share {
  readonly cover: Cover
  holders: number
}

/**
 * A hold, from its grant on. Times are on the monotonic clock in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export class Holder {
  readonly id: string
  readonly mode: Mode
  readonly fence: number
  /** Its own end; it does not outlive its cover either. */
  deadline: number
  /** What it was granted out of; nothing when no actor of this process granted it. */
  readonly share: Share | undefined
  #state: "held" | "released" | "lost" = "held"
  // most holders are lent by nobody and watched by nobody
  #lentTo: Set<string> | undefined
  #listeners: Array<() => void> | undefined

  constructor(fields: Pick<Holder, "id" | "mode" | "fence" | "deadline" | "share">) {
    this.id = fields.id
    this.mode = fields.mode
    this.fence = fields.fence
    this.deadline = fields.deadline
    this.share = fields.share
  }

  get state(): "held" | "released" | "lost" {
    return this.#state
  }

  /** When it ends unless prolonged. */
  get end(): number {
    return this.share === undefined ? this.deadline : Math.min(this.deadline, this.share.cover.deadline)
  }

  /** Whether anybody may pass it. */
  get lends(): boolean {
    return this.#lentTo !== undefined
  }

  /** This contender need not wait for it. */
  lend(contenderId: string): void {
    this.#lentTo = (this.#lentTo ?? new Set()).add(contenderId)
  }

  isLentTo(contenderId: string): boolean {
    return this.#lentTo?.has(contenderId) === true
  }

  /** Calls when the hold is over, once; the result takes that back. */
  onClose(listener: () => void): () => void {
    const listeners = (this.#listeners ??= [])
    listeners.push(listener)
    return () => {
      const at = listeners.indexOf(listener)
      if (at >= 0) listeners.splice(at, 1)
    }
  }

  close(state: "released" | "lost"): void {
    this.#state = state
    const listeners = this.#listeners
    this.#listeners = undefined
    for (const listener of listeners ?? []) listener()
  }
}
