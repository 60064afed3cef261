/**
 * Why a credential is as it is, and what happens next: what an operator or a user's support asks before they touch it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import {
  type Credential,
  type CredentialId,
  type FailureReason,
  isRenewable,
  type Metadata,
  type OAuth2Credential,
  type ReauthReason,
  toMetadata,
  type UserId
} from "./Credential.ts"
import type { CredentialNotFound, StoreUnavailable } from "./CredentialsError.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import { LeaseStore } from "./LeaseStore.ts"
import { credentialKey, LockService, type Mode } from "./LockService.ts"
import { ProviderCatalogue } from "./ProviderCatalogue.ts"
import * as RenewalPolicy from "./RenewalPolicy.ts"
import { type Attempt, Store } from "./Store.ts"

/**
 * Why a provider cannot be asked to renew, however willing it is.
 *
 * @since 0.1.0
 * @category models
 */
export type Hindrance = "unknown_provider" | "missing_config" | "missing_token_url"

/**
 * Where the renewal of a credential stands.
 *
 * @since 0.1.0
 * @category models
 */
export interface RenewalFacts {
  /** Whether any renewal can help: it has a refresh token that is not known to be over. */
  readonly renewable: boolean
  readonly verdict?: "fresh" | "due" | "dead"
  /** Why it is due, or will be at `nextAt`; or why nothing can renew it. */
  readonly reason?: RenewalPolicy.DueReason | ReauthReason
  /** From then on it is renewed; a time that is past means as soon as anybody asks. */
  readonly nextAt?: DateTime.Utc
  /** How long before its expiry it is renewed. */
  readonly marginSeconds?: number
  /** The provider is left alone until then. */
  readonly backOffUntil?: DateTime.Utc
  /** Renewals that failed since the last that did not. */
  readonly failures: number
  readonly lastError?: { readonly reason: FailureReason }
  readonly blockedBy?: Hindrance
  /** A spending of the refresh token whose answer is not known yet. */
  readonly attempt?: Pick<Attempt, "id" | "startedAt" | "deadline" | "processId">
}

/**
 * @since 0.1.0
 * @category models
 */
export interface LeaseHolder {
  readonly mode: Mode
  readonly fencingToken: number
  /** Of a lease that was lent to a holder outside the service; work of the service itself holds for as long as it takes. */
  readonly expiresAt?: DateTime.Utc
  /** It is the asking owner's. */
  readonly mine?: true
}

/**
 * What is to be done next: `none`, `wait` and `renew` by the service itself, `reconnect` by the user, `replace` by whoever
 * stored it, `configure` and `restore` by the operator.
 *
 * @since 0.1.0
 * @category models
 */
export type Action = "none" | "wait" | "renew" | "reconnect" | "replace" | "configure" | "restore"

/**
 * Holds no secret, and no id of a lease: whoever knows that holds it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly credentialId: CredentialId
  readonly type: Metadata["type"]
  readonly provider: Metadata["provider"]
  readonly system?: true
  readonly generation: number
  readonly status: Metadata["status"]
  readonly statusReason?: ReauthReason
  /** When the access token, or the API key, ends by itself. */
  readonly expiresAt?: DateTime.Utc
  readonly reauthSoonAt?: DateTime.Utc
  readonly renewal: RenewalFacts
  /** Not available while the lock service is out of reach. */
  readonly leases:
    | { readonly available: false }
    | { readonly available: true; readonly holders: ReadonlyArray<LeaseHolder>; readonly waiting: number }
  readonly nextAction: { readonly action: Action; readonly message: string }
}

/**
 * @since 0.1.0
 * @category services
 */
export class Explanation extends Context.Tag("effect-credentials/Explanation")<
  Explanation,
  {
    /**
     * Reads and answers: takes no lock, calls no provider, changes nothing. `owner` is whose leases are marked as `mine`.
     * While the lock service is out of reach, which is waited for no longer than two seconds, all but `leases` is told.
     */
    readonly explain: (
      userId: UserId,
      id: CredentialId,
      options?: { readonly owner?: string | undefined }
    ) => Effect.Effect<Report, CredentialNotFound | StoreUnavailable>
  }
>() {}

const settledFacts: RenewalFacts = { renewable: false, failures: 0 }

/**
 * Where the renewal of a credential that is ever refreshed stands now.
 *
 * @since 0.1.0
 */
