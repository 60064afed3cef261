/**
 * The work that nobody waits for: renewing what will be due, recovery, the outbox of revocations, and dropping what has
 * expired.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { AuditLog, record } from "./AuditLog.ts"
import { AuthorizationStore } from "./AuthorizationStore.ts"
import { isReauthSoon, type OAuth2Credential, type ProviderId, reauthSoon } from "./Credential.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import * as Mcp from "./HandlerRegistry/Mcp.ts"
import { Leases } from "./Leases.ts"
import { ProviderCatalogue } from "./ProviderCatalogue.ts"
import { Recovery } from "./Recovery.ts"
import { type FlightError, Renewal } from "./Renewal.ts"
import { Revocations } from "./Revocations.ts"
import { Change, Store } from "./Store.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How often there is a round; default 10 seconds. */
  readonly interval?: Duration.DurationInput | undefined
  /** How much this process renews ahead of time; `false`: nothing, credentials are renewed as they are read. */
  readonly ahead?: AheadOptions | false | undefined
  /** More to drop in each round: what an engine knows to be over. */
  readonly prune?: Effect.Effect<void, unknown> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface AheadOptions {
  /** How many renewals may be under way at one provider; default 4. */
  readonly concurrency?: number | undefined
  /** How many renewals may be begun at one provider in a second, over time; default 10. */
  readonly perSecond?: number | undefined
}

/**
 * How long a claim keeps other processes away: longer than a renewal takes, the wait for holders included. What a process
 * that died had claimed is claimed again after it.
 */
const claimFor = Duration.minutes(5)

const claimSize = 50

/** What only other settings or a new login mend is put off. */
const permanent: ReadonlySet<string> = new Set([
  "UnknownProvider",
  "MissingConfig",
  "MissingTokenUrl",
  "OutboundRefused"
] satisfies ReadonlyArray<FlightError["_tag"]>)

const putOffFor = Duration.hours(1)

const request = { force: false, ahead: true, minValidSeconds: 0, leaseId: Option.none() }

/**
 * Renews, of each provider that this service is a client of, what will be due: claims a few that are, oldest first, until
 * there are none. The claims keep processes from doing the same work; that a refresh token is spent once is seen to by the
 * renewal, as always.
 */
const renewAhead = (
  options: AheadOptions
): Effect.Effect<
  {
    readonly providers: ReadonlyArray<ProviderId>
    readonly sweep: (provider: ProviderId) => Effect.Effect<void, unknown>
  },
  never,
  Store | Renewal | HandlerRegistry | ProviderCatalogue | AuditLog
