/**
 * Every error that a caller of this library or of its server can meet: one tag for each thing that callers handle
 * differently. Fields are ids and facts, never a secret or a provider's own words; `message` says what to do next;
 * `retryable` says whether the same call may succeed later without anybody's help.
 *
 * @since 0.1.0
 */
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"
import { FailureReason, ReauthReason } from "./Credential.ts"

const seconds = Schema.Number.annotations({ description: "seconds" })

/**
 * The request itself is wrong; `issues` names each field and what was expected there.
 *
 * @since 0.1.0
 * @category requests
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>("effect-credentials/InvalidRequest")(
  "InvalidRequest",
  { issues: Schema.Array(Schema.Struct({ field: Schema.String, expected: Schema.String })) },
  HttpApiSchema.annotations({ status: 400 })
) {
  readonly retryable = false
  override get message() {
    return `The request is not valid: ${this.issues.map((issue) => `${issue.field}: expected ${issue.expected}`).join("; ")}.`
  }
}

/**
 * @since 0.1.0
 * @category requests
 */
export class Unauthorized extends Schema.TaggedError<Unauthorized>("effect-credentials/Unauthorized")(
  "Unauthorized",
  {},
  HttpApiSchema.annotations({ status: 401 })
) {
  readonly retryable = false
  override get message() {
    return "No valid API key was given: send 'Authorization: Bearer <api key>'."
  }
}

/**
 * @since 0.1.0
 * @category requests
 */
export class Forbidden extends Schema.TaggedError<Forbidden>("effect-credentials/Forbidden")(
  "Forbidden",
  { requires: Schema.String },
  HttpApiSchema.annotations({ status: 403 })
) {
  readonly retryable = false
  override get message() {
    return `This API key may not do that: it needs ${this.requires}.`
  }
}

/**
 * @since 0.1.0
 * @category requests
 */
export class ReadOnlyCredential extends Schema.TaggedError<ReadOnlyCredential>("effect-credentials/ReadOnlyCredential")(
  "ReadOnlyCredential",
  { credentialId: Schema.String },
  HttpApiSchema.annotations({ status: 403 })
) {
  readonly retryable = false
  override get message() {
    return `Credential ${this.credentialId} is a system credential: it can be used, and changed only in the service's configuration.`
  }
}

/**
 * There is no such credential for this user (another user's looks the same).
 *
 * @since 0.1.0
 * @category credentials
 */
export class CredentialNotFound extends Schema.TaggedError<CredentialNotFound>("effect-credentials/CredentialNotFound")(
  "CredentialNotFound",
  { credentialId: Schema.optionalWith(Schema.String, { exact: true }) },
  HttpApiSchema.annotations({ status: 404 })
) {
  readonly retryable = false
  override get message() {
    return this.credentialId === undefined
      ? "This user has no fitting credential: connect or create one."
      : `This user has no credential ${this.credentialId}.`
  }
}

/**
 * @since 0.1.0
 * @category providers
 */
export class UnknownProvider extends Schema.TaggedError<UnknownProvider>("effect-credentials/UnknownProvider")(
  "UnknownProvider",
  { provider: Schema.String },
  HttpApiSchema.annotations({ status: 404 })
) {
  readonly retryable = false
  override get message() {
    return `There is no provider ${JSON.stringify(this.provider)}: GET /v1/providers lists them, PROVIDERS_FILE adds one.`
  }
}

/**
 * @since 0.1.0
 * @category requests
 */
export class NotFound extends Schema.TaggedError<NotFound>("effect-credentials/NotFound")(
  "NotFound",
  {},
  HttpApiSchema.annotations({ status: 404 })
) {
  readonly retryable = false
  override get message() {
    return "There is nothing here: /docs lists the routes."
  }
}

/**
 * @since 0.1.0
 * @category credentials
 */
export class CredentialExists extends Schema.TaggedError<CredentialExists>("effect-credentials/CredentialExists")(
  "CredentialExists",
  { credentialId: Schema.String },
  HttpApiSchema.annotations({ status: 409 })
) {
  readonly retryable = false
  override get message() {
    return `This user already has a credential ${this.credentialId}: replace it with PUT, or leave the id out.`
  }
}

/**
 * @since 0.1.0
 * @category credentials
 */
export class GenerationConflict extends Schema.TaggedError<GenerationConflict>("effect-credentials/GenerationConflict")(
  "GenerationConflict",
  { credentialId: Schema.String, expected: Schema.Number, actual: Schema.Number },
  HttpApiSchema.annotations({ status: 409 })
) {
  readonly retryable = false
  override get message() {
    return `Credential ${this.credentialId} is at generation ${this.actual}, not ${this.expected}: read it again, then decide.`
  }
}

/**
 * @since 0.1.0
 * @category credentials
 */
