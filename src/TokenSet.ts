/**
 * What a token endpoint granted, and what becomes of it in a credential.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { OAuth2 } from "./Credential.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface TokenSet {
  readonly accessToken: Redacted.Redacted
  /** None: the one that was spent goes on. */
  readonly refreshToken: Option.Option<Redacted.Redacted>
  readonly lifetimeSeconds: Option.Option<number>
  readonly refreshLifetimeSeconds: Option.Option<number>
  /** `false`: a refresh token of which nothing is said ends when the one that it replaces would have. */
  readonly refreshLifetimeRenews: boolean
  /** None: those that were asked for (RFC 6749 5.1). */
  readonly scopes: Option.Option<ReadonlyArray<string>>
  /** Who logged in: the `sub` of an ID token. */
  readonly subject: Option.Option<string>
  /** What a login's credential keeps of the answer. */
  readonly kept: Redacted.Redacted<Readonly<Record<string, unknown>>>
}

const later = (at: DateTime.Utc, seconds: number) => DateTime.addDuration(at, Duration.seconds(seconds))

/**
 * The variant that holds these tokens, asked for at a time. What the answer does not say stays as it was before: the
 * refresh token, the scopes, the name. An access token that comes without a lifetime has no expiry; that of those before it
 * says when a renewal is due, and ends nothing.
 *
 * @since 0.1.0
 */
export const toVariant = (
  tokens: TokenSet,
  before: Pick<
    OAuth2,
    "scopes" | "refreshToken" | "refreshTokenExpiresAt" | "refreshLifetimeSeconds" | "lifetimeSeconds" | "username"
  >,
  at: DateTime.Utc
): OAuth2 => {
  const refreshToken = Option.getOrElse(tokens.refreshToken, () => before.refreshToken)
  const refreshTokenExpiresAt = Option.match(tokens.refreshLifetimeSeconds, {
    onSome: (seconds) => later(at, seconds),
    // a new one of which nothing is said may outlive the old: to end it by the old one's time would lose a login
    onNone: () =>
      Option.isSome(tokens.refreshToken) && tokens.refreshLifetimeRenews ? undefined : before.refreshTokenExpiresAt
  })
  const refreshLifetimeSeconds = Option.match(tokens.refreshLifetimeSeconds, {
    onSome: (seconds) => Math.max(seconds, before.refreshLifetimeSeconds ?? 0),
    onNone: () => (refreshTokenExpiresAt === undefined ? undefined : before.refreshLifetimeSeconds)
  })
  return {
    type: "oauth2",
    accessToken: tokens.accessToken,
    scopes: Option.getOrElse(tokens.scopes, () => before.scopes),
    ...(refreshToken !== undefined && { refreshToken }),
    ...(refreshTokenExpiresAt !== undefined && { refreshTokenExpiresAt }),
    ...(refreshLifetimeSeconds !== undefined && { refreshLifetimeSeconds }),
    ...(before.username !== undefined && { username: before.username }),
    ...Option.match(tokens.lifetimeSeconds, {
      onNone: () => (before.lifetimeSeconds === undefined ? {} : { lifetimeSeconds: before.lifetimeSeconds }),
      onSome: (seconds) => ({ lifetimeSeconds: seconds, accessTokenExpiresAt: later(at, seconds) })
    })
  }
}

/**
 * The scopes that were there before and are not granted any more.
 *
 * @since 0.1.0
 */
export const withdrawn = (before: ReadonlyArray<string>, after: ReadonlyArray<string>): ReadonlyArray<string> =>
  before.filter((scope) => !after.includes(scope))
