/**
 * What is told of a credential, from what is known of it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import type { EndpointState } from "../CircuitBreaker.ts"
import type { CredentialId, FailureReason, Metadata, OAuth2Credential, ReauthReason } from "../Credential.ts"
import type { Mode } from "../LockService.ts"
import * as RenewalPolicy from "../RenewalPolicy.ts"
import type { Attempt } from "../Store.ts"

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
  /** From then on whoever asks for it has it renewed; may be past. */
  readonly nextAt?: DateTime.Utc
  /** From then on the service renews it ahead of them, where it works in the background. */
  readonly aheadAt?: DateTime.Utc
  /** How long before its expiry it is renewed. */
  readonly marginSeconds?: number
  /** The provider is left alone until then. */
  readonly backOffUntil?: DateTime.Utc
  /** Renewals that failed since the last that did not. */
  readonly failures: number
  readonly lastError?: { readonly reason: FailureReason }
  readonly blockedBy?: Hindrance
  /** Set while the provider's endpoint is left alone, or tried again, as calls for others failed there too. */
  readonly circuit?: { readonly state: "open" | "half_open"; readonly until?: DateTime.Utc }
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
 * Of a credential that is never refreshed.
 *
 * @since 0.1.0
 */
export const neverRenewed: RenewalFacts = { renewable: false, failures: 0 }

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
    readonly circuit: Option.Option<EndpointState>
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
  const ahead = Option.isSome(obstacle) ? Option.none() : RenewalPolicy.aheadAt(credential)
  const next = Option.map(coming, ({ at }) =>
    Option.match(backOff, { onNone: () => at, onSome: (until) => DateTime.max(at, until) })
  )
  return {
    renewable: Option.isNone(obstacle),
    verdict: verdict._tag === "Fresh" ? "fresh" : verdict._tag === "Due" ? "due" : "dead",
    ...(Option.isSome(reason) && { reason: reason.value }),
    ...(Option.isSome(next) && { nextAt: next.value }),
    ...(Option.isSome(ahead) && { aheadAt: ahead.value }),
    ...(credential.variant.accessTokenExpiresAt !== undefined && {
      marginSeconds: Math.round(RenewalPolicy.marginMillis(input) / 1000)
    }),
    ...(Option.isSome(backOff) && { backOffUntil: backOff.value }),
    failures,
    ...(Option.isSome(lastFailure) && { lastError: { reason: lastFailure.value } }),
    ...(Option.isSome(given.blockedBy) && { blockedBy: given.blockedBy.value }),
    ...Option.match(given.circuit, {
      onNone: () => ({}),
      onSome: ({ state, until }) =>
        state === "closed" ? {} : { circuit: { state, ...(Option.isSome(until) && { until: until.value }) } }
    }),
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
  const { attempt, backOffUntil, blockedBy, circuit, lastError, nextAt, reason, renewable, verdict } = renewal
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
  if (verdict === "due" && circuit?.until !== undefined && backOffUntil === undefined) {
    const until = DateTime.formatIso(circuit.until)
    return tell(
      "wait",
      `It is due (${reason}), and the provider, which fails for others too, is left alone until ${until}.`
    )
  }
  if (verdict === "due") {
    return backOffUntil === undefined
      ? tell("renew", `It is due (${reason}): the next read, or the service by itself, renews it.`)
      : tell(
          "wait",
          `It is due (${reason}), and the provider is asked again from ${DateTime.formatIso(backOffUntil)} on.`
        )
  }
  if (reauthSoonAt !== undefined) {
    const end = DateTime.formatIso(reauthSoonAt)
    return tell("reconnect", `It is served, but its refresh token ends at ${end}: ${again} before it does.`)
  }
  return nextAt === undefined
    ? tell("none", "It is served as stored until a consumer reports it as refused.")
    : tell("none", `It is served as stored, and renewed from ${DateTime.formatIso(nextAt)} on.`)
}