export const renewalFacts = (
  credential: OAuth2Credential,
  given: {
    readonly now: DateTime.Utc
    readonly marginSeconds: Option.Option<number>
    readonly attempt: Option.Option<Attempt>
    readonly blockedBy: Option.Option<Hindrance>
  }
): RenewalFacts => {
  const { now } = given
  const { failures, lastFailure, retryAt } = credential.renewal
  const input = { credential, now, marginSeconds: given.marginSeconds, minValidSeconds: 0, force: false }
  const verdict = RenewalPolicy.judge(input)
  const obstacle = RenewalPolicy.unrenewable(credential, now)
  const coming = Option.isSome(obstacle) ? Option.none() : RenewalPolicy.dueAt(input)
  const backOff = Option.filter(retryAt, (at) => DateTime.greaterThan(at, now))
  const reason = Option.orElse(obstacle, () =>
    verdict._tag === "Fresh" ? Option.map(coming, (next) => next.reason) : Option.some(verdict.reason)
  )
  const next = Option.map(coming, ({ at }) =>
    Option.match(backOff, { onNone: () => at, onSome: (until) => DateTime.max(at, until) })
  )
  return {
    renewable: Option.isNone(obstacle),
    verdict: verdict._tag === "Fresh" ? "fresh" : verdict._tag === "Due" ? "due" : "dead",
    ...(Option.isSome(reason) && { reason: reason.value }),
    ...(Option.isSome(next) && { nextAt: next.value }),
    ...(credential.variant.accessTokenExpiresAt !== undefined && {
      marginSeconds: Math.round(RenewalPolicy.marginMillis(input) / 1000)
    }),
    ...(Option.isSome(backOff) && { backOffUntil: backOff.value }),
    failures,
    ...(Option.isSome(lastFailure) && { lastError: { reason: lastFailure.value } }),
    ...(Option.isSome(given.blockedBy) && { blockedBy: given.blockedBy.value }),
    ...Option.match(given.attempt, {
      onNone: () => ({}),
      onSome: ({ deadline, id, processId, startedAt }) => ({ attempt: { id, startedAt, deadline, processId } })
    })
  }
}

const hindrances: Record<Hindrance, string> = {
  unknown_provider: "No provider of that name is known, so nobody can be asked to renew it: add it to PROVIDERS_FILE.",
  missing_config:
    "The service has no client at the provider: set its variables, which a refresh names, and start again.",
  missing_token_url: "It is not known where the provider renews it: connect it again, or complete the provider's data."
}

const reasons: Record<ReauthReason, string> = {
  grant_revoked: "the provider refuses its refresh token",
  response_lost: "a refresh token was spent and its answer never arrived",
  refresh_token_expired: "its refresh token's time is over",
  no_refresh_token: "it has no refresh token"
}

/**
 * What is to be done next, and a sentence about it. The first check that has an opinion decides.
 *
 * @since 0.1.0
 */
export const nextAction = (report: Omit<Report, "leases" | "nextAction">, now: DateTime.Utc): Report["nextAction"] => {
  const { expiresAt, reauthSoonAt, renewal, status, system, type } = report
  const tell = (action: Action, message: string) => ({ action, message })
  const isPast = (at: DateTime.Utc) => DateTime.lessThanOrEqualTo(at, now)
  const expired = expiresAt !== undefined && isPast(expiresAt)

  if (status === "undecryptable") {
    return tell(
      "restore",
      "Its stored bytes do not open: put back the key that they were sealed with, or restore the row."
    )
  }
  if (type !== "oauth2" || system === true) {
    return expired
      ? tell("replace", `It expired at ${DateTime.formatIso(expiresAt)}, and is never renewed: store a new one.`)
      : tell("none", "It is served as stored, and never renewed.")
  }
  const { attempt, backOffUntil, blockedBy, lastError, nextAt, reason, renewable, verdict } = renewal
  const why = reasons[(reason ?? "no_refresh_token") as ReauthReason]
  const again = "the user has to connect again (authorize with credentialId keeps the id)"
  if (verdict === "dead") return tell("reconnect", `It no longer serves, since ${why}: ${again}.`)
  if (!renewable && (status === "needs_reauth" || expiresAt !== undefined)) {
    const until = expiresAt === undefined ? "" : ` until ${DateTime.formatIso(expiresAt)}`
    return tell("reconnect", `It is served${until} and cannot be renewed, since ${why}: ${again}.`)
  }
  if (!renewable) return tell("none", "It is served as stored; it has neither an expiry nor a refresh token.")
  if (attempt !== undefined) {
    return isPast(attempt.deadline)
      ? tell("renew", "An attempt to renew it had no answer: the next read, or the service by itself, settles that.")
      : tell("wait", `It is being renewed; the attempt is over by ${DateTime.formatIso(attempt.deadline)}.`)
  }
  if (blockedBy !== undefined) return tell("configure", hindrances[blockedBy])
  if (lastError?.reason === "invalid_client") {
    return tell("configure", "The provider refuses the service's client id or secret: correct them, and start again.")
  }
  if (verdict === "due") {
    return backOffUntil === undefined
      ? tell("renew", `It is due (${reason}): the next read, or the service by itself, renews it.`)
      : tell(
          "wait",
          `It is due (${reason}), and the provider is asked again from ${DateTime.formatIso(backOffUntil)} on.`
        )
  }
  if (reauthSoonAt !== undefined && isPast(reauthSoonAt)) {
    return tell("reconnect", `It is served, but its refresh token is about to end: ${again} before it does.`)
  }
  return nextAt === undefined
    ? tell("none", "It is served as stored until a consumer reports it as refused.")
    : tell("none", `It is served as stored, and renewed from ${DateTime.formatIso(nextAt)} on.`)
}

