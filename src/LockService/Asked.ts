/**
 * What the actor of a lock has asked of the authority and was not granted yet.
 *
 * @since 0.1.0
 */
import type { Mode } from "./Authority.ts"
import type { Contender } from "./Contender.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Pending {
  readonly virtualTime: number
  /** Whether the authority said that others hold it. */
  waits: boolean
  withdraw: () => void
}

const modes: ReadonlyArray<Mode> = ["exclusive", "shared"]

/**
 * One request a mode for all who wait in turn, and one for each who passes beside a lender.
 *
 * @since 0.1.0
 * @category models
 */
export class Asked {
  #exclusive: Pending | undefined
  #shared: Pending | undefined
  #passing: Map<Contender, Pending> | undefined

  of(mode: Mode): Pending | undefined {
    return mode === "exclusive" ? this.#exclusive : this.#shared
  }

  /** The request that a contender's answer depends on. */
  for(contender: Contender): Pending | undefined {
    return this.#passing?.get(contender) ?? this.of(contender.mode)
  }

  isPassing(contender: Contender): boolean {
    return this.#passing?.has(contender) === true
  }

  add(mode: Mode, virtualTime: number): Pending {
    const pending = { virtualTime, waits: false, withdraw: () => {} }
    this.#set(mode, pending)
    return pending
  }

  addPassing(contender: Contender): Pending {
    const pending = { virtualTime: 0, waits: false, withdraw: () => {} }
    this.#passing = (this.#passing ?? new Map()).set(contender, pending)
    return pending
  }

  /** It was answered. */
  remove(mode: Mode, pending: Pending): void {
    if (this.of(mode) === pending) this.#set(mode, undefined)
  }

  removePassing(contender: Contender): void {
    this.#passing?.delete(contender)
  }

  withdrawPassing(contender: Contender): void {
    this.#passing?.get(contender)?.withdraw()
    this.#passing?.delete(contender)
  }

  /** Withdraws what nobody waits for any more. */
  withdrawUnless(isWanted: (mode: Mode) => boolean): void {
    for (const mode of modes) {
      const pending = this.of(mode)
      if (pending === undefined || isWanted(mode)) continue
      this.#set(mode, undefined)
      pending.withdraw()
    }
  }

  #set(mode: Mode, pending: Pending | undefined): void {
    if (mode === "exclusive") this.#exclusive = pending
    else this.#shared = pending
  }
}
