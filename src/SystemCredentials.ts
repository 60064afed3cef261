/**
 * The operator's own credentials, from configuration: lent to every user beside their own, read-only, never refreshed.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Credential, CredentialId, NewCredential, UserId } from "./Credential.ts"
import { settled } from "./Credential.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface SystemCredential extends NewCredential {
  readonly id: CredentialId
}

/**
 * None unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category references
 */
export class SystemCredentials extends Context.Reference<SystemCredentials>()("effect-credentials/SystemCredentials", {
  defaultValue: (): {
    readonly since: DateTime.Utc
    readonly credentials: ReadonlyArray<SystemCredential>
  } => ({ since: DateTime.unsafeMake(0), credentials: [] })
}) {}

/**
 * `since` is when they were configured: it stands as their `createdAt`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  credentials: ReadonlyArray<SystemCredential>,
  options: { readonly since: DateTime.Utc }
): Layer.Layer<never> =>
  Layer.succeedContext(Context.make(SystemCredentials, { since: options.since, credentials })) as Layer.Layer<never>

/**
 * A system credential as the user who borrows it sees it.
 *
 * @since 0.1.0
 */
export const lentTo = (userId: UserId, credential: SystemCredential, since: DateTime.Utc): Credential => ({
  userId,
  id: credential.id,
  provider: credential.provider,
  title: Option.fromNullable(credential.title),
  generation: 1,
  variant: credential.variant,
  extra: credential.extra ?? Redacted.make({}),
  renewal: settled,
  system: true,
  createdAt: since,
  updatedAt: since,
  storedAt: since
})
