/** One schedule: a scenario is set up, its users work, everything that fails heals, and what is left is looked at. */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { CredentialId, ProviderId, UserId } from "../../src/Credential.ts"
import * as LeaseStore from "../../src/LeaseStore.ts"
import * as Scripts from "../../src/LockService/Redis/Scripts.ts"
import type { CredentialsManager } from "../../src/CredentialsManager.ts"
import { Chance } from "./Chance.ts"
import { Database } from "./Database.ts"
import * as Entropy from "./Entropy.ts"
import { epoch, Machine } from "./Machine.ts"
import * as Process from "./Process.ts"
import { Provider } from "./Provider.ts"
import { RedisNetwork } from "./RedisNetwork.ts"
import { draw, type Mishap, type Place, type Scenario } from "./Scenario.ts"
import type { Folder } from "./Spool.ts"
import { Witness } from "./Witness.ts"
import { type Line, World } from "./World.ts"

export interface Outcome {
  readonly seed: number
  readonly violations: ReadonlyArray<string>
  readonly lines: ReadonlyArray<Line>
  /** What happened, counted. */
  readonly counts: {
    readonly spends: number
    readonly kills: number
    readonly pauses: number
    readonly operations: number
    readonly failed: number
    readonly stale: number
  }
}

type Manager = CredentialsManager["Type"]

const userId = UserId.make("user")
const provider = ProviderId.to.make("acme")
const idOf = (number: number) => CredentialId.to.make(`00000000-0000-4000-8000-${String(number).padStart(12, "0")}`)

class Run {
  readonly scenario: Scenario
  readonly world: World
  readonly witness: Witness
  readonly database: Database
  readonly redis: RedisNetwork
  readonly provider: Provider
  readonly around: Process.Surroundings
  readonly ids: ReadonlyArray<CredentialId>
  /** By place: who runs there now. */
  readonly running: Array<{ readonly machine: Machine; readonly started: Process.Started } | undefined> = []
  readonly machines: Array<Machine> = []
  readonly folders = new Set<Folder>()
  /** Operations that have not ended, and who runs them. */
  readonly unfinished = new Map<number, { readonly machine: Machine; readonly what: string }>()
  readonly counts = { spends: 0, kills: 0, pauses: 0, operations: 0, failed: 0, stale: 0 }
  #processes = 0
  readonly #judgesTime: boolean

  constructor(seed: number, isTold: boolean) {
    this.scenario = draw(seed)
    this.world = new World(seed ^ 0x5bd1e995, isTold)
    const { redis, redisSkew, store, tolerance } = this.scenario
    this.#judgesTime = this.scenario.places.every(({ drift, skew }) => drift === 0 && skew === 0)
    this.witness = new Witness(this.world, { tolerance, judgesTime: this.#judgesTime })
    this.database = new Database(this.world, store, (machine, changes) => this.witness.committed(machine, changes))
    const pushes: Array<{ readonly owner: string; readonly fence: number }> = []
    this.redis = new RedisNetwork(
      this.world,
      redis,
      redisSkew,
      (_, script, keys, parameters, reply) => {
        const [key = ""] = keys
        const given = pushes.splice(0)
        if (script === Scripts.acquire) {
          if (typeof reply === "string") given.push({ owner: String(parameters[0]), fence: Number(reply) })
        }
        if (script === Scripts.alone && Array.isArray(reply)) {
          let at = 0
          for (const [step, key] of keys.entries()) {
            const [isEnd, state] = [parameters[at] === "", reply[step]]
            if (!isEnd && typeof state === "string") {
              this.witness.fenced(key, String(parameters[at + 2]), Number.parseInt(state, 10))
            }
            at += isEnd ? 3 : 5
          }
        }
        // the answer is heard after what the script told others, and may have been given before
        for (const { fence, owner } of given.toSorted((one, other) => one.fence - other.fence)) {
          this.witness.fenced(key, owner, fence)
        }
      },
      (message) => {
        const [kind, fence, , , ...owner] = message.split("|")
        if (kind === "g") pushes.push({ owner: owner.join("|"), fence: Number(fence) })
      }
    )
    this.provider = new Provider(
      this.world,
      { quirks: this.scenario.quirks, faults: this.scenario.provider, lifetimeSeconds: this.scenario.lifetimeSeconds },
      (presentation) => {
        this.counts.spends++
        this.witness.presented(presentation)
      }
    )
    this.witness.watch(this.provider)
    this.around = {
      database: this.database,
      redis: this.redis,
      provider: this.provider,
      witness: this.witness,
      leases: this.database.now(
        Effect.scoped(
          Effect.map(Layer.build(LeaseStore.layerMemory), (built) => built.unsafeMap.get(LeaseStore.LeaseStore.key))
        )
      ) as LeaseStore.LeaseStore["Type"],
      isAlone: this.scenario.isAlone,
      secondCopy: this.scenario.secondCopy,
      spoolFailing: this.scenario.spoolFailing,
      sweeps: this.scenario.sweeps,
      holdsAreShort: this.scenario.kind === "contention"
    }
    this.ids = Array.from({ length: this.scenario.credentials }, (_, number) => idOf(number + 1))
  }

  // ── processes

  #watcher(place: Place, at: number): (machine: Machine, step: string) => void {
    const left: Array<Mishap & { seen: number }> = place.mishaps.map((mishap) => ({ ...mishap, seen: 0 }))
    return (machine, step) => {
      // who ends with this step is replaced already
      if (!this.world.isSick || machine.isDoomed) return
      for (const mishap of left) {
        if (mishap.seen < 0 || (mishap.at !== undefined && !step.includes(mishap.at))) continue
        if (++mishap.seen < mishap.count) continue
        mishap.seen = -1
        machine.tell(() => `${mishap.what}: ${step}`)
        this.#befall(machine, mishap, place, at)
        return
      }
    }
  }

  #befall(machine: Machine, { millis, what }: Mishap, place: Place, at: number): void {
    switch (what) {
      case "dies":
        machine.kill()
        return this.#replace(place, at)
      case "dies after":
        machine.isDoomed = true
        return this.#replace(place, at)
      case "shuts down":
        return this.#shutDown(machine, place, at)
      case "stands still":
        this.counts.pauses++
        return machine.stop(millis)
      case "redis flushes":
        this.witness.flushedAt = this.world.now
        this.redis.flush()
        // those come who should have waited
        return this.#crowd()
      case "redis goes down":
        return this.redis.goDown(millis / 4)
      case "loses redis":
        return this.redis.cut(machine, millis / 4)
      case "store goes down":
        return this.database.goDown(millis / 2)
      case "provider goes down":
        return this.provider.goDown(millis)
    }
  }

