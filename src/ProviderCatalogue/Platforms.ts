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
    refreshInvalidatesAccessToken: false,
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
    pkce: "supported",
    defaultScopes: ["openid", "offline_access"],
    expiresInSeconds: 3600,
    docs: "https://developer.okta.com/docs/guides/refresh-tokens/main/"
  }
]