export class AccountMismatch extends Schema.TaggedError<AccountMismatch>("effect-credentials/AccountMismatch")(
  "AccountMismatch",
  { credentialId: Schema.String },
  HttpApiSchema.annotations({ status: 409 })
) {
  readonly retryable = false
  override get message() {
    return `The login was for another account than the one of credential ${this.credentialId}: log in as the same one, or connect it as a new credential.`
  }
}

/**
 * The lease is not held any more: it ran out, was released, or belongs to another key.
 *
 * @since 0.1.0
 * @category leases
 */
export class LeaseLost extends Schema.TaggedError<LeaseLost>("effect-credentials/LeaseLost")(
  "LeaseLost",
  {},
  HttpApiSchema.annotations({ status: 410 })
) {
  readonly retryable = false
  override get message() {
    return "The lease is not held (any more): stop using its secret, and acquire a new one."
  }
}

/**
 * @since 0.1.0
 * @category flows
 */
export class AuthorizationExpired extends Schema.TaggedError<AuthorizationExpired>(
  "effect-credentials/AuthorizationExpired"
)("AuthorizationExpired", {}, HttpApiSchema.annotations({ status: 410 })) {
  readonly retryable = false
  override get message() {
    return "This login is unknown, already used, or older than 10 minutes: start it again."
  }
}

/**
 * @since 0.1.0
 * @category requests
 */
export class PayloadTooLarge extends Schema.TaggedError<PayloadTooLarge>("effect-credentials/PayloadTooLarge")(
  "PayloadTooLarge",
  { limitBytes: Schema.Number },
  HttpApiSchema.annotations({ status: 413 })
) {
  readonly retryable = false
  override get message() {
    return `The body is larger than ${this.limitBytes} bytes.`
  }
}

/**
 * @since 0.1.0
 * @category requests
 */
export class RateLimited extends Schema.TaggedError<RateLimited>("effect-credentials/RateLimited")(
  "RateLimited",
  { retryAfterSeconds: seconds },
  HttpApiSchema.annotations({ status: 429 })
) {
  readonly retryable = true
  override get message() {
    return `Too many failed authentications: try again in ${this.retryAfterSeconds} s, with a valid API key.`
  }
}

/**
 * The credential does not say where it is refreshed (an MCP login without `mcp_token_url`).
 *
 * @since 0.1.0
 * @category providers
 */
export class MissingTokenUrl extends Schema.TaggedError<MissingTokenUrl>("effect-credentials/MissingTokenUrl")(
  "MissingTokenUrl",
  { credentialId: Schema.String, provider: Schema.String },
  HttpApiSchema.annotations({ status: 422 })
) {
  readonly retryable = false
  override get message() {
    return `Credential ${this.credentialId} does not say which URL refreshes it: connect it again.`
  }
}

/**
 * @since 0.1.0
 * @category credentials
 */
export class ScopeMismatch extends Schema.TaggedError<ScopeMismatch>("effect-credentials/ScopeMismatch")(
  "ScopeMismatch",
  { credentialId: Schema.String, missing: Schema.Array(Schema.String) },
  HttpApiSchema.annotations({ status: 422 })
) {
  readonly retryable = false
  override get message() {
    return `Credential ${this.credentialId} lacks scopes that it needs: ${this.missing.join(", ")}.`
  }
}

/**
 * @since 0.1.0
 * @category credentials
 */
export class TypeMismatch extends Schema.TaggedError<TypeMismatch>("effect-credentials/TypeMismatch")(
  "TypeMismatch",
  { credentialId: Schema.String, expected: Schema.String, actual: Schema.String },
  HttpApiSchema.annotations({ status: 422 })
) {
  readonly retryable = false
  override get message() {
    return `Credential ${this.credentialId} is ${this.expected}, not ${this.actual}: make a new credential for that.`
  }
}

/**
 * A URL that this service does not call. `rule` says which rule it broke.
 *
 * @since 0.1.0
 * @category providers
 */
export class OutboundRefused extends Schema.TaggedError<OutboundRefused>("effect-credentials/OutboundRefused")(
  "OutboundRefused",
  { rule: Schema.String },
  HttpApiSchema.annotations({ status: 422 })
) {
  readonly retryable = false
  override get message() {
    return `The service does not call that URL: ${this.rule}.`
  }
}

/**
 * The user has not entered the code yet: ask again. Status 202.
 *
 * @since 0.1.0
 * @category flows
 */
export class AuthorizationPending extends Schema.TaggedError<AuthorizationPending>(
  "effect-credentials/AuthorizationPending"
)(
  "AuthorizationPending",
  { provider: Schema.String, retryAfterSeconds: Schema.Number },
  HttpApiSchema.annotations({ status: 202 })
) {
  readonly retryable = true
  override get message() {
    return `The user has not finished the login at ${this.provider}: ask again in ${this.retryAfterSeconds} s.`
  }
}

