/**
 * Accounts of whole platforms, and directories of people.
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
    id: "auth0",
    name: "Auth0",
    // a tenant with a domain of its own, or without a region in it, is defined by its operator
    authorizationUrl: "https://{tenant}.{region}.auth0.com/authorize",
    tokenUrl: "https://{tenant}.{region}.auth0.com/oauth/token",
    // https://auth0.com/docs/secure/tokens/refresh-tokens/revoke-refresh-tokens
    revocationUrl: "https://{tenant}.{region}.auth0.com/oauth/revoke",
    revocation: { format: "json", takes: "refresh_token" },
    // all refresh tokens of this user, application and audience
    revocationScope: "grant",
    clientAuth: "client_secret_post",
    pkce: "supported",
    defaultScopes: ["openid", "offline_access"],
    // whether a refresh token is replaced, and how long a spent one is taken, is set for each application
    docs: "https://auth0.com/docs/secure/tokens/refresh-tokens/configure-refresh-token-rotation",
    checkedAt: "2026-11-21"
  },
  {
    id: "google",
    name: "Google",
    authorizationUrl: "https://accounts.google.com/o/oauth2/v2/auth",
    tokenUrl: "https://oauth2.googleapis.com/token",
    revocationUrl: "https://oauth2.googleapis.com/revoke",
    revocation: { auth: "none" },
    // an access token takes its refresh token with it, and the consent of the user
    revocationScope: "grant",
    clientAuth: "client_secret_post",
    pkce: "supported",
    authorizationParams: { access_type: "offline", prompt: "consent" },
    rotatesRefreshToken: false,
    expiresInSeconds: 3600,
    docs: "https://developers.google.com/identity/protocols/oauth2/web-server",
    checkedAt: "2026-11-21"
  },
  {
    id: "google-service-account",
    name: "Google service account",
    grant: "jwt_bearer",
    tokenUrl: "https://oauth2.googleapis.com/token",
    clientAuth: "none",
    // `sub` is for delegation over a whole domain alone
    assertion: { scopeClaim: true, subjectIsIssuer: false, lifetimeSeconds: 3600 },
    // an access token can be used for as long as its answer said
    refreshInvalidatesAccessToken: false,
    expiresInSeconds: 3600,
    docs: "https://developers.google.com/identity/protocols/oauth2/service-account",
    checkedAt: "2026-11-21"
  },
  {
    id: "microsoft",
    name: "Microsoft Entra ID",
    authorizationUrl: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
    tokenUrl: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
    clientAuth: "client_secret_post",
    pkce: "supported",
    defaultScopes: ["offline_access"],
    authorizationParams: { response_mode: "query" },
    rotatesRefreshToken: true,
    // an access token cannot be revoked: https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes
    refreshInvalidatesAccessToken: false,
    // a spent refresh token is not revoked: it lives to its own end, a day at least
    // https://learn.microsoft.com/entra/identity-platform/refresh-tokens
    reuseGraceSeconds: 86400,
    refreshTokenLifetimeSeconds: 90 * day,
    docs: "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow",
    checkedAt: "2026-11-21"
  },
  {
    id: "okta",
    name: "Okta",
    // an organisation with a host of its own is defined by its operator
    authorizationUrl: "https://{domain}.okta.com/oauth2/v1/authorize",
    tokenUrl: "https://{domain}.okta.com/oauth2/v1/token",
    revocationUrl: "https://{domain}.okta.com/oauth2/v1/revoke",
    // an access token alone, or a refresh token with its access token
    // https://developer.okta.com/docs/guides/revoke-tokens/main/
    revocationScope: "token",
    pkce: "supported",
    defaultScopes: ["openid", "offline_access"],
    // whether a refresh token is replaced, and how long a spent one is taken, is set for each application; a spent one
    // that comes later ends all tokens of the login
    expiresInSeconds: 3600,
    docs: "https://developer.okta.com/docs/guides/refresh-tokens/main/",
    checkedAt: "2026-11-21"
  }
]
