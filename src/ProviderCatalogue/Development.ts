/**
 * Where software is made.
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
    id: "atlassian",
    name: "Atlassian",
    authorizationUrl: "https://auth.atlassian.com/authorize",
    tokenUrl: "https://auth.atlassian.com/oauth/token",
    clientAuth: "client_secret_post",
    defaultScopes: ["offline_access"],
    authorizationParams: { audience: "api.atlassian.com", prompt: "consent" },
    rotatesRefreshToken: true,
    // both old tokens live on for ten minutes, so that a lost answer can be asked for again
    // https://community.developer.atlassian.com/t/the-old-access-token-will-be-revoked-during-the-refresh-token-exchange/83103
    refreshInvalidatesAccessToken: true,
    reuseGraceSeconds: 600,
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 90 * day,
    docs: "https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/",
    checkedAt: "2026-11-21"
  },
  {
    id: "bitbucket",
    name: "Bitbucket Cloud",
    authorizationUrl: "https://bitbucket.org/site/oauth2/authorize",
    tokenUrl: "https://bitbucket.org/site/oauth2/access_token",
    // since May 2026, and a refresh token that is not used for three months expires
    // https://community.developer.atlassian.com/t/oauth-2-0-and-api-authentication-changes-for-bitbucket-cloud/99003
    rotatesRefreshToken: true,
    expiresInSeconds: 7200,
    refreshTokenLifetimeSeconds: 90 * day,
    docs: "https://developer.atlassian.com/cloud/bitbucket/oauth-2/",
    checkedAt: "2026-11-21"
  },
  {
    id: "figma",
    name: "Figma",
    authorizationUrl: "https://www.figma.com/oauth",
    tokenUrl: "https://api.figma.com/v1/oauth/token",
    refreshUrl: "https://api.figma.com/v1/oauth/refresh",
    pkce: "supported",
    scopeSeparator: ",",
    rotatesRefreshToken: false,
    // an app has one access token for a user
    refreshInvalidatesAccessToken: true,
    expiresInSeconds: 90 * day,
    docs: "https://developers.figma.com/docs/rest-api/oauth-apps/",
    checkedAt: "2026-11-21"
  },
  {
    id: "github",
    name: "GitHub",
    authorizationUrl: "https://github.com/login/oauth/authorize",
    tokenUrl: "https://github.com/login/oauth/access_token",
    revocationUrl: "https://api.github.com/applications/{client_id}/token",
    revocation: { method: "DELETE", format: "json", auth: "basic", takes: "access_token", tokenField: "access_token" },
    // https://docs.github.com/rest/apps/oauth-applications#delete-an-app-token
    revocationScope: "token",
    clientAuth: "client_secret_post",
    pkce: "supported",
    invalidGrantAliases: ["bad_verification_code"],
    docs: "https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps",
    checkedAt: "2026-11-21"
  },
  {
    id: "github-app",
    name: "GitHub App",
    authorizationUrl: "https://github.com/login/oauth/authorize",
    tokenUrl: "https://github.com/login/oauth/access_token",
    revocationUrl: "https://api.github.com/applications/{client_id}/token",
    revocation: { method: "DELETE", format: "json", auth: "basic", takes: "access_token", tokenField: "access_token" },
    // https://docs.github.com/rest/apps/oauth-applications#delete-an-app-token
    revocationScope: "token",
    clientAuth: "client_secret_post",
    pkce: "supported",
    rotatesRefreshToken: true,
    // a refresh ends both old tokens
    refreshInvalidatesAccessToken: true,
    expiresInSeconds: 28800,
    refreshTokenLifetimeSeconds: 183 * day,
    invalidGrantAliases: ["bad_refresh_token", "bad_verification_code"],
    docs: "https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens",
    checkedAt: "2026-11-21"
  },
  {
    id: "gitlab",
    name: "GitLab",
    authorizationUrl: "https://gitlab.com/oauth/authorize",
    tokenUrl: "https://gitlab.com/oauth/token",
    revocationUrl: "https://gitlab.com/oauth/revoke",
    clientAuth: "client_secret_post",
    pkce: "supported",
    refreshWithRedirectUri: true,
    rotatesRefreshToken: true,
    // a refresh ends both old tokens
    refreshInvalidatesAccessToken: true,
    expiresInSeconds: 7200,
    docs: "https://docs.gitlab.com/api/oauth2/",
    checkedAt: "2026-11-21"
  },
  {
    id: "linear",
    name: "Linear",
    authorizationUrl: "https://linear.app/oauth/authorize",
    tokenUrl: "https://api.linear.app/oauth/token",
    revocationUrl: "https://api.linear.app/oauth/revoke",
    clientAuth: "client_secret_post",
    pkce: "supported",
    scopeSeparator: ",",
    defaultScopes: ["read"],
    rotatesRefreshToken: true,
    // the same request answers with the same new refresh token
    reuseGraceSeconds: 1800,
    expiresInSeconds: 86400,
    docs: "https://linear.app/developers/oauth-2-0-authentication",
    checkedAt: "2026-11-21"
  },
  {
    id: "sentry",
    name: "Sentry",
    authorizationUrl: "https://sentry.io/oauth/authorize/",
    tokenUrl: "https://sentry.io/oauth/token/",
    clientAuth: "client_secret_post",
    pkce: "supported",
    defaultScopes: ["org:read"],
    expiresInSeconds: 30 * day,
    docs: "https://docs.sentry.io/api/auth",
    checkedAt: "2026-11-21"
  },
  {
    id: "webflow",
    name: "Webflow",
    authorizationUrl: "https://webflow.com/oauth/authorize",
    tokenUrl: "https://api.webflow.com/oauth/access_token",
    revocationUrl: "https://webflow.com/oauth/revoke_authorization",
    revocation: { format: "json", takes: "access_token", tokenField: "access_token" },
    clientAuth: "client_secret_post",
    docs: "https://developers.webflow.com/data/reference/oauth-app",
    checkedAt: "2026-11-21"
  }
]
