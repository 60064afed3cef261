/**
 * What is to end in Redis: said until the server has heard it, or the end has come by itself.
 *
 * @since 0.1.0
 */
import type { RedisError } from "../../Redis.ts"
import { type Spent, type Unchanged, unknownSpent } from "./Covers.ts"
import * as Scripts from "./Scripts.ts"
import type { Session } from "./Session.ts"

interface Ending {
  readonly keys: ReadonlyArray<string>
  readonly spent: Spent
  readonly until: number
  /** Said first as if there were nobody else. */
  unchanged: Unchanged | undefined
  isSending: boolean
}

/**
 * Says once that a hold or a wait ends, and answers whether it was held. `unchanged`: first as if there were nobody else.
 *
 * @since 0.1.0
 * @category constructors
 */
export const end = (
  { alone, evaluate }: Session,
  owner: string,
  keys: ReadonlyArray<string>,
  spent: Spent,
  unchanged: Unchanged | undefined,
  answer: (error: RedisError | undefined, held: boolean) => void
): void => {
  const release = (): void =>
    evaluate(Scripts.release, keys, [owner, ...spent], (error, reply) => answer(error, reply === 1))
  if (unchanged === undefined) return release()
  alone(keys[0] ?? "", ["", unchanged.state, unchanged.after], (error, reply) => {
    if (error === undefined && reply !== 1) release()
    else answer(error, reply === 1)
  })
}

/**
 * @since 0.1.0
 * @category models
 */
export class Endings {
  readonly #session: Session
  readonly #failed: () => void
  readonly #byOwner = new Map<string, Ending>()

  /** `failed` is called when something has to be said again. */
  constructor(session: Session, failed: () => void) {
    this.#session = session
    this.#failed = failed
  }

  get size(): number {
    return this.#byOwner.size
  }

  /** Ends a hold or a wait: sent before whatever is asked after it. */
  add(owner: string, keys: ReadonlyArray<string>, spent = unknownSpent, unchanged?: Unchanged): void {
    const { now, ttl, waiterLease } = this.#session
    const ending: Ending = { keys, spent, until: now() + ttl + waiterLease, unchanged, isSending: false }
    this.#byOwner.set(owner, ending)
    this.#send(owner, ending)
  }

  /** Says all again that was not answered. */
  sendAgain(): void {
    const time = this.#session.now()
    for (const [owner, ending] of this.#byOwner) {
      if (ending.until <= time) this.#byOwner.delete(owner)
      else this.#send(owner, ending)
    }
  }

  #send(owner: string, ending: Ending): void {
    if (ending.isSending) return
    ending.isSending = true
    const { unchanged } = ending
    ending.unchanged = undefined
    end(this.#session, owner, ending.keys, ending.spent, unchanged, (error) => {
      ending.isSending = false
      if (error === undefined) this.#byOwner.delete(owner)
      else this.#failed()
    })
  }
}
