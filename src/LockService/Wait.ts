/**
 * A fiber's wait for a lock. Its end by time and its grant are decided in one synchronous step: with a timeout around it,
 * both could happen, and nobody would hold what was granted.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { LockTimeout, type LockUnavailable } from "../CredentialsError.ts"
import type { Mode } from "./Authority.ts"
import type { Contender } from "./Contender.ts"
import type { DeadlineWatch } from "./DeadlineWatch.ts"
import type { Holder } from "./Holder.ts"
import type { Key, Options } from "./Lease.ts"
import * as Measured from "./Measured.ts"

const userPenalty = Duration.toMillis("3 seconds")

/**
 * @since 0.1.0
 * @category constants
 */
export const defaultWait = Duration.seconds(30)
const defaultWaitMillis = Duration.toMillis(defaultWait)

/**
 * Where a contender waits.
 *
 * @since 0.1.0
 * @category models
 */
export interface Line {
  readonly key: Key
  /** Answers the contender, perhaps before it returns. */
  readonly enter: (contender: Contender) => void
  /** False when the contender was answered before. */
  readonly leave: (contender: Contender) => boolean
  /** A hold has begun. */
  readonly began: (holder: Holder) => void
  /** Ends a hold that nobody heard of. */
  readonly giveBack: (holder: Holder) => void
}

type Resume = (result: Effect.Effect<Holder, LockTimeout | LockUnavailable>) => void

class Wait implements Contender {
  readonly id: string
  readonly mode: Mode
  readonly virtualTime: number
  readonly yieldsUntil: number
  readonly ttl: number
  /** When the wait is over. */
  readonly deadline: number
  readonly #line: Line
  readonly #desk: Desk
  readonly #resume: Resume
  readonly #kind: Measured.Kind
  readonly #since: number
  #isWaiting = false
  #holder: Holder | undefined

  constructor(desk: Desk, line: Line, { id, mode, priority, wait, yieldsFor }: Options, ttl: number, resume: Resume) {
    const since = desk.now()
    this.id = id ?? desk.newId()
    this.mode = mode ?? "exclusive"
    this.virtualTime = priority === "writer" ? since : since + userPenalty
    this.yieldsUntil = yieldsFor === undefined ? since : since + Duration.toMillis(yieldsFor)
    this.ttl = ttl
    this.deadline = since + (wait === undefined ? defaultWaitMillis : Duration.toMillis(wait))
    this.#line = line
    this.#desk = desk
    this.#resume = resume
    this.#kind = Measured.kindOf(line.key)
    this.#since = since
  }

  // until then there is no need of a timer: the authority answers or fails in a time of its own
  mustWait(): void {
    if (this.deadline <= this.#desk.now()) return this.#giveUp()
    this.#isWaiting = true
    Measured.waiting(this.#kind, 1)
    this.#desk.bounds.add(this, () => this.#giveUp())
  }

  granted(holder: Holder): void {
    this.#holder = holder
    this.#line.began(holder)
    Measured.began(this.#kind, holder, this.#since, this.#desk.now)
    this.#end(Effect.succeed(holder))
  }

  failed(error: LockUnavailable): void {
    this.#end(Effect.fail(error))
  }

  /** The fiber is gone. */
  abandon(): void {
    this.#waitsNoMore()
    if (this.#holder === undefined) this.#line.leave(this)
    else this.#line.giveBack(this.#holder)
  }

  #giveUp(): void {
    if (this.#line.leave(this)) this.#end(Effect.fail(new LockTimeout({ retryAfterSeconds: 1 })))
  }

  #end(result: Effect.Effect<Holder, LockTimeout | LockUnavailable>): void {
    this.#waitsNoMore()
    this.#resume(result)
  }

  #waitsNoMore(): void {
    if (!this.#isWaiting) return
    this.#isWaiting = false
    Measured.waiting(this.#kind, -1)
    this.#desk.bounds.remove(this)
  }
}

/**
 * Where a process's waits begin and end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Desk {
  readonly now: () => number
  /** Watches when waits are over. */
  readonly bounds: DeadlineWatch
  /** An id that nobody else has. */
  readonly newId: () => string
}

/**
 * Waits in a line for at most `wait`, then goes on with what was granted. The wait is interruptible even within an
 * uninterruptible region, and leaves nothing behind when it is interrupted or timed out; what follows is uninterruptible.
 * `ttl` is in milliseconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, R>(
  desk: Desk,
  lineUp: () => Line,
  options: Options,
  ttl: number,
  then: (holder: Holder) => Effect.Effect<A, never, R>
): Effect.Effect<A, LockTimeout | LockUnavailable, R> =>
  Effect.suspend(() => {
    let wait: Wait | undefined
    // less than `Effect.async` with a canceller does, and as much as is needed: this is on every lease's way
    return Effect.uninterruptible(
      Effect.matchCauseEffect(
        Effect.interruptible(
          Effect.async<Holder, LockTimeout | LockUnavailable>((resume) => {
            const line = lineUp()
            wait = new Wait(desk, line, options, ttl, resume)
            line.enter(wait)
          })
        ),
        {
          onFailure: (cause) => {
            wait?.abandon()
            return Effect.failCause(cause)
          },
          onSuccess: then
        }
      )
    )
  })
