/**
 * The actor of one lock: a synchronous state machine that puts this process's contenders for a key in order. It runs no
 * fiber and does no I/O; only through its `Authority` does it reach other processes.
 *
 * @since 0.1.0
 */
import type { LockUnavailable } from "../CredentialsError.ts"
import { Asked } from "./Asked.ts"
import type { Authority, Cover, Mode, Sight } from "./Authority.ts"
import { type Contender, Queue } from "./Contender.ts"
import { Holder, type Share } from "./Holder.ts"
import { Loans } from "./Loans.ts"

interface Grant {
  readonly share: Share
  readonly fence: number
}

/**
 * What the actors of a process share.
 *
 * @since 0.1.0
 * @category models
 */
export interface Host {
  readonly authority: Authority
  readonly now: () => number
  /** A cover was granted whose end is to be watched. */
  readonly covered: (actor: KeyActor, cover: Cover) => void
  readonly uncovered: (cover: Cover) => void
  /** Nobody holds or waits. */
  readonly idle: (actor: KeyActor) => void
}

/**
 * @since 0.1.0
 * @category models
 */
export class KeyActor {
  readonly key: string
  readonly #host: Host
  readonly #holders: Array<Holder> = []
  readonly #queue = new Queue()
  readonly #loans = new Loans(this.#holders)
  /** Out of it the next are granted. */
  #share: Share | undefined
  readonly #asked = new Asked()
  /** Contenders of whom it is not known yet whether they have to wait. */
  #undecided: Array<Contender> = []
  #lastFence = 0

  constructor(key: string, host: Host) {
    this.key = key
    this.#host = host
  }

