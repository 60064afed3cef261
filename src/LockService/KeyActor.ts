/**
 * The actor of one lock: a synchronous state machine that puts this process's contenders for a key in order. It runs no
 * fiber and does no I/O; only through its `Authority` does it reach other processes.
 *
 * @since 0.1.0
 */
import type { LockUnavailable } from "../CredentialsError.ts"
import type { Authority, Cover, Mode } from "./Authority.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Holder {
  readonly id: string
  readonly mode: Mode
  readonly fence: number
  /** Its own end, on the monotonic clock in milliseconds; it may not outlive its cover either. */
  deadline: number
  /** What it was granted out of; nothing when it was not granted here. */
  readonly share: Share | undefined
  /** Contenders that need not wait for this holder. */
  readonly lentTo: Set<string>
  state: "held" | "released" | "lost"
  /** Called when the hold is over. */
  readonly onEnd: Set<() => void>
}

/**
 * A cover, and how many hold out of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Share {
  readonly cover: Cover
  holders: number
}

/**
 * When a hold ends unless prolonged.
 *
 * @since 0.1.0
 * @category getters
 */
export const endOf = (holder: Holder): number =>
  holder.share === undefined ? holder.deadline : Math.min(holder.deadline, holder.share.cover.deadline)

/**
 * A hold that begins.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeHolder = ({
  deadline,
  fence,
  id,
  mode,
  share
}: Omit<Holder, "lentTo" | "state" | "onEnd">): Holder => ({
  id,
  mode,
  fence,
  deadline,
  share,
  lentTo: new Set(),
  state: "held",
  onEnd: new Set()
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Contender {
  readonly id: string
  readonly mode: Mode
  /** Its place in the queue: when it came, in milliseconds, plus the penalty of its class. */
  readonly virtualTime: number
  /** Until then readers may pass an exclusive contender that is waiting. */
  readonly yieldsUntil: number
  /** How long the hold lasts unless renewed, in milliseconds. */
  readonly ttl: number
  /** Called once, as soon as it is known that the contender has to wait; it may leave. */
  readonly mustWait: () => void
  readonly granted: (holder: Holder) => void
  readonly failed: (error: LockUnavailable) => void
}

/** What was asked of the authority and not granted yet. */
interface Pending {
  readonly virtualTime: number
  /** Whether the authority said that others hold it. */
  waits: boolean
  withdraw: () => void
}

interface Grant {
  readonly share: Share
  readonly fence: number
}

const modes: ReadonlyArray<Mode> = ["exclusive", "shared"]

/**
 * @since 0.1.0
 * @category models
 */
export class KeyActor {
  readonly key: string
  readonly #authority: Authority
  readonly #now: () => number
  readonly #onCover: (cover: Cover) => void
  readonly #onCoverEnd: (cover: Cover) => void
  readonly #onIdle: () => void
  readonly #holders = new Map<string, Holder>()
  /** Ordered by virtual time; equals in the order of arrival. */
  readonly #queue: Array<Contender> = []
  /** Out of it the next are granted. */
  #share: Share | undefined
  #exclusive: Pending | undefined
  #shared: Pending | undefined
  /** Leases elsewhere beside which a contender may pass: contender to lender. */
  #lentElsewhere: Map<string, { readonly name: string; readonly deadline: number }> | undefined
  /** What was asked for contenders that pass beside a lender. */
  #passing: Map<Contender, Pending> | undefined
  /** Contenders of whom it is not known yet whether they have to wait. */
  #undecided: Set<Contender> | undefined
  #lastFence = 0

  constructor(options: {
    readonly key: string
    readonly authority: Authority
    readonly now: () => number
    /** A cover was granted whose end is to be watched. */
    readonly onCover: (cover: Cover) => void
    readonly onCoverEnd: (cover: Cover) => void
    readonly onIdle: () => void
  }) {
    this.key = options.key
    this.#authority = options.authority
    this.#now = options.now
    this.#onCover = options.onCover
    this.#onCoverEnd = options.onCoverEnd
    this.#onIdle = options.onIdle
  }

