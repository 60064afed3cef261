/**
 * Who holds and who waits, wherever they are. Redis knows one entry for all of a process's readers, or waiters, of a lock:
 * that process is asked who they are.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Redis, RedisError } from "../../Redis.ts"
import type { Request, Sight } from "../Authority.ts"
import * as Scripts from "./Scripts.ts"
import { arrayOf, inboxOf, isStanding, modeOf, rowsOf, type Session, standingId } from "./Session.ts"

/** A process that does not answer in this time is told of as Redis knows it. */
const patience = "250 millis"

/** What Redis knows of another process. */
interface Peer {
  readonly inbox: string
  /** An owner by whose name that process knows the lock. */
  readonly owner: string
  readonly holders: Array<Sight["holders"][number]>
  waiting: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Inquiries {
  /** All but what the key actors of this process do. */
  readonly others: (keys: ReadonlyArray<string>) => Effect.Effect<Sight, RedisError>
  /** `inbox|number|owner`: what another process asks. */
  readonly hearQuestion: (message: string) => Effect.Effect<void>
  /** `number|sight`: what another process answers. */
  readonly hearAnswer: (message: string) => Effect.Effect<void>
}

const isSight = (value: unknown): value is Sight =>
  typeof value === "object" &&
  value !== null &&
  "holders" in value &&
  Array.isArray(value.holders) &&
  "waiting" in value &&
  typeof value.waiting === "number"

const parse = (text: string): Sight | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return isSight(value) ? value : undefined
  } catch {
    return undefined
  }
}

const total = (sights: ReadonlyArray<Sight>): Sight => ({
  holders: sights.flatMap(({ holders }) => holders),
  waiting: sights.reduce((sum, { waiting }) => sum + waiting, 0)
})

/**
 * `requestOf` finds what this process has asked for, by its owner.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeInquiries = (
  session: Session,
  redis: Redis["Type"],
  requestOf: (owner: string) => Request | undefined
): Inquiries => {
  const open = new Map<number, Deferred.Deferred<Sight>>()
  let counter = 0

  const evaluate = (keys: ReadonlyArray<string>) =>
    Effect.async<unknown, RedisError>((resume) =>
      session.evaluate(Scripts.holders, keys, [], (error, reply) =>
        resume(error === undefined ? Effect.succeed(reply) : Effect.fail(error))
      )
    )

  const askPeer = (peer: Peer): Effect.Effect<Sight, RedisError> =>
    Effect.gen(function* () {
      const answer = yield* Deferred.make<Sight>()
      const number = counter++
      open.set(number, answer)
      const question = `i|${session.inbox}|${number}|${peer.owner}`
      const heard = redis.command("PUBLISH", peer.inbox, question)
      return yield* Effect.zipRight(
        heard,
        Effect.timeoutTo(Deferred.await(answer), {
          duration: patience,
          onSuccess: (sight) => sight,
          onTimeout: (): Sight => peer
        })
      ).pipe(Effect.ensuring(Effect.sync(() => open.delete(number))))
    })

  return {
    others: Effect.fnUntraced(function* (keys) {
      const [held, waits] = arrayOf(yield* evaluate(keys))
      const standing: Array<Sight["holders"][number]> = []
      let waiting = 0
      const peers = new Map<string, Peer>()
      const peerOf = (owner: string): Peer | undefined => {
        const inbox = inboxOf(owner)
        // what this process's actors do they tell themselves
        if (inbox === session.inbox) return undefined
        const peer = peers.get(inbox) ?? { inbox, owner, holders: [], waiting: 0 }
        peers.set(inbox, peer)
        return peer
      }
      for (const [name, mode, fence] of rowsOf(held, 4)) {
        const owner = String(name)
        const holder = { mode: modeOf(mode), fence: Number(fence) }
        if (isStanding(owner)) standing.push({ id: standingId(owner), ...holder })
        else peerOf(owner)?.holders.push({ id: owner, ...holder })
      }
      for (const [name] of rowsOf(waits, 2)) {
        const peer = isStanding(String(name)) ? undefined : peerOf(String(name))
        if (isStanding(String(name))) waiting++
        else if (peer !== undefined) peer.waiting++
      }
      const sights = yield* Effect.forEach(peers.values(), askPeer, { concurrency: "unbounded" })
      return total([...sights, { holders: standing, waiting }])
    }),
    hearQuestion: (message) => {
      const [inbox = "", number = "", ...owner] = message.split("|")
      const sight = requestOf(owner.join("|"))?.sight?.() ?? { holders: [], waiting: 0 }
      return Effect.ignore(redis.command("PUBLISH", inbox, `a|${number}|${JSON.stringify(sight)}`))
    },
    hearAnswer: (message) => {
      const at = message.indexOf("|")
      const answer = open.get(Number(message.slice(0, at)))
      const sight = parse(message.slice(at + 1))
      return answer === undefined || sight === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(answer, sight))
    }
  }
}
