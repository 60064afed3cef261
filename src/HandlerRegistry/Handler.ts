/**
 * How one kind of provider logs in, exchanges, refreshes and revokes.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { OutboundRefused } from "../CredentialsError.ts"
import type { Answer, OutboundFailure } from "../Outbound.ts"
import type { Provider } from "../Provider.ts"
import type { Denial } from "../TokenEndpoint.ts"
import type { TokenSet } from "../TokenSet.ts"

/**
 * One provider and this service's client there.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handler {
  readonly provider: Provider
  /** Where the user's browser is sent (RFC 6749 4.1.1). */
  readonly authorizationUrl: (request: {
    readonly state: Redacted.Redacted
    readonly redirectUri: string
    readonly scopes: ReadonlyArray<string>
    readonly codeChallenge: string | undefined
  }) => Redacted.Redacted
  /** Sends the code; `read` says what the answer means. */
  readonly exchange: (grant: {
    readonly code: Redacted.Redacted
    readonly redirectUri: string
    readonly codeVerifier: Option.Option<Redacted.Redacted>
  }) => Effect.Effect<Answer, OutboundRefused | OutboundFailure>
  /** Spends the refresh token; `read` says what the answer means. */
  readonly refresh: (refreshToken: Redacted.Redacted) => Effect.Effect<Answer, OutboundRefused | OutboundFailure>
  readonly read: (answer: Answer) => Effect.Effect<Either.Either<TokenSet, Denial>>
  /** Absent where the provider has no such endpoint. Left: refused, for good or for now. */
  readonly revoke?: (
    token: Redacted.Redacted,
    hint: "refresh_token" | "access_token"
  ) => Effect.Effect<Either.Either<void, { readonly final: boolean }>, OutboundRefused | OutboundFailure>
}
