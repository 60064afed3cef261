/**
 * The store that the processes share, behind a network: the memory driver, its heartbeats and circuits. A call can find it
 * out of reach, be applied and not answered, or be applied after its caller has given up.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import * as Circuits from "../../src/CircuitBreaker/Circuits.ts"
import { StoreUnavailable } from "../../src/CredentialsError.ts"
import type { Heartbeats } from "../../src/Processes.ts"
import * as Processes from "../../src/Processes.ts"
import type { Driver, RowChange } from "../../src/Store/Driver.ts"
import * as Memory from "../../src/Store/Memory.ts"
import { epoch, type Machine } from "./Machine.ts"
import type { World } from "./World.ts"

export interface Faults {
  /** How often a call fails before it does anything. */
  readonly refused: number
  /** How often a call's answer does not come, though it was applied. */
  readonly lostAnswers: number
  /** How often a call is applied after its caller has given up. */
  readonly overtaken: number
  /** How often a call takes up to a second and a half. */
  readonly late: number
}

/** What happens all the time, and tells nothing. */
const noise = new Set(["heartbeats.beat", "claimDue"])

const unavailable = new StoreUnavailable({ retryAfterSeconds: 1 })

const described = (changes: ReadonlyArray<RowChange>): string =>
  changes
    .map((change) => {
      switch (change._tag) {
        case "Create":
        case "Replace":
          return `${change._tag} ${change.row.id.slice(-2)} at ${change.row.generation}`
        case "Note":
        case "Expect":
        case "Remove":
          return `${change._tag} ${change.id.slice(-2)} at ${change.generation}`
        case "OpenAttempt":
          return `OpenAttempt ${change.row.id.slice(0, 4)}`
        case "CloseAttempt":
          return `CloseAttempt ${change.id.slice(0, 4)} ${change.outcome}`
        case "ExpireAttempt":
          return `ExpireAttempt ${change.id.slice(0, 4)}`
        default:
          return change._tag
      }
    })
    .join(", ")

export class Database {
  readonly #world: World
  readonly #faults: Faults
  readonly #runtime: Runtime.Runtime<never>
  readonly #driver: Driver
  readonly #heartbeats: Heartbeats
  readonly #circuits: Circuits.Circuits
  readonly #committed: (machine: Machine, changes: ReadonlyArray<RowChange>) => void
  /** When it is within reach again. */
  downUntil = Number.NEGATIVE_INFINITY

  /** `committed` is told of each commit that was applied. */
  constructor(world: World, faults: Faults, committed: (machine: Machine, changes: ReadonlyArray<RowChange>) => void) {
    this.#world = world
    this.#faults = faults
    this.#committed = committed
    const millis = () => Math.floor(epoch + world.now)
    const clock: Clock.Clock = {
      ...Clock.make(),
      unsafeCurrentTimeMillis: millis,
      currentTimeMillis: Effect.sync(millis)
    }
    this.#runtime = Runtime.setFiberRef(
      Runtime.defaultRuntime,
      DefaultServices.currentServices,
      Context.add(DefaultServices.liveServices, Clock.Clock, clock)
    )
    this.#driver = this.now(Memory.make)
    this.#heartbeats = this.now(Processes.makeMemory)
    this.#circuits = this.now(Circuits.makeMemory)
  }

  /** What the engine says, at once. */
  now<A, E>(self: Effect.Effect<A, E>): A {
    return Runtime.runSync(this.#runtime)(self)
  }

  get rows(): Driver {
    return this.#driver
  }

  goDown(millis: number): void {
    this.#world.tell("store", () => `is out of reach for ${Math.round(millis)} ms`)
    this.downUntil = Math.max(this.downUntil, this.#world.now + millis)
  }

  #latency(): number {
    const { chance } = this.#world
    return this.#world.fails(this.#faults.late) ? chance.between(20, 1_500) : chance.between(0.2, 3)
  }

  #call<A, E>(machine: Machine, name: string, self: Effect.Effect<A, E>, isWriting: boolean): Effect.Effect<A, E> {
    return Effect.async<A, E>((resume) =>
      machine.takes(`store ${name}`, () => this.#send(machine, name, self, isWriting, resume))
    )
  }

  #send<A, E>(
    machine: Machine,
    name: string,
    self: Effect.Effect<A, E>,
    isWriting: boolean,
    resume: (self: Effect.Effect<A, E>) => void
  ): void {
    const world = this.#world
    const { chance } = world
    const fail = () => resume(Effect.fail(unavailable as E))
    const [goes, comes] = [this.#latency(), this.#latency()]
    if (world.now < this.downUntil || this.#world.fails(this.#faults.refused)) {
      machine.tell(() => `store ${name}: out of reach`)
      world.after(goes, machine, fail)
      return
    }
    // a caller that is interrupted hears nothing, but what it asked for is done
    const apply = () => {
      const exit = Runtime.runSyncExit(this.#runtime)(self)
      if (isWriting && !noise.has(name)) machine.tell(() => `store ${name}${Exit.isSuccess(exit) ? "" : ": conflict"}`)
      return exit
    }
    if (isWriting && this.#world.fails(this.#faults.overtaken)) {
      world.after(goes, machine, fail)
      world.after(goes + chance.between(1, 3_000), undefined, apply)
      machine.tell(() => `store ${name}: no answer, and not done yet`)
      return
    }
    world.after(goes, undefined, () => {
      const isDown = world.now < this.downUntil
      if (isDown) return void world.after(comes, machine, fail)
      const exit = apply()
      if (isWriting && this.#world.fails(this.#faults.lostAnswers)) {
        machine.tell(() => `store ${name}: done, and no answer`)
        return void world.after(comes, machine, fail)
      }
      world.after(comes, machine, () => resume(exit))
    })
  }

  #behind<T extends object>(machine: Machine, noun: string, of: T): T {
    const members = Object.entries(of).map(([name, member]: [string, unknown]) => {
      const full = noun === "" ? name : `${noun}.${name}`
      const isWriting = ["commit", "claimDue", "setting", "beat", "put", "remove"].includes(name)
      if (Effect.isEffect(member)) {
        return [name, this.#call(machine, full, member as Effect.Effect<unknown, unknown>, false)]
      }
      if (typeof member !== "function") return [name, member]
      return [
        name,
        (...parameters: ReadonlyArray<unknown>) => this.#call(machine, full, member(...parameters), isWriting)
      ]
    })
    return Object.fromEntries(members) as T
  }

  /** The driver as a process has it. */
  driver(machine: Machine): Driver {
    const far = this.#behind(machine, "", this.#driver)
    return {
      ...far,
      commit: (changes) => {
        const applied = Effect.map(this.#driver.commit(changes), () => this.#committed(machine, changes))
        return this.#call(machine, described(changes), applied, true)
      }
    }
  }

  heartbeats(machine: Machine): Heartbeats {
    return this.#behind(machine, "heartbeats", this.#heartbeats)
  }

  circuits(machine: Machine): Circuits.Circuits {
    return this.#behind(machine, "circuits", this.#circuits)
  }
}
