/**
 * Leases that no scope holds: kept by the key actors of this process, or by the authority, where any process renews and
 * releases them.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { LeaseLost, type LockTimeout, type LockUnavailable } from "../CredentialsError.ts"
import { ActorLine, type Actors } from "./Actors.ts"
import type { Authority, Cover, Standing } from "./Authority.ts"
import type { Contender } from "./Contender.ts"
import { DeadlineWatch, type Timer } from "./DeadlineWatch.ts"
import { Holder } from "./Holder.ts"
import type { Key, Options, Taken } from "./Lease.ts"
import * as Wait from "./Wait.ts"

/**
 * `ttl` is in milliseconds.
 *
 * @since 0.1.0
 * @category ports
 */
export interface TakenLeases {
  /** Goes on with what was granted, uninterruptibly. */
  readonly take: <A>(
    key: Key,
    options: Options & { readonly ttl: Duration.DurationInput },
    then: (holder: Holder) => Effect.Effect<A>
  ) => Effect.Effect<A, LockTimeout | LockUnavailable>
  readonly renew: (key: Key, id: string, ttl: number) => Effect.Effect<Holder, LeaseLost | LockUnavailable>
  readonly release: (key: Key, id: string) => Effect.Effect<void, LeaseLost | LockUnavailable>
  readonly adopt: (taken: Taken) => Effect.Effect<void>
  /** Ends a hold whose time is over; false when it is none of these. */
  readonly expire: (holder: Holder) => boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Parts extends Timer {
  readonly authority: Authority
  readonly actors: Actors
  readonly desk: Wait.Desk
}

/**
 * Kept by this process's actors.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeHere = (parts: Parts): TakenLeases => {
  const { actors, authority, desk, now } = parts
  const ends = new DeadlineWatch(parts, "ring")

  const watch = (key: Key, holder: Holder): void => ends.add(holder, () => actors.find(key)?.tick())

  const begin = (key: Key, holder: Holder): void => {
    watch(key, holder)
    holder.onClose(() => ends.remove(holder))
  }

  return {
    take: (key, options, then) =>
      Wait.make(
        desk,
        () => new ActorLine(actors, key, (holder) => begin(key, holder)),
        options,
        Duration.toMillis(options.ttl),
        then
      ),
    renew: (key, id, ttl) =>
      Effect.suspend(() => {
        const holder = actors.find(key)?.holder(id)
        if (holder === undefined) return Effect.fail(new LeaseLost())
        holder.deadline = now() + ttl
        // it may be nearer now
        watch(key, holder)
        return Effect.succeed(holder)
      }),
    release: (key, id) =>
      Effect.suspend(() => (actors.find(key)?.release(id) === true ? Effect.void : Effect.fail(new LeaseLost()))),
    adopt: ({ fencingToken, id, key, mode, ttl }) =>
      Effect.sync(() => {
        const deadline = now() + Duration.toMillis(ttl)
        const holder = new Holder({ id, mode, fence: fencingToken, deadline, share: undefined })
        authority.surpass?.(fencingToken)
        actors.of(key).adopt(holder)
        begin(key, holder)
      }),
    expire: () => false
  }
}

/** The line at the authority, beside this process's own contenders: what is granted is no part of its cover. */
class AuthorityLine implements Wait.Line {
  readonly key: Key
  readonly #authority: Authority
  readonly #begins: (holder: Holder, cover: Cover | undefined) => void
  readonly #ends: (holder: Holder) => void
  #withdraw: (() => void) | undefined
  #cover: Cover | undefined
  #isAnswered = false

  constructor(
    authority: Authority,
    key: Key,
    listener: {
      readonly begins: (holder: Holder, cover: Cover | undefined) => void
      readonly ends: (holder: Holder) => void
    }
  ) {
    this.#authority = authority
    this.key = key
    this.#begins = listener.begins
    this.#ends = listener.ends
  }

