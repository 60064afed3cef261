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
  /** On the monotonic clock, in milliseconds. */
  deadline: number
  /** Contenders that need not wait for this holder. */
  readonly lentTo: Set<string>
  /** Whether the hold ended otherwise than by its own release. */
  lost: boolean
  /** Called when the hold ends otherwise than by its own release. */
  readonly onLost: Set<() => void>
}

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
  readonly granted: (holder: Holder) => void
  readonly failed: (error: LockUnavailable) => void
}

/**
 * @since 0.1.0
 * @category models
 */
export class KeyActor {
  readonly key: string
  readonly #authority: Authority
  readonly #now: () => number
  readonly #onIdle: () => void
  readonly #onEnd: (holder: Holder) => void
  readonly #holders = new Map<string, Holder>()
  /** Ordered by virtual time; equals in the order of arrival. */
  readonly #queue: Array<Contender> = []
  #cover: Cover | undefined
  #withdraw: (() => void) | undefined

  constructor(options: {
    readonly key: string
    readonly authority: Authority
    readonly now: () => number
    readonly onIdle: () => void
    /** A hold is over, released or lost. */
    readonly onEnd: (holder: Holder) => void
  }) {
    this.key = options.key
    this.#authority = options.authority
    this.#now = options.now
    this.#onIdle = options.onIdle
    this.#onEnd = options.onEnd
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
  }

  /** Withdraws a contender that still waits; false when it does not (any more). */
  leave(contender: Contender): boolean {
    const at = this.#queue.indexOf(contender)
    if (at < 0) return false
    this.#queue.splice(at, 1)
    this.#serve()
    return true
  }

  /** Ends a hold; false when it had ended before. */
  release(id: string): boolean {
    this.#expire()
    const holder = this.#holders.get(id)
    if (holder === undefined) return false
    this.#end(holder)
    this.#serve()
    return true
  }

  /** Ends a hold against its holder's will. */
  revoke(id: string): void {
    const holder = this.#holders.get(id)
    if (holder === undefined) return
    this.#lose(holder)
    this.#serve()
  }

  /** Lets one contender pass this holder. */
  lend(lender: Holder, contenderId: string): void {
    lender.lentTo.add(contenderId)
    this.#serve()
  }

  /** Puts back a hold from before a restart, without asking anybody. */
  adopt(holder: Holder): void {
    this.#holders.set(holder.id, holder)
  }

  /** Ends the holds whose time is over, and serves whom that frees. */
  tick(): void {
    if (this.#expire()) this.#serve()
  }

  #expire(): boolean {
    const now = this.#now()
    let any = false
    for (const holder of this.#holders.values()) {
      if (holder.deadline > now) continue
      this.#lose(holder)
      any = true
    }
    return any
  }

  #end(holder: Holder): void {
    this.#holders.delete(holder.id)
    this.#onEnd(holder)
  }

  #lose(holder: Holder): void {
    holder.lost = true
    this.#end(holder)
    for (const listener of holder.onLost) listener()
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
        const cover = this.#coverFor(contender)
        if (cover === undefined) return
        const fence = cover.nextFence()
        if (fence === undefined) {
          this.#giveUpCover()
          continue
        }
        this.#queue.splice(at, 1)
        this.#grant(contender, cover, fence)
        continue
      }
      if (blocked !== "all") {
        const yields = contender.mode === "exclusive" && contender.yieldsUntil > this.#now()
        blocked = yields ? "exclusive" : "all"
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
    for (const holder of this.#holders.values()) if (holder.lentTo.has(contender.id)) return true
    return false
  }

  #anyLent(): boolean {
    for (const holder of this.#holders.values()) if (holder.lentTo.size > 0) return true
    return false
  }

  /** The cover to grant out of; asks for one when there is none that fits. */
  #coverFor(contender: Contender): Cover | undefined {
    if (this.#cover !== undefined && (this.#cover.mode === "exclusive" || contender.mode === "shared")) {
      return this.#cover
    }
    if (this.#withdraw !== undefined) return undefined
    this.#giveUpCover()
    let answered = false
    const withdraw = this.#authority.request({
      key: this.key,
      mode: contender.mode,
      virtualTime: contender.virtualTime,
      granted: (cover) => {
        const later = answered
        answered = true
        this.#withdraw = undefined
        this.#cover = cover
        if (later) this.#serve()
      },
      failed: (error) => {
        answered = true
        this.#withdraw = undefined
        for (const waiting of this.#queue.splice(0)) waiting.failed(error)
        this.#settle()
      }
    })
    if (!answered) {
      answered = true
      this.#withdraw = withdraw
    }
    return this.#cover
  }

  #grant(contender: Contender, cover: Cover, fence: number): void {
    const holder: Holder = {
      id: contender.id,
      mode: contender.mode,
      fence,
      deadline: Math.min(this.#now() + contender.ttl, cover.deadline),
      lost: false,
      lentTo: new Set(),
      onLost: new Set()
    }
    this.#holders.set(holder.id, holder)
    contender.granted(holder)
  }

  #giveUpCover(): void {
    const cover = this.#cover
    if (cover === undefined) return
    this.#cover = undefined
    this.#authority.handBack(this.key, cover)
  }

  #settle(): void {
    if (this.#holders.size > 0 || this.#queue.length > 0) return
    this.#withdraw?.()
    this.#withdraw = undefined
    this.#giveUpCover()
    this.#onIdle()
  }
}
