/**
 * Talk, media and social networks.
 *
 * @since 0.1.0
 */
import type { Provider } from "../Provider.ts"

const day = 86_400

/**
 * @since 0.1.0
 */
export const providers: ReadonlyArray<typeof Provider.Encoded> = [
  {
    id: "discord",
    name: "Discord",
    authorizationUrl: "https://discord.com/oauth2/authorize",
    tokenUrl: "https://discord.com/api/oauth2/token",
    revocationUrl: "https://discord.com/api/oauth2/token/revoke",
    // every access and refresh token of that authorization, whichever is presented
    revocationScope: "grant",
    rotatesRefreshToken: true,
    expiresInSeconds: 7 * day,
    docs: "https://docs.discord.com/developers/topics/oauth2",
    checkedAt: "2026-11-21"
  },
  {
    id: "facebook",
    name: "Facebook",
    authorizationUrl: "https://www.facebook.com/v22.0/dialog/oauth",
    tokenUrl: "https://graph.facebook.com/v22.0/oauth/access_token",
    // https://developers.facebook.com/docs/graph-api/reference/user/permissions
    revocationUrl: "https://graph.facebook.com/v22.0/me/permissions",
    revocation: { method: "DELETE", auth: "bearer", takes: "access_token" },
    clientAuth: "client_secret_post",
    scopeSeparator: ",",
    docs: "https://developers.facebook.com/docs/facebook-login/guides/advanced/manual-flow",
    checkedAt: "2026-11-21"
  },
  {
    id: "linkedin",
    name: "LinkedIn",
    authorizationUrl: "https://www.linkedin.com/oauth/v2/authorization",
    tokenUrl: "https://www.linkedin.com/oauth/v2/accessToken",
    // known from clients that call it; no page describes it
    revocationUrl: "https://www.linkedin.com/oauth/v2/revoke",
    revocation: { takes: "access_token" },
    clientAuth: "client_secret_post",
    // a client with a secret that sends a verifier is refused: https://github.com/nextauthjs/next-auth/issues/8831
    pkce: "unsupported",
    rotatesRefreshToken: false,
    expiresInSeconds: 60 * day,
    refreshTokenLifetimeSeconds: 365 * day,
    refreshTokenLifetimeRenews: false,
    docs: "https://learn.microsoft.com/linkedin/shared/authentication/programmatic-refresh-tokens",
    checkedAt: "2026-11-21"
  },
  {
    id: "reddit",
    name: "Reddit",
    authorizationUrl: "https://www.reddit.com/api/v1/authorize",
    tokenUrl: "https://www.reddit.com/api/v1/access_token",
    revocationUrl: "https://www.reddit.com/api/v1/revoke_token",
    // a refresh token, and the access tokens that came of it
    revocationScope: "token",
    defaultScopes: ["identity"],
    authorizationParams: { duration: "permanent" },
    requestHeaders: { "User-Agent": "server:effect-credentials:0.1.0" },
    rotatesRefreshToken: false,
    expiresInSeconds: 3600,
    docs: "https://github.com/reddit-archive/reddit/wiki/OAuth2",
    checkedAt: "2026-11-21"
  },
  {
    id: "slack",
    name: "Slack",
    authorizationUrl: "https://slack.com/oauth/v2/authorize",
    tokenUrl: "https://slack.com/api/oauth.v2.access",
    revocationUrl: "https://slack.com/api/auth.revoke",
    revocation: { auth: "bearer", takes: "access_token" },
    scopeSeparator: ",",
    keptFields: ["team", "enterprise", "bot_user_id"],
    invalidGrantAliases: ["invalid_refresh_token", "invalid_code"],
    docs: "https://docs.slack.dev/authentication/using-token-rotation",
    checkedAt: "2026-11-21"
  },
  {
    id: "slack-user",
    name: "Slack, as the user",
    authorizationUrl: "https://slack.com/oauth/v2/authorize",
    tokenUrl: "https://slack.com/api/oauth.v2.access",
    revocationUrl: "https://slack.com/api/auth.revoke",
    revocation: { auth: "bearer", takes: "access_token" },
    scopeSeparator: ",",
    scopeParam: "user_scope",
    tokenPath: "authed_user",
    keptFields: ["team", "enterprise"],
    invalidGrantAliases: ["invalid_refresh_token", "invalid_code"],
    docs: "https://docs.slack.dev/authentication/using-token-rotation",
    checkedAt: "2026-11-21"
  },
  {
    id: "spotify",
    name: "Spotify",
    authorizationUrl: "https://accounts.spotify.com/authorize",
    tokenUrl: "https://accounts.spotify.com/api/token",
    pkce: "supported",
    expiresInSeconds: 3600,
    // https://developer.spotify.com/blog/2026-06-18-refresh-token-expiration
    refreshTokenLifetimeSeconds: 181 * day,
    refreshTokenLifetimeRenews: false,
    docs: "https://developer.spotify.com/documentation/web-api/tutorials/refreshing-tokens",
    checkedAt: "2026-11-21"
  },
  {
    id: "strava",
    name: "Strava",
    authorizationUrl: "https://www.strava.com/oauth/authorize",
    tokenUrl: "https://www.strava.com/oauth/token",
    revocationUrl: "https://www.strava.com/oauth/revoke",
    revocation: { auth: "basic" },
    clientAuth: "client_secret_post",
    scopeSeparator: ",",
    defaultScopes: ["read"],
    authorizationParams: { approval_prompt: "auto" },
    rotatesRefreshToken: true,
    expiresInSeconds: 21600,
    // as it stands in https://github.com/dreeveapp/dreeve/issues/1449
    invalidGrantAliases: [
      { errors: [{ resource: "RefreshToken", code: "invalid" }] },
      { errors: [{ resource: "AuthorizationCode", code: "invalid" }] }
    ],
    docs: "https://developers.strava.com/docs/authentication/",
    checkedAt: "2026-11-21"
  },
  {
    id: "twitch",
    name: "Twitch",
    authorizationUrl: "https://id.twitch.tv/oauth2/authorize",
    tokenUrl: "https://id.twitch.tv/oauth2/token",
    revocationUrl: "https://id.twitch.tv/oauth2/revoke",
    revocation: { auth: "none", takes: "access_token", params: { client_id: "{client_id}" } },
    clientAuth: "client_secret_post",
    invalidGrantAliases: ["Invalid refresh token"],
    docs: "https://dev.twitch.tv/docs/authentication/refresh-tokens/",
    checkedAt: "2026-11-21"
  },
  {
    id: "x",
    name: "X",
    authorizationUrl: "https://x.com/i/oauth2/authorize",
    tokenUrl: "https://api.x.com/2/oauth2/token",
    revocationUrl: "https://api.x.com/2/oauth2/revoke",
    pkce: "required",
    defaultScopes: ["offline.access"],
    rotatesRefreshToken: true,
    expiresInSeconds: 7200,
    docs: "https://docs.x.com/fundamentals/authentication/oauth-2-0/user-access-token",
    checkedAt: "2026-11-21"
  },
  {
    id: "zoom",
    name: "Zoom",
    authorizationUrl: "https://zoom.us/oauth/authorize",
    tokenUrl: "https://zoom.us/oauth/token",
    revocationUrl: "https://zoom.us/oauth/revoke",
    revocation: { takes: "access_token" },
    pkce: "supported",
    rotatesRefreshToken: true,
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 90 * day,
    invalidGrantAliases: ["Invalid Token!"],
    docs: "https://developers.zoom.us/docs/integrations/oauth/",
    checkedAt: "2026-11-21"
  }
]
