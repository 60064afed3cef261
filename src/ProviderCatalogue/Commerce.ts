/**
 * Shops, payments and accounting.
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
    id: "exact-online",
    name: "Exact Online",
    authorizationUrl: "https://start.exactonline.{tld}/api/oauth2/auth",
    tokenUrl: "https://start.exactonline.{tld}/api/oauth2/token",
    rotatesRefreshToken: true,
    // a refresh is refused while the access token has longer to live
    marginSeconds: 30,
    expiresInSeconds: 600,
    allowedHosts: [
      "start.exactonline.be",
      "start.exactonline.co.uk",
      "start.exactonline.com",
      "start.exactonline.de",
      "start.exactonline.es",
      "start.exactonline.fr",
      "start.exactonline.nl"
    ],
    docs: "https://support.exactonline.com/community/s/knowledge-base#All-All-DNO-Content-oauth-eol-oauth-devstep3"
  },
  {
    id: "quickbooks",
    name: "QuickBooks Online",
    authorizationUrl: "https://appcenter.intuit.com/connect/oauth2",
    tokenUrl: "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
    revocationUrl: "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
    revocation: { format: "json", auth: "basic" },
    defaultScopes: ["com.intuit.quickbooks.accounting"],
    keptParameters: ["realmId"],
    rotatesRefreshToken: true,
    expiresInSeconds: 3600,
    docs: "https://developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization/faq",
    checkedAt: "2026-11-21"
  },
  {
    id: "shopify",
    name: "Shopify",
    authorizationUrl: "https://{shop}.myshopify.com/admin/oauth/authorize",
    tokenUrl: "https://{shop}.myshopify.com/admin/oauth/access_token",
    clientAuth: "client_secret_post",
    scopeSeparator: ",",
    tokenParams: { expiring: "1" },
    apiHeaders: { "X-Shopify-Access-Token": "{access_token}" },
    rotatesRefreshToken: true,
    // until its replacement is used
    // https://shopify.dev/changelog/more-resilient-refreshes-for-expiring-offline-access-tokens
    reuseGraceSeconds: 30 * day,
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 90 * day,
    docs: "https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/offline-access-tokens",
    checkedAt: "2026-11-21"
  },
  {
    id: "square",
    name: "Square",
    authorizationUrl: "https://connect.squareup.com/oauth2/authorize",
    tokenUrl: "https://connect.squareup.com/oauth2/token",
    revocationUrl: "https://connect.squareup.com/oauth2/revoke",
    revocation: {
      format: "json",
      auth: "none",
      takes: "access_token",
      tokenField: "access_token",
      params: { client_id: "{client_id}" },
      headers: { Authorization: "Client {client_secret}" }
    },
    clientAuth: "client_secret_post",
    pkce: "supported",
    authorizationParams: { session: "false" },
    tokenRequestFormat: "json",
    keptFields: ["merchant_id"],
    rotatesRefreshToken: false,
    expiresInSeconds: 30 * day,
    invalidGrantAliases: ["Invalid refresh token"],
    docs: "https://developer.squareup.com/docs/oauth-api/overview",
    checkedAt: "2026-11-21"
  },
  {
    id: "stripe-apps",
    name: "Stripe Apps",
    authorizationUrl: "https://marketplace.stripe.com/oauth/v2/authorize",
    tokenUrl: "https://api.stripe.com/v1/oauth/token",
    clientAuth: "secret_as_user",
    keptFields: ["stripe_user_id"],
    rotatesRefreshToken: true,
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 365 * day,
    docs: "https://docs.stripe.com/stripe-apps/api-authentication/oauth",
    checkedAt: "2026-11-21"
  },
  {
    id: "stripe-connect",
    name: "Stripe Connect",
    authorizationUrl: "https://connect.stripe.com/oauth/authorize",
    tokenUrl: "https://connect.stripe.com/oauth/token",
    clientAuth: "client_secret_post",
    defaultScopes: ["read_write"],
    keptFields: ["stripe_user_id"],
    // a refresh revokes the access token that has the same scope and mode
    refreshInvalidatesAccessToken: true,
    docs: "https://docs.stripe.com/connect/oauth-reference",
    checkedAt: "2026-11-21"
  },
  {
    id: "xero",
    name: "Xero",
    authorizationUrl: "https://login.xero.com/identity/connect/authorize",
    tokenUrl: "https://identity.xero.com/connect/token",
    revocationUrl: "https://identity.xero.com/connect/revocation",
    pkce: "supported",
    defaultScopes: ["offline_access", "openid"],
    rotatesRefreshToken: true,
    // https://developer.xero.com/faq/oauth2
    reuseGraceSeconds: 1800,
    expiresInSeconds: 1800,
    refreshTokenLifetimeSeconds: 60 * day,
    docs: "https://developer.xero.com/documentation/guides/oauth2/auth-flow/",
    checkedAt: "2026-11-21"
  }
]
