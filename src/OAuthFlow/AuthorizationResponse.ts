/**
 * What a provider sends back with the browser (RFC 6749 4.1.2), and what of it a login goes on with.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { ProviderId } from "../Credential.ts"
import { AuthorizationDenied } from "../CredentialsError.ts"
import type { Provider } from "../Provider.ts"

/**
 * What a provider sends back with the browser.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallbackParameters {
  readonly state: Redacted.Redacted
  readonly code?: Redacted.Redacted | undefined
  readonly error?: string | undefined
  /** RFC 9207. */
  readonly iss?: string | undefined
  /** Whatever else came with them: the credential keeps what its provider's `keptParameters` name. */
  readonly others?: Readonly<Record<string, string>> | undefined
}

/**
 * What a login goes on with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Granted {
  readonly code: Redacted.Redacted
  /** What the provider's data says to keep of the rest. */
  readonly kept: Readonly<Record<string, string>>
}

/** The codes of RFC 6749 4.1.2.1 and OpenID Connect Core 3.1.2.6; anything else is not repeated. */
const registeredErrors = new Set([
  "access_denied",
  "account_selection_required",
  "consent_required",
  "interaction_required",
  "invalid_request",
  "invalid_scope",
  "login_required",
  "server_error",
  "temporarily_unavailable",
  "unauthorized_client",
  "unsupported_response_type"
])

/** What the provider's data asks of an answer. */
type Expected = Pick<Provider, "issuer" | "requiresIss" | "keptParameters">

/** Without an `iss` it is wrong only where the provider always names one (RFC 9207 2.4). */
const isForeign = (iss: string | undefined, { issuer, requiresIss }: Expected) =>
  iss === undefined ? requiresIss : issuer !== undefined && issuer !== iss

/**
 * The issuer is looked at before all else: an error of another's is none of this login's. Of a provider that is no longer
 * known nothing is expected, and nothing is kept.
 *
 * @since 0.1.0
 * @category conversions
 */
export const grantOf = (
  { code, error, iss, others = {} }: CallbackParameters,
  provider: ProviderId,
  expected: Option.Option<Expected>
): Either.Either<Granted, AuthorizationDenied> => {
  const denied = (reason: string) => Either.left(new AuthorizationDenied({ provider, error: reason }))
  if (Option.exists(expected, (data) => isForeign(iss, data))) return denied("issuer_mismatch")
  if (error !== undefined) return denied(registeredErrors.has(error) ? error : "other")
  if (code === undefined) return denied("invalid_request")
  const isKept = (name: string) => Option.exists(expected, ({ keptParameters }) => keptParameters.includes(name))
  const kept = Object.fromEntries(Object.entries(others).filter(([name]) => isKept(name)))
  return Either.right({ code, kept })
}