  get holders(): ReadonlyArray<Holder> {
    this.#expire()
    return [...this.#holders]
  }

  get waiting(): ReadonlyArray<Contender> {
    return this.#queue.all
  }

  sight(): Sight {
    return { holders: this.holders.map(({ fence, id, mode }) => ({ id, mode, fence })), waiting: this.#queue.length }
  }

  holder(id: string): Holder | undefined {
    this.#expire()
    return this.#find(id)
  }

  /** Answers by `granted` or `failed`, perhaps before it returns. */
  enter(contender: Contender): void {
    this.#queue.add(contender)
    this.#serve()
    if (!this.#queue.has(contender)) return
    if (this.#mayNotWait(contender)) this.#undecided.push(contender)
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
    const holder = this.#find(id)
    if (holder === undefined) return false
    this.#end(holder, "released")
    this.#serve()
    return true
  }

  /** Ends a hold against its holder's will. */
  revoke(id: string): void {
    const holder = this.#find(id)
    if (holder === undefined) return
    this.#end(holder, "lost")
    this.#serve()
  }

  /** Lets one contender pass this holder. */
  lend(lender: Holder, contenderId: string): void {
    lender.lend(contenderId)
    this.#serve()
  }

  /** Lets one contender pass a holder that the authority knows by this name, at the latest until a deadline. */
  lendElsewhere(name: string, deadline: number, contenderId: string): void {
    this.#loans.addElsewhere(name, deadline, contenderId)
    this.#serve()
  }

  /** Puts back a hold from before a restart, without asking anybody. */
  adopt(holder: Holder): void {
    this.#holders.push(holder)
    this.#lastFence = Math.max(this.#lastFence, holder.fence)
  }

  /** Ends the holds whose time is over, and serves whom that frees. */
  tick(): void {
    this.#serve()
  }

  #find(id: string): Holder | undefined {
    return this.#holders.find((holder) => holder.id === id)
  }

  #dequeue(contender: Contender): boolean {
    if (!this.#queue.remove(contender)) return false
    this.#decided(contender)
    this.#asked.withdrawPassing(contender)
    return true
  }

  #expire(): void {
    const now = this.#host.now()
    for (let at = this.#holders.length - 1; at >= 0; at--) {
      const holder = this.#holders[at]
      if (holder !== undefined && holder.end <= now) this.#end(holder, "lost")
    }
    this.#loans.expire(now)
    if (this.#share !== undefined && this.#share.cover.deadline <= now) this.#retire()
  }

  #handBack(cover: Cover): void {
    this.#host.uncovered(cover)
    this.#host.authority.handBack(this.key, cover)
  }

  #end(holder: Holder, state: "released" | "lost"): void {
    this.#holders.splice(this.#holders.indexOf(holder), 1)
    const { share } = holder
    if (share !== undefined) {
      share.holders--
      if (share !== this.#share && share.holders === 0) this.#handBack(share.cover)
    }
    holder.close(state)
  }

  #serve(): void {
    this.#expire()
    let blocked: "none" | "exclusive" | "all" = "none"
    for (let at = 0; at < this.#queue.length;) {
      const contender = this.#queue.at(at)
      if (contender === undefined) break
      const inTurn = blocked === "none" || (blocked === "exclusive" && contender.mode === "shared")
      // who was lent a hold passes the queue: its lender waits for it
      if ((inTurn || this.#loans.isLent(contender.id)) && this.#isFree(contender)) {
        const grant = this.#grantFor(contender)
        if (grant !== undefined) {
          this.#queue.remove(contender)
          this.#decided(contender)
          this.#grant(contender, grant)
          continue
        }
        // the authority failed, and everybody was told
        if (this.#queue.at(at) !== contender) break
      }
      if (inTurn || contender.mode === "exclusive") {
        const yields = contender.mode === "exclusive" && contender.yieldsUntil > this.#host.now()
        if (!yields || this.#asked.isPassing(contender)) blocked = "all"
        else if (blocked === "none") blocked = "exclusive"
      }
      if (blocked === "all" && this.#loans.isEmpty) break
      at++
    }
    this.#settle()
  }

  #isFree(contender: Contender): boolean {
    for (const holder of this.#holders) {
      const compatible = holder.mode === "shared" && contender.mode === "shared"
      if (!compatible && !holder.isLentTo(contender.id)) return false
    }
    return true
  }

  /** Something to grant the contender out of; when there is nothing (yet), it has been asked for. */
  #grantFor(contender: Contender): Grant | undefined {
    const lender = this.#loans.lenderOf(contender.id)
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
      const before = this.#asked.of(contender.mode)
      if (before !== undefined && before.virtualTime <= contender.virtualTime) return undefined
      before?.withdraw()
      this.#ask(contender)
      if (this.#share === undefined || this.#share === share) return undefined
    }
  }

  #ask(contender: Contender): void {
    const { mode, virtualTime } = contender
    const pending = this.#asked.add(mode, virtualTime)
    if (this.#share?.holders === 0) this.#retire()
    let asking = true
    pending.withdraw = this.#host.authority.request({
      key: this.key,
      mode,
      virtualTime,
      yieldsUntil: contender.yieldsUntil,
      above: this.#lastFence,
      sight: () => this.sight(),
      granted: (cover) => {
        this.#asked.remove(mode, pending)
        this.#retire()
        this.#share = { cover, holders: 0 }
        this.#host.covered(this, cover)
        if (!asking) this.#serve()
      },
      failed: (error) => {
        this.#asked.remove(mode, pending)
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
    if (this.#asked.isPassing(contender)) return undefined
    const pending = this.#asked.addPassing(contender)
    pending.withdraw = this.#host.authority.request({
      key: this.key,
      mode: contender.mode,
      virtualTime: Number.NEGATIVE_INFINITY,
      yieldsUntil: 0,
      above: this.#lastFence,
      sight: () => this.sight(),
      beside,
      granted: (cover) => {
        this.#asked.removePassing(contender)
        const fence = cover.nextFence()
        this.#host.covered(this, cover)
        if (fence === undefined || !this.#isFree(contender) || !this.#dequeue(contender)) {
          this.#handBack(cover)
        } else {
          this.#grant(contender, { share: { cover, holders: 0 }, fence })
        }
        this.#serve()
      },
      failed: (error) => {
        this.#asked.removePassing(contender)
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
    const waiting = this.#queue.clear()
    this.#undecided.length = 0
    for (const contender of waiting) {
      this.#asked.withdrawPassing(contender)
      contender.failed(error)
    }
    this.#settle()
  }

  #grant(contender: Contender, { fence, share }: Grant): void {
    this.#lastFence = Math.max(this.#lastFence, fence)
    share.holders++
    const { id, mode, ttl } = contender
    const holder = new Holder({
      id,
      mode,
      fence,
      deadline: ttl === Number.POSITIVE_INFINITY ? ttl : this.#host.now() + ttl,
      share
    })
    this.#holders.push(holder)
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
    if (this.#undecided.length > 0) this.#decide()
    this.#asked.withdrawUnless((mode) => this.#queue.hasMode(mode))
    if (this.#share?.holders === 0) this.#retire()
    if (this.#holders.length > 0 || this.#queue.length > 0 || this.#loans.hasElsewhere) return
    this.#host.idle(this)
  }

  /** Tells those of whom it is known by now that they have to wait. */
  #decide(): void {
    for (const contender of this.#undecided.slice()) {
      if (this.#mayNotWait(contender)) continue
      this.#decided(contender)
      contender.mustWait()
    }
  }

  #decided(contender: Contender): void {
    const at = this.#undecided.indexOf(contender)
    if (at >= 0) this.#undecided.splice(at, 1)
  }

  /** Whether it may yet be granted without a wait. */
  #mayNotWait(contender: Contender): boolean {
    const pending = this.#asked.for(contender)
    return pending !== undefined && !pending.waits && this.#isFree(contender)
  }
}

const serves = (cover: Cover, mode: Mode): boolean => cover.mode === "both" || cover.mode === mode
