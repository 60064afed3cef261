/**
 * One simulated process: fibers of its own in an order that the seed draws, a monotonic and a wall clock that go wrong, and
 * an end that may come at any step. While it stands still (SIGSTOP) nothing of it runs; what came meanwhile runs late.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as LogLevel from "effect/LogLevel"
import * as Random from "effect/Random"
import * as Runtime from "effect/Runtime"
import type * as Scheduler from "effect/Scheduler"
import * as Supervisor from "effect/Supervisor"
import type { World } from "./World.ts"

/** The first of January 2026, when every schedule begins. */
export const epoch = 1_767_225_600_000

export interface Options {
  readonly name: string
  /** How much faster its clocks run than time: 0.02 is 2 %. */
  readonly drift: number
  /** How far its wall clock is ahead, in milliseconds. */
  readonly skew: number
  /** After how many operations, about, a fiber lets others run. */
  readonly patience: number
}

/** Told of each step that a process takes towards the outside, before it is taken; may end or stop the process. */
export type Watcher = (machine: Machine, step: string) => void

const longest = 2 ** 31 - 1

class Living extends Supervisor.AbstractSupervisor<void> {
  override readonly value = Effect.void
  count = 0

  override onStart(): void {
    this.count++
  }

  override onEnd(_: Exit.Exit<unknown, unknown>, __: Fiber.RuntimeFiber<unknown, unknown>): void {
    this.count--
  }
}

let current: Machine | undefined

/** From now on this one's step is taken; answers with whose it was. */
const enter = (machine: Machine | undefined): Machine | undefined => {
  const before = current
  current = machine
  return before
}

/** Of the process whose step this is. */
export const microtask = (run: () => void): void => {
  if (current === undefined) throw new Error("a microtask outside of any process")
  current.later(run)
}

export class Machine {
  readonly name: string
  readonly world: World
  readonly #options: Options
  readonly #watcher: Watcher
  readonly #tasks: Array<() => void> = []
  readonly #microtasks: Array<() => void> = []
  #held: Array<{ readonly run: () => void; readonly isTimer: boolean }> = []
  /** Steps that it stood still in. */
  readonly #begun: Array<() => void> = []
  readonly #living = new Living()
  #runtime: Runtime.Runtime<never>
  isGone = false
  isStill = false
  /** It ends once the step that it takes is taken. */
  isDoomed = false
  /** It is ending in an orderly way, and asked for nothing any more. */
  isClosing = false
  goneAt = Number.POSITIVE_INFINITY
  /** How long it stood still at the last time, and until when. */
  stillUntil = Number.NEGATIVE_INFINITY
  stillFor = 0