const hindranceOf = {
  UnknownProvider: "unknown_provider",
  MissingConfig: "missing_config",
  MissingTokenUrl: "missing_token_url"
} as const

const patience = "2 seconds"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  Explanation,
  never,
  Store | LockService | LeaseStore | HandlerRegistry | ProviderCatalogue
> = Layer.effect(
  Explanation,
  Effect.gen(function* () {
    const store = yield* Store
    const locks = yield* LockService
    const records = yield* LeaseStore
    const handlers = yield* HandlerRegistry
    const catalogue = yield* ProviderCatalogue

    const renewalOf = Effect.fnUntraced(function* (credential: Credential, now: DateTime.Utc) {
      if (!isRenewable(credential)) return settledFacts
      const grant = store.grantOf(credential)
      return renewalFacts(credential, {
        now,
        marginSeconds: Option.flatMapNullable(catalogue.find(credential.provider), (data) => data.marginSeconds),
        attempt: Option.isSome(grant) ? yield* store.openAttempt(grant.value) : Option.none(),
        blockedBy: yield* Effect.match(handlers.of(credential), {
          onSuccess: () => Option.none(),
          onFailure: (error) => Option.some(hindranceOf[error._tag])
        })
      })
    })

    const leasesOf = Effect.fnUntraced(function* (userId: UserId, id: CredentialId, owner: string | undefined) {
      const seen = yield* Effect.zipRight(locks.ping, locks.inspect(credentialKey(userId, id))).pipe(
        Effect.disconnect,
        Effect.timeoutOption(patience),
        Effect.orElseSucceed(Option.none)
      )
      if (Option.isNone(seen)) return { available: false } as const
      const known = new Map((yield* records.ofUser(userId)).map((record) => [record.idHash, record]))
      const holders = seen.value.holders.map(({ fencingToken, id: holder, mode }): LeaseHolder => {
        const record = known.get(holder)
        return {
          mode,
          fencingToken,
          ...(record !== undefined && { expiresAt: record.expiresAt }),
          ...(record !== undefined && record.owner === owner && { mine: true as const })
        }
      })
      return { available: true, holders, waiting: seen.value.waiting } as const
    })

    const explain: Explanation["Type"]["explain"] = Effect.fn("Explanation.explain")(function* (userId, id, options) {
      const now = yield* DateTime.now
      const { metadata, renewal } = yield* store.get(userId, id).pipe(
        Effect.flatMap((credential) =>
          Effect.map(renewalOf(credential, now), (facts) => ({ metadata: toMetadata(credential), renewal: facts }))
        ),
        Effect.catchTag("Undecryptable", () =>
          Effect.map(store.metadata(userId, id), (closed) => ({ metadata: closed, renewal: settledFacts }))
        )
      )
      const expiresAt = metadata.accessTokenExpiresAt ?? metadata.expiresAt
      const facts = {
        credentialId: metadata.id,
        type: metadata.type,
        provider: metadata.provider,
        ...(metadata.system && { system: metadata.system }),
        generation: metadata.generation,
        status: metadata.status,
        ...(metadata.statusReason && { statusReason: metadata.statusReason }),
        ...(expiresAt && { expiresAt }),
        ...(metadata.reauthSoonAt && { reauthSoonAt: metadata.reauthSoonAt }),
        renewal
      }
      return {
        ...facts,
        leases: yield* leasesOf(userId, id, options?.owner),
        nextAction: nextAction(facts, now)
      }
    })

    return Explanation.of({ explain })
  })
)
