/**
 * Locks that processes share, in Redis: exclusion on one server while clock rates agree, the server's clock does not step
 * back, and holders call `check`. Out of reach, nothing is granted and holders lose their leases at their own deadline. Over
 * a failover or a loss of data the fencing tokens still rise; what is stored is kept safe by compare-and-set.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { createHash, randomBytes } from "node:crypto"
import { LeaseLost, LockUnavailable } from "../CredentialsError.ts"
import { LockService, make as makeLocks } from "../LockService.ts"
import { Redis, type RedisError, type Argument, type Script } from "../Redis.ts"
import type { Authority, Cover, Mode, Request, Stand } from "./Authority.ts"
import * as Scripts from "./Scripts.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long a lease outlives its process; renewed at a third of it. Default 10 seconds. */
  readonly ttl?: Duration.DurationInput | undefined
  /** How long a grant lasts that its process has not confirmed. Default 2 seconds. */
  readonly claim?: Duration.DurationInput | undefined
  /** How long a waiter is remembered that does not ask again; it asks at a third of it. Default 6 seconds. */
  readonly waiterLease?: Duration.DurationInput | undefined
  /** How long a failing server is asked again before who waits gets `LockUnavailable`. Default 1 second. */
  readonly unavailableAfter?: Duration.DurationInput | undefined
}

/** So many are served out of one exclusive cover, and for so long, before other processes have their turn. */
const cohort = { grants: 32, millis: 50 }

/** A failed command is tried again after so many milliseconds, unless the connection comes back first. */
const retryMillis = 50

class RedisCover implements Cover {
  readonly keys: ReadonlyArray<string>
  readonly request: Request
  readonly name: string
  readonly mode: Mode
  deadline: number
  renewAt: number
  isRenewing = false
  /** Whether a writer waits elsewhere. */
  isClosed = false
  isOver = false
  readonly #now: () => number
  readonly #last: number
  readonly #cohortEnd: number
  #next: number
  #granted = false

  constructor(fields: {
    readonly request: Request
    readonly keys: ReadonlyArray<string>
    readonly name: string
    readonly fence: number
    readonly fences: number
    readonly deadline: number
    readonly now: () => number
  }) {
    this.request = fields.request
    this.keys = fields.keys
    this.name = fields.name
    this.mode = fields.request.mode
    this.deadline = fields.deadline
    this.#now = fields.now
    this.renewAt = fields.now() + (fields.deadline - fields.now()) / 3
    this.#next = fields.fence
    this.#last = fields.fence + fields.fences - 1
    this.#cohortEnd = this.mode === "exclusive" ? fields.now() + cohort.millis : Number.POSITIVE_INFINITY
  }

