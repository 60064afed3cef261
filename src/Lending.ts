/**
 * A credential made usable: as stored while it is fresh, renewed first when it is due, and under a lease where one is
 * asked for. Nobody waits for a renewal while holding what the renewal needs.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import { type Credential, type CredentialId, isRenewable, type OAuth2Credential, type UserId } from "./Credential.ts"
import {
  type CredentialNotFound,
  type LeaseLost,
  LockTimeout,
  type LockUnavailable,
  ReadOnlyCredential,
  type StoreUnavailable,
  type Undecryptable
} from "./CredentialsError.ts"
import { Leases, type LentLease, type TakeOptions } from "./Leases.ts"
import { credentialKey, type Lease, LockService, type Mode } from "./LockService.ts"
import { type FlightError, Renewal, type Request } from "./Renewal.ts"
import * as RenewalPolicy from "./RenewalPolicy.ts"
import { Store } from "./Store.ts"
import { Conflict } from "./Store/Driver.ts"

/**
 * @since 0.1.0
 * @category errors
 */
export type LendError = CredentialNotFound | Undecryptable | StoreUnavailable | FlightError

/**
 * What a change can meet.
 *
 * @since 0.1.0
 * @category errors
 */
export type ChangeError =
  | CredentialNotFound
  | Undecryptable
  | StoreUnavailable
  | ReadOnlyCredential
  | LockTimeout
  | LockUnavailable
  | LeaseLost

/**
 * @since 0.1.0
 * @category models
 */
export interface LendOptions {
  readonly mode: Mode
  readonly wait: Duration.Duration
  readonly minValidSeconds: number
}

/**
 * @since 0.1.0
 * @category services
 */
export class Lending extends Context.Tag("effect-credentials/Lending")<
  Lending,
  {
    /** Whether the policy lets it be used as it is. */
    readonly isFresh: (credential: Credential, minValidSeconds: number) => Effect.Effect<boolean>
    /**
     * The credential, renewed first if the policy says so. While the stored access token serves, no failure of the
     * provider, the locks or the wait keeps it from the caller. Waits at most `wait`.
     */
    readonly usable: (
      credential: Credential,
      options: {
        readonly wait: Duration.Duration
        readonly minValidSeconds: number
        readonly leaseId: Option.Option<string>
      }
    ) => Effect.Effect<Credential, FlightError>
    /** The credential at a generation after `generation`: renewed now, unless somebody did since. */
    readonly after: (
      credential: OAuth2Credential,
      generation: number,
      options: { readonly wait: Duration.Duration; readonly leaseId: Option.Option<string> }
    ) => Effect.Effect<Credential, LendError>
    /** The usable credential under a lease of the scope. */
    readonly acquire: (
      userId: UserId,
      id: CredentialId,
      options: LendOptions
    ) => Effect.Effect<{ readonly credential: Credential; readonly lease: Lease }, LendError, Scope.Scope>
    /**
     * The credential under a lease of the scope, for one who holds others besides: none, and nothing held, when it is due,
     * because its renewal may need what is held besides. With `orLiving` it will do that the stored access token serves.
     */
    readonly acquireIfUsable: (
      userId: UserId,
      id: CredentialId,
      options: LendOptions & { readonly orLiving: boolean }
    ) => Effect.Effect<
      Option.Option<{ readonly credential: Credential; readonly lease: Lease }>,
      LendError,
      Scope.Scope
    >
    /** The usable credential under a lease for a holder outside this process; durable when it returns. */
    readonly lend: (
      userId: UserId,
      id: CredentialId,
      options: LendOptions & Pick<TakeOptions, "owner" | "ttl">
    ) => Effect.Effect<{ readonly credential: Credential; readonly lease: LentLease }, LendError>
    /**
     * Runs a change alone on a credential: ahead of queued users, after its holders, but not after the one whose lease is
     * named. What it decided upon and finds changed when it commits is done again. Refused for system credentials.
     */
    readonly alone: <A, E>(
      userId: UserId,
      id: CredentialId,
      options: { readonly wait: Duration.Duration; readonly leaseId: Option.Option<string> },
      change: Effect.Effect<A, E | Conflict, Scope.Scope>
    ) => Effect.Effect<
      A,
      E | CredentialNotFound | ReadOnlyCredential | LeaseLost | LockTimeout | LockUnavailable | StoreUnavailable
    >
  }
>() {}

/** A hold on a credential's lock, however it was come by. */
interface Hold<L> {
  readonly lease: L
  readonly holderId: string
  readonly giveBack: Effect.Effect<void>
}