  constructor(world: World, options: Options, watcher: Watcher) {
    this.world = world
    this.name = options.name
    this.#options = options
    this.#watcher = watcher
    let left = options.patience
    const scheduler: Scheduler.Scheduler = {
      shouldYield: () => {
        if (--left > 0) return false
        left = 1 + world.chance.below(2 * options.patience)
        // to let others run where there are none would only cost
        if (this.#tasks.length + this.#microtasks.length === 0) return false
        // any priority is set aside for each time, for a dozen operations
        return undefined as unknown as number
      },
      scheduleTask: (task) => void this.#tasks.push(task)
    }
    const services = DefaultServices.liveServices.pipe(
      Context.add(Clock.Clock, this.#clock()),
      Context.add(Random.Random, this.#random())
    )
    this.#runtime = Runtime.defaultRuntime.pipe(
      Runtime.setFiberRef(DefaultServices.currentServices, services),
      Runtime.setFiberRef(FiberRef.currentMinimumLogLevel, LogLevel.None),
      Runtime.setFiberRef(FiberRef.currentTracerEnabled, false),
      Runtime.setFiberRef(FiberRef.currentSupervisor, this.#living)
    )
    this.#scheduler = scheduler
  }

  readonly #scheduler: Scheduler.Scheduler

  /** Fibers that have not ended. */
  get fibers(): number {
    return this.#living.count
  }

  /** Its monotonic clock, in milliseconds. */
  get monotonic(): number {
    return 5_000 + this.world.now * (1 + this.#options.drift)
  }

  /** Its wall clock, in milliseconds since 1970. */
  get wall(): number {
    return epoch + this.#options.skew + this.world.now * (1 + this.#options.drift)
  }

  tell(what: () => string): void {
    this.world.tell(this.name, what)
  }

  /** Runs after so many milliseconds by its own clock. */
  after(millis: number, run: () => void): () => void {
    return this.world.after(millis / (1 + this.#options.drift), this, run, true)
  }

  /** A step towards the outside, or back: it may end or stop the process before it is taken, or end it right after. */
  takes(step: string, act: () => void): void {
    if (this.isGone) return
    this.#watcher(this, step)
    if (this.isGone) return
    if (this.isStill) return void this.#begun.push(act)
    act()
    if (this.isDoomed) this.kill()
  }

  /** Runs something of this process, and all that follows from it at once. */
  step(run: () => void, isTimer = false): void {
    if (this.isGone) return
    if (this.isStill) return void this.#held.push({ run, isTimer })
    const before = enter(this)
    try {
      run()
      this.#drain()
    } finally {
      enter(before)
    }
  }

  later(run: () => void): void {
    this.#microtasks.push(run)
  }

  #drain(): void {
    const { chance } = this.world
    while (!this.isGone && !this.isStill) {
      const micro = this.#microtasks.shift()
      if (micro !== undefined) {
        micro()
        continue
      }
      const { length } = this.#tasks
      if (length === 0) return
      const at = length === 1 ? 0 : chance.below(length)
      const task = this.#tasks[at]
      const last = this.#tasks.pop()
      if (last !== undefined && at < length - 1) this.#tasks[at] = last
      task?.()
    }
  }

  /** Runs it in a fiber of this process. */
  run<A, E>(self: Effect.Effect<A, E>, done: (exit: Exit.Exit<A, E>) => void): void {
    this.step(() => {
      Runtime.runFork(this.#runtime, self, { scheduler: this.#scheduler }).addObserver(done)
    })
  }

  /** SIGKILL. */
  kill(): void {
    if (this.isGone) return
    this.isGone = true
    this.goneAt = this.world.now
    this.tell(() => "is killed")
    this.#tasks.length = 0
    this.#microtasks.length = 0
    this.#held = []
  }

  /** SIGSTOP, and SIGCONT after so many milliseconds. */
  stop(millis: number): void {
    if (this.isGone || this.isStill) return
    this.isStill = true
    this.stillFor = millis
    this.stillUntil = this.world.now + millis
    this.tell(() => `stands still for ${Math.round(millis)} ms`)
    this.world.after(millis, undefined, () => this.#goOn())
  }

  #goOn(): void {
    if (this.isGone) return
    this.isStill = false
    this.tell(() => "goes on")
    const held = this.#held
    this.#held = []
    for (const act of this.#begun.splice(0)) act()
    this.step(() => {})
    // timers ring before anything is heard; or it comes in the order in which it came
    const timersFirst = this.world.chance.happens(0.7)
    const sorted = timersFirst ? held.toSorted((one, other) => Number(other.isTimer) - Number(one.isTimer)) : held
    for (const { isTimer, run } of sorted) this.step(run, isTimer)
  }

  #clock(): Clock.Clock {
    const millis = () => Math.floor(this.wall)
    const nanos = () => BigInt(Math.round(this.monotonic * 1e6))
    return {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: millis,
      currentTimeMillis: Effect.sync(millis),
      unsafeCurrentTimeNanos: nanos,
      currentTimeNanos: Effect.sync(nanos),
      sleep: (duration) =>
        Effect.async<void>((resume) => {
          const wanted = Duration.toMillis(duration)
          // a timer of that length never rings
          if (wanted > longest) return
          const late = this.world.chance.unit()
          const cancel = this.after(wanted + late, () => resume(Effect.void))
          return Effect.sync(cancel)
        })
    }
  }

  #random(): Random.Random {
    // a generator of its own, so that what a process draws does not move what happens to it
    return Random.make(`${this.name}:${this.world.chance.bits()}`)
  }
}
