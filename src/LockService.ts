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
import { type Authority, makeSole, type Mode } from "./LockService/Authority.ts"
import { type Contender, type Holder, KeyActor } from "./LockService/KeyActor.ts"

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
  /** What stops the timer of a hold that ends by itself. */
  const timers = new WeakMap<Holder, () => void>()
  /** The scoped leases of this process: id to key. */
  const scoped = new Map<string, Key>()

  const actorOf = (key: Key): KeyActor => {
    const existing = actors.get(key)
    if (existing !== undefined) return existing
    const actor = new KeyActor({
      key,
      authority,
      now,
      onEnd: (holder) => timers.get(holder)?.(),
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
    check: Effect.suspend(() =>
      actors.get(key)?.holder(holder.id) === holder ? Effect.void : Effect.fail(new LeaseLost())
    ),
    lost: Effect.async((resume) => {
      if (holder.lost) return resume(Effect.void)
      const listener = () => resume(Effect.void)
      holder.onLost.add(listener)
      return Effect.sync(() => holder.onLost.delete(listener))
    })
  })

  /** Ends the hold at its deadline, wherever renewals have moved that. */
  const watch = (key: Key, holder: Holder): void => {
    const untilOver: Effect.Effect<void> = Effect.suspend(() => {
      const left = holder.deadline - now()
      if (left > 0) return Effect.zipRight(Effect.sleep(Math.ceil(left)), untilOver)
      actors.get(key)?.tick()
      return Effect.void
    })
    if (!Number.isFinite(holder.deadline)) return
    timers.get(holder)?.()
    const timer = runFork(untilOver)
    timers.set(holder, () => timer.unsafeInterruptAsFork(FiberId.none))
  }

  // The wait and its end by time are decided in one synchronous step of the actor: with a timeout around it, a grant and
  // the timeout could both happen, and nobody would hold what was granted.
  const enter = (key: Key, options: Options, ttl: number) =>
    Effect.interruptible(
      Effect.async<Holder, LockTimeout | LockUnavailable>((resume) => {
        const wait = Duration.toMillis(options.wait ?? defaultWait)
        const since = now()
        let holder: Holder | undefined
        let stopTimer = () => {}
        const end = (result: Effect.Effect<Holder, LockTimeout | LockUnavailable>) => {
          stopTimer()
          resume(result)
        }
        const contender: Contender = {
          id: options.id ?? randomUUID(),
          mode: options.mode ?? "exclusive",
          virtualTime: since + (options.priority === "writer" ? 0 : userPenalty),
          yieldsUntil: since + Duration.toMillis(options.yieldsFor ?? 0),
          ttl,
          granted: (granted) => {
            holder = granted
            watch(key, granted)
            end(Effect.succeed(granted))
          },
          failed: (error) => end(Effect.fail(error))
        }
        const actor = actorOf(key)
        actor.enter(contender)
        if (holder === undefined && actor.waiting.includes(contender)) {
          const giveUp = () => {
            if (actor.leave(contender)) end(Effect.fail(new LockTimeout({ retryAfterSeconds: 1 })))
          }
          if (wait <= 0) giveUp()
          else {
            const timer = runFork(Effect.zipRight(Effect.sleep(wait), Effect.sync(giveUp)))
            stopTimer = () => timer.unsafeInterruptAsFork(FiberId.none)
          }
        }
        return Effect.sync(() => {
          stopTimer()
          if (holder === undefined) actor.leave(contender)
          else actor.release(holder.id)
        })
      })
    )

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

  return LockService.of({
    acquire: (key, options = {}) =>
      Effect.uninterruptible(
        Effect.flatMap(enter(key, options, Number.POSITIVE_INFINITY), (holder) => {
          scoped.set(holder.id, key)
          return Effect.as(
            Effect.addFinalizer(() => releaseScoped(key, holder.id)),
            leaseOf(key, holder)
          )
        })
      ),
    take: (key, options) =>
      Effect.map(enter(key, options, Duration.toMillis(options.ttl)), (holder) => leaseOf(key, holder)),
    renew: (key, id, ttl) =>
      Effect.map(holderOf(key, id), (holder) => {
        const deadline = now() + Duration.toMillis(ttl)
        const sooner = deadline < holder.deadline
        holder.deadline = deadline
        // whoever watches the old deadline would come too late
        if (sooner) watch(key, holder)
        return leaseOf(key, holder)
      }),
    release: (key, id) =>
      Effect.suspend(() => (actors.get(key)?.release(id) === true ? Effect.void : Effect.fail(new LeaseLost()))),
    lend: (key, id, to) => Effect.map(holderOf(key, id), (holder) => actors.get(key)?.lend(holder, to)),
    adopt: (taken) =>
      Effect.sync(() => {
        const holder: Holder = {
          id: taken.id,
          mode: taken.mode,
          fence: taken.fencingToken,
          deadline: now() + Duration.toMillis(taken.ttl),
          lost: false,
          lentTo: new Set(),
          onLost: new Set()
        }
        authority.issued(taken.key, taken.fencingToken)
        actorOf(taken.key).adopt(holder)
        watch(taken.key, holder)
      }),
    inspect: (key) =>
      Effect.sync(() => ({
        holders: (actors.get(key)?.holders ?? []).map(({ fence, id, mode }) => ({ id, mode, fencingToken: fence })),
        waiting: actors.get(key)?.waiting.length ?? 0
      })),
    releaseAll,
    ping: Effect.void
  })
})

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