  readonly nextFence = (): number | undefined => {
    if (this.#next > this.#last || this.isClosed) return undefined
    if (this.#granted && this.#now() > this.#cohortEnd) return undefined
    this.#granted = true
    return this.#next++
  }
}

/** What was asked and neither granted nor withdrawn. */
interface Pending {
  readonly request: Request
  readonly keys: ReadonlyArray<string>
  owner: string
  /** A hold that ends in the same step, until the server has answered once. */
  old: string
  isSending: boolean
  isOver: boolean
  /** Since when the server has not answered. */
  failingSince: number | undefined
  /** When the last request was sent that was answered "still waiting", and the server's time in that answer. */
  waiting: { readonly sentAt: number; readonly serverTime: number } | undefined
  /** A grant that was heard of before that answer. */
  pushed: string | undefined
  stopTimer: () => void
}

/** What is to end in Redis, until the server has said so. */
interface Ending {
  readonly keys: ReadonlyArray<string>
  readonly until: number
  isSending: boolean
}

const keysOf = (key: string): ReadonlyArray<string> => {
  const digest = createHash("sha256").update(key, "utf8").digest()
  const bucket = String((digest[0] ?? 0) % 64).padStart(2, "0")
  const base = `lk:{b${bucket}}:${digest.toString("base64url", 0, 18)}:`
  return ["h", "f", "q", "w", "r", "g"].map((name) => base + name)
}

const nameOf = (id: string) => `t:${id}`

const letterOf = (mode: Mode) => (mode === "exclusive" ? "X" : "S")
const modeOf = (letter: unknown): Mode => (letter === "X" ? "exclusive" : "shared")

const unavailable = () => new LockUnavailable({ retryAfterSeconds: 1 })

const arrayOf = (reply: unknown): ReadonlyArray<unknown> => (Array.isArray(reply) ? reply : [])

/**
 * @since 0.1.0
 * @category constructors
 */
export const makeAuthority = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Authority, RedisError, Redis | Scope.Scope> {
  const redis = yield* Redis
  const clock = yield* Effect.clock
  const now = () => Number(clock.unsafeCurrentTimeNanos()) / 1e6
  const runFork = yield* FiberSet.makeRuntime<never>()
  const ttl = Math.round(Duration.toMillis(options.ttl ?? "10 seconds"))
  const claim = Math.min(ttl, Math.round(Duration.toMillis(options.claim ?? "2 seconds")))
  const waiterLease = Math.round(Duration.toMillis(options.waiterLease ?? "6 seconds"))
  const unavailableAfter = Duration.toMillis(options.unavailableAfter ?? "1 second")
  const inbox = `lk:inbox:${randomBytes(9).toString("base64url")}`

  const pendings = new Map<string, Pending>()
  const covers = new Map<string, RedisCover>()
  const endings = new Map<string, Ending>()
  /** Handed back in this very step; a request that follows takes one along. */
  const handedBack = new Map<string, RedisCover>()
  let counter = 0
  let unanswered = 0
  let isTicking = false

  const after = (millis: number, run: () => void): (() => void) => {
    const timer = runFork(Effect.zipRight(Effect.sleep(millis), Effect.sync(run)))
    return () => timer.unsafeInterruptAsFork(FiberId.none)
  }

  const evaluate = (
    script: Script,
    keys: ReadonlyArray<string>,
    parameters: ReadonlyArray<Argument>,
    answer: (error: RedisError | undefined, reply: unknown) => void
  ): void => {
    unanswered++
    redis.evaluate(script, keys, parameters, (error, reply) => {
      unanswered--
      answer(error, reply)
    })
  }

  /** Renews what is due, and ends what the server has not confirmed to have ended, as long as there is any. */
  const tick = (): void => {
    const time = now()
    for (const cover of covers.values()) if (cover.renewAt <= time) renewCover(cover)
    for (const [owner, ending] of endings) {
      if (ending.until <= time) endings.delete(owner)
      else sendEnding(owner, ending)
    }
    isTicking = covers.size > 0 || endings.size > 0
    if (isTicking) after(Math.min(200, claim / 12, ttl / 12), tick)
  }

  const startTicking = (): void => {
    if (isTicking) return
    isTicking = true
    after(Math.min(200, claim / 12, ttl / 12), tick)
  }

  const sendEnding = (owner: string, ending: Ending): void => {
    if (ending.isSending) return
    ending.isSending = true
    evaluate(Scripts.release, ending.keys, [owner], (error) => {
      ending.isSending = false
      if (error === undefined) endings.delete(owner)
      else startTicking()
    })
  }

  const end = (owner: string, keys: ReadonlyArray<string>): void => {
    const ending: Ending = { keys, until: now() + ttl + waiterLease, isSending: false }
    endings.set(owner, ending)
    sendEnding(owner, ending)
  }

  const renewCover = (cover: RedisCover): void => {
    if (cover.isRenewing || cover.isOver) return
    cover.isRenewing = true
    const sentAt = now()
    evaluate(Scripts.renew, cover.keys, [cover.name, ttl], (error, reply) => {
      cover.isRenewing = false
      if (cover.isOver || cover.deadline <= now()) return
      if (error !== undefined) {
        cover.renewAt = now() + retryMillis
        return
      }
      const [held, , , writer] = arrayOf(reply)
      if (held !== 1) {
        cover.deadline = Number.NEGATIVE_INFINITY
        cover.request.ended()
        return
      }
      cover.deadline = sentAt + ttl
      cover.renewAt = sentAt + ttl / 3
      if (writer === 1) cover.isClosed = true
    })
  }

  const fencesFor = ({ beside, standing }: Request) =>
    beside === undefined && standing === undefined ? cohort.grants : 1

  const newOwner = ({ standing }: Request) =>
    standing === undefined ? `${inbox}.${(counter++).toString(36)}` : nameOf(standing.id)

  const send = (pending: Pending): void => {
    if (pending.isSending || pending.isOver) return
    pending.isSending = true
    pending.stopTimer()
    const { keys, old, owner, request } = pending
    const sentAt = now()
    pending.failingSince ??= sentAt
    const lasts = request.standing?.ttl ?? ttl
    evaluate(
      Scripts.acquire,
      keys,
      [
        owner,
        letterOf(request.mode),
        Number.isFinite(request.virtualTime) ? Math.round(request.virtualTime - sentAt) : 0,
        lasts,
        claim,
        fencesFor(request),
        waiterLease,
        Math.max(0, Math.round(request.yieldsUntil - sentAt)),
        request.above,
        inbox,
        request.beside ?? "",
        old
      ],
      (error, reply) => {
        if (pending.isOver || pending.owner !== owner) return
        pending.isSending = false
        if (error !== undefined) return retry(pending)
        pending.failingSince = undefined
        pending.old = ""
        const [granted, value, wait] = arrayOf(reply)
        if (granted === 1) return grant(pending, Number(value), sentAt + lasts)
        const isFirst = pending.waiting === undefined
        pending.waiting = { sentAt, serverTime: Number(value) }
        if (pending.pushed !== undefined) return hear(pending.pushed)
        // rule 4: a push may be lost
        const left = Number(wait) > 0 ? Number(wait) + 2 : Number.POSITIVE_INFINITY
        pending.stopTimer = after(Math.min(left, waiterLease / 3), () => send(pending))
        if (isFirst) request.waits()
      }
    )
  }

  const retry = (pending: Pending): void => {
    if (pending.failingSince === undefined || now() - pending.failingSince < unavailableAfter) {
      pending.stopTimer = after(retryMillis, () => send(pending))
      return
    }
    drop(pending)
    pending.request.failed(unavailable())
  }

  /** Whatever the server did or will do about it is to be undone. */
  const drop = (pending: Pending): void => {
    pending.isOver = true
    pending.stopTimer()
    pendings.delete(pending.owner)
    end(pending.owner, pending.keys)
    if (pending.old !== "") end(pending.old, pending.keys)
  }

  const grant = (pending: Pending, fence: number, deadline: number): void => {
    const { keys, owner, request } = pending
    // rule 1: what is not above the last fence used is of the past, as is what is over already
    if (fence <= request.above || deadline <= now()) {
      pendings.delete(owner)
      end(owner, keys)
      Object.assign(pending, { owner: newOwner(request), isSending: false, waiting: undefined, pushed: undefined })
      pendings.set(pending.owner, pending)
      return retry(pending)
    }
    pending.isOver = true
    pending.stopTimer()
    pendings.delete(owner)
    const cover = new RedisCover({ request, keys, name: owner, fence, fences: fencesFor(request), deadline, now })
    if (request.standing === undefined) {
      covers.set(owner, cover)
      startTicking()
    }
    request.granted(cover)
  }

  const hear = (message: string): void => {
    const [kind = "", ...parts] = message.split("|")
    if (kind === "c") {
      const cover = covers.get(parts.join("|"))
      if (cover !== undefined) cover.isClosed = true
      return
    }
    const [fence, time, lasts, ...owner] = parts
    const pending = pendings.get(owner.join("|"))
    if (pending === undefined) return
    if (pending.request.standing !== undefined) return send(pending)
    if (pending.waiting === undefined) {
      pending.pushed = message
      return
    }
    // rule 2: counted from what this process knows to have been before the grant
    const { sentAt, serverTime } = pending.waiting
    grant(pending, Number(fence), sentAt + (Number(time) - serverTime) + Number(lasts))
  }

  const request = (request: Request): (() => void) => {
    const before = handedBack.get(request.key)
    handedBack.delete(request.key)
    const pending: Pending = {
      request,
      keys: before?.keys ?? keysOf(request.key),
      owner: newOwner(request),
      old: before?.name ?? "",
      isSending: false,
      isOver: false,
      failingSince: undefined,
      waiting: undefined,
      pushed: undefined,
      stopTimer: () => {}
    }
    pendings.set(pending.owner, pending)
    send(pending)
    return () => {
      if (!pending.isOver) drop(pending)
    }
  }

  const handBack = (key: string, cover: Cover): void => {
    if (!(cover instanceof RedisCover) || cover.isOver) return
    cover.isOver = true
    covers.delete(cover.name)
    if (handedBack.size === 0) queueMicrotask(endHandedBack)
    const other = handedBack.get(key)
    if (other !== undefined) end(other.name, other.keys)
    handedBack.set(key, cover)
  }

  const endHandedBack = (): void => {
    for (const cover of handedBack.values()) end(cover.name, cover.keys)
    handedBack.clear()
  }

  const ask = (script: Script, key: string, parameters: ReadonlyArray<Argument>) =>
    Effect.async<{ readonly sentAt: number; readonly reply: unknown }, LockUnavailable>((resume) => {
      const keys = keysOf(key)
      const since = now()
      const attempt = (): void => {
        const sentAt = now()
        evaluate(script, keys, parameters, (error, reply) => {
          if (error === undefined) resume(Effect.succeed({ sentAt, reply }))
          else if (now() - since < unavailableAfter) after(retryMillis, attempt)
          else resume(Effect.fail(unavailable()))
        })
      }
      attempt()
    })

  // rule 5: what was granted before the connection broke may be gone
  const verify = (): void => {
    for (const cover of covers.values()) {
      cover.isRenewing = false
      renewCover(cover)
    }
    for (const pending of pendings.values()) send(pending)
    for (const [owner, ending] of endings) sendEnding(owner, ending)
  }

  yield* redis.subscribe(inbox, hear)
  yield* redis.onReconnect(verify)
  // what is handed back at the end is still to be sent, and heard by the server
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      endHandedBack()
      const until = now() + unavailableAfter
      const wait: Effect.Effect<void> = Effect.suspend(() =>
        unanswered === 0 || now() > until ? Effect.void : Effect.zipRight(Effect.sleep(2), wait)
      )
      return wait
    })
  )

  return {
    request,
    handBack,
    ping: Effect.mapError(redis.ping, unavailable),
    standing: {
      nameOf,
      renew: (key, id, ttl) =>
        Effect.flatMap(ask(Scripts.renew, key, [nameOf(id), Math.round(ttl)]), ({ reply, sentAt }) => {
          const [held, mode, fence] = arrayOf(reply)
          return held === 1
            ? Effect.succeed({ id, mode: modeOf(mode), fence: Number(fence), deadline: sentAt + ttl })
            : Effect.fail(new LeaseLost())
        }),
      release: (key, id) =>
        Effect.async((resume) => {
          const keys = keysOf(key)
          evaluate(Scripts.release, keys, [nameOf(id)], (error, reply) => {
            if (error === undefined) resume(reply === 1 ? Effect.void : Effect.fail(new LeaseLost()))
            else {
              end(nameOf(id), keys)
              resume(Effect.fail(unavailable()))
            }
          })
        }),
      adopt: (key, { deadline, fence, id, mode }) =>
        Effect.suspend(() =>
          ask(Scripts.adopt, key, [nameOf(id), letterOf(mode), Math.round(deadline - now()), fence])
        ),
      holders: (key) =>
        Effect.map(ask(Scripts.holders, key, []), ({ reply, sentAt }) => {
          const parts = arrayOf(reply)
          const all: Array<Stand> = []
          for (let at = 0; at + 3 < parts.length; at += 4) {
            const name = String(parts[at])
            // what this process's actors hold they tell themselves
            if (name.startsWith(`${inbox}.`)) continue
            all.push({
              id: name.startsWith("t:") ? name.slice(2) : name,
              mode: modeOf(parts[at + 1]),
              fence: Number(parts[at + 2]),
              deadline: sentAt + Number(parts[at + 3])
            })
          }
          return all
        })
    }
  }
})

/**
 * The locks that all processes at one Redis share.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<LockService, RedisError, Redis> =>
  Layer.scoped(LockService, Effect.flatMap(makeAuthority(options), makeLocks))
