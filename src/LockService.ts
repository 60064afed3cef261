/**
 * Locks by key: exclusive or shared, fenced, ordered so that writers overtake users and nobody starves. A lease ends with
 * its scope (`acquire`), or by its own time (`take`, for holders outside this process).
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { createHash, randomUUID } from "node:crypto"
import type { CredentialId, UserId } from "./Credential.ts"
import { LeaseLost, type LockTimeout, type LockUnavailable } from "./CredentialsError.ts"
import { ActorLine, Actors } from "./LockService/Actors.ts"
import { type Authority, makeSole, type Mode, type Sight, type Standing } from "./LockService/Authority.ts"
import { DeadlineWatch, makeTimer } from "./LockService/DeadlineWatch.ts"
import type { Holder } from "./LockService/Holder.ts"
import { type Key, type Lease, make as makeLease, type Options, type Taken } from "./LockService/Lease.ts"
import * as Measured from "./LockService/Measured.ts"
import { makeHere, makeThere } from "./LockService/TakenLeases.ts"
import * as Wait from "./LockService/Wait.ts"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  Mode
} from "./LockService/Authority.ts"

export type {
  /**
   * @since 0.1.0
   * @category keys
   */
  Key,
  /**
   * @since 0.1.0
   * @category models
   */
  Lease,
  /**
   * @since 0.1.0
   * @category models
   */
  Options,
  /**
   * @since 0.1.0
   * @category models
   */
  Taken
} from "./LockService/Lease.ts"

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
 * The end of a login that is asked for again and again: one asks at a time. `state` is not repeated in it.
 *
 * @since 0.1.0
 * @category keys
 */
export const loginKey = (state: Redacted.Redacted): Key =>
  `login:${createHash("sha256").update(Redacted.value(state), "utf8").digest("base64url")}`

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
    /**
     * Who holds a key and how many wait, in all processes. Answers within a second; what cannot be asked is left out.
     */
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

const nobody: Sight = { holders: [], waiting: 0 }

/** When a lease that stands by itself ends, by which it can lend no more. */
const lender = (standing: Standing, key: Key, id: string, now: () => number): Effect.Effect<number, LeaseLost> =>
  standing.holders(key).pipe(
    Effect.flatMap((all) => {
      const found = all.find((stand) => stand.id === id)
      return found === undefined ? Effect.fail(new LeaseLost()) : Effect.succeed(found.deadline)
    }),
    // whether it holds is seen anew when the contender is granted
    Effect.catchTag("LockUnavailable", () => Effect.sync(() => now() + Duration.toMillis(Wait.defaultWait)))
  )

/**
 * Locks over an authority. Ends every scoped lease when its scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  authority: Authority
): Effect.fn.Return<LockService["Type"], never, Scope.Scope> {
  const timer = yield* makeTimer
  const { now } = timer
  const actors = new Actors(authority, now, new DeadlineWatch(timer, "ring"))
  const process = randomUUID()
  let leases = 0
  const desk: Wait.Desk = {
    now,
    bounds: new DeadlineWatch(timer, "stop"),
    newId: () => `${process}.${(leases++).toString(36)}`
  }
  const parts = { ...timer, authority, actors, desk }
  const { standing } = authority
  const taken = standing === undefined ? makeHere(parts) : makeThere(standing, parts)
  /** The scoped leases of this process: id to key. */
  const scoped = new Map<string, Key>()

  const expire = (key: Key, holder: Holder): void => {
    if (!taken.expire(holder)) actors.find(key)?.tick()
  }
  const leaseOf = (key: Key, holder: Holder): Lease => makeLease(key, holder, now, expire)

  /** What cannot be asked now is left out. */
  const elsewhere = (key: Key): Effect.Effect<Sight> =>
    authority.others === undefined ? Effect.succeed(nobody) : Effect.orElseSucceed(authority.others(key), () => nobody)

  const releaseScoped = (key: Key, id: string) =>
    Effect.sync(() => {
      scoped.delete(id)
      actors.find(key)?.release(id)
    })

  const releaseAll = Effect.sync(() => {
    for (const [id, key] of scoped) actors.find(key)?.revoke(id)
    scoped.clear()
  })
  yield* Effect.addFinalizer(() => releaseAll)

  return LockService.of({
    // the finalizer needs nothing of the fiber: `Effect.addFinalizer` would give it all, which takes longer than the lease
    acquire: (key, options = {}) =>
      Wait.make(
        desk,
        () => new ActorLine(actors, key),
        options,
        Number.POSITIVE_INFINITY,
        (holder) =>
          Effect.flatMap(Effect.scope, (scope) => {
            scoped.set(holder.id, key)
            return Effect.as(
              Scope.addFinalizerExit(scope, () => releaseScoped(key, holder.id)),
              leaseOf(key, holder)
            )
          })
      ).pipe(Measured.span("acquire", key, options.mode)),
    take: (key, options) =>
      taken
        .take(key, options, (holder) => Effect.succeed(leaseOf(key, holder)))
        .pipe(Measured.span("take", key, options.mode)),
    renew: (key, id, ttl) =>
      Effect.map(taken.renew(key, id, Duration.toMillis(ttl)), (holder) => leaseOf(key, holder)).pipe(
        Measured.span("renew", key)
      ),
    release: (key, id) => taken.release(key, id).pipe(Measured.span("release", key)),
    lend: (key, id, to) =>
      Effect.suspend(() => {
        const actor = actors.find(key)
        const holder = actor?.holder(id)
        if (holder !== undefined) return Effect.sync(() => actor?.lend(holder, to))
        if (standing === undefined) return Effect.fail(new LeaseLost())
        return Effect.map(lender(standing, key, id, now), (deadline) => {
          const lending = actors.of(key)
          lending.lendElsewhere(standing.nameOf(id), deadline, to)
          timer.after(Math.max(0, Math.ceil(deadline - now())), () => lending.tick())
        })
      }),
    adopt: taken.adopt,
    inspect: (key) =>
      Effect.map(elsewhere(key), (others) => {
        const here = actors.find(key)?.sight() ?? nobody
        return {
          holders: [...here.holders, ...others.holders].map(({ fence, id, mode }) => ({
            id,
            mode,
            fencingToken: fence
          })),
          waiting: here.waiting + others.waiting
        }
      }),
    releaseAll,
    ping: authority.ping ?? Effect.void
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
