/**
 * What this process has asked Redis for: sent, waited for, heard of, granted or withdrawn.
 *
 * @since 0.1.0
 */
import type { Request } from "../Authority.ts"
import type { Answer } from "./Alone.ts"
import { cohort, type Covers, RedisCover, unknownSpent } from "./Covers.ts"
import type { Endings } from "./Endings.ts"
import * as Scripts from "./Scripts.ts"
import { arrayOf, letterOf, retryMillis, type Session, standingName, unavailable } from "./Session.ts"

/** What was asked and neither granted nor withdrawn. */
interface Pending {
  readonly request: Request
  readonly keys: ReadonlyArray<string>
  owner: string
  /** A hold that ends in the same step, until the server has answered once. */
  old: RedisCover | undefined
  /** Whether it is asked only whether there is nobody else: once, as what follows is to be put in line. */
  isAlone: boolean
  isSending: boolean
  isOver: boolean
  /** Since when the server has not answered. */
  failingSince: number | undefined
  /** When the last request was sent that was answered "still waiting", and the server's time in that answer. */
  waiting: { readonly sentAt: number; readonly serverTime: number } | undefined
  /** A grant that was heard of before that answer. */
  pushed: string | undefined
  stopTimer: (() => void) | undefined
}

const fencesFor = ({ beside, standing }: Request) =>
  beside === undefined && standing === undefined ? cohort.grants : 1

/**
 * @since 0.1.0
 * @category models
 */
export class Requests {
  readonly #session: Session
  readonly #covers: Covers
  readonly #endings: Endings
  readonly #covered: () => void
  readonly #pendings = new Map<string, Pending>()
  #counter = 0

  /** `covered` is called for each cover that is to be renewed from now on. */
  constructor(session: Session, covers: Covers, endings: Endings, covered: () => void) {
    this.#session = session
    this.#covers = covers
    this.#endings = endings
    this.#covered = covered
  }

  /** Asks; what is `old` ends in the same step. The result withdraws it. */
  add(request: Request, keys: ReadonlyArray<string>, old: RedisCover | undefined): () => void {
    const pending: Pending = {
      request,
      keys,
      owner: this.#newOwner(request),
      old,
      isAlone:
        request.mode === "exclusive" &&
        request.beside === undefined &&
        (old === undefined || old.unchanged !== undefined),
      isSending: false,
      isOver: false,
      failingSince: undefined,
      waiting: undefined,
      pushed: undefined,
      stopTimer: undefined
    }
    this.#pendings.set(pending.owner, pending)
    this.#send(pending)
    return () => {
      if (!pending.isOver) this.#drop(pending)
    }
  }

  find(owner: string): Request | undefined {
    return this.#pendings.get(owner)?.request
  }

  sendAgain(): void {
    for (const pending of this.#pendings.values()) this.#send(pending)
  }

  /** Somebody has granted what is waited for: `fence|the server's time|ttl|owner`. */
  hear(message: string): void {
    const [fence, time, lasts, ...owner] = message.split("|")
    const pending = this.#pendings.get(owner.join("|"))
    if (pending === undefined) return
    const { isSending, request, waiting } = pending
    if (waiting === undefined || (request.standing !== undefined && isSending)) {
      pending.pushed = message
      return
    }
    // of a lease that nobody renews the whole ttl counts: asked anew, the server tells
    if (request.standing !== undefined) return this.#send(pending)
    // rule 2: counted from what this process knows to have been before the grant
    const { sentAt, serverTime } = waiting
    this.#grant(pending, Number(fence), sentAt + (Number(time) - serverTime) + Number(lasts), undefined)
  }

  #newOwner({ standing }: Request): string {
    return standing === undefined
      ? `${this.#session.inbox}.${(this.#counter++).toString(36)}`
      : standingName(standing.id)
  }