  get holders(): ReadonlyArray<Holder> {
    this.#expire()
    return [...this.#holders.values()]
  }

  get waiting(): ReadonlyArray<Contender> {
    return this.#queue
  }

  holder(id: string): Holder | undefined {
    this.#expire()
    return this.#holders.get(id)
  }

  /** Answers by `granted` or `failed`, perhaps before it returns. */
  enter(contender: Contender): void {
    let at = this.#queue.length
    while (at > 0 && (this.#queue[at - 1]?.virtualTime ?? 0) > contender.virtualTime) at--
    this.#queue.splice(at, 0, contender)
    this.#serve()
    if (!this.#queue.includes(contender)) return
    if (this.#mayNotWait(contender)) this.#undecided = (this.#undecided ?? new Set()).add(contender)
    else contender.mustWait()
  }

  /** Withdraws a contender that still waits; false when it does not (any more). */
  leave(contender: Contender): boolean {
    if (!this.#dequeue(contender)) return false
    this.#serve()
    return true
  }

  /** Ends a hold; false when it had ended before. */
  release(id: string): boolean {
    this.#expire()
    const holder = this.#holders.get(id)
    if (holder === undefined) return false
    this.#end(holder, "released")
    this.#serve()
    return true
  }

  /** Ends a hold against its holder's will. */
  revoke(id: string): void {
    const holder = this.#holders.get(id)
    if (holder === undefined) return
    this.#end(holder, "lost")
    this.#serve()
  }

  /** Lets one contender pass this holder. */
  lend(lender: Holder, contenderId: string): void {
    lender.lentTo.add(contenderId)
    this.#serve()
  }

  /** Lets one contender pass a holder that the authority knows by this name, at the latest until a deadline. */
  lendElsewhere(name: string, deadline: number, contenderId: string): void {
    this.#lentElsewhere = (this.#lentElsewhere ?? new Map()).set(contenderId, { name, deadline })
    this.#serve()
  }

  /** Puts back a hold from before a restart, without asking anybody. */
  adopt(holder: Holder): void {
    this.#holders.set(holder.id, holder)
    this.#lastFence = Math.max(this.#lastFence, holder.fence)
  }

  /** Ends the holds whose time is over, and serves whom that frees. */
  tick(): void {
    this.#serve()
  }

  #dequeue(contender: Contender): boolean {
    const at = this.#queue.indexOf(contender)
    if (at < 0) return false
    this.#queue.splice(at, 1)
    this.#undecided?.delete(contender)
    this.#passing?.get(contender)?.withdraw()
    this.#passing?.delete(contender)
    return true
  }

  #expire(): void {
    const now = this.#now()
    for (const holder of this.#holders.values()) if (endOf(holder) <= now) this.#end(holder, "lost")
    for (const [id, { deadline }] of this.#lentElsewhere ?? []) if (deadline <= now) this.#lentElsewhere?.delete(id)
    if (this.#share !== undefined && this.#share.cover.deadline <= now) this.#retire()
  }

  #handBack(cover: Cover): void {
    this.#onCoverEnd(cover)
    this.#authority.handBack(this.key, cover)
  }

  #end(holder: Holder, state: "released" | "lost"): void {
    this.#holders.delete(holder.id)
    holder.state = state
    const { share } = holder
    if (share !== undefined) {
      share.holders--
      if (share !== this.#share && share.holders === 0) this.#handBack(share.cover)
    }
    for (const listener of holder.onEnd) listener()
  }

  #serve(): void {
    this.#expire()
    let blocked: "none" | "exclusive" | "all" = "none"
    for (let at = 0; at < this.#queue.length;) {
      const contender = this.#queue[at]
      if (contender === undefined) break
      const inTurn = blocked === "none" || (blocked === "exclusive" && contender.mode === "shared")
      // who was lent a hold passes the queue: its lender waits for it
      if ((inTurn || this.#isLent(contender)) && this.#isFree(contender)) {
        const grant = this.#grantFor(contender)
        if (grant !== undefined) {
          this.#queue.splice(at, 1)
          this.#undecided?.delete(contender)
          this.#grant(contender, grant)
          continue
        }
        // the authority failed, and everybody was told
        if (this.#queue[at] !== contender) break
      }
      if (inTurn || contender.mode === "exclusive") {
        const yields = contender.mode === "exclusive" && contender.yieldsUntil > this.#now()
        if (!yields || this.#passing?.has(contender) === true) blocked = "all"
        else if (blocked === "none") blocked = "exclusive"
      }
      if (blocked === "all" && !this.#anyLent()) break
      at++
    }
    this.#settle()
  }

  #isFree(contender: Contender): boolean {
    for (const holder of this.#holders.values()) {
      const compatible = holder.mode === "shared" && contender.mode === "shared"
      if (!compatible && !holder.lentTo.has(contender.id)) return false
    }
    return true
  }

  #isLent(contender: Contender): boolean {
    if (this.#lentElsewhere?.has(contender.id) === true) return true
    for (const holder of this.#holders.values()) if (holder.lentTo.has(contender.id)) return true
    return false
  }

  #anyLent(): boolean {
    if ((this.#lentElsewhere?.size ?? 0) > 0) return true
    for (const holder of this.#holders.values()) if (holder.lentTo.size > 0) return true
    return false
  }

  /** Something to grant the contender out of; when there is nothing (yet), it has been asked for. */
  #grantFor(contender: Contender): Grant | undefined {
    const lender = this.#lenderOf(contender)
    if (lender?.share !== undefined && serves(lender.share.cover, contender.mode)) {
      const fence = lender.share.cover.nextFence()
      if (fence !== undefined) return { share: lender.share, fence }
    }
    if (lender?.name !== undefined) return this.#askToPass(contender, lender.name)
    for (;;) {
      const share = this.#share
      if (share !== undefined && serves(share.cover, contender.mode)) {
        const fence = share.cover.nextFence()
        if (fence !== undefined) return { share, fence }
      }
      const before = this.#pendingOf(contender.mode)
      if (before !== undefined && before.virtualTime <= contender.virtualTime) return undefined
      before?.withdraw()
      this.#ask(contender)
      if (this.#share === undefined || this.#share === share) return undefined
    }
  }

  #lenderOf(contender: Contender): { readonly name: string | undefined; readonly share?: Share } | undefined {
    const elsewhere = this.#lentElsewhere?.get(contender.id)
    if (elsewhere !== undefined) return elsewhere
    for (const { lentTo, share } of this.#holders.values()) {
      if (lentTo.has(contender.id) && share !== undefined) return { name: share.cover.name, share }
    }
    return undefined
  }

  #pendingOf(mode: Mode): Pending | undefined {
    return mode === "exclusive" ? this.#exclusive : this.#shared
  }

  #setPending(mode: Mode, pending: Pending | undefined): void {
    if (mode === "exclusive") this.#exclusive = pending
    else this.#shared = pending
  }

  #ask(contender: Contender): void {
    const { mode, virtualTime } = contender
    const pending: Pending = { virtualTime, waits: false, withdraw: () => {} }
    this.#setPending(mode, pending)
    const answered = () => {
      if (this.#pendingOf(mode) === pending) this.#setPending(mode, undefined)
    }
    if (this.#share?.holders === 0) this.#retire()
    let asking = true
    pending.withdraw = this.#authority.request({
      key: this.key,
      mode,
      virtualTime,
      yieldsUntil: contender.yieldsUntil,
      above: this.#lastFence,
      granted: (cover) => {
        answered()
        this.#retire()
        this.#share = { cover, holders: 0 }
        this.#onCover(cover)
        if (!asking) this.#serve()
      },
      failed: (error) => {
        answered()
        this.#fail(error)
      },
      waits: () => {
        pending.waits = true
        if (!asking) this.#serve()
      },
      ended: () => this.tick()
    })
    asking = false
  }

  #askToPass(contender: Contender, beside: string): Grant | undefined {
    if (this.#passing?.has(contender) === true) return undefined
    const pending: Pending = { virtualTime: 0, waits: false, withdraw: () => {} }
    this.#passing = (this.#passing ?? new Map()).set(contender, pending)
    pending.withdraw = this.#authority.request({
      key: this.key,
      mode: contender.mode,
      virtualTime: Number.NEGATIVE_INFINITY,
      yieldsUntil: 0,
      above: this.#lastFence,
      beside,
      granted: (cover) => {
        this.#passing?.delete(contender)
        const fence = cover.nextFence()
        this.#onCover(cover)
        if (fence === undefined || !this.#isFree(contender) || !this.#dequeue(contender)) {
          this.#handBack(cover)
        } else {
          this.#grant(contender, { share: { cover, holders: 0 }, fence })
        }
        this.#serve()
      },
      failed: (error) => {
        this.#passing?.delete(contender)
        this.#dequeue(contender)
        contender.failed(error)
        this.#serve()
      },
      waits: () => {
        pending.waits = true
        this.#serve()
      },
      ended: () => this.tick()
    })
    return undefined
  }

  #fail(error: LockUnavailable): void {
    const waiting = this.#queue.splice(0)
    this.#undecided?.clear()
    for (const contender of waiting) {
      this.#passing?.get(contender)?.withdraw()
      this.#passing?.delete(contender)
      contender.failed(error)
    }
    this.#settle()
  }

  #grant(contender: Contender, { fence, share }: Grant): void {
    this.#lastFence = Math.max(this.#lastFence, fence)
    share.holders++
    const { id, mode, ttl } = contender
    const holder = makeHolder({ id, mode, fence, deadline: this.#now() + ttl, share })
    this.#holders.set(id, holder)
    contender.granted(holder)
  }

  /** Grants no more out of the cover; it goes back with its last holder. */
  #retire(): void {
    const share = this.#share
    this.#share = undefined
    if (share?.holders === 0) this.#handBack(share.cover)
  }

  /** Nothing is kept that nobody waits for. */
  #settle(): void {
    for (const contender of this.#undecided ?? []) {
      if (this.#mayNotWait(contender)) continue
      this.#undecided?.delete(contender)
      contender.mustWait()
    }
    for (const mode of modes) {
      const pending = this.#pendingOf(mode)
      if (pending === undefined || this.#queue.some((contender) => contender.mode === mode)) continue
      this.#setPending(mode, undefined)
      pending.withdraw()
    }
    if (this.#share?.holders === 0) this.#retire()
    if (this.#holders.size > 0 || this.#queue.length > 0 || (this.#lentElsewhere?.size ?? 0) > 0) return
    this.#onIdle()
  }

  /** Whether it may yet be granted without a wait. */
  #mayNotWait(contender: Contender): boolean {
    const pending = this.#passing?.get(contender) ?? this.#pendingOf(contender.mode)
    return pending !== undefined && !pending.waits && this.#isFree(contender)
  }
}

const serves = (cover: Cover, mode: Mode): boolean => cover.mode === "both" || cover.mode === mode