> =>
  Effect.gen(function* () {
    const store = yield* Store
    const renewal = yield* Renewal
    const handlers = yield* HandlerRegistry
    const catalogue = yield* ProviderCatalogue
    const context = yield* Effect.context<AuditLog>()
    const concurrency = options.concurrency ?? 4
    const pause = Duration.seconds(concurrency / (options.perSecond ?? 10))

    const putOff = (credential: OAuth2Credential) =>
      Effect.flatMap(DateTime.now, (now) =>
        store.commit([Change.PutOff({ credential, until: DateTime.addDuration(now, putOffFor) })])
      )

    /** Whether it was renewed, or nothing was in the way. */
    const renew = (credential: OAuth2Credential) =>
      Effect.flatMap(handlers.of(credential), ({ provider }) =>
        // where the flight waits for holders it is left to itself, so that they do not stop what comes after it
        provider.refreshInvalidatesAccessToken
          ? Effect.asVoid(renewal.renewWhileLiving(credential, request))
          : Effect.asVoid(renewal.renew(credential, request))
      ).pipe(
        Effect.tapError((error) => (permanent.has(error._tag) ? Effect.ignore(putOff(credential)) : Effect.void)),
        // what became of it is noted where it matters, and that says when to look again
        Effect.isSuccess,
        Effect.zipLeft(Effect.sleep(pause))
      )

    /** Says once, for all processes, that the user will have to log in again; answers what is stored then. */
    const announce = Effect.fnUntraced(function* (credential: OAuth2Credential) {
      const renewal = { ...credential.renewal, reauthSoonSaid: true }
      const { generation, id, provider, userId } = credential
      yield* store.commit([Change.Note({ credential, renewal: { reauthSoonSaid: true } })])
      yield* record({ kind: "reauth_soon", userId, credentialId: id, provider, generation }).pipe(
        Effect.provide(context)
      )
      const at = Option.map(reauthSoon(credential), (soon) => DateTime.formatIso(soon.at))
      yield* Effect.logWarning("A refresh token is about to die: its user has to log in again").pipe(
        Effect.annotateLogs({ provider, credentialId: id, at: Option.getOrElse(at, () => "unknown") })
      )
      return { ...credential, renewal }
    })

    const visit = (until: DateTime.Utc) =>
      Effect.fnUntraced(
        function* (claimed: OAuth2Credential) {
          const now = yield* DateTime.now
          if (DateTime.lessThanOrEqualTo(until, now)) return false
          const isNews = isReauthSoon(claimed, now) && !claimed.renewal.reauthSoonSaid
          const credential = isNews ? yield* announce(claimed) : claimed
          const verdict = yield* renewal.judge(credential, request)
          if (verdict._tag === "Due") return yield* renew(credential)
          if (!isNews) yield* store.commit([Change.Note({ credential, renewal: {} })])
          return true
        },
        // whoever changed it said when to look at it
        Effect.catchTag("Conflict", () => Effect.succeed(true))
      )

    const batch = Effect.fnUntraced(function* (provider: ProviderId) {
      const until = DateTime.addDuration(yield* DateTime.now, claimFor)
      const claimed = yield* store.claimDue(provider, { limit: claimSize, until })
      const done = yield* Effect.forEach(claimed, visit(until), { concurrency })
      return done.includes(true)
    })

    return {
      providers: [
        ...new Set([
          ...catalogue.all.filter((provider) => handlers.isConfigured(provider)).map(({ id }) => id),
          // its clients are its credentials' own
          Mcp.providerId
        ])
      ],
      // where all of a batch failed the provider is down: the rest can wait for the next round
      sweep: (provider) => Effect.repeat(batch(provider), { while: (goesOn) => goesOn })
    }
  })

/**
 * Promotes receipts before it is built, so that nothing is served that a kept answer has already replaced; then sweeps in
 * the background until its scope closes. A round that fails is logged, and the next one comes all the same. Each provider
 * has rounds of its own: one that hangs holds up nothing else. Closing the scope ends the claiming at once; renewals that
 * are under way go on, and `Renewal` awaits them.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<
  never,
  never,
  | Recovery
  | Revocations
  | AuthorizationStore
  | Leases
  | Store
  | Renewal
  | HandlerRegistry
  | ProviderCatalogue
  | AuditLog
> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const recovery = yield* Recovery
      const revocations = yield* Revocations
      const authorizations = yield* AuthorizationStore
      const leases = yield* Leases
      const rounds = Schedule.spaced(Duration.decode(options.interval ?? "10 seconds"))

      const step = (name: string, run: Effect.Effect<void, unknown>) =>
        Effect.catchAllCause(run, () =>
          Effect.logWarning("A round of sweeping failed").pipe(Effect.annotateLogs({ name }))
        )

      yield* step("receipts", recovery.promoteReceipts)
      yield* step("receipts", recovery.promoteReceipts).pipe(
        Effect.zipRight(step("attempts", recovery.settleAttempts)),
        Effect.zipRight(step("revocations", revocations.drain)),
        Effect.zipRight(step("authorizations", authorizations.prune)),
        Effect.zipRight(step("leases", leases.prune)),
        Effect.zipRight(step("engine", options.prune ?? Effect.void)),
        Effect.schedule(rounds),
        Effect.forkScoped
      )
      if (options.ahead === false) return
      const { providers, sweep } = yield* renewAhead(options.ahead ?? {})
      const sweeping = yield* FiberMap.make<ProviderId>()
      yield* Effect.forEach(
        providers,
        (provider) =>
          FiberMap.run(sweeping, provider, step(`renewals: ${provider}`, sweep(provider)), { onlyIfMissing: true }),
        { discard: true }
      ).pipe(Effect.schedule(rounds), Effect.forkScoped)
    })
  )
