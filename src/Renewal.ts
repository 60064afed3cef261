/**
 * Renewals: one flight a grant, that any number of callers join and none owns.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Attempts, Moved } from "./Attempts.ts"
import { CircuitBreaker } from "./CircuitBreaker.ts"
import { type CredentialId, isOAuth2, type OAuth2Credential, type UserId } from "./Credential.ts"
import {
  CredentialNotFound,
  LockTimeout,
  type LockUnavailable,
  NeedsReauth,
  ProviderError,
  StoreUnavailable
} from "./CredentialsError.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import type { Handler } from "./HandlerRegistry/Handler.ts"
import { credentialKey, type Lease, LockService, refreshKey } from "./LockService.ts"
import { DeadlineWatch, makeTimer } from "./LockService/DeadlineWatch.ts"
import * as Provider from "./Provider.ts"
import { ProviderCatalogue } from "./ProviderCatalogue.ts"
import { Processes } from "./Processes.ts"
import { Receipts } from "./Receipts.ts"
import { Flight, type FlightError, type Request } from "./Renewal/Flight.ts"
import * as RenewalPolicy from "./RenewalPolicy.ts"
import { type Attempt, Change, type Grant, Store } from "./Store.ts"

export type { FlightError, Request } from "./Renewal/Flight.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class Renewal extends Context.Tag("effect-credentials/Renewal")<
  Renewal,
  {
    /** What the policy says of a credential now, by its provider's data. */
    readonly judge: (
      credential: OAuth2Credential,
      request: Pick<Request, "force" | "minValidSeconds" | "ahead">
    ) => Effect.Effect<RenewalPolicy.Verdict>
    /**
     * Joins the flight of the credential's grant, or starts it, and waits for its end: answers with the credential as
     * stored then. The wait is interruptible; the flight goes on.
     */
    readonly renew: (credential: OAuth2Credential, request: Request) => Effect.Effect<OAuth2Credential, FlightError>
    /**
     * Like `renew`, but waits no longer than it must: none while the stored access token still serves, because the flight
     * is still waiting for those who use it, or because its end will not hurt them.
     */
    readonly renewWhileLiving: (
      credential: OAuth2Credential,
      request: Request
    ) => Effect.Effect<Option.Option<OAuth2Credential>, FlightError>
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long a flight waits for holders of the access token that it will end; default 5 minutes. */
  readonly holderWait?: Duration.DurationInput | undefined
  /** For so long, readers may pass a flight that waits for holders; default 30 seconds. */
  readonly yieldsFor?: Duration.DurationInput | undefined
  /** How long a shutdown waits for exchanges that are under way; default 10 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
}

const holderId = (flight: Flight, id: CredentialId) => `${flight.id}:${id}`

/** Something of an attempt without an answer may still be under way, for so long. */
class Unsettled extends Data.TaggedError("Unsettled")<{ readonly left: Duration.Duration }> {}

/** How often a flight looks whether another process has settled its attempt, or died. */
const otherProcessCheck = Duration.seconds(2)

/** For so long past the deadline a flight waits for a living process to settle its own attempt. */
const otherProcessWait = Duration.minutes(2)

/** How often a flight that waits for holders looks whether there is still a living access token to protect. */
const protectionCheck = Schedule.spaced("2 seconds")

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<
  Renewal,
  never,
  Store | LockService | HandlerRegistry | ProviderCatalogue | Attempts | Receipts | Processes | CircuitBreaker