  #send(pending: Pending): void {
    if (pending.isSending || pending.isOver) return
    pending.isSending = true
    pending.stopTimer?.()
    const { after, alone, claim, evaluate, inbox, now, ttl, waiterLease } = this.#session
    const { keys, old, owner, request } = pending
    const sentAt = now()
    pending.failingSince ??= sentAt
    const lasts = request.standing?.ttl ?? ttl
    const late = Number.isFinite(request.virtualTime) ? Math.round(request.virtualTime - sentAt) : 0
    const yields = Math.max(0, Math.round(request.yieldsUntil - sentAt))
    const { above, beside } = request
    const fences = fencesFor(request)
    const { isAlone } = pending
    pending.isAlone = false
    const answer: Answer = (error, reply) => {
      if (pending.isOver || pending.owner !== owner) return
      pending.isSending = false
      if (error !== undefined) return this.#retry(pending)
      pending.failingSince = undefined
      if (reply === null) return this.#send(pending)
      pending.old = undefined
      if (typeof reply === "string") {
        return this.#grant(pending, Number.parseInt(reply, 10), sentAt + lasts, isAlone ? reply : undefined)
      }
      const [serverTime, wait] = arrayOf(reply)
      const isFirst = pending.waiting === undefined
      pending.waiting = { sentAt, serverTime: Number(serverTime) }
      const { pushed } = pending
      pending.pushed = undefined
      if (pushed !== undefined) return this.hear(pushed)
      // rule 4: a push may be lost
      const left = Number(wait) > 0 ? Number(wait) + 2 : Number.POSITIVE_INFINITY
      pending.stopTimer = after(Math.min(left, waiterLease / 3), () => this.#send(pending))
      if (isFirst) request.waits()
    }
    if (isAlone) {
      const used = old === undefined ? above : Math.max(above, old.lastFence)
      return alone(keys[0] ?? "", [Math.ceil(lasts), old?.unchanged?.state ?? "", owner, fences, used], answer)
    }
    evaluate(
      Scripts.acquire,
      keys,
      [
        owner,
        beside === undefined ? letterOf(request.mode) : `${letterOf(request.mode)}G`,
        lasts,
        fences,
        above,
        old?.name ?? "",
        `${late}|${yields}|${claim}|${waiterLease}|${inbox}|${beside ?? ""}`,
        ...(old?.spent ?? unknownSpent)
      ],
      answer
    )
  }

  #retry(pending: Pending): void {
    const { after, now, unavailableAfter } = this.#session
    if (pending.failingSince === undefined || now() - pending.failingSince < unavailableAfter) {
      pending.stopTimer = after(retryMillis, () => this.#send(pending))
      return
    }
    this.#drop(pending)
    pending.request.failed(unavailable())
  }

  /** Whatever the server did or will do about it is to be undone. */
  #drop(pending: Pending): void {
    this.#close(pending)
    this.#endings.add(pending.owner, pending.keys)
    if (pending.old !== undefined) this.#endings.add(pending.old.name, pending.keys, pending.old.spent)
  }

  #close(pending: Pending): void {
    pending.isOver = true
    pending.stopTimer?.()
    this.#pendings.delete(pending.owner)
  }

  #grant(pending: Pending, fence: number, deadline: number, state: string | undefined): void {
    const { keys, owner, request } = pending
    const { now } = this.#session
    // rule 1: what is not above the last fence used is of the past, as is what is over already
    if (fence <= request.above || deadline <= now()) {
      this.#pendings.delete(owner)
      this.#endings.add(owner, keys)
      Object.assign(pending, {
        owner: this.#newOwner(request),
        isSending: false,
        waiting: undefined,
        pushed: undefined
      })
      this.#pendings.set(pending.owner, pending)
      return this.#retry(pending)
    }
    this.#close(pending)
    const cover = new RedisCover(request, keys, owner, { fence, fences: fencesFor(request), deadline, state }, now)
    if (request.standing === undefined) {
      this.#covers.add(cover)
      this.#covered()
    }
    request.granted(cover)
  }
}
