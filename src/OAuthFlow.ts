/**
 * Connecting an account: the authorization code grant (RFC 6749 4.1) with PKCE (RFC 7636), from the link that the user
 * follows to the stored credential.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { CredentialId, Metadata, ProviderId, UserId } from "./Credential.ts"
import type {
  AccountMismatch,
  AuthorizationDenied,
  AuthorizationExpired,
  CredentialNotFound,
  InvalidRequest,
  LockTimeout,
  LockUnavailable,
  MissingConfig,
  OutboundRefused,
  ProviderError,
  ReadOnlyCredential,
  StoreUnavailable,
  TypeMismatch,
  Undecryptable,
  UnknownProvider
} from "./CredentialsError.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface AuthorizeOptions {
  /** Default: the provider's. */
  readonly scopes?: ReadonlyArray<string> | undefined
  /** Where the browser goes in the end; one of the configured URLs. */
  readonly returnTo?: string | undefined
  /** Reconnect this credential in place. */
  readonly credentialId?: CredentialId | undefined
  /** What fills the `{variables}` of the provider's URLs. */
  readonly variables?: Readonly<Record<string, string>> | undefined
  /** Only the browser that opens `authorizationUrl` can finish. */
  readonly bindBrowser?: boolean | undefined
}

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
}

/**
 * @since 0.1.0
 * @category errors
 */
export type AuthorizeError =
  | UnknownProvider
  | MissingConfig
  | InvalidRequest
  | CredentialNotFound
  | ReadOnlyCredential
  | TypeMismatch
  | Undecryptable
  | StoreUnavailable

/**
 * @since 0.1.0
 * @category errors
 */
export type CallbackError =
  | AuthorizationExpired
  | AuthorizationDenied
  | AccountMismatch
  | UnknownProvider
  | MissingConfig
  | CredentialNotFound
  | Undecryptable
  | ProviderError
  | OutboundRefused
  | LockTimeout
  | LockUnavailable
  | StoreUnavailable

/**
 * @since 0.1.0
 * @category use cases
 */
export class OAuthFlow extends Context.Tag("effect-credentials/OAuthFlow")<
  OAuthFlow,
  {
    /** Begins a login: ten minutes from now it expires. */
    readonly authorize: (
      userId: UserId,
      provider: ProviderId,
      options: AuthorizeOptions
    ) => Effect.Effect<
      {
        readonly authorizationUrl: Redacted.Redacted
        readonly state: Redacted.Redacted
        readonly expiresAt: DateTime.Utc
      },
      AuthorizeError
    >
    /** Where a browser-bound login goes on, and the cookie that its callback will demand. */
    readonly start: (
      state: Redacted.Redacted
    ) => Effect.Effect<
      { readonly authorizationUrl: Redacted.Redacted; readonly browserSecret: Redacted.Redacted },
      AuthorizationExpired | StoreUnavailable
    >
    /**
     * Finishes a login for the user and provider that it was begun for. Of many calls with one state one exchanges the
     * code; exchange and save are one step that an interrupted caller does not split.
     */
    readonly callback: (
      parameters: CallbackParameters,
      by: { readonly userId: UserId; readonly provider: ProviderId }
    ) => Effect.Effect<Metadata, CallbackError>
    /** The same for a browser that returned by itself: where it goes next, and how it ended. */
    readonly browserCallback: (
      parameters: CallbackParameters,
      browserSecret: Option.Option<Redacted.Redacted>
    ) => Effect.Effect<{
      readonly returnTo: Option.Option<string>
      readonly result: Either.Either<Metadata, CallbackError>
    }>
  }
>() {}
