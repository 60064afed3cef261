/**
 * Locks by key: exclusive or shared, fenced, ordered so that writers overtake users and nobody starves. A lease ends with
 * its scope (`acquire`), or by its own time (`take`, for holders outside this process).
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import { LeaseLost, LockTimeout, type LockUnavailable } from "./CredentialsError.ts"
import type { CredentialId, UserId } from "./Credential.ts"
import { type Authority, type Cover, makeSole, type Mode, type Standing } from "./LockService/Authority.ts"
import { type Contender, endOf, type Holder, KeyActor, makeHolder } from "./LockService/KeyActor.ts"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  Mode
} from "./LockService/Authority.ts"

/**
 * What is locked. The order of locking is: credentials in the order of their ids, then a grant.
 *
 * @since 0.1.0
 * @category keys
 */
export type Key = string

/**
 * @since 0.1.0
 * @category keys
 */
export const credentialKey = (userId: UserId, id: CredentialId): Key => `credential:${id}:${userId}`

/**
 * The renewal of a grant: one at a time.
 *
 * @since 0.1.0
 * @category keys
 */
export const refreshKey = (grant: string): Key => `refresh:${grant}`

/**
 * The right to use what a key stands for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease {
  readonly id: string
  readonly key: Key
  readonly mode: Mode
  /** Rises with every lease of the key, over restarts too. */
  readonly fencingToken: number
  /**
   * Fails with `LeaseLost` once the lease has ended or its time is over, by the monotonic clock and without any wait.
   * Call it before each side effect: after the process was stopped for a while, nothing else can know in time.
   */
  readonly check: Effect.Effect<void, LeaseLost>
  /** Completes when the lease is known to have ended other than by its release. */
  readonly lost: Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Default `exclusive`. */
  readonly mode?: Mode | undefined
  /** How long to wait for it; default 30 seconds. */
  readonly wait?: Duration.DurationInput | undefined
  /** Writers overtake users that came less than 3 seconds before them. Default `user`. */
  readonly priority?: "writer" | "user" | undefined
  /** For so long, readers may pass while this exclusive request waits. */
  readonly yieldsFor?: Duration.DurationInput | undefined
  /** The id of the lease to be; a holder can `lend` to it. Default: a random UUID. */
  readonly id?: string | undefined
}

/**
 * A lease that no scope holds, as it is remembered over a restart.
 *
 * @since 0.1.0
 * @category models
 */
export interface Taken {
  readonly id: string
  readonly key: Key
  readonly mode: Mode
  readonly fencingToken: number
  readonly ttl: Duration.DurationInput
}

/**
 * @since 0.1.0
 * @category ports
 */
export class LockService extends Context.Tag("effect-credentials/LockService")<
  LockService,
  {
    /**
     * Waits at most `wait`, and holds until the scope closes. An interrupted or timed-out wait leaves nothing behind;
     * waiting is interruptible, even within an uninterruptible region.
     */
    readonly acquire: (key: Key, options?: Options) => Effect.Effect<Lease, LockTimeout | LockUnavailable, Scope.Scope>
    /**
     * Like `acquire`, for a holder outside this process: held until released, or for `ttl` unless renewed. In an
     * uninterruptible region what was granted is answered for sure.
     */
    readonly take: (
      key: Key,
      options: Options & { readonly ttl: Duration.DurationInput }
    ) => Effect.Effect<Lease, LockTimeout | LockUnavailable>
    /** Prolongs a taken lease to `ttl` from now. */
    readonly renew: (
      key: Key,
      id: string,
      ttl: Duration.DurationInput
    ) => Effect.Effect<Lease, LeaseLost | LockUnavailable>
    /** Ends a lease. */
    readonly release: (key: Key, id: string) => Effect.Effect<void, LeaseLost | LockUnavailable>
    /**
     * The holder `id` lets the waiting (or coming) request `to` pass beside it, ahead of the queue: how a holder asks for
     * a change of what it holds without waiting for itself.
     */
    readonly lend: (key: Key, id: string, to: string) => Effect.Effect<void, LeaseLost>
    /** Puts back a lease that was taken before a restart. */
    readonly adopt: (taken: Taken) => Effect.Effect<void>
    /** Who holds a key and how many wait, in this process's sight. */
    readonly inspect: (key: Key) => Effect.Effect<{
      readonly holders: ReadonlyArray<{ readonly id: string; readonly mode: Mode; readonly fencingToken: number }>
      readonly waiting: number
    }>
    /** Ends every scoped lease of this process. Taken leases stay. */
    readonly releaseAll: Effect.Effect<void>
    /** Answers when the locks can be had. */
    readonly ping: Effect.Effect<void, LockUnavailable>
  }
