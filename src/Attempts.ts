/**
 * The spending of a refresh token: written down before, exchanged once, and saved so that the answer is never lost.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import { randomUUID } from "node:crypto"
import type { Kind } from "./AuditEvent.ts"
import * as Measured from "./Attempts/Measured.ts"
import { AuditLog, record } from "./AuditLog.ts"
import type { FailureReason, OAuth2Credential, ReauthReason } from "./Credential.ts"
import { isReauthSoon, settled } from "./Credential.ts"
import { NeedsReauth, type OutboundRefused, ProviderError, StoreUnavailable } from "./CredentialsError.ts"
import type { Handler } from "./HandlerRegistry/Handler.ts"
import type { Lease } from "./LockService.ts"
import { type Answer, answeredWithin, type OutboundFailure } from "./Outbound.ts"
import { Processes } from "./Processes.ts"
import { type Receipt, Receipts } from "./Receipts.ts"
import * as RenewalPolicy from "./RenewalPolicy.ts"
import type { DueReason } from "./RenewalPolicy.ts"
import * as Span from "./Span.ts"
import { type Attempt, Change, type Grant, type Outcome, Store } from "./Store.ts"
import { Denial } from "./TokenEndpoint.ts"
import { type TokenSet, toVariant, withdrawn } from "./TokenSet.ts"

/**
 * What is stored is not what the caller decided upon: somebody renewed, replaced or deleted meanwhile. Read again.
 *
 * @since 0.1.0
 * @category errors
 */
