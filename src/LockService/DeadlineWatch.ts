/**
 * Watches many deadlines with one timer: most are moved away or removed before they come.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"

/**
 * Times are on the monotonic clock in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Timer {
  readonly now: () => number
  /** Calls once, unless the result is called before. */
  readonly after: (millis: number, run: () => void) => () => void
}

/**
 * By Effect's clock; its timers end with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeTimer: Effect.Effect<Timer, never, Scope.Scope> = Effect.gen(function* () {
  const clock = yield* Effect.clock
  const runFork = yield* FiberSet.makeRuntime<never>()
  return {
    now: () => Number(clock.unsafeCurrentTimeNanos()) / 1e6,
    after: (millis, run) => {
      const fiber = runFork(Effect.zipRight(Effect.sleep(millis), Effect.sync(run)))
      return () => fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }
})

interface Ending {
  readonly deadline: number
}

/**
 * @since 0.1.0
 * @category models
 */
export class DeadlineWatch {
  readonly #timer: Timer
  readonly #whenEmpty: "stop" | "ring"
  readonly #watched = new Map<Ending, () => void>()
  #next = Number.POSITIVE_INFINITY
  #stop: (() => void) | undefined

  /** With nothing left to watch, the timer is stopped, or rings once more: where that is dearer. */
  constructor(timer: Timer, whenEmpty: "stop" | "ring") {
    this.#timer = timer
    this.#whenEmpty = whenEmpty
  }

  /** Calls once the deadline is past, wherever it has been moved by then. To move it nearer, add it again. */
  add(ending: Ending, run: () => void): void {
    if (ending.deadline === Number.POSITIVE_INFINITY) return
    this.#watched.set(ending, run)
    this.#plan(ending.deadline)
  }

  remove(ending: Ending): void {
    if (!this.#watched.delete(ending) || this.#watched.size > 0 || this.#whenEmpty === "ring") return
    this.#stop?.()
    this.#next = Number.POSITIVE_INFINITY
  }

  #plan(deadline: number): void {
    if (deadline >= this.#next) return
    this.#stop?.()
    this.#next = deadline
    const { after, now } = this.#timer
    this.#stop = after(Math.max(0, Math.ceil(deadline - now())), () => this.#ring())
  }

  #ring(): void {
    this.#next = Number.POSITIVE_INFINITY
    this.#stop = undefined
    const time = this.#timer.now()
    for (const [ending, run] of this.#watched) {
      if (ending.deadline > time) continue
      this.#watched.delete(ending)
      run()
    }
    let soonest = Number.POSITIVE_INFINITY
    for (const ending of this.#watched.keys()) soonest = Math.min(soonest, ending.deadline)
    this.#plan(soonest)
  }
}