>() {}

const userPenalty = Duration.toMillis("3 seconds")
const defaultWait = Duration.seconds(30)

/** How a contender gets in line, and out again: false when it was answered before. */
type Enter = (contender: Contender) => () => boolean

/**
 * Locks over an authority. Ends every scoped lease when its scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  authority: Authority
): Effect.fn.Return<LockService["Type"], never, Scope.Scope> {
  const clock = yield* Effect.clock
  const now = () => Number(clock.unsafeCurrentTimeNanos()) / 1e6
  const runFork = yield* FiberSet.makeRuntime<never>()
  const actors = new Map<Key, KeyActor>()
  /** The scoped leases of this process: id to key. */
  const scoped = new Map<string, Key>()
  /** Leases that stand by themselves in the authority, as far as this process granted them: id to holder. */
  const standing = new Map<string, Holder>()

  const after = (millis: number, run: () => void): (() => void) => {
    const timer = runFork(Effect.zipRight(Effect.sleep(millis), Effect.sync(run)))
    return () => timer.unsafeInterruptAsFork(FiberId.none)
  }

  /** Of covers and of leases that stand by themselves. */
  const ends = makeWatch(now, after, "ring")
  /** Of waits. */
  const bounds = makeWatch(now, after, "stop")

  const actorOf = (key: Key): KeyActor => {
    const existing = actors.get(key)
    if (existing !== undefined) return existing
    const actor = new KeyActor({
      key,
      authority,
      now,
      onCover: (cover) => ends.add(cover, () => actor.tick()),
      onCoverEnd: (cover) => ends.remove(cover),
      onIdle: () => {
        if (actors.get(key) === actor) actors.delete(key)
      }
    })
    actors.set(key, actor)
    return actor
  }

  const holderOf = (key: Key, id: string): Effect.Effect<Holder, LeaseLost> =>
    Effect.suspend(() => {
      const holder = actors.get(key)?.holder(id)
      return holder === undefined ? Effect.fail(new LeaseLost()) : Effect.succeed(holder)
    })

  const leaseOf = (key: Key, holder: Holder): Lease => ({
    id: holder.id,
    key,
    mode: holder.mode,
    fencingToken: holder.fence,
    check: Effect.suspend(() => {
      if (holder.state === "held" && endOf(holder) > now()) return Effect.void
      // what is once known to be over stays so
      expire(key, holder)
      return Effect.fail(new LeaseLost())
    }),
    lost: Effect.async((resume) => {
      const listener = () => {
        if (holder.state === "lost") resume(Effect.void)
      }
      if (holder.state !== "held") return listener()
      holder.onEnd.add(listener)
      return Effect.sync(() => holder.onEnd.delete(listener))
    })
  })

  const expire = (key: Key, holder: Holder): void => {
    if (standing.get(holder.id) === holder) endStanding(holder, "lost")
    else actors.get(key)?.tick()
  }

  /** Ends the hold at its own deadline, wherever renewals have moved that. */
  const watch = (key: Key, holder: Holder): void => {
    if (!Number.isFinite(holder.deadline)) return
    const sleep = (): (() => void) =>
      after(Math.max(0, Math.ceil(holder.deadline - now())), () => {
        if (holder.state !== "held") return
        if (holder.deadline > now()) stop = sleep()
        else expire(key, holder)
      })
    let stop = sleep()
    holder.onEnd.add(() => stop())
  }

  // The wait and its end by time are decided in one synchronous step of the actor: with a timeout around it, a grant and
  // the timeout could both happen, and nobody would hold what was granted.
  const wait = (
    options: Options,
    ttl: number,
    began: (holder: Holder) => void,
    giveBack: (holder: Holder) => void,
    enter: Enter
  ) =>
    Effect.interruptible(
      Effect.async<Holder, LockTimeout | LockUnavailable>((resume) => {
        const bound = Duration.toMillis(options.wait ?? defaultWait)
        const since = now()
        let holder: Holder | undefined
        let leave = () => false
        let isLate = false
        const ending = { deadline: since + bound }
        const end = (result: Effect.Effect<Holder, LockTimeout | LockUnavailable>) => {
          bounds.remove(ending)
          resume(result)
        }
        const giveUp = () => {
          isLate = true
          if (leave()) end(Effect.fail(new LockTimeout({ retryAfterSeconds: 1 })))
        }
        leave = enter({
          id: options.id ?? randomUUID(),
          mode: options.mode ?? "exclusive",
          virtualTime: since + (options.priority === "writer" ? 0 : userPenalty),
          yieldsUntil: since + Duration.toMillis(options.yieldsFor ?? 0),
          ttl,
          // until then there is no need of a timer: the authority answers or fails in a time of its own
          mustWait: () => {
            if (ending.deadline > now()) bounds.add(ending, giveUp)
            else giveUp()
          },
          granted: (granted) => {
            holder = granted
            began(granted)
            end(Effect.succeed(granted))
          },
          failed: (error) => end(Effect.fail(error))
        })
        if (isLate) giveUp()
        return Effect.sync(() => {
          bounds.remove(ending)
          if (holder === undefined) leave()
          else giveBack(holder)
        })
      })
    )

  const waitHere = (key: Key, options: Options, ttl: number) =>
    wait(
      options,
      ttl,
      (holder) => watch(key, holder),
      (holder) => actors.get(key)?.release(holder.id),
      (contender) => {
        const actor = actorOf(key)
        actor.enter(contender)
        return () => actor.leave(contender)
      }
    )

  const endStanding = (holder: Holder, state: "released" | "lost"): void => {
    standing.delete(holder.id)
    ends.remove(holder)
    holder.state = state
    for (const listener of holder.onEnd) listener()
  }

  /** Waits at the authority, beside this process's own contenders: what is granted is no part of its cover. */
  const waitThere = (key: Key, options: Options, ttl: number) => {
    const covering = new WeakMap<Holder, Cover>()
    return wait(
      options,
      ttl,
      (holder) => {
        standing.set(holder.id, holder)
        ends.add(holder, () => endStanding(holder, "lost"))
      },
      (holder) => {
        endStanding(holder, "released")
        const cover = covering.get(holder)
        if (cover !== undefined) authority.handBack(key, cover)
      },
      (contender) => {
        let isAnswered = false
        const withdraw = authority.request({
          key,
          mode: contender.mode,
          virtualTime: contender.virtualTime,
          yieldsUntil: contender.yieldsUntil,
          above: 0,
          standing: { id: contender.id, ttl },
          granted: (cover) => {
            isAnswered = true
            const { id, mode } = contender
            const holder = makeHolder({
              id,
              mode,
              fence: cover.nextFence() ?? 0,
              deadline: cover.deadline,
              share: undefined
            })
            covering.set(holder, cover)
            contender.granted(holder)
          },
          failed: (error) => {
            isAnswered = true
            contender.failed(error)
          },
          waits: () => {
            if (!isAnswered) contender.mustWait()
          },
          ended: () => {}
        })
        return () => {
          if (isAnswered) return false
          isAnswered = true
          withdraw()
          return true
        }
      }
    )
  }

  const releaseScoped = (key: Key, id: string) =>
    Effect.sync(() => {
      scoped.delete(id)
      actors.get(key)?.release(id)
    })

  const releaseAll = Effect.sync(() => {
    for (const [id, key] of scoped) actors.get(key)?.revoke(id)
    scoped.clear()
  })
  yield* Effect.addFinalizer(() => releaseAll)

  const here: Leasing = {
    take: (key, options) => waitHere(key, options, Duration.toMillis(options.ttl)),
    renew: (key, id, ttl) =>
      Effect.map(holderOf(key, id), (holder) => {
        const deadline = now() + ttl
        const sooner = deadline < holder.deadline
        holder.deadline = deadline
        // whoever watches the old deadline would come too late
        if (sooner) watch(key, holder)
        return holder
      }),
    release: (key, id) =>
      Effect.suspend(() => (actors.get(key)?.release(id) === true ? Effect.void : Effect.fail(new LeaseLost()))),
    adopt: ({ fencingToken, id, key, mode, ttl }) =>
      Effect.sync(() => {
        const deadline = now() + Duration.toMillis(ttl)
        const holder = makeHolder({ id, mode, fence: fencingToken, deadline, share: undefined })
        authority.surpass?.(fencingToken)
        actorOf(key).adopt(holder)
        watch(key, holder)
      }),
    elsewhere: () => Effect.succeed([]),
    lender: () => Effect.fail(new LeaseLost())
  }

  const there = (port: Standing): Leasing => ({
    take: (key, options) => waitThere(key, options, Duration.toMillis(options.ttl)),
    renew: (key, id, ttl) =>
      Effect.map(
        Effect.tapErrorTag(port.renew(key, id, ttl), "LeaseLost", () =>
          Effect.sync(() => {
            const known = standing.get(id)
            if (known !== undefined) endStanding(known, "lost")
          })
        ),
        ({ deadline, fence, mode }) => {
          const known = standing.get(id)
          const holder = known?.fence === fence ? known : makeHolder({ id, mode, fence, deadline, share: undefined })
          holder.deadline = deadline
          standing.set(id, holder)
          ends.add(holder, () => endStanding(holder, "lost"))
          return holder
        }
      ),
    release: (key, id) =>
      Effect.zipLeft(
        Effect.suspend(() => port.release(key, id)),
        Effect.sync(() => {
          const known = standing.get(id)
          if (known !== undefined) endStanding(known, "released")
        })
      ),
    adopt: ({ fencingToken, id, key, mode, ttl }) =>
      Effect.catchAll(
        port.adopt(key, { id, mode, fence: fencingToken, deadline: now() + Duration.toMillis(ttl) }),
        () => Effect.logWarning("A lease could not be put back: the lock service is out of reach.")
      ),
    elsewhere: (key) => Effect.orElseSucceed(port.holders(key), () => []),
    lender: (key, id) =>
      Effect.flatMap(port.holders(key), (all) => {
        const found = all.find((stand) => stand.id === id)
        return found === undefined
          ? Effect.fail(new LeaseLost())
          : Effect.succeed({ name: port.nameOf(id), deadline: found.deadline })
      }).pipe(
        // whether it holds is seen anew when the contender is granted
        Effect.catchTag("LockUnavailable", () =>
          Effect.sync(() => ({ name: port.nameOf(id), deadline: now() + Duration.toMillis(defaultWait) }))
        )
      )
  })

  const leasing = authority.standing === undefined ? here : there(authority.standing)

  return LockService.of({
    acquire: (key, options = {}) =>
      Effect.uninterruptible(
        Effect.flatMap(waitHere(key, options, Number.POSITIVE_INFINITY), (holder) => {
          scoped.set(holder.id, key)
          return Effect.as(
            Effect.addFinalizer(() => releaseScoped(key, holder.id)),
            leaseOf(key, holder)
          )
        })
      ),
    take: (key, options) => Effect.map(leasing.take(key, options), (holder) => leaseOf(key, holder)),
    renew: (key, id, ttl) =>
      Effect.map(leasing.renew(key, id, Duration.toMillis(ttl)), (holder) => leaseOf(key, holder)),
    release: leasing.release,
    lend: (key, id, to) =>
      Effect.matchEffect(holderOf(key, id), {
        onSuccess: (holder) => Effect.sync(() => actors.get(key)?.lend(holder, to)),
        onFailure: () =>
          Effect.map(leasing.lender(key, id), ({ deadline, name }) => {
            const actor = actorOf(key)
            actor.lendElsewhere(name, deadline, to)
            after(Math.max(0, Math.ceil(deadline - now())), () => actor.tick())
          })
      }),
    adopt: leasing.adopt,
    inspect: (key) =>
      Effect.map(leasing.elsewhere(key), (elsewhere) => ({
        holders: [...(actors.get(key)?.holders ?? []), ...elsewhere].map(({ fence, id, mode }) => ({
          id,
          mode,
          fencingToken: fence
        })),
        waiting: actors.get(key)?.waiting.length ?? 0
      })),
    releaseAll,
    ping: authority.ping ?? Effect.void
  })
})