/**
 * The user or the provider said no to a login. `error` is one of the registered codes of RFC 6749 4.1.2.1, else `other`.
 *
 * @since 0.1.0
 * @category flows
 */
export class AuthorizationDenied extends Schema.TaggedError<AuthorizationDenied>(
  "effect-credentials/AuthorizationDenied"
)(
  "AuthorizationDenied",
  { provider: Schema.String, error: Schema.String },
  HttpApiSchema.annotations({ status: 422 })
) {
  readonly retryable = false
  override get message() {
    return `The login at ${this.provider} was refused (${this.error}): start it again if that was not meant.`
  }
}

/**
 * The wait ended before the lock was free or the renewal done; a renewal goes on.
 *
 * @since 0.1.0
 * @category leases
 */
export class LockTimeout extends Schema.TaggedError<LockTimeout>("effect-credentials/LockTimeout")(
  "LockTimeout",
  { retryAfterSeconds: seconds },
  HttpApiSchema.annotations({ status: 423 })
) {
  readonly retryable = true
  override get message() {
    return `It is in use or being renewed: the wait ended first. Try again in ${this.retryAfterSeconds} s, or wait longer (waitSeconds).`
  }
}

/**
 * Only the user can help: they must log in again.
 *
 * @since 0.1.0
 * @category credentials
 */
export class NeedsReauth extends Schema.TaggedError<NeedsReauth>("effect-credentials/NeedsReauth")(
  "NeedsReauth",
  {
    credentialId: Schema.String,
    provider: Schema.String,
    reason: ReauthReason,
    attemptId: Schema.optionalWith(Schema.String, { exact: true })
  },
  HttpApiSchema.annotations({ status: 424 })
) {
  readonly retryable = false
  override get message() {
    return `The user must connect ${this.provider} again (${this.reason}): authorize with credentialId ${this.credentialId} keeps its id.`
  }
}

/**
 * The stored bytes do not open: they were damaged, moved, or sealed with another key. Nothing was changed.
 *
 * @since 0.1.0
 * @category credentials
 */
export class Undecryptable extends Schema.TaggedError<Undecryptable>("effect-credentials/Undecryptable")(
  "Undecryptable",
  { credentialId: Schema.String, keyId: Schema.String },
  HttpApiSchema.annotations({ status: 500 })
) {
  readonly retryable = false
  override get message() {
    return `Credential ${this.credentialId}, sealed with key ${JSON.stringify(this.keyId)}, does not open: restore the key or the row; else delete the credential and connect it again.`
  }
}

/**
 * @since 0.1.0
 * @category providers
 */
export class MissingConfig extends Schema.TaggedError<MissingConfig>("effect-credentials/MissingConfig")(
  "MissingConfig",
  { provider: Schema.String, variables: Schema.Array(Schema.String) },
  HttpApiSchema.annotations({ status: 501 })
) {
  readonly retryable = false
  override get message() {
    return `Provider ${this.provider} is not configured here: set ${this.variables.join(" and ")}.`
  }
}

/**
 * The provider failed or refused. `invalid_client` is for the operator to mend: the client id or secret is wrong.
 *
 * @since 0.1.0
 * @category providers
 */
export class ProviderError extends Schema.TaggedError<ProviderError>("effect-credentials/ProviderError")(
  "ProviderError",
  {
    provider: Schema.String,
    reason: FailureReason,
    retryAfterSeconds: Schema.optionalWith(seconds, { exact: true })
  },
  HttpApiSchema.annotations({ status: 502 })
) {
  readonly retryable = this.reason !== "invalid_client" && this.reason !== "rejected"
  override get message() {
    const what = {
      throttled: "asks for fewer requests",
      unreachable: "could not be reached",
      timeout: "did not answer in time",
      malformed_response: "answered something unreadable",
      invalid_client: "refuses this service's client id or secret: the operator must correct them",
      rejected: "refused the request",
      discovery_failed: "does not say where its endpoints are"
    }[this.reason]
    return `Provider ${this.provider} ${what}.`
  }
}

/**
 * The database is out of reach. What was asked may or may not have been done.
 *
 * @since 0.1.0
 * @category engines
 */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("effect-credentials/StoreUnavailable")(
  "StoreUnavailable",
  { retryAfterSeconds: seconds },
  HttpApiSchema.annotations({ status: 503 })
) {
  readonly retryable = true
  override get message() {
    return "The credential store is out of reach: try again shortly."
  }
}

/**
 * @since 0.1.0
 * @category engines
 */
export class LockUnavailable extends Schema.TaggedError<LockUnavailable>("effect-credentials/LockUnavailable")(
  "LockUnavailable",
  { retryAfterSeconds: seconds },
  HttpApiSchema.annotations({ status: 503 })
) {
  readonly retryable = true
  override get message() {
    return "The lock service is out of reach: nothing can be lent or renewed until it is back. Try again shortly."
  }
}