  enter(contender: Contender): void {
    const { id, mode, ttl, virtualTime, yieldsUntil } = contender
    const withdraw = this.#authority.request({
      key: this.key,
      mode,
      virtualTime,
      yieldsUntil,
      above: 0,
      standing: { id, ttl },
      granted: (cover) => {
        this.#isAnswered = true
        this.#cover = cover
        const { deadline } = cover
        contender.granted(new Holder({ id, mode, fence: cover.nextFence() ?? 0, deadline, share: undefined }))
      },
      failed: (error) => {
        this.#isAnswered = true
        contender.failed(error)
      },
      waits: () => {
        if (!this.#isAnswered) contender.mustWait()
      },
      ended: () => {}
    })
    // it may have left meanwhile
    if (this.#isAnswered && this.#cover === undefined) withdraw()
    else this.#withdraw = withdraw
  }

  leave(): boolean {
    if (this.#isAnswered) return false
    this.#isAnswered = true
    this.#withdraw?.()
    return true
  }

  began(holder: Holder): void {
    this.#begins(holder, this.#cover)
  }

  giveBack(holder: Holder): void {
    this.#ends(holder)
    if (this.#cover !== undefined) this.#authority.handBack(this.key, this.#cover)
  }
}

/**
 * Kept by the authority.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeThere = (port: Standing, parts: Parts): TakenLeases => {
  const { authority, desk, now } = parts
  const ends = new DeadlineWatch(parts, "ring")
  /** As far as this process knows of them: id to holder. */
  const known = new Map<string, Holder>()
  /** What those were granted that were not renewed yet: id to cover. */
  const covers = new Map<string, Cover>()

  const begin = (holder: Holder, cover: Cover | undefined): void => {
    known.set(holder.id, holder)
    if (cover === undefined) covers.delete(holder.id)
    else covers.set(holder.id, cover)
    ends.add(holder, () => end(holder, "lost"))
  }

  const end = (holder: Holder, state: "released" | "lost"): void => {
    if (known.get(holder.id) === holder) {
      known.delete(holder.id)
      covers.delete(holder.id)
    }
    ends.remove(holder)
    holder.close(state)
  }

  const endKnown = (id: string, state: "released" | "lost"): void => {
    const holder = known.get(id)
    if (holder !== undefined) end(holder, state)
  }

  const listener = { begins: begin, ends: (holder: Holder) => end(holder, "released") }

  return {
    take: (key, options, then) =>
      Wait.make(desk, () => new AuthorityLine(authority, key, listener), options, Duration.toMillis(options.ttl), then),
    renew: (key, id, ttl) =>
      port.renew(key, id, ttl).pipe(
        Effect.tapErrorTag("LeaseLost", () => Effect.sync(() => endKnown(id, "lost"))),
        Effect.map(({ deadline, fence, mode }) => {
          const before = known.get(id)
          const holder = before?.fence === fence ? before : new Holder({ id, mode, fence, deadline, share: undefined })
          holder.deadline = deadline
          begin(holder, undefined)
          return holder
        })
      ),
    release: (key, id) =>
      Effect.suspend(() =>
        Effect.matchEffect(port.release(key, id, covers.get(id)), {
          onFailure: (error) => {
            if (error._tag === "LeaseLost") endKnown(id, "lost")
            return Effect.fail(error)
          },
          onSuccess: () => {
            endKnown(id, "released")
            return Effect.void
          }
        })
      ),
    adopt: ({ fencingToken, id, key, mode, ttl }) =>
      Effect.catchAll(
        port.adopt(key, { id, mode, fence: fencingToken, deadline: now() + Duration.toMillis(ttl) }),
        () => Effect.logWarning("A lease could not be put back: the lock service is out of reach.")
      ),
    expire: (holder) => {
      if (known.get(holder.id) !== holder) return false
      end(holder, "lost")
      return true
    }
  }
}
