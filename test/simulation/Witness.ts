/**
 * Sees everything that happens and knows what must never happen: what was stored, spent and answered, who held what and acted
 * on it. It is told by the simulated servers, and takes no part.
 */
import type { CredentialRow, RowChange } from "../../src/Store/Driver.ts"
import type { Mode } from "../../src/LockService.ts"
import { epoch, type Machine } from "./Machine.ts"
import type { Presentation, Provider } from "./Provider.ts"
import * as Sealing from "./Sealing.ts"
import type { World } from "./World.ts"

interface Attempt {
  readonly id: string
  readonly grant: string
  readonly processId: string
  readonly probeOf: string | null
  readonly openedAt: number
  /** Until when its answer may come, by the store's clock. */
  deadline: number
  outcome: string | undefined
  presentations: Array<Presentation>
}

interface Stored {
  readonly generation: number
  readonly access: string
  readonly refresh: string
  readonly expiresAt: number
  readonly since: number
}

export interface Hold {
  readonly id: string
  readonly key: string
  readonly mode: Mode
  readonly fence: number
  readonly machine: Machine
  readonly since: number
  /** When it first acted on what it holds. */
  actedAt: number | undefined
  endedAt: number | undefined
}

export class Witness {
  readonly #world: World
  #provider: Provider | undefined
  readonly #attempts = new Map<string, Attempt>()
  readonly #open = new Map<string, Attempt>()
  /** What is stored now, by credential. */
  readonly stored = new Map<string, Stored>()
  readonly #created = new Set<string>()
  readonly #everStored = new Set<string>()
  readonly #grantOf = new Map<string, string>()
  readonly #expiries = new Map<string, number>()
  readonly #reported = new Set<string>()
  /** Whether the last write of an attempt's receipt left one. */
  readonly #receipts = new Map<string, boolean>()
  /** Refresh tokens that users brought. */
  readonly #roots = new Set<string>()
  readonly #holds = new Map<string, Array<Hold>>()
  readonly #loans = new Set<string>()
  readonly #issued = new Set<string>()
  readonly #fences = new Map<string, number>()
  readonly #processes = new Map<string, Machine>()
  /** Spendings by processes that had stood still between the look at their lease and the sending: none can be kept from it. */
  stale = 0
  /** How much later than another one's first act a holder may still act, in milliseconds. */
  readonly #tolerance: number
  /** Whether all clocks tell the time. */
  readonly #judgesTime: boolean
  readonly #forced = new Map<string, number>()
  flushedAt = Number.NEGATIVE_INFINITY
  /** When a process died last. */
  diedAt = Number.NEGATIVE_INFINITY

  constructor(world: World, options: { readonly tolerance: number; readonly judgesTime: boolean }) {
    this.#world = world
    this.#tolerance = options.tolerance
    this.#judgesTime = options.judgesTime
  }

  watch(provider: Provider): void {
    this.#provider = provider
  }

  get #known(): Provider {
    if (this.#provider === undefined) throw new Error("no provider is watched")
    return this.#provider
  }

  /** A user's own tokens. */
  brought(refresh: string): void {
    this.#roots.add(refresh)
  }

  started(machine: Machine, processId: string): void {
    this.#processes.set(processId, machine)
  }