> =>
  Layer.scoped(
    Renewal,
    Effect.gen(function* () {
      const store = yield* Store
      const locks = yield* LockService
      const handlers = yield* HandlerRegistry
      const catalogue = yield* ProviderCatalogue
      const attempts = yield* Attempts
      const receipts = yield* Receipts
      const processes = yield* Processes
      const breaker = yield* CircuitBreaker
      const holderWait = Duration.decode(options.holderWait ?? "5 minutes")
      const yieldsFor = Duration.decode(options.yieldsFor ?? "30 seconds")
      const drainTimeout = Duration.decode(options.drainTimeout ?? "10 seconds")
      const flights = new Map<Grant, Flight>()
      /** Nobody would wait for what is begun from now on. */
      let isClosing = false
      const timer = yield* makeTimer
      const bounds = new DeadlineWatch(timer, "stop")

      const judge: Renewal["Type"]["judge"] = (credential, request) =>
        Effect.map(DateTime.now, (now) =>
          RenewalPolicy.judge({
            credential,
            marginSeconds: Option.flatMapNullable(catalogue.find(credential.provider), (data) => data.marginSeconds),
            now,
            minValidSeconds: request.minValidSeconds,
            force: request.force,
            ahead: request.ahead
          })
        )

      const isLiving = (credentials: ReadonlyArray<OAuth2Credential>, now: DateTime.Utc) =>
        credentials.some((credential) => RenewalPolicy.isLiving(credential, now))

      const dead = Effect.fnUntraced(function* (credential: OAuth2Credential, reason: NeedsReauth["reason"]) {
        if (Option.isNone(credential.renewal.reauth) && !RenewalPolicy.isLiving(credential, yield* DateTime.now)) {
          const renewal = { reauth: Option.some({ reason, attemptId: Option.none() }) }
          yield* Effect.ignore(store.commit([Change.Note({ credential, renewal })]))
        }
        const attemptId = Option.flatMap(credential.renewal.reauth, (reauth) => reauth.attemptId)
        return yield* new NeedsReauth({
          credentialId: credential.id,
          provider: credential.provider,
          reason,
          ...Option.match(attemptId, { onNone: () => ({}), onSome: (id) => ({ attemptId: id }) })
        })
      })

      const callOf = ({ forced, grant }: Flight, { provider }: Handler) => ({
        provider,
        grant,
        onDemand: forced.size > 0
      })

      /** A provider that failed is left alone until its back-off ends; on demand it is asked again, unless it said when. */
      const backOff = Effect.fnUntraced(function* (flight: Flight, credential: OAuth2Credential) {
        const { lastFailure, retryAt } = credential.renewal
        if (Option.isNone(retryAt) || Option.isNone(lastFailure)) return
        const left = DateTime.distance(yield* DateTime.now, retryAt.value)
        if (left <= 0 || (flight.forced.size > 0 && lastFailure.value !== "throttled")) return
        return yield* new ProviderError({
          provider: credential.provider,
          reason: lastFailure.value,
          retryAfterSeconds: Math.ceil(left / 1000)
        })
      })

      /**
       * What becomes of an attempt without an answer, once its grant's lock is ours: its receipt is promoted; while something
       * of it may be under way it is waited for; while the old access token serves nothing is risked; then its refresh
       * token is presented once more, by the process that began it or once that one is dead.
       */
      const settle = Effect.fnUntraced(function* (
        credentials: ReadonlyArray<OAuth2Credential>,
        handler: Handler,
        attempt: Attempt
      ): Effect.fn.Return<void, Moved | Unsettled | LockTimeout | ProviderError | StoreUnavailable> {
        // who cannot look does not know that there is none
        const receipt = yield* Effect.mapError(
          receipts.find(attempt.id),
          () => new StoreUnavailable({ retryAfterSeconds: 1 })
        )
        if (Option.isSome(receipt) && (yield* attempts.promote(receipt.value, handler))) return yield* new Moved()
        const { provider } = handler
        const now = yield* store.now
        const mayRepeat =
          !provider.rotatesRefreshToken ||
          Option.exists(Provider.reuseGrace(provider), (seconds) =>
            DateTime.lessThan(now, DateTime.addDuration(attempt.startedAt, Duration.seconds(seconds)))
          )
        if (mayRepeat) return
        const left = DateTime.distance(now, attempt.deadline)
        if (isLiving(credentials, now)) {
          const retryAfterSeconds = Math.max(1, Math.ceil(left / 1000))
          return yield* new ProviderError({ provider: attempt.provider, reason: "timeout", retryAfterSeconds })
        }
        const isOwn = attempt.processId === processes.id
        if (left > 0) {
          const millis = isOwn ? left : Math.min(left, Duration.toMillis(otherProcessCheck))
          return yield* new Unsettled({ left: Duration.millis(millis) })
        }
        if (isOwn || !(yield* processes.isAlive(attempt.processId))) return
        if (-left > Duration.toMillis(otherProcessWait)) return yield* new LockTimeout({ retryAfterSeconds: 5 })
        return yield* new Unsettled({ left: otherProcessCheck })
      })

      /** Fails with `Moved` as soon as a credential's access token no longer lives, or is another. */
      const whileLiving = (credential: OAuth2Credential) =>
        Effect.gen(function* () {
          const stored = yield* Effect.orElseSucceed(store.get(credential.userId, credential.id), () => undefined)
          const living =
            stored !== undefined &&
            isOAuth2(stored) &&
            stored.generation === credential.generation &&
            RenewalPolicy.isLiving(stored, yield* DateTime.now)
          if (!living) return yield* new Moved()
        }).pipe(Effect.schedule(protectionCheck), Effect.zipRight(Effect.never))

      /** Exclusive leases, in id order, of all credentials whose living access token the renewal will end. */
      const protect = (
        flight: Flight,
        credentials: ReadonlyArray<OAuth2Credential>
      ): Effect.Effect<ReadonlyArray<Lease>, Moved | LockTimeout | LockUnavailable, Scope.Scope> =>
        Effect.forEach(credentials, (credential) => {
          const acquire = (wait: Duration.Duration) =>
            locks.acquire(credentialKey(credential.userId, credential.id), {
              id: holderId(flight, credential.id),
              mode: "exclusive",
              priority: "writer",
              wait,
              yieldsFor
            })
          return acquire(Duration.zero).pipe(
            Effect.catchTag("LockTimeout", () =>
              Effect.zipRight(
                Effect.sync(() => flight.serve()),
                Effect.raceFirst(acquire(holderWait), whileLiving(credential))
              )
            )
          )
        })

      /** Why the grant is to be renewed now, by its credentials as just read; none when it need not be. */
      const decide = Effect.fnUntraced(function* (flight: Flight, credentials: ReadonlyArray<OAuth2Credential>) {
        const seed = credentials.find(({ id }) => id === flight.seed) ?? credentials[0]
        if (seed === undefined) return Option.none()
        const force = credentials.some(({ generation, id }) => generation <= (flight.forced.get(id) ?? 0))
        const verdict = yield* judge(seed, { ...flight, force })
        if (verdict._tag === "Fresh") return Option.none()
        if (verdict._tag === "Dead") return yield* dead(seed, verdict.reason)
        const handler = yield* handlers.of(seed)
        if (!handler.provider.refreshInvalidatesAccessToken && verdict.living && flight.minValidSeconds === 0) {
          flight.serve()
        }
        yield* backOff(flight, seed)
        yield* breaker.check(callOf(flight, handler))
        return Option.some({ handler, reason: verdict.reason })
      })

      const stored = (
        userId: UserId,
        id: CredentialId
      ): Effect.Effect<OAuth2Credential, CredentialNotFound | StoreUnavailable> =>
        store.get(userId, id).pipe(
          Effect.filterOrFail(isOAuth2, () => new CredentialNotFound({ credentialId: id })),
          Effect.catchTag("Undecryptable", () => new CredentialNotFound({ credentialId: id }))
        )

      /**
       * One round: decides on what is stored, takes the locks, decides again on what is stored then, and renews. Answers with
       * the credentials that it renewed or need not renew; those that hold the grant no more are somebody else's doing.
       */
      const round = Effect.fnUntraced(function* (
        flight: Flight
      ): Effect.fn.Return<ReadonlyArray<OAuth2Credential>, FlightError | Moved | Unsettled, Scope.Scope> {
        const before = yield* store.sharing(flight.userId, flight.grant)
        const called = yield* decide(flight, before)
        if (Option.isNone(called)) return before
        const { refreshInvalidatesAccessToken } = called.value.handler.provider
        const protects = refreshInvalidatesAccessToken && isLiving(before, yield* DateTime.now)
        const leases = protects ? yield* protect(flight, before) : []
        if (protects) flight.withhold()
        const alone = yield* locks.acquire(refreshKey(flight.grant), { priority: "writer", wait: "2 minutes" })

        const credentials = yield* store.sharing(flight.userId, flight.grant)
        const [first, ...others] = credentials
        const due = yield* decide(flight, credentials)
        if (Option.isNone(due) || first === undefined) return credentials
        const { handler, reason } = due.value
        // what was renewed or added while the lock was waited for has holders of its own
        const isUnleased = credentials.some(({ id }) => !protects || before.every((known) => known.id !== id))
        if (
          isUnleased &&
          handler.provider.refreshInvalidatesAccessToken &&
          isLiving(credentials, yield* DateTime.now)
        ) {
          return yield* new Moved()
        }
        const probeOf = yield* store.openAttempt(flight.grant)
        if (Option.isSome(probeOf)) yield* settle(credentials, handler, probeOf.value)
        return yield* breaker.guard(
          callOf(flight, handler),
          attempts.spend({
            handler,
            grant: flight.grant,
            credentials: [first, ...others],
            reason,
            probeOf,
            leases: [...leases, alone]
          })
        )
      })

      const rounds = (flight: Flight, left: number): Effect.Effect<ReadonlyArray<OAuth2Credential>, FlightError> =>
        Effect.catchTags(Effect.scoped(round(flight)), {
          Moved: () => (left > 0 ? rounds(flight, left - 1) : new LockTimeout({ retryAfterSeconds: 1 })),
          // no lock is held while waiting
          Unsettled: (unsettled) => Effect.zipRight(Effect.sleep(unsettled.left), rounds(flight, left))
        })

      const end = (flight: Flight, exit: Exit.Exit<ReadonlyArray<OAuth2Credential>, FlightError>) =>
        Effect.sync(() => {
          if (flights.get(flight.grant) === flight) flights.delete(flight.grant)
          flight.land(exit)
        })

      /** Finds the grant's flight or starts it, in one synchronous step. */
      const board = (grant: Grant, credential: OAuth2Credential, request: Request) =>
        // uninterruptible: a flight that is registered and never started would never end
        Effect.uninterruptible(
          Effect.suspend(() => {
            const existing = flights.get(grant)
            if (existing === undefined && isClosing) return new LockTimeout({ retryAfterSeconds: 1 })
            const flight = existing ?? new Flight(grant, credential, bounds)
            flight.board(credential, request)
            if (existing !== undefined) return Effect.succeed(existing)
            flights.set(grant, flight)
            return rounds(flight, 3).pipe(
              Effect.withSpan("Renewal.flight", { attributes: { provider: credential.provider }, root: true }),
              Effect.onExit((exit) => end(flight, exit)),
              Effect.exit,
              Effect.asVoid,
              Effect.interruptible,
              Effect.forkDaemon,
              Effect.map((started) => {
                flight.fiber = started
                return flight
              })
            )
          })
        )

      const lend = (flight: Flight, credential: OAuth2Credential, leaseId: Option.Option<string>) =>
        Option.match(leaseId, {
          onNone: () => Effect.void,
          onSome: (id) =>
            locks.lend(credentialKey(credential.userId, credential.id), id, holderId(flight, credential.id))
        })

      const boarded = <A>(
        credential: OAuth2Credential,
        request: Request,
        then: (flight: Flight) => Effect.Effect<A, FlightError>
      ): Effect.Effect<A, FlightError> =>
        Option.match(store.grantOf(credential), {
          onNone: () => dead(credential, "no_refresh_token"),
          onSome: (grant) =>
            board(grant, credential, request).pipe(
              Effect.tap((flight) => lend(flight, credential, request.leaseId)),
              Effect.flatMap(then),
              Effect.catchTag("NeedsReauth", (error) =>
                Effect.fail(new NeedsReauth({ ...error, credentialId: credential.id }))
              )
            )
        })

      /** What became of a credential that was renewed or replaced elsewhere, perhaps by what serves no more than before. */
      const elsewhere = Effect.fnUntraced(function* (credential: OAuth2Credential, request: Request, deadline: number) {
        const now = yield* stored(credential.userId, credential.id)
        const again = { ...request, force: false, wait: Duration.millis(Math.max(0, deadline - timer.now())) }
        const verdict = yield* judge(now, again)
        return verdict._tag === "Due" && !verdict.living ? yield* renew(now, again) : now
      })

      /** What became of a credential in a flight; none when it need not be waited for. */
      const landed = (credential: OAuth2Credential, request: Request, whileLiving: boolean) => (flight: Flight) => {
        const deadline = timer.now() + Duration.toMillis(request.wait ?? Duration.infinity)
        return Effect.flatMap(
          flight.landing({ whileLiving, deadline }),
          Option.match({
            onNone: () => Effect.succeedNone,
            onSome: (renewed) => {
              const mine = renewed.find(({ id }) => id === credential.id)
              return mine === undefined
                ? Effect.asSome(elsewhere(credential, request, deadline))
                : Effect.succeed(Option.some(mine))
            }
          })
        )
      }

      const renewWhileLiving: Renewal["Type"]["renewWhileLiving"] = (credential, request) =>
        boarded(credential, request, landed(credential, request, true))

      const renew: Renewal["Type"]["renew"] = (credential, request) =>
        Effect.map(
          boarded(credential, request, landed(credential, request, false)),
          Option.getOrElse(() => credential)
        )

      // Shutdown: those that wait are interrupted, those that exchange are awaited
      yield* Effect.addFinalizer(() => {
        isClosing = true
        return Effect.forEach(flights.values(), ({ fiber }) => (fiber ? Fiber.interrupt(fiber) : Effect.void), {
          concurrency: "unbounded",
          discard: true
        }).pipe(Effect.disconnect, Effect.interruptible, Effect.timeoutOption(drainTimeout))
      })

      return Renewal.of({ judge, renew, renewWhileLiving })
    })
  )
