/**
 * Virtual time and everything that happens in it: one event after the other, in the order of time, drawn from one seed. No
 * event waits, so an hour takes as long as what happens in it.
 */
import { Chance } from "./Chance.ts"
import type { Machine } from "./Machine.ts"

interface Event {
  readonly at: number
  readonly order: number
  /** Whose step it is: nothing happens to a machine that is gone, and later to one that stands still. */
  readonly of: Machine | undefined
  readonly isTimer: boolean
  run: (() => void) | undefined
}

export interface Line {
  readonly at: number
  readonly who: string
  readonly what: string
}

const isBefore = (one: Event, other: Event) => one.at < other.at || (one.at === other.at && one.order < other.order)

export class World {
  readonly chance: Chance
  /** Milliseconds since the beginning. */
  now = 0
  /** Why the schedule ends before its time. */
  readonly violations: Array<string> = []
  readonly lines: Array<Line> = []
  /** Nothing fails before users are at work, and nothing after. */
  isSick = false
  readonly #isTold: boolean
  readonly #events: Array<Event> = []
  #order = 0
  #left = 0

  /** With `isTold` a line is kept of everything that is told. */
  constructor(seed: number, isTold: boolean) {
    this.chance = new Chance(seed)
    this.#isTold = isTold
  }

  /** Whether something fails that fails so often. */
  fails(probability: number): boolean {
    return this.isSick && this.chance.happens(probability)
  }

  /** What happened, for people; `what` is made up only when somebody reads it. */
  tell(who: string, what: () => string): void {
    if (this.#isTold) this.lines.push({ at: this.now, who, what: what() })
  }

  violation(what: string): void {
    this.violations.push(what)
    this.tell("!!!", () => what)
  }

  /** Runs after so many milliseconds; the result takes that back. */
  after(millis: number, of: Machine | undefined, run: () => void, isTimer = false): () => void {
    const event: Event = { at: this.now + Math.max(0, millis), order: this.#order++, of, isTimer, run }
    this.#left++
    this.#push(event)
    return () => {
      if (event.run !== undefined) this.#left--
      event.run = undefined
    }
  }

  /** How much is still to happen. */
  get pending(): number {
    return this.#left
  }

  /** Lets time pass until a moment, or until nothing is left to happen, or something went wrong. */
  runUntil(end: number): void {
    for (;;) {
      const event = this.#events[0]
      if (event === undefined || event.at > end || this.violations.length > 0) break
      this.#pop()
      const { at, isTimer, of, run } = event
      if (run === undefined) continue
      this.now = at
      event.run = undefined
      this.#left--
      if (of === undefined) run()
      else of.step(run, isTimer)
    }
    if (this.violations.length === 0) this.now = Math.max(this.now, end)
  }

  #push(event: Event): void {
    const heap = this.#events
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent]
      if (above === undefined || !isBefore(event, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#events
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      const left = 2 * at + 1
      const [one, other] = [heap[left], heap[left + 1]]
      if (one === undefined) break
      const [child, place] = other !== undefined && isBefore(other, one) ? [other, left + 1] : [one, left]
      if (!isBefore(child, last)) break
      heap[at] = child
      at = place
    }
    heap[at] = last
  }
}