  /** Some ask at the same time, and mostly to change what is stored. */
  #crowd(): void {
    const { chance } = this.world
    for (let count = 0; count < 3; count++) {
      this.world.after(chance.between(0, 60), undefined, () => {
        const here = chance.pick([this.running[0], ...this.running.slice(1)])
        if (here === undefined || here.machine.isGone) return
        const id = this.ids[chance.below(this.ids.length)] ?? idOf(1)
        const { manager } = here.started
        const [what, change] = chance.happens(0.6)
          ? (["updates", this.update(manager, id, {})] as const)
          : (["refreshes", this.refresh(manager, id, {})] as const)
        this.operate(here.machine, `${what} ${id.slice(-2)}`, change as Effect.Effect<unknown, unknown>)
      })
    }
  }

  /** SIGTERM: an orderly end, as far as there is time for it. */
  #shutDown(machine: Machine, place: Place, at: number): void {
    const here = this.running[at]
    if (here === undefined || here.machine !== machine || machine.isClosing) return
    this.running[at] = undefined
    machine.isClosing = true
    this.world.after(0, undefined, () => {
      const since = this.world.now
      this.operate(machine, "shuts down", here.started.close, () => {
        if (this.world.now - since < 8_000 && machine.stillUntil < since) this.witness.left(machine)
        // whoever asked it is told before that, or not at all
        this.world.after(100, undefined, () => {
          if (machine.isGone) return
          machine.kill()
          this.#replace(place, at)
        })
      })
    })
  }

  #replace(place: Place, at: number): void {
    this.counts.kills++
    this.witness.diedAt = this.world.now
    const folder = this.#folders[at]
    this.running[at] = undefined
    if (place.restart === undefined) return
    const { after, keepsDisk } = place.restart
    if (!keepsDisk && folder !== undefined) {
      this.folders.delete(folder)
      for (const attempt of folder.keys()) this.witness.receiptGone(attempt)
      this.#folders[at] = undefined
    }
    this.#booting++
    this.world.after(after, undefined, () => {
      this.#booting--
      this.boot(place, at)
    })
  }

  /** How many are to be started again. */
  #booting = 0
  readonly #folders: Array<Folder | undefined> = []

  boot(place: Place, at: number): void {
    const folder = this.#folders[at] ?? new Map()
    this.#folders[at] = folder
    this.folders.add(folder)
    const { drift, skew } = place
    const machine = new Machine(
      this.world,
      { name: `p${++this.#processes}`, drift, skew, patience: 60 },
      this.#watcher(place, at)
    )
    this.machines.push(machine)
    machine.tell(() => "starts")
    machine.run(Process.start(machine, folder, this.around), (exit) => {
      if (machine.isGone) return
      if (Exit.isSuccess(exit)) {
        this.running[at] = { machine, started: exit.value }
        return
      }
      if (Cause.isDie(exit.cause))
        return this.world.violation(`${machine.name} does not start: ${Cause.pretty(exit.cause)}`)
      machine.tell(() => "cannot start")
      machine.kill()
      this.world.after(1_000, undefined, () => this.boot(place, at))
    })
  }

  // ── what users do

  #tokens(lifetimeMillis: number) {
    const tokens = this.provider.login(lifetimeMillis)
    this.witness.brought(tokens.refresh)
    return {
      type: "oauth2" as const,
      accessToken: Redacted.make(tokens.access),
      refreshToken: Redacted.make(tokens.refresh),
      accessTokenExpiresAt: DateTime.unsafeMake(Math.floor(epoch + this.world.now + lifetimeMillis)),
      scopes: []
    }
  }

  create(): void {
    const { chance } = this.world
    const lifetime = () => chance.between(-5_000, this.scenario.lifetimeSeconds * 1000)
    const shared = this.#tokens(lifetime())
    const [first] = this.running
    if (first === undefined) return
    for (const [at, id] of this.ids.entries()) {
      const variant = at === 0 || this.scenario.sharesGrant ? shared : this.#tokens(lifetime())
      this.operate(
        first.machine,
        `creates ${id.slice(-2)}`,
        first.started.manager.create(userId, { id, provider, variant })
      )
    }
  }

  operate<A, E>(
    machine: Machine,
    what: string,
    self: Effect.Effect<A, E>,
    done: (exit: Exit.Exit<A, E>) => void = () => {}
  ): void {
    const number = this.counts.operations++
    machine.tell(() => `${what} …`)
    this.unfinished.set(number, { machine, what })
    machine.run(self, (exit) => {
      this.unfinished.delete(number)
      if (machine.isGone) return
      if (Exit.isFailure(exit)) this.counts.failed++
      machine.tell(() => `… ${what}: ${Exit.isSuccess(exit) ? "done" : tagOf(exit.cause)}`)
      if (Exit.isFailure(exit) && !machine.isClosing && Cause.isInterruptedOnly(exit.cause)) {
        this.world.violation(`${machine.name} ${what}, and is interrupted by somebody else`)
      }
      if (Exit.isFailure(exit) && isDefect(exit.cause)) {
        this.world.violation(`${machine.name} ${what}, and fails unexpectedly: ${Cause.pretty(exit.cause)}`)
      }
      done(exit)
    })
  }

  /** A random operation of a random user, at a random process. */
  work(): void {
    const { chance } = this.world
    const here = chance.pick([this.running[0], ...this.running.slice(1)])
    if (here === undefined || here.machine.isGone) return
    const { machine, started } = here
    const id = this.ids[chance.below(this.ids.length)] ?? idOf(1)
    const name = id.slice(-2)
    const { manager } = started
    // some callers leave before they have their answer
    const hurried = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<unknown, E> =>
      chance.happens(0.15) ? Effect.timeoutOption(self, chance.between(1, 3_000)) : self
    const wait = chance.weighted([
      [3, {}],
      [1, { wait: Duration.millis(chance.between(10, 4_000)) }]
    ] as const)
    chance.weighted<() => void>([
      [6, () => this.get(machine, manager, id, wait)],
      [4, () => this.operate(machine, `refreshes ${name}`, hurried(this.refresh(manager, id, wait)))],
      [
        6,
        () =>
          this.operate(
            machine,
            `uses ${name}`,
            hurried(this.use(machine, manager, id, chance.pick(["exclusive", "shared"]), wait))
          )
      ],
      [1, () => this.operate(machine, "uses all", hurried(Effect.scoped(manager.acquireAll(userId, this.ids, wait))))],
      [1, () => this.operate(machine, `takes what comes first of ${name}`, this.race(manager, id, wait))],
      [1.5, () => this.operate(machine, `reports ${name}`, this.report(manager, id))],
      [1, () => this.operate(machine, `updates ${name}`, hurried(this.update(manager, id, wait)))],
      [0.4, () => this.operate(machine, `deletes ${name}`, hurried(manager.delete(userId, id, wait)))]
    ])()
  }

  get(machine: Machine, manager: Manager, id: CredentialId, wait: { readonly wait?: Duration.Duration }): void {
    const since = this.world.now
    this.operate(machine, `gets ${id.slice(-2)}`, manager.get(userId, id, wait), (exit) => {
      if (Exit.isFailure(exit)) return
      const secret = exit.value
      const access = secret.accessToken === undefined ? "" : Redacted.value(secret.accessToken)
      const known = this.provider.access(access)
      if (known === undefined) return this.world.violation(`${machine.name} gives out ${access}, which nobody issued`)
      if (!this.witness.isDurable(access, this.#kept())) {
        return this.world.violation(`${machine.name} gives out ${access}, and what came with it is kept nowhere`)
      }
      if (this.#judgesTime && machine.stillUntil < since && known.expiresAt <= since) {
        this.world.violation(
          `${machine.name} gives out ${access}, which expired ${Math.round(since - known.expiresAt)} ms before it was asked`
        )
      }
    })
  }

  use(
    machine: Machine,
    manager: Manager,
    id: CredentialId,
    mode: "exclusive" | "shared",
    wait: { readonly wait?: Duration.Duration }
  ) {
    const { chance } = this.world
    const rounds = chance.below(6)
    const isShort = this.scenario.kind === "contention"
    const pause = isShort ? chance.pick([5, 40]) : chance.pick([5, 80, 900, 2_500])
    // who holds one of two credentials of a grant and asks for its renewal waits for the holders of the other one
    const lends = mode === "exclusive" && !this.scenario.sharesGrant && chance.happens(0.2)
    return Effect.scoped(
      Effect.gen(this, function* () {
        const { lease, secret } = yield* manager.acquire(userId, id, { mode, ...wait })
        const since = this.world.now
        const access = secret.accessToken === undefined ? "" : Redacted.value(secret.accessToken)
        for (let round = 0; round < rounds; round++) {
          yield* lease.check
          if (
            this.#judgesTime &&
            !lends &&
            this.redis.flushedAt < 0 &&
            this.witness.wasEndedUnder(access, id, secret.generation, since)
          ) {
            this.world.violation(`${access} is ended by a renewal while ${machine.name} holds the lease ${lease.id}`)
          }
          yield* Effect.sleep(Duration.millis(pause * (0.5 + this.world.chance.unit())))
          if (lends && round === 1) yield* Effect.either(this.refresh(manager, id, { ...wait, leaseId: lease.id }))
        }
      })
    )
  }

  /** Two wait, and one is enough: the other is interrupted in the very step in which it is granted what the first gave back. */
  race(manager: Manager, id: CredentialId, wait: { readonly wait?: Duration.Duration }) {
    const other = this.world.chance.pick([id, ...this.ids])
    return Effect.raceFirst(
      Effect.scoped(manager.acquire(userId, id, wait)),
      Effect.scoped(manager.acquire(userId, other, wait))
    )
  }

  refresh(
    manager: Manager,
    id: CredentialId,
    options: { readonly wait?: Duration.Duration; readonly leaseId?: string }
  ) {
    return Effect.suspend(() => {
      for (const one of this.ids) this.witness.forced(one)
      return manager.refresh(userId, id, options)
    })
  }

  report(manager: Manager, id: CredentialId) {
    return Effect.flatMap(manager.metadata(userId, id), ({ generation }) =>
      manager.report(userId, id, { generation, status: 401 })
    )
  }

  update(manager: Manager, id: CredentialId, wait: { readonly wait?: Duration.Duration }) {
    const { chance } = this.world
    return Effect.suspend(() =>
      manager.update(
        userId,
        id,
        chance.happens(0.3)
          ? { title: "another", variant: { type: "oauth2" } }
          : { variant: this.#tokens(chance.between(-5_000, this.scenario.lifetimeSeconds * 1000)) },
        wait
      )
    )
  }

  // ── from the beginning to the end

  play(): void {
    const { chance } = this.world
    const { length, operations, places } = this.scenario
    for (const [at, place] of places.entries()) this.boot(place, at)
    this.world.runUntil(100)
    this.create()
    this.world.runUntil(200)
    this.world.isSick = true
    for (let count = 0; count < operations; count++) {
      // in bursts: those that come at once are those that meet
      const at = chance.happens(0.5)
        ? chance.between(0, length)
        : Math.floor(chance.below(4) * (length / 4)) + chance.between(0, 30)
      this.world.after(at, undefined, () => this.work())
    }
    this.world.runUntil(200 + length)
    this.#heal()
    // all are reached again and go on, the sweeper has a round, what was begun ends, and who is to come back is there
    this.world.runUntil(this.#wellAt() + (this.scenario.sweeps ? 12_000 : 3_000))
    this.#runWhile(40_000, () => this.unfinished.size > 0 || this.#booting > 0)
    this.#askOnceMore()
    this.#runWhile(150_000, () => this.unfinished.size > 0)
    this.#judge()
  }

  /** Lets time pass as long as there is something to wait for, but not longer than so many milliseconds. */
  #runWhile(most: number, isWaiting: () => boolean): void {
    const end = this.world.now + most
    while (this.world.now < end && isWaiting() && this.world.violations.length === 0) {
      this.world.runUntil(Math.min(end, this.world.now + 1_000))
    }
  }

  #heal(): void {
    this.world.isSick = false
    this.world.tell("world", () => "heals")
  }

  /** When the last outage that has begun is over, and the last one goes on that stands still. */
  #wellAt(): number {
    const still = this.machines.filter(({ isGone }) => !isGone).map(({ stillUntil }) => stillUntil)
    return Math.max(this.world.now, this.redis.troubledAt, this.database.downUntil, ...still)
  }

  #askOnceMore(): void {
    for (const here of this.running) {
      if (here === undefined || here.machine.isGone) continue
      for (const id of this.ids) this.get(here.machine, here.started.manager, id, {})
    }
  }

  #judge(): void {
    const { world } = this
    const fails = () => world.violations.length > 0
    if (fails()) return
    for (const { machine, what } of this.unfinished.values()) {
      if (!machine.isGone) world.violation(`${machine.name} ${what}, and never comes to an end`)
    }
    if (fails()) return
    world.tell("world", () => "ends")
    for (const here of this.running) {
      if (here !== undefined) this.operate(here.machine, "closes", here.started.close)
    }
    this.#runWhile(60_000, () => world.pending > 0)
    if (fails()) return
    // what those had that died lately has an end of its own
    world.runUntil(world.now + Math.max(0, 15_000 - this.witness.calmFor()))
    for (const { machine, what } of this.unfinished.values()) {
      if (!machine.isGone) world.violation(`${machine.name} ${what}, and never comes to an end`)
    }
    for (const machine of this.machines) {
      if (!machine.isGone && machine.fibers > 0)
        world.violation(`${machine.name} leaves ${machine.fibers} fibers behind`)
    }
    if (world.pending > 0) world.violation(`${world.pending} timers are left behind`)
    this.#judgeRedis()
    this.witness.accountFor(this.#kept())
  }

  /** The attempts that there is a receipt of. */
  #kept(): ReadonlySet<string> {
    const kept = new Set([...this.folders].flatMap((folder) => [...folder.keys()]))
    for (const { key } of this.redis.server.keys()) {
      if (key.startsWith("rc:{receipts}:")) kept.add(key.slice("rc:{receipts}:".length))
    }
    return kept
  }

  #judgeRedis(): void {
    for (const { key, left, value } of this.redis.server.keys()) {
      if (!key.startsWith("lk:")) continue
      if (!key.endsWith(":s")) this.world.violation(`${key} is left in redis`)
      else if (left === undefined) this.world.violation(`${key} never goes from redis`)
      else if (value.type === "string" && /^[*a]*\d+ \d+ \d+ /.test(value.text)) {
        const deadline = Number(value.text.split(" ")[2])
        const now = epoch + this.scenario.redisSkew + this.world.now
        if (deadline > now) this.world.violation(`${key} is still held in redis: ${value.text}`)
      }
    }
  }
}

const tagOf = (cause: Cause.Cause<unknown>): string => {
  const failure = Cause.failureOption(cause)
  if (failure._tag === "None") return Cause.isInterruptedOnly(cause) ? "interrupted" : Cause.pretty(cause)
  const error = failure.value
  if (typeof error !== "object" || error === null) return String(error)
  const { _tag, reason } = error as { readonly _tag?: string; readonly reason?: string }
  return `${_tag ?? "Error"}${reason === undefined ? "" : ` (${reason})`}`
}

const isDefect = (cause: Cause.Cause<unknown>): boolean => Cause.isDie(cause)

/** Plays the schedule of a seed; with `isTold`, and a line for everything that happens. */
export const play = (seed: number, isTold = false): Outcome => {
  const run = new Run(seed, isTold)
  Entropy.during(new Chance(seed ^ 0x1234567), () => {
    try {
      run.play()
    } catch (error) {
      run.world.violation(error instanceof Error ? (error.stack ?? error.message) : String(error))
    }
  })
  run.counts.stale = run.witness.stale
  return { seed, violations: run.world.violations, lines: run.world.lines, counts: run.counts }
}
