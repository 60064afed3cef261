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
    rotatesRefreshToken: false,
    expiresInSeconds: 7200,
    docs: "https://developer.atlassian.com/cloud/bitbucket/oauth-2/"
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
    expiresInSeconds: 90 * day,
    docs: "https://developers.figma.com/docs/rest-api/authentication/"
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
    docs: "https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps"
  },
  {
    id: "github-app",
    name: "GitHub App",
    authorizationUrl: "https://github.com/login/oauth/authorize",
    tokenUrl: "https://github.com/login/oauth/access_token",
    revocationUrl: "https://api.github.com/applications/{client_id}/token",
    revocation: { method: "DELETE", format: "json", auth: "basic", takes: "access_token", tokenField: "access_token" },
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
    expiresInSeconds: 86400,
    docs: "https://linear.app/developers/oauth-2-0-authentication"
  },
  {
    id: "sentry",
    name: "Sentry",
    authorizationUrl: "https://sentry.io/oauth/authorize/",
    tokenUrl: "https://sentry.io/oauth/token/",
    clientAuth: "client_secret_post",
    pkce: "supported",
    defaultScopes: ["org:read"],
    docs: "https://docs.sentry.io/api/auth"
  },
  {
    id: "webflow",
    name: "Webflow",
    authorizationUrl: "https://webflow.com/oauth/authorize",
    tokenUrl: "https://api.webflow.com/oauth/access_token",
    revocationUrl: "https://webflow.com/oauth/revoke_authorization",
    revocation: { takes: "access_token", tokenField: "access_token" },
    clientAuth: "client_secret_post",
    docs: "https://developers.webflow.com/data/reference/oauth-app"
  }
]
