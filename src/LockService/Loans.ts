/**
 * Who may pass whom: a holder lets a contender be granted beside itself, ahead of the queue.
 *
 * @since 0.1.0
 */
import type { Holder, Share } from "./Holder.ts"

/**
 * Beside whom a contender may be granted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lender {
  /** As the authority knows it; nothing where nobody but this process knows it. */
  readonly name: string | undefined
  readonly share?: Share
}

/**
 * The loans of one lock.
 *
 * @since 0.1.0
 * @category models
 */
export class Loans {
  readonly #holders: ReadonlyArray<Holder>
  /** Of holders that this process's actors do not know: contender to lender. */
  #elsewhere: Map<string, { readonly name: string; readonly deadline: number }> | undefined

  constructor(holders: ReadonlyArray<Holder>) {
    this.#holders = holders
  }

  get isEmpty(): boolean {
    if (this.hasElsewhere) return false
    for (const holder of this.#holders) if (holder.lends) return false
    return true
  }

  get hasElsewhere(): boolean {
    return (this.#elsewhere?.size ?? 0) > 0
  }

  /** A holder that the authority knows by this name lends, at the latest until a deadline. */
  addElsewhere(name: string, deadline: number, contenderId: string): void {
    this.#elsewhere = (this.#elsewhere ?? new Map()).set(contenderId, { name, deadline })
  }

  expire(now: number): void {
    if (this.#elsewhere === undefined) return
    for (const [id, { deadline }] of this.#elsewhere) if (deadline <= now) this.#elsewhere.delete(id)
  }

  isLent(contenderId: string): boolean {
    if (this.#elsewhere?.has(contenderId) === true) return true
    for (const holder of this.#holders) if (holder.isLentTo(contenderId)) return true
    return false
  }

  lenderOf(contenderId: string): Lender | undefined {
    const elsewhere = this.#elsewhere?.get(contenderId)
    if (elsewhere !== undefined) return elsewhere
    for (const holder of this.#holders) {
      const { share } = holder
      if (share !== undefined && holder.isLentTo(contenderId)) return { name: share.cover.name, share }
    }
    return undefined
  }
}