/** Leases that no scope holds: kept by the key actors of this process, or by the authority. */
interface Leasing {
  readonly take: (
    key: Key,
    options: Options & { readonly ttl: Duration.DurationInput }
  ) => Effect.Effect<Holder, LockTimeout | LockUnavailable>
  readonly renew: (key: Key, id: string, ttl: number) => Effect.Effect<Holder, LeaseLost | LockUnavailable>
  readonly release: (key: Key, id: string) => Effect.Effect<void, LeaseLost | LockUnavailable>
  readonly adopt: (taken: Taken) => Effect.Effect<void>
  readonly elsewhere: (
    key: Key
  ) => Effect.Effect<ReadonlyArray<{ readonly id: string; readonly mode: Mode; readonly fence: number }>>
  readonly lender: (
    key: Key,
    id: string
  ) => Effect.Effect<{ readonly name: string; readonly deadline: number }, LeaseLost>
}

interface Ending {
  readonly deadline: number
}

/**
 * Watches many deadlines with one timer. It rings at the soonest there was when it was set: most are moved away or removed
 * before.
 */
const makeWatch = (
  now: () => number,
  after: (millis: number, run: () => void) => () => void,
  whenEmpty: "stop" | "ring"
) => {
  const watched = new Map<Ending, () => void>()
  let next = Number.POSITIVE_INFINITY
  let stop = () => {}
  const ring = (): void => {
    next = Number.POSITIVE_INFINITY
    const time = now()
    for (const [ending, run] of watched) {
      if (ending.deadline > time) continue
      watched.delete(ending)
      run()
    }
    let soonest = Number.POSITIVE_INFINITY
    for (const ending of watched.keys()) soonest = Math.min(soonest, ending.deadline)
    plan(soonest)
  }
  const plan = (deadline: number): void => {
    if (deadline >= next) return
    stop()
    next = deadline
    stop = after(Math.max(0, Math.ceil(deadline - now())), ring)
  }
  return {
    add: (ending: Ending, run: () => void): void => {
      if (!Number.isFinite(ending.deadline)) return
      watched.set(ending, run)
      plan(ending.deadline)
    },
    remove: (ending: Ending): void => {
      if (!watched.delete(ending) || watched.size > 0 || whenEmpty === "ring") return
      stop()
      next = Number.POSITIVE_INFINITY
    }
  }
}

/**
 * The locks of one process.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<LockService> = Layer.scoped(
  LockService,
  Effect.flatMap(Effect.clock, (clock) => make(makeSole({ nowMicros: () => clock.unsafeCurrentTimeMillis() * 1000 })))
)
