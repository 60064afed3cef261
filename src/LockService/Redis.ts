/**
 * Locks that processes share, in Redis: exclusion on one server while clock rates agree, the server's clock does not step
 * back, and holders call `check`. Out of reach, nothing is granted and holders lose their leases at their own deadline. Over
 * a failover or a loss of data the fencing tokens still rise; what is stored is kept safe by compare-and-set.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { LockService, make as makeLocks } from "../LockService.ts"
import { Redis, type RedisError } from "../Redis.ts"
import type { Authority, Cover } from "./Authority.ts"
import { makeTimer } from "./DeadlineWatch.ts"
import { Alone } from "./Redis/Alone.ts"
import { Covers, RedisCover } from "./Redis/Covers.ts"
import { Endings } from "./Redis/Endings.ts"
import { makeInquiries } from "./Redis/Inquiries.ts"
import { Requests } from "./Redis/Requests.ts"
import { makeKeys, type Session, unavailable } from "./Redis/Session.ts"
import { makeStanding } from "./Redis/Standing.ts"

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

/**
 * @since 0.1.0
 * @category constructors
 */
export const makeAuthority = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Authority, RedisError, Redis | Scope.Scope> {
  const redis = yield* Redis
  const { after, now } = yield* makeTimer
  const runFork = yield* FiberSet.makeRuntime<never>()
  const ttl = Math.round(Duration.toMillis(options.ttl ?? "10 seconds"))
  const alone = new Alone(redis)
  const session: Session = {
    inbox: `lk:inbox:${randomBytes(9).toString("base64url")}`,
    ttl,
    claim: Math.min(ttl, Math.round(Duration.toMillis(options.claim ?? "2 seconds"))),
    waiterLease: Math.round(Duration.toMillis(options.waiterLease ?? "6 seconds")),
    unavailableAfter: Duration.toMillis(options.unavailableAfter ?? "1 second"),
    now,
    after,
    // in the order of the calls
    evaluate: (...parameters) => {
      alone.flush()
      redis.evaluate(...parameters)
    },
    alone: (key, parameters, answer) => alone.ask(key, parameters, answer)
  }

  const period = Math.min(200, session.claim / 12, ttl / 12)
  let isTicking = false

  /** Renews what is due, and ends what the server has not confirmed to have ended, as long as there is any. */
  const tick = (): void => {
    covers.renewDue()
    endings.sendAgain()
    isTicking = covers.size > 0 || endings.size > 0
    if (isTicking) after(period, tick)
  }

  const startTicking = (): void => {
    if (isTicking) return
    isTicking = true
    after(period, tick)
  }

  const keysOf = makeKeys()
  const covers = new Covers(session)
  const endings = new Endings(session, startTicking)
  const requests = new Requests(session, covers, endings, startTicking)

  /** Handed back in this very step; a request that follows takes it along. */
  let handedBack: { readonly key: string; readonly cover: RedisCover } | undefined

  const endHandedBack = (): void => {
    const cover = handedBack?.cover
    handedBack = undefined
    if (cover !== undefined) endings.add(cover.name, cover.keys, cover.spent, cover.unchanged)
  }

  const handBack = (key: string, cover: Cover): void => {
    if (!(cover instanceof RedisCover) || !covers.remove(cover)) return
    if (handedBack === undefined) queueMicrotask(endHandedBack)
    else endHandedBack()
    handedBack = { key, cover }
  }

  const inquiries = makeInquiries(session, redis, (owner) => covers.find(owner)?.request ?? requests.find(owner))

  yield* redis.subscribe(session.inbox, (message) => {
    const said = message.slice(2)
    if (message.startsWith("g|")) requests.hear(said)
    else if (message.startsWith("c|")) covers.close(said)
    else if (message.startsWith("i|")) runFork(inquiries.hearQuestion(said))
    else if (message.startsWith("a|")) runFork(inquiries.hearAnswer(said))
  })
  // rule 5: what was granted before the connection broke may be gone
  yield* redis.onReconnect(() => {
    covers.verify()
    requests.sendAgain()
    endings.sendAgain()
  })
  // what is handed back at the end is still to be sent, and heard by the server: it answers in order, and the fourth answer
  // comes after those to both scripts that end a hold, neither of which it knew at first
  yield* Effect.addFinalizer(() =>
    Effect.zipRight(
      Effect.sync(() => {
        endHandedBack()
        alone.flush()
      }),
      Effect.ignore(Effect.repeatN(redis.ping, 3))
    )
  )

  return {
    request: (request) => {
      const before = handedBack?.key === request.key ? handedBack.cover : undefined
      if (before !== undefined) handedBack = undefined
      return requests.add(request, before?.keys ?? keysOf(request.key), before)
    },
    handBack,
    standing: makeStanding(session, keysOf, endings),
    others: (key) => Effect.mapError(inquiries.others(keysOf(key)), unavailable),
    ping: Effect.mapError(redis.ping, unavailable)
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
