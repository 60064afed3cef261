/**
 * What happened to whose credential: ids and facts, never a secret.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type { CredentialId, ProviderId, UserId } from "./Credential.ts"

/**
 * @since 0.1.0
 * @category models
 */
export type Kind =
  | "credential_created"
  | "credential_replaced"
  | "credential_renewed"
  | "credential_deleted"
  | "credential_reported"
  | "scopes_narrowed"
  | "needs_reauth"
  | "reauth_soon"
  | "renewal_failed"
  | "receipt_kept"
  | "receipt_promoted"
  | "revoked"
  | "revocation_refused"
  | "revocation_cancelled"
  | "login_begun"
  | "login_finished"
  | "login_abandoned"
  | "lease_taken"
  | "lease_released"
  | "user_deleted"
  | "api_key_created"
  | "api_key_deleted"

/**
 * @since 0.1.0
 * @category models
 */
export interface AuditEvent {
  readonly at: DateTime.Utc
  readonly kind: Kind
  readonly userId?: UserId
  readonly credentialId?: CredentialId
  readonly provider?: ProviderId
  readonly generation?: number
  /** Who asked: an API key's id, or `service`. */
  readonly actor: string
  /** A word out of a fixed vocabulary: a reason or an outcome. */
  readonly detail?: string
  readonly attemptId?: string
}