export class Moved extends Data.TaggedError("Moved") {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Spending {
  readonly handler: Handler
  readonly grant: Grant
  /** The credentials that share the grant, as just read; at least one. */
  readonly credentials: readonly [OAuth2Credential, ...ReadonlyArray<OAuth2Credential>]
  readonly reason: DueReason
  /** The attempt without an answer that this one asks about, by presenting its refresh token again. */
  readonly probeOf: Option.Option<Attempt>
  /** Checked last before anything is sent; `Moved` when one is lost. */
  readonly leases: ReadonlyArray<Lease>
}

/**
 * @since 0.1.0
 * @category services
 */
export class Attempts extends Context.Tag("effect-credentials/Attempts")<
  Attempts,
  {
    /**
     * Spends the grant's refresh token, at most once, and stores what comes back in all its credentials; answers with
     * them. Not interruptible: from the first note to the last save it is one step, bounded by the exchange's own timer.
     *
     * `ProviderError`: the attempt is closed or left to be settled, and renewals back off. `NeedsReauth`: noted, and
     * nothing is sent for these credentials any more.
     */
    readonly spend: (
      spending: Spending
    ) => Effect.Effect<
      ReadonlyArray<OAuth2Credential>,
      Moved | NeedsReauth | ProviderError | OutboundRefused | StoreUnavailable
    >
    /**
     * Stores the tokens of a kept answer, if nothing newer took their place, and drops it; `false` when they do not fit
     * (any more) or cannot be read. Of several processes that do so at once, one stores them.
     */
    readonly promote: (receipt: Receipt, handler: Handler) => Effect.Effect<boolean, StoreUnavailable>
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long the exchange may take; default 60 seconds. */
  readonly exchangeTimeout?: Duration.DurationInput | undefined
}

/** After the exchange's own end nothing of it is under way in any network. */
const slack = Duration.seconds(5)

/** A save that takes longer is not waited for without a second copy of the answer. */
const spoolAfter = Duration.millis(100)

const backOffMillis = (failures: number) => Math.min(2_000 * 2 ** failures, 300_000)

const saveAgain = Schedule.exponential("50 millis").pipe(Schedule.union(Schedule.spaced("2 seconds")))

/** The next generation of a credential. */
const renewed = (
  credential: OAuth2Credential,
  tokens: TokenSet,
  at: DateTime.Utc,
  reason: DueReason
): OAuth2Credential => {
  const { reauthSoonSaid, reportStreak } = credential.renewal
  const lifetimeSeconds = RenewalPolicy.expectedLifetimeSeconds(credential, reason, at)
  const before = {
    ...credential.variant,
    ...(Option.isSome(lifetimeSeconds) && { lifetimeSeconds: lifetimeSeconds.value })
  }
  const next = {
    ...credential,
    generation: credential.generation + 1,
    variant: toVariant(tokens, before, at),
    renewal: { ...settled, reportStreak: reason === "reported" ? reportStreak + 1 : 0 },
    updatedAt: at,
    storedAt: at
  }
  // said once as the end of a grant comes near, not with each renewal until then
  return reauthSoonSaid && isReauthSoon(next, at) ? { ...next, renewal: { ...next.renewal, reauthSoonSaid } } : next
}

/** Whether the tokens end what the credential holds, rather than being another access token beside it. */
const isNewTo = ({ variant }: OAuth2Credential, { refreshToken }: TokenSet) =>
  Option.exists(
    refreshToken,
    (token) => variant.refreshToken === undefined || Redacted.value(token) !== Redacted.value(variant.refreshToken)
  )

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Attempts, never, Store | Receipts | Processes | AuditLog> =>
  Layer.effect(
    Attempts,
    Effect.gen(function* () {
      const store = yield* Store
      const receipts = yield* Receipts
      const processes = yield* Processes
      const context = yield* Effect.context<AuditLog>()
      const exchangeTimeout = Duration.decode(options.exchangeTimeout ?? "60 seconds")
      const lasts = Duration.sum(exchangeTimeout, slack)

      const note = (kind: Kind, credential: OAuth2Credential, attempt: Attempt, detail?: string) =>
        record({
          kind,
          userId: credential.userId,
          credentialId: credential.id,
          provider: credential.provider,
          generation: credential.generation,
          attemptId: attempt.id,
          ...(detail !== undefined && { detail })
        }).pipe(Effect.provide(context))

      const close = (attempt: Attempt, outcome: Outcome) => Change.CloseAttempt({ id: attempt.id, outcome })

      /**
       * Nothing was sent for an attempt of which it is not known whether it is there: closed as soon as the database says
       * so, the grant need not wait for its deadline. One that asks about another one is left to be settled with it.
       */
      const withdraw = (attempt: Attempt) =>
        Option.isSome(attempt.probeOf)
          ? Effect.void
          : store
              .commit([close(attempt, "failed")])
              .pipe(
                Effect.retry({ schedule: Schedule.spaced("1 second"), times: Math.ceil(Duration.toSeconds(lasts)) }),
                Effect.ignore,
                Effect.interruptible,
                Effect.forkDaemon
              )

      /** Writes the attempt down. Only when it is known to be there may anything be sent. */
      const begin = (attempt: Attempt, { credentials, probeOf }: Spending) =>
        store
          .commit([
            ...Option.toArray(probeOf).map(({ id }) => Change.CloseAttempt({ id, outcome: "probed" })),
            ...credentials.map(({ generation, id, userId }) => Change.Expect({ userId, id, generation })),
            Change.OpenAttempt({ attempt })
          ])
          .pipe(
            Effect.catchTags({
              Conflict: () => new Moved(),
              StoreUnavailable: (error) =>
                store.outcome(attempt.id).pipe(
                  Effect.filterOrFail(Option.contains<Outcome | "open">("open"), () => error),
                  Effect.tapError(() => withdraw(attempt))
                )
            })
          )

      /**
       * The end of an attempt that spent nothing. One that asks about another's lost answer stays to be settled in its place:
       * what that one left in doubt still is.
       */
      const closeUnspent = (
        attempt: Attempt,
        { handler, probeOf }: Spending
      ): Effect.Effect<Change, StoreUnavailable> =>
        Option.isSome(probeOf) && handler.provider.rotatesRefreshToken
          ? Effect.map(store.now, (at) => Change.ExpireAttempt({ id: attempt.id, at }))
          : Effect.succeed(close(attempt, "failed"))

      /** For notes that come too late: what they are about has moved on, and nothing is lost. */
      const commitIfStill = (changes: ReadonlyArray<Change>) =>
        Effect.catchTag(store.commit(changes), "Conflict", () => Effect.void)

      const send = (spending: Spending, refreshToken: Redacted.Redacted) =>
        spending.handler.refresh(refreshToken).pipe(
          answeredWithin(exchangeTimeout, () => true),
          // a fiber of its own, which only its timer interrupts
          Effect.interruptible,
          Effect.forkDaemon,
          Effect.flatMap(Fiber.join)
        )

      /** Whatever reading trips over, the answer is there and may be worth the user's login. */
      const read = (handler: Handler, answer: Answer) =>
        Effect.catchAllDefect(handler.read(answer), () =>
          Effect.succeed(Either.left(Denial.Unclear({ reason: "malformed_response" })))
        )

      const sharing = (attempt: Attempt) => store.sharing(attempt.userId, attempt.grant)

      const kept = (receipt: Receipt) =>
        Effect.isSuccess(Effect.tapError(receipts.keep(receipt), (error) => Effect.logError(error.message)))

      /**
       * Stores the tokens in every credential that still holds the refresh token that they were paid with: a replacement
       * that kept that token, too. `Moved` when there is none, when the attempt is no longer the last, or when somebody
       * stored them already.
       */
      const save = (attempt: Attempt, tokens: TokenSet, at: DateTime.Utc, reason: DueReason) => {
        let written: ReadonlyArray<OAuth2Credential> = []
        const once = Effect.gen(function* () {
          const outcome = yield* store.outcome(attempt.id)
          // by a commit whose answer did not come
          if (Option.contains(outcome, "saved") && written.length > 0) return written
          const open = Option.contains(outcome, "open")
          const credentials = yield* sharing(attempt)
          const other = open ? Option.none() : yield* store.openAttempt(attempt.grant)
          const isWanted =
            open ||
            (!Option.contains(outcome, "saved") && credentials.some((credential) => isNewTo(credential, tokens)))
          if (credentials.length === 0 || Option.isSome(other) || !isWanted) return yield* new Moved()
          const next = credentials.map((credential) => renewed(credential, tokens, at, reason))
          written = next
          yield* store.commit([
            ...next.map((credential) => Change.Replace({ credential })),
            ...(open ? [close(attempt, "saved")] : [])
          ])
          yield* Effect.forEach(credentials, (credential, index) =>
            Effect.gen(function* () {
              yield* note("credential_renewed", next[index] ?? credential, attempt, reason)
              const granted = Option.getOrElse(tokens.scopes, () => credential.variant.scopes)
              if (withdrawn(credential.variant.scopes, granted).length > 0) {
                yield* note("scopes_narrowed", credential, attempt)
              }
            })
          )
          return next
        })
        const again: Effect.Effect<ReadonlyArray<OAuth2Credential>, Moved | StoreUnavailable> = Effect.catchTag(
          once,
          "Conflict",
          () => again
        )
        return again
      }

      /** The tokens came too late: they stay in a receipt, and nobody else's are touched. */
      const supersede = Effect.fnUntraced(function* (attempt: Attempt, receipt: Receipt) {
        // another process found the receipt, and stored the tokens
        if (Option.contains(yield* store.outcome(attempt.id), "saved")) return
        yield* Effect.catchAll(receipts.keep(receipt), (error) => Effect.logError(error.message))
        yield* commitIfStill([close(attempt, "superseded")])
        yield* record({
          kind: "receipt_kept",
          userId: attempt.userId,
          provider: attempt.provider,
          attemptId: attempt.id,
          detail: "superseded"
        }).pipe(Effect.provide(context))
      })

      /**
       * Saves until it is saved. What the database does not take at once is spooled first, and once either place has it,
       * the tokens may be handed out.
       */
      const saveSurely = Effect.fnUntraced(function* (
        attempt: Attempt,
        spending: Spending,
        answer: Answer,
        tokens: TokenSet,
        at: DateTime.Utc
      ) {
        const receipt: Receipt = { attempt, answer, receivedAt: yield* DateTime.now }
        const saving = yield* save(attempt, tokens, at, spending.reason).pipe(
          Effect.tapErrorTag("StoreUnavailable", () =>
            Effect.logWarning("Renewed tokens cannot be stored yet: trying again").pipe(
              Effect.annotateLogs({ provider: attempt.provider, attemptId: attempt.id })
            )
          ),
          Effect.retry({ while: (error) => error._tag === "StoreUnavailable", schedule: saveAgain }),
          Effect.catchTag("StoreUnavailable", Effect.die),
          Effect.forkDaemon
        )
        const saved = Fiber.join(saving).pipe(
          Effect.catchTag("Moved", (moved) => Effect.zipRight(supersede(attempt, receipt), Effect.fail(moved)))
        )
        const soon = yield* Effect.disconnect(Fiber.await(saving)).pipe(
          Effect.interruptible,
          Effect.timeoutOption(spoolAfter)
        )
        if (Option.isSome(soon)) return yield* saved
        const spooled = yield* kept(receipt)
        // what was written of it by halves goes as well
        const settled = Effect.zipLeft(saved, Effect.ignore(receipts.drop(attempt.id)))
        if (!spooled) return yield* settled
        yield* note("receipt_kept", spending.credentials[0], attempt, "store_unavailable")
        yield* settled.pipe(Effect.ignore, Effect.forkDaemon)
        return spending.credentials.map((credential) => renewed(credential, tokens, at, spending.reason))
      })

      const refused = Effect.fnUntraced(function* (attempt: Attempt, spending: Spending) {
        const credentials = yield* sharing(attempt)
        const lost = Option.filter(spending.probeOf, () => spending.handler.provider.rotatesRefreshToken)
        const reason: ReauthReason = Option.isSome(lost) ? "response_lost" : "grant_revoked"
        const attemptId = Option.map(lost, ({ id, probeOf }) => Option.getOrElse(probeOf, () => id))
        yield* commitIfStill([
          ...credentials.map((credential) =>
            Change.Note({ credential, renewal: { reauth: Option.some({ reason, attemptId }) } })
          ),
          close(attempt, Option.isSome(lost) ? "lost" : "refused")
        ])
        if (credentials.length === 0) return yield* new Moved()
        yield* Effect.forEach(credentials, (credential) => note("needs_reauth", credential, attempt, reason))
        const [first] = spending.credentials
        return yield* new NeedsReauth({
          credentialId: first.id,
          provider: first.provider,
          reason,
          ...Option.match(attemptId, { onNone: () => ({}), onSome: (id) => ({ attemptId: id }) })
        })
      })

      /** Notes a failure, so that all processes back off, and says how the attempt stands. */
      const failed = Effect.fnUntraced(function* (
        attempt: Attempt,
        spending: Spending,
        failure: { readonly reason: FailureReason; readonly retryAfterSeconds: Option.Option<number> },
        ending: ReadonlyArray<Change>
      ) {
        const [first] = spending.credentials
        const now = yield* DateTime.now
        const jitter = yield* Random.nextRange(0.8, 1.2)
        const millis = Option.match(failure.retryAfterSeconds, {
          onNone: () => backOffMillis(first.renewal.failures) * jitter,
          onSome: (seconds) => seconds * 1000
        })
        yield* commitIfStill([
          ...spending.credentials.map((credential) =>
            Change.Note({
              credential,
              renewal: {
                failures: credential.renewal.failures + 1,
                retryAt: Option.some(DateTime.addDuration(now, Duration.millis(millis))),
                lastFailure: Option.some(failure.reason)
              }
            })
          ),
          ...ending
        ])
        yield* note("renewal_failed", first, attempt, failure.reason)
        if (failure.reason === "invalid_client") {
          yield* Effect.logError("A provider refuses this service's client id or secret").pipe(
            Effect.annotateLogs({ provider: first.provider })
          )
        }
        return yield* new ProviderError({
          provider: first.provider,
          reason: failure.reason,
          retryAfterSeconds: Math.max(1, Math.ceil(millis / 1000))
        })
      })

      /** The refresh token may have been spent without an answer that can be read. */
      const unclear = Effect.fnUntraced(function* (
        attempt: Attempt,
        spending: Spending,
        reason: FailureReason,
        over: boolean
      ) {
        const { provider } = spending.handler
        const failure = { reason, retryAfterSeconds: Option.none<number>() }
        // a refresh token that refreshing does not spend may be presented again
        if (!provider.rotatesRefreshToken) return yield* failed(attempt, spending, failure, [close(attempt, "failed")])
        const at = yield* store.now
        return yield* failed(attempt, spending, failure, over ? [Change.ExpireAttempt({ id: attempt.id, at })] : [])
      })

      const judge = Effect.fnUntraced(function* (attempt: Attempt, spending: Spending, answer: Answer, denial: Denial) {
        switch (denial._tag) {
          case "Refused":
            return yield* refused(attempt, spending)
          case "Failed":
            return yield* failed(attempt, spending, denial, [yield* closeUnspent(attempt, spending)])
          case "Unclear": {
            // a later version may read what this one cannot
            if (yield* kept({ attempt, answer, receivedAt: yield* DateTime.now })) {
              yield* note("receipt_kept", spending.credentials[0], attempt, denial.reason)
            }
            return yield* unclear(attempt, spending, denial.reason, true)
          }
        }
      })

      const spend = Effect.fn("Attempts.spend")(function* (spending: Spending) {
        const [first] = spending.credentials
        yield* Span.annotate({ provider: spending.handler.provider.id })
        const refreshToken = first.variant.refreshToken
        if (refreshToken === undefined) return yield* new Moved()
        const startedAt = yield* store.now
        const attempt: Attempt = {
          id: randomUUID(),
          userId: first.userId,
          provider: first.provider,
          grant: spending.grant,
          processId: processes.id,
          startedAt,
          deadline: DateTime.addDuration(startedAt, lasts),
          probeOf: Option.map(spending.probeOf, ({ id, probeOf }) => Option.getOrElse(probeOf, () => id))
        }
        const endUnspent = Effect.flatMap(closeUnspent(attempt, spending), (ending) => commitIfStill([ending]))
        const stillMine = Effect.forEach(spending.leases, (lease) => lease.check, { discard: true }).pipe(
          Effect.catchTag("LeaseLost", () => Effect.zipRight(endUnspent, Effect.fail(new Moved())))
        )
        yield* begin(attempt, spending)
        yield* stillMine
        const sentAt = yield* DateTime.now

        const exchange: Effect.Effect<
          ReadonlyArray<OAuth2Credential>,
          Moved | NeedsReauth | ProviderError | OutboundRefused | OutboundFailure | StoreUnavailable
        > = Effect.gen(function* () {
          let answer = yield* send(spending, refreshToken)
          let outcome = yield* read(spending.handler, answer)
          const mayPass = spending.handler.provider.invalidGrantMayPass
          if (mayPass && Either.isLeft(outcome) && outcome.left._tag === "Refused") {
            yield* Effect.sleep("1 second")
            yield* stillMine
            answer = yield* send(spending, refreshToken)
            outcome = yield* read(spending.handler, answer)
          }
          return Either.isRight(outcome)
            ? yield* saveSurely(attempt, spending, answer, outcome.right, sentAt)
            : yield* judge(attempt, spending, answer, outcome.left)
        })

        return yield* exchange.pipe(
          Effect.catchTags({
            OutboundRefused: (error) => Effect.zipRight(endUnspent, Effect.fail(error)),
            OutboundFailure: ({ failure, reason, sent }) =>
              sent
                ? unclear(attempt, spending, failure, reason === "too_large")
                : Effect.flatMap(closeUnspent(attempt, spending), (ending) =>
                    failed(attempt, spending, { reason: failure, retryAfterSeconds: Option.none() }, [ending])
                  )
          }),
          Effect.annotateLogs({ provider: first.provider, credentialId: first.id, attemptId: attempt.id })
        )
      }, Effect.uninterruptible)

      const promote = Effect.fn("Attempts.promote")(function* (receipt: Receipt, handler: Handler) {
        const { answer, attempt } = receipt
        const tokens = yield* read(handler, answer)
        if (Either.isLeft(tokens)) return false
        return yield* save(attempt, tokens.right, attempt.startedAt, "expired").pipe(
          Effect.tap(([first]) => (first === undefined ? Effect.void : note("receipt_promoted", first, attempt))),
          Effect.zipRight(Effect.ignore(receipts.drop(attempt.id))),
          Effect.as(true),
          Effect.catchTag("Moved", () => Effect.succeed(false))
        )
      }, Effect.uninterruptible)

      return Attempts.of({
        spend: (spending) => Measured.make(spending.handler.provider.id, spend(spending)),
        promote
      })
    })
  )
