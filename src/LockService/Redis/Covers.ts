/**
 * What this process holds in Redis, renewed as long as it does.
 *
 * @since 0.1.0
 */
import type { Cover, Mode, Request } from "../Authority.ts"
import * as Scripts from "./Scripts.ts"
import { arrayOf, retryMillis, type Session } from "./Session.ts"

/**
 * So many are served out of one exclusive cover, and for so long, before other processes have their turn. It is the time that
 * bounds how long they wait.
 *
 * @since 0.1.0
 * @category constants
 */
export const cohort = { grants: 512, millis: 50 } as const

/**
 * How many fences of a hold were reserved, and how many were used.
 *
 * @since 0.1.0
 * @category models
 */
export type Spent = readonly [reserved: number | "", used: number | ""]

/**
 * @since 0.1.0
 * @category constants
 */
export const unknownSpent: Spent = ["", ""]

/**
 * A hold as it was granted to one whom nobody was beside: as long as the lock's state is that, it ends by writing another.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unchanged {
  readonly state: string
  readonly after: string
}

/**
 * A grant of Redis.
 *
 * @since 0.1.0
 * @category models
 */
export class RedisCover implements Cover {
  readonly request: Request
  readonly keys: ReadonlyArray<string>
  readonly name: string
  readonly mode: Mode
  deadline: number
  renewAt: number
  isRenewing = false
  /** Whether a writer waits elsewhere. */
  isClosed = false
  isOver = false
  readonly #now: () => number
  readonly #first: number
  readonly #last: number
  readonly #cohortEnd: number
  #next: number
  #granted = false
  #state: string | undefined

  constructor(
    request: Request,
    keys: ReadonlyArray<string>,
    name: string,
    grant: {
      readonly fence: number
      readonly fences: number
      readonly deadline: number
      readonly state: string | undefined
    },
    now: () => number
  ) {
    const time = now()
    this.request = request
    this.keys = keys
    this.name = name
    this.mode = request.mode
    this.#state = grant.state
    this.deadline = grant.deadline
    this.renewAt = time + (grant.deadline - time) / 3
    this.#now = now
    this.#first = grant.fence
    this.#next = grant.fence
    this.#last = grant.fence + grant.fences - 1
    this.#cohortEnd = this.mode === "exclusive" ? time + cohort.millis : Number.POSITIVE_INFINITY
  }

  get spent(): Spent {
    // one at least, so that the next fence is above it
    return [this.#last - this.#first + 1, Math.max(1, this.#next - this.#first)]
  }

  /** Whether nobody else was there when it was granted, and nothing has changed since as far as is known here. */
  get unchanged(): Unchanged | undefined {
    const [, used] = this.spent
    return this.#state === undefined ? undefined : { state: this.#state, after: `${this.#first} ${used}` }
  }

  /** The last fence that was used, or is taken to be so. */
  get lastFence(): number {
    return Math.max(this.#first, this.#next - 1)
  }

  /** The lock's state is another. */
  change(): void {
    this.#state = undefined
  }

  nextFence(): number | undefined {
    if (this.#next > this.#last || this.isClosed) return undefined
    if (this.#granted && this.#now() > this.#cohortEnd) return undefined
    this.#granted = true
    return this.#next++
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export class Covers {
  readonly #session: Session
  readonly #byName = new Map<string, RedisCover>()

  constructor(session: Session) {
    this.#session = session
  }

  get size(): number {
    return this.#byName.size
  }

  add(cover: RedisCover): void {
    this.#byName.set(cover.name, cover)
  }

  find(name: string): RedisCover | undefined {
    return this.#byName.get(name)
  }

  /** False when it was over before. */
  remove(cover: RedisCover): boolean {
    if (cover.isOver) return false
    cover.isOver = true
    this.#byName.delete(cover.name)
    return true
  }

  /** A writer waits elsewhere: nobody else is let in. */
  close(name: string): void {
    const cover = this.#byName.get(name)
    if (cover !== undefined) cover.isClosed = true
  }

  renewDue(): void {
    const time = this.#session.now()
    for (const cover of this.#byName.values()) if (cover.renewAt <= time) this.#renew(cover)
  }

  /** Asks for all whether they still are: what was granted before the connection broke may be gone. */
  verify(): void {
    for (const cover of this.#byName.values()) {
      cover.isRenewing = false
      this.#renew(cover)
    }
  }

  #renew(cover: RedisCover): void {
    if (cover.isRenewing || cover.isOver) return
    cover.isRenewing = true
    cover.change()
    const { evaluate, now, ttl } = this.#session
    const sentAt = now()
    evaluate(Scripts.renew, cover.keys, [cover.name, ttl], (error, reply) => {
      cover.isRenewing = false
      if (cover.isOver || cover.deadline <= now()) return
      if (error !== undefined) {
        cover.renewAt = now() + retryMillis
        return
      }
      const [held, , , writer] = arrayOf(reply)
      if (held !== 1) {
        cover.deadline = Number.NEGATIVE_INFINITY
        cover.request.ended()
        return
      }
      cover.deadline = sentAt + ttl
      cover.renewAt = sentAt + ttl / 3
      if (writer === 1) cover.isClosed = true
    })
  }
}
