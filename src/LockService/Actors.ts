/**
 * The key actors of a process: one for each key that is held, waited for or lent, and none for the others.
 *
 * @since 0.1.0
 */
import type { Authority, Cover } from "./Authority.ts"
import type { Contender } from "./Contender.ts"
import type { DeadlineWatch } from "./DeadlineWatch.ts"
import type { Holder } from "./Holder.ts"
import { type Host, KeyActor } from "./KeyActor.ts"
import type { Key } from "./Lease.ts"
import type { Line } from "./Wait.ts"

/**
 * @since 0.1.0
 * @category models
 */
export class Actors implements Host {
  readonly authority: Authority
  readonly now: () => number
  readonly #byKey = new Map<Key, KeyActor>()
  readonly #covers: DeadlineWatch

  /** `covers` watches when what the authority granted is over. */
  constructor(authority: Authority, now: () => number, covers: DeadlineWatch) {
    this.authority = authority
    this.now = now
    this.#covers = covers
  }

  find(key: Key): KeyActor | undefined {
    return this.#byKey.get(key)
  }

  of(key: Key): KeyActor {
    const existing = this.#byKey.get(key)
    if (existing !== undefined) return existing
    const actor = new KeyActor(key, this)
    this.#byKey.set(key, actor)
    return actor
  }

  covered(actor: KeyActor, cover: Cover): void {
    this.#covers.add(cover, () => actor.tick())
  }

  uncovered(cover: Cover): void {
    this.#covers.remove(cover)
  }

  idle(actor: KeyActor): void {
    if (this.#byKey.get(actor.key) === actor) this.#byKey.delete(actor.key)
  }
}

/**
 * The line at a key's actor.
 *
 * @since 0.1.0
 * @category models
 */
export class ActorLine implements Line {
  readonly key: Key
  readonly #actors: Actors
  readonly #begins: ((holder: Holder) => void) | undefined
  #actor: KeyActor | undefined

  constructor(actors: Actors, key: Key, begins?: (holder: Holder) => void) {
    this.#actors = actors
    this.key = key
    this.#begins = begins
  }

  enter(contender: Contender): void {
    this.#actor = this.#actors.of(this.key)
    this.#actor.enter(contender)
  }

  leave(contender: Contender): boolean {
    return this.#actor?.leave(contender) === true
  }

  began(holder: Holder): void {
    this.#begins?.(holder)
  }

  giveBack(holder: Holder): void {
    this.#actors.find(this.key)?.release(holder.id)
  }
}