  #violation(what: string): void {
    this.#world.violation(what)
  }

  // ── the store

  committed(machine: Machine, changes: ReadonlyArray<RowChange>): void {
    for (const change of changes) this.#applied(machine, change)
  }

  #applied(machine: Machine, change: RowChange): void {
    switch (change._tag) {
      case "Create": {
        const { id } = change.row
        if (this.#created.has(id)) this.#violation(`credential ${id} comes into being a second time`)
        this.#created.add(id)
        this.#keep(change.row)
        return
      }
      case "Replace":
        return this.#replaced(machine, change)
      case "Note":
        if (typeof change.renewal.reportedGeneration === "number")
          this.#reported.add(`${change.id}:${change.generation}`)
        return
      case "Remove":
        this.stored.delete(change.id)
        return
      case "OpenAttempt": {
        const { deadline, grant, id, probeOf, processId } = change.row
        const attempt: Attempt = {
          id,
          grant,
          processId,
          probeOf,
          openedAt: this.#world.now,
          deadline: deadline.getTime() - epoch,
          outcome: undefined,
          presentations: []
        }
        if (this.#open.has(grant)) this.#violation(`two attempts are open for the grant ${grant.slice(0, 4)}`)
        this.#attempts.set(id, attempt)
        this.#open.set(grant, attempt)
        return
      }
      case "ExpireAttempt": {
        const attempt = this.#attempts.get(change.id)
        if (attempt !== undefined) attempt.deadline = change.at.getTime() - epoch
        return
      }
      case "CloseAttempt": {
        const attempt = this.#attempts.get(change.id)
        if (attempt === undefined) return
        attempt.outcome = change.outcome
        if (this.#open.get(attempt.grant) === attempt) this.#open.delete(attempt.grant)
        return
      }
      default:
        return
    }
  }

  #keep(row: CredentialRow): void {
    const { generation, grant, id } = row
    const stored = { generation, ...Sealing.tokensOf(row), since: this.#world.now }
    this.stored.set(id, stored)
    if (row.reportedGeneration === generation) this.#reported.add(`${id}:${generation}`)
    this.#everStored.add(stored.refresh)
    this.#expiries.set(stored.access, stored.expiresAt)
    if (grant !== null) this.#grantOf.set(stored.refresh, grant)
  }

  #replaced(machine: Machine, { row }: Extract<RowChange, { readonly _tag: "Replace" }>): void {
    const tokens = Sealing.tokensOf(row)
    const before = this.stored.get(row.id)
    const what = `credential ${row.id.slice(-2)}`
    if (before === undefined) return this.#violation(`${machine.name} brings back ${what}, which was deleted`)
    if (row.generation !== before.generation + 1) {
      this.#violation(`${machine.name} stores generation ${row.generation} of ${what} over ${before.generation}`)
    }
    machine.tell(() => `stores ${tokens.refresh} and ${tokens.access} in ${what}, generation ${row.generation}`)
    const isSame = tokens.refresh === before.refresh
    const isNext = this.#known.parentOf(tokens.refresh) === before.refresh
    if (!isSame && !isNext && !this.#roots.has(tokens.refresh)) {
      this.#violation(
        `${machine.name} stores ${tokens.refresh} in ${what} in the place of ${before.refresh}, of which it is no successor`
      )
    }
    this.#keep(row)
  }

  // ── the provider

  presented(presentation: Presentation): void {
    const { machine, token } = presentation
    const grant = this.#grantOf.get(token)
    const attempt = grant === undefined ? undefined : this.#open.get(grant)
    const isOwn = attempt !== undefined && this.#processes.get(attempt.processId) === machine
    if (!isOwn) {
      // nothing can keep a process from sending that stood still after its last look
      const stoodStill = machine.stillFor > 5_000 && this.#world.now - machine.stillUntil < 5
      // nor one that has not heard yet that its locks are forgotten; another may repeat what it asks, in the time of grace
      const isRepeated =
        this.#known.graceMillis > 0 &&
        this.#world.now - this.flushedAt < 15_000 &&
        [...this.#attempts.values()].some(
          (own) => own.grant === grant && own.outcome === "probed" && this.#processes.get(own.processId) === machine
        )
      if (stoodStill || isRepeated) this.stale++
      else this.#violation(`${machine.name} presents ${token} without having written it down`)
      return
    }
    const provider = this.#known
    const earlier = provider.presentations.filter((other) => other !== presentation && other.token === token)
    if (this.#isNeedless(attempt, token, machine)) {
      this.#violation(`${machine.name} presents ${token}, and the access token that it came with is fresh`)
    }
    const mine = attempt.presentations
    mine.push(presentation)
    if (mine.length > (provider.mayPass ? 2 : 1)) {
      this.#violation(`${machine.name} presents ${token} ${mine.length} times in one attempt`)
    }
    for (const other of earlier) {
      if (mine.includes(other)) continue
      const of = [...this.#attempts.values()].find(({ presentations }) => presentations.includes(other))
      // by one that stood still
      if (of === undefined) continue
      if (provider.rotates && provider.graceMillis === 0 && !other.isOver && this.#world.now < of.deadline) {
        this.#violation(
          `${machine.name} presents ${token} before the time is over that ${other.machine.name} has for it`
        )
      }
      if (!other.isOver && !other.machine.isGone && !other.machine.isStill && of.outcome !== "probed") {
        this.#violation(`${machine.name} presents ${token} while ${other.machine.name} waits for its answer`)
      }
      const isSpent = other.issued !== undefined && other.issued.refresh !== token
      const spentLater = isSpent && this.#world.now - other.sentAt > provider.graceMillis
      if (!spentLater) continue
      if (of.outcome !== "probed" || (attempt.probeOf !== of.id && attempt.probeOf !== of.probeOf)) {
        this.#violation(
          `${machine.name} presents ${token} again, which was spent by an attempt that is ${of.outcome ?? "open"}`
        )
      }
    }
  }

  /** A process has ended in an orderly way, with time enough for what it had begun. */
  left(machine: Machine): void {
    const waiting = this.#known.presentations.find((one) => one.machine === machine && !one.isOver)
    if (waiting !== undefined) {
      this.#violation(`${machine.name} shuts down at once, and has presented ${waiting.token} and not heard of it`)
    }
  }

  /** Whether the refresh token that came with an access token is stored, or kept by its receipt. */
  isDurable(access: string, kept: ReadonlySet<string>): boolean {
    const given = this.#known.presentations.find(({ issued }) => issued?.access === access)
    if (given?.issued === undefined || this.#everStored.has(given.issued.refresh)) return true
    const attempt = [...this.#attempts.values()].find(({ presentations }) => presentations.includes(given))
    return attempt === undefined || kept.has(attempt.id)
  }

  /** A user asked for a renewal, whatever the state of the credential. */
  forced(id: string): void {
    this.#forced.set(id, this.#world.now)
  }

  /** Whether a credential whose token is fresh is renewed, and nobody wants it. */
  #isNeedless(attempt: Attempt, token: string, machine: Machine): boolean {
    if (!this.#judgesTime || attempt.probeOf !== null) return false
    const holding = [...this.stored].filter(([, { refresh }]) => refresh === token)
    return (
      holding.length > 0 &&
      holding.every(
        ([id, { expiresAt, generation, since }]) =>
          expiresAt - machine.wall > 0.4 * (expiresAt - epoch - since) &&
          expiresAt - machine.wall > 5_000 &&
          !this.#reported.has(`${id}:${generation}`) &&
          this.#world.now - (this.#forced.get(id) ?? Number.NEGATIVE_INFINITY) > 120_000
      )
    )
  }

  receipt(attempt: string, isKept: boolean): void {
    this.#receipts.set(attempt, isKept || this.#receipts.get(attempt) === true)
  }

  /** With the disk that it was on. */
  receiptGone(attempt: string): void {
    this.#receipts.delete(attempt)
  }

  /** What of the provider's answers is left, once nothing more happens; `kept` holds the attempts that have a receipt. */
  accountFor(kept: ReadonlySet<string>): void {
    if (!this.#known.rotates) return
    for (const presentation of this.#known.presentations) {
      const { heardAt, issued, machine, token } = presentation
      if (issued === undefined || issued.refresh === token || this.#everStored.has(issued.refresh)) continue
      const attempt = [...this.#attempts.values()].find(({ presentations }) => presentations.includes(presentation))
      if (attempt === undefined || kept.has(attempt.id)) continue
      const what = `${issued.refresh}, given to ${machine.name} for ${token},`
      const receipt = this.#receipts.get(attempt.id)
      // two faults at once: it is recorded as lost when it is asked for next
      if (presentation.isUnreadable && receipt === false) continue
      if (receipt === true) {
        this.#violation(`the receipt of ${what} was durable and is gone`)
      } else if (heardAt !== undefined && !machine.isGone) {
        this.#violation(`${what} was heard and is nowhere (its attempt is ${attempt.outcome ?? "open"})`)
      } else if (["failed", "refused", "saved"].includes(attempt.outcome ?? "")) {
        this.#violation(`${what} never came, and its attempt is ${attempt.outcome}`)
      }
    }
  }

  // ── the locks

  lent(holder: string, to: string): void {
    this.#loans.add(`${holder} ${to}`)
  }

  granted(hold: Hold): void {
    const all = this.#holds.get(hold.key) ?? []
    this.#holds.set(hold.key, all)
    hold.machine.tell(() => `holds ${nameOf(hold.key)} ${hold.mode} as ${shortOf(hold.id)}, fence ${hold.fence}`)
    if (this.#world.now - this.flushedAt > 15_000) {
      const above = all.find((other) => other.fence >= hold.fence && this.#excludes(other, hold))
      if (above !== undefined) {
        this.#violation(
          `${hold.machine.name} is granted ${nameOf(hold.key)} with fence ${hold.fence} after ${above.machine.name} with ${above.fence}`
        )
      }
    }
    all.push(hold)
  }

  ended(hold: Hold): void {
    hold.endedAt ??= this.#world.now
    hold.machine.tell(() => `gives back ${nameOf(hold.key)} (${shortOf(hold.id)})`)
  }

  #excludes(one: Hold, other: Hold): boolean {
    if (one === other || (one.mode === "shared" && other.mode === "shared")) return false
    return !this.#loans.has(`${one.id} ${other.id}`) && !this.#loans.has(`${other.id} ${one.id}`)
  }

  /** A holder looked whether it still holds, and goes on. */
  acts(hold: Hold): void {
    const { now } = this.#world
    hold.actedAt ??= now
    if (hold.since <= this.flushedAt) return
    for (const other of this.#holds.get(hold.key) ?? []) {
      if (other.fence <= hold.fence || other.actedAt === undefined || !this.#excludes(hold, other)) continue
      if (now - other.actedAt <= this.#tolerance) continue
      this.#violation(
        `${hold.machine.name} acts under ${nameOf(hold.key)} with fence ${hold.fence}, ${Math.round(now - other.actedAt)} ms after ${other.machine.name} did with ${other.fence}`
      )
    }
  }

  /** How long nobody has died, and nobody stood still. */
  calmFor(): number {
    let since = this.diedAt
    for (const machine of this.#processes.values()) since = Math.max(since, machine.stillUntil)
    return this.#world.now - since
  }

  /** How long nobody held a key, as far as one can know; those that died hold until their lease is over. */
  freeFor(key: string): number {
    const { now } = this.#world
    let since = 0
    for (const { endedAt, machine } of this.#holds.get(key) ?? []) {
      since = Math.max(since, endedAt ?? (machine.isGone ? machine.goneAt + 12_000 : now))
    }
    return now - since
  }

  /** A script of the lock gave an owner a fence, perhaps once more. */
  fenced(key: string, owner: string, fence: number): void {
    const given = `${key} ${owner} ${fence}`
    if (this.#issued.has(given)) return
    this.#issued.add(given)
    const last = this.#fences.get(key) ?? 0
    if (fence <= last) this.#violation(`redis gives ${owner} the fence ${fence} of ${key} after ${last}`)
    this.#fences.set(key, Math.max(last, fence))
  }

  /** Whether a renewal ended a living access token that somebody had under a lease since then. */
  wasEndedUnder(access: string, credentialId: string, generation: number, since: number): boolean {
    const endedAt = this.#known.access(access)?.endedAt
    const expiresAt = this.#expiries.get(access)
    if (endedAt === undefined || expiresAt === undefined || endedAt + epoch >= expiresAt - 2_000) return false
    // the spendings of its grant last before its end
    const ending = this.#known.presentations.findLast(({ sentAt, spent }) => spent && sentAt <= endedAt)
    return ending !== undefined && ending.sentAt > since && !this.#reported.has(`${credentialId}:${generation}`)
  }
}

const nameOf = (key: string) => {
  const [kind = "", id = ""] = key.split(":")
  return kind === "refresh" ? `refresh:${id.slice(0, 4)}` : `${kind}:${id.slice(-2)}`
}

const shortOf = (id: string) => (id.length > 12 ? `…${id.slice(-8)}` : id)
