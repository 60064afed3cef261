/**
 * Leases that stand by themselves in Redis: any process renews, releases and sees them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { LeaseLost, type LockUnavailable } from "../../CredentialsError.ts"
import type { Argument, Script } from "../../Redis.ts"
import type { Stand, Standing } from "../Authority.ts"
import { RedisCover } from "./Covers.ts"
import { end, type Endings } from "./Endings.ts"
import * as Scripts from "./Scripts.ts"
import {
  arrayOf,
  isStanding,
  letterOf,
  modeOf,
  retryMillis,
  rowsOf,
  type Session,
  standingId,
  standingName,
  unavailable
} from "./Session.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const makeStanding = (
  session: Session,
  keysOf: (key: string) => ReadonlyArray<string>,
  endings: Endings
): Standing => {
  const { after, evaluate, now, unavailableAfter } = session

  /** Asks until there is an answer, or it takes too long. */
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

  return {
    nameOf: standingName,
    renew: (key, id, ttl) =>
      Effect.flatMap(ask(Scripts.renew, key, [standingName(id), Math.round(ttl)]), ({ reply, sentAt }) => {
        const [held, mode, fence] = arrayOf(reply)
        return held === 1
          ? Effect.succeed({ id, mode: modeOf(mode), fence: Number(fence), deadline: sentAt + ttl })
          : Effect.fail(new LeaseLost())
      }),
    // sent once: a second try could not tell an ended lease from one that the first has ended
    release: (key, id, cover) =>
      Effect.async<void, LeaseLost | LockUnavailable>((resume) => {
        const keys = keysOf(key)
        const name = standingName(id)
        // whether it was over is for the server to say
        const unchanged = cover instanceof RedisCover && cover.deadline > now() ? cover.unchanged : undefined
        end(session, name, keys, [1, 1], unchanged, (error, held) => {
          if (error === undefined) return resume(held ? Effect.void : Effect.fail(new LeaseLost()))
          endings.add(name, keys)
          resume(Effect.fail(unavailable()))
        })
      }),
    adopt: (key, { deadline, fence, id, mode }) =>
      Effect.suspend(() =>
        ask(Scripts.adopt, key, [standingName(id), letterOf(mode), Math.round(deadline - now()), fence])
      ),
    holders: (key) =>
      Effect.map(ask(Scripts.holders, key, []), ({ reply, sentAt }) => {
        const all: Array<Stand> = []
        for (const [name, mode, fence, left] of rowsOf(arrayOf(reply)[0], 4)) {
          if (!isStanding(String(name))) continue
          const deadline = sentAt + Number(left)
          all.push({ id: standingId(String(name)), mode: modeOf(mode), fence: Number(fence), deadline })
        }
        return all
      })
  }
}