/**
 * How often a lease is given back to let a renewal pass, before its holder renews by itself.
 *
 * @since 0.1.0
 */
export const mostReturns = 2

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Lending, never, Store | LockService | Renewal | Leases> = Layer.effect(
  Lending,
  Effect.gen(function* () {
    const store = yield* Store
    const locks = yield* LockService
    const renewal = yield* Renewal
    const leases = yield* Leases

    /**
     * Renews as far as is called for; what still lives serves in any case. A holder that lends its lease waits for the end,
     * as what it holds may end at any moment.
     */
    const renewed = (
      credential: OAuth2Credential,
      living: boolean,
      request: Request,
      wait: Duration.Duration
    ): Effect.Effect<OAuth2Credential, FlightError> =>
      (living && Option.isNone(request.leaseId)
        ? Effect.map(
            renewal.renewWhileLiving(credential, { ...request, wait }),
            Option.getOrElse(() => credential)
          )
        : renewal.renew(credential, { ...request, wait })
      ).pipe(
        Effect.catchAll((error) =>
          Effect.flatMap(DateTime.now, (now) =>
            RenewalPolicy.isLiving(credential, now) ? Effect.succeed(credential) : Effect.fail(error)
          )
        )
      )

    const isFresh: Lending["Type"]["isFresh"] = (credential, minValidSeconds) =>
      isRenewable(credential)
        ? Effect.map(
            renewal.judge(credential, { force: false, minValidSeconds }),
            (verdict) => verdict._tag === "Fresh"
          )
        : Effect.succeed(true)

    const usable: Lending["Type"]["usable"] = Effect.fnUntraced(function* (credential, options) {
      if (!isRenewable(credential)) return credential
      const request = { force: false, minValidSeconds: options.minValidSeconds, leaseId: options.leaseId }
      const verdict = yield* renewal.judge(credential, request)
      if (verdict._tag === "Fresh") return credential
      const living = verdict._tag === "Due" && verdict.living
      return yield* renewed(credential, living, request, options.wait)
    })

    const after: Lending["Type"]["after"] = Effect.fnUntraced(function* (credential, generation, options) {
      const request = { force: true, minValidSeconds: 0, leaseId: options.leaseId }
      const untilMoved: Effect.Effect<Credential, LendError> = Effect.gen(function* () {
        const now = yield* renewal.renew(credential, request)
        // a flight that was about to land when it was joined may have found nothing to do
        return now.generation > generation ? now : yield* untilMoved
      })
      return credential.generation > generation
        ? credential
        : yield* Effect.timeoutFail(untilMoved, {
            duration: options.wait,
            onTimeout: () => new LockTimeout({ retryAfterSeconds: 1 })
          })
    })

    /**
     * Takes the lease and reads; when that is due, gives the lease back, joins the renewal holding nothing, and begins
     * again, at most twice; then what lives serves, or the holder lends its lease to the renewal that it waits for.
     *
     * To be called in an uninterruptible region: only its waits are interruptible, and what was taken is either answered
     * or given back.
     */
    const underLease = <L>(
      userId: UserId,
      id: CredentialId,
      options: LendOptions,
      grab: (wait: Duration.Duration) => Effect.Effect<Hold<L>, LockTimeout | LockUnavailable>
    ) =>
      Effect.gen(function* () {
        const since = yield* DateTime.now
        const left = Effect.map(DateTime.now, (now) =>
          Duration.subtract(options.wait, Duration.millis(DateTime.distance(since, now)))
        )

        /** The credential to be used under the hold; none when the hold is in the way of its renewal. */
        const read = Effect.fnUntraced(function* (hold: Hold<L>, returns: number) {
          const credential = yield* store.get(userId, id)
          if (!isRenewable(credential)) return Option.some<Credential>(credential)
          const { minValidSeconds } = options
          const request = { force: false, minValidSeconds, leaseId: Option.some(hold.holderId) }
          const verdict = yield* renewal.judge(credential, request)
          if (verdict._tag === "Fresh") return Option.some<Credential>(credential)
          if (returns < mostReturns) return Option.none<Credential>()
          if (verdict._tag === "Due" && verdict.living) return Option.some<Credential>(credential)
          return Option.some<Credential>(yield* renewed(credential, false, request, yield* left))
        })

        const round = (
          returns: number
        ): Effect.Effect<{ readonly credential: Credential; readonly hold: Hold<L> }, LendError> =>
          Effect.gen(function* () {
            const hold = yield* Effect.flatMap(left, grab)
            const credential = yield* Effect.interruptible(read(hold, returns)).pipe(
              Effect.onExit((exit) => (Exit.isSuccess(exit) && Option.isSome(exit.value) ? Effect.void : hold.giveBack))
            )
            if (Option.isSome(credential)) return { credential: credential.value, hold }
            const unchanged = yield* Effect.interruptible(renewFirst(userId, id, options, yield* left))
            return yield* round(unchanged ? mostReturns : returns + 1)
          })
        return yield* round(0)
      })

    /** Renews while nothing is held; true when what is stored has to serve as it is. */
    const renewFirst = Effect.fnUntraced(function* (
      userId: UserId,
      id: CredentialId,
      options: LendOptions,
      wait: Duration.Duration
    ) {
      const before = yield* store.get(userId, id)
      const after = yield* usable(before, { wait, minValidSeconds: options.minValidSeconds, leaseId: Option.none() })
      return after.generation === before.generation
    })

    /** A hold that ends with the scope. */
    const grabIn = (scope: Scope.Scope, userId: UserId, id: CredentialId, mode: Mode) =>
      Effect.fnUntraced(function* (wait: Duration.Duration) {
        const child = yield* Scope.fork(scope, ExecutionStrategy.sequential)
        const lease = yield* locks.acquire(credentialKey(userId, id), { mode, wait }).pipe(
          Scope.extend(child),
          Effect.onError((cause) => Scope.close(child, Exit.failCause(cause)))
        )
        return { lease, holderId: lease.id, giveBack: Scope.close(child, Exit.void) }
      })

    const acquire: Lending["Type"]["acquire"] = Effect.fnUntraced(function* (userId, id, options) {
      const grab = grabIn(yield* Effect.scope, userId, id, options.mode)
      const { credential, hold } = yield* underLease(userId, id, options, grab)
      return { credential, lease: hold.lease }
    }, Effect.uninterruptible)

    const acquireIfUsable: Lending["Type"]["acquireIfUsable"] = Effect.fnUntraced(function* (userId, id, options) {
      const hold = yield* grabIn(yield* Effect.scope, userId, id, options.mode)(options.wait)
      const read = Effect.gen(function* () {
        const credential = yield* store.get(userId, id)
        if (yield* isFresh(credential, options.minValidSeconds)) return Option.some(credential)
        const lives = isRenewable(credential) && RenewalPolicy.isLiving(credential, yield* DateTime.now)
        return options.orLiving && lives ? Option.some(credential) : Option.none()
      })
      const usable = yield* Effect.interruptible(read).pipe(
        Effect.onExit((exit) => (Exit.isSuccess(exit) && Option.isSome(exit.value) ? Effect.void : hold.giveBack))
      )
      return Option.map(usable, (credential) => ({ credential, lease: hold.lease }))
    }, Effect.uninterruptible)

    const lend: Lending["Type"]["lend"] = Effect.fnUntraced(function* (userId, id, options) {
      const { mode, owner, ttl } = options
      const grab = (wait: Duration.Duration) =>
        Effect.map(leases.take(userId, id, { owner, mode, ttl, wait }), (taken) => ({
          lease: taken,
          holderId: taken.holderId,
          giveBack: leases.forget(taken)
        }))
      const { credential, hold } = yield* underLease(userId, id, options, grab)
      const lease = yield* Effect.tapError(leases.remember(hold.lease), () => hold.giveBack)
      return { credential, lease }
    }, Effect.uninterruptible)

    const alone: Lending["Type"]["alone"] = <A, E>(
      userId: UserId,
      id: CredentialId,
      options: { readonly wait: Duration.Duration; readonly leaseId: Option.Option<string> },
      change: Effect.Effect<A, E | Conflict, Scope.Scope>
    ) => {
      const untilDone: Effect.Effect<A, E, Scope.Scope> = Effect.catchIf(
        change,
        (error): error is Conflict => error instanceof Conflict,
        () => untilDone
      ) as Effect.Effect<A, E, Scope.Scope>
      return Effect.gen(function* () {
        const { system } = yield* store.metadata(userId, id)
        if (system === true) return yield* new ReadOnlyCredential({ credentialId: id })
        const key = credentialKey(userId, id)
        const holder = randomUUID()
        if (Option.isSome(options.leaseId)) yield* locks.lend(key, options.leaseId.value, holder)
        yield* locks.acquire(key, { id: holder, mode: "exclusive", priority: "writer", wait: options.wait })
        return yield* untilDone
      }).pipe(Effect.scoped)
    }

    return Lending.of({ isFresh, usable, after, acquire, acquireIfUsable, lend, alone })
  })
)
