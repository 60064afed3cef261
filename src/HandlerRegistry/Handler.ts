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
import type { DeviceAuthorization, deviceProgress } from "../TokenEndpoint/DeviceCode.ts"
import type { Asked } from "../TokenEndpoint/MachineGrant.ts"
import type { TokenSet } from "../TokenSet.ts"

/**
 * What the link asks the provider for.
 *
 * @since 0.1.0
 * @category models
 */
export interface LinkRequest {
  readonly state: Redacted.Redacted
  readonly redirectUri: string
  readonly scopes: ReadonlyArray<string>
  readonly codeChallenge: string | undefined
}

/**
 * A login with a code that the user is shown (RFC 8628).
 *
 * @since 0.1.0
 * @category models
 */
export interface Device {
  readonly begin: (
    scopes: ReadonlyArray<string>
  ) => Effect.Effect<Either.Either<DeviceAuthorization, Denial>, OutboundRefused | OutboundFailure>
  /** Asks whether the user is done; `read` finds the tokens in the answer, or `progress` what is still to come. */
  readonly poll: (deviceCode: Redacted.Redacted) => Effect.Effect<Answer, OutboundRefused | OutboundFailure>
  readonly progress: (answer: Answer) => ReturnType<typeof deviceProgress>
}

/**
 * One provider and this service's client there.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handler {
  readonly provider: Provider
  /** Where the user's browser is sent (RFC 6749 4.1.1). */
  readonly authorizationUrl: (request: LinkRequest) => Redacted.Redacted
  /** The link where the provider wants its parameters pushed first (RFC 9126), and how long it is good for. */
  readonly push?: (
    request: LinkRequest
  ) => Effect.Effect<
    Either.Either<{ readonly url: Redacted.Redacted; readonly lifetimeSeconds: number }, Denial>,
    OutboundRefused | OutboundFailure
  >
  /** Absent where a login needs a browser, or no user. */
  readonly device?: Device
  /** Sends the code; `read` says what the answer means. */
  readonly exchange: (grant: {
    readonly code: Redacted.Redacted
    readonly redirectUri: string
    readonly codeVerifier: Option.Option<Redacted.Redacted>
  }) => Effect.Effect<Answer, OutboundRefused | OutboundFailure>
  /** Asks for the token of a grant that needs no user; absent where the provider's is another. */
  readonly request?: (asked: Asked) => Effect.Effect<Answer, OutboundRefused | OutboundFailure>
  /** Spends the refresh token; `read` says what the answer means. */
  readonly refresh: (refreshToken: Redacted.Redacted) => Effect.Effect<Answer, OutboundRefused | OutboundFailure>
  readonly read: (answer: Answer) => Effect.Effect<Either.Either<TokenSet, Denial>>
  /** Absent where the provider has no such endpoint. Left: refused, for good or for now. */
  readonly revoke?: (
    token: Redacted.Redacted,
    hint: "refresh_token" | "access_token"
  ) => Effect.Effect<Either.Either<void, { readonly final: boolean }>, OutboundRefused | OutboundFailure>
}
