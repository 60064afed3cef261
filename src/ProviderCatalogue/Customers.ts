/**
 * Customer relations, support and marketing.
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
    id: "hubspot",
    name: "HubSpot",
    authorizationUrl: "https://app.hubspot.com/oauth/authorize",
    tokenUrl: "https://api.hubapi.com/oauth/v3/token",
    // https://developers.hubspot.com/docs/api-reference/latest/authentication/oauth-tokens/revoke-token
    revocationUrl: "https://api.hubapi.com/oauth/2026-03/token/revoke",
    clientAuth: "client_secret_post",
    pkce: "supported",
    defaultScopes: ["oauth"],
    rotatesRefreshToken: false,
    expiresInSeconds: 1800,
    // as it stands in https://github.com/airbytehq/airbyte/issues/79592
    invalidGrantAliases: ["BAD_REFRESH_TOKEN"],
    docs: "https://developers.hubspot.com/docs/api-reference/auth-oauth-v3/guide",
    checkedAt: "2026-11-21"
  },
  {
    id: "intercom",
    name: "Intercom",
    authorizationUrl: "https://app.intercom.com/oauth",
    tokenUrl: "https://api.intercom.io/auth/eagle/token",
    clientAuth: "client_secret_post",
    docs: "https://developers.intercom.com/docs/build-an-integration/learn-more/authentication/setting-up-oauth",
    checkedAt: "2026-11-21"
  },
  {
    id: "klaviyo",
    name: "Klaviyo",
    authorizationUrl: "https://www.klaviyo.com/oauth/authorize",
    tokenUrl: "https://a.klaviyo.com/oauth/token",
    revocationUrl: "https://a.klaviyo.com/oauth/revoke",
    pkce: "required",
    defaultScopes: ["accounts:read"],
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 90 * day,
    docs: "https://developers.klaviyo.com/en/docs/set_up_oauth",
    checkedAt: "2026-11-21"
  },
  {
    id: "mailchimp",
    name: "Mailchimp",
    authorizationUrl: "https://login.mailchimp.com/oauth2/authorize",
    tokenUrl: "https://login.mailchimp.com/oauth2/token",
    clientAuth: "client_secret_post",
    docs: "https://mailchimp.com/developer/marketing/guides/access-user-data-oauth-2/",
    checkedAt: "2026-11-21"
  },
  {
    id: "pipedrive",
    name: "Pipedrive",
    authorizationUrl: "https://oauth.pipedrive.com/oauth/authorize",
    tokenUrl: "https://oauth.pipedrive.com/oauth/token",
    revocationUrl: "https://oauth.pipedrive.com/oauth/revoke",
    keptFields: ["api_domain"],
    expiresInSeconds: 3600,
    // each use gives it sixty days anew
    refreshTokenLifetimeSeconds: 60 * day,
    docs: "https://pipedrive.readme.io/docs/marketplace-oauth-authorization",
    checkedAt: "2026-11-21"
  },
  {
    id: "salesforce",
    name: "Salesforce",
    authorizationUrl: "https://login.salesforce.com/services/oauth2/authorize",
    tokenUrl: "https://login.salesforce.com/services/oauth2/token",
    revocationUrl: "https://login.salesforce.com/services/oauth2/revoke",
    revocation: { auth: "none" },
    clientAuth: "client_secret_post",
    pkce: "supported",
    defaultScopes: ["refresh_token"],
    keptFields: ["instance_url", "id"],
    // the answer does not say; this is the default of the session timeout
    // https://developer.salesforce.com/docs/platform/pub-sub-api/guide/supported-auth.html
    expiresInSeconds: 7200,
    docs: "https://developer.salesforce.com/docs/platform/isvforce/guide/secure-code-ac-eca.md",
    checkedAt: "2026-11-21"
  },
  {
    id: "zendesk",
    name: "Zendesk",
    authorizationUrl: "https://{subdomain}.zendesk.com/oauth/authorizations/new",
    tokenUrl: "https://{subdomain}.zendesk.com/oauth/tokens",
    clientAuth: "client_secret_post",
    pkce: "supported",
    defaultScopes: ["read"],
    tokenParams: { expires_in: "1800" },
    rotatesRefreshToken: true,
    // a refresh deletes the previous access and refresh token
    refreshInvalidatesAccessToken: true,
    docs: "https://developer.zendesk.com/documentation/api-basics/authentication/refresh-token",
    checkedAt: "2026-11-21"
  },
  {
    id: "zoho",
    name: "Zoho",
    authorizationUrl: "https://accounts.zoho.com/oauth/v2/auth",
    tokenUrl: "https://accounts.zoho.com/oauth/v2/token",
    revocationUrl: "https://accounts.zoho.com/oauth/v2/token/revoke",
    revocation: { auth: "none" },
    // https://www.zoho.com/developer/oauth/revoke-oauth-token.html
    revocationScope: "token",
    clientAuth: "client_secret_post",
    scopeSeparator: ",",
    authorizationParams: { access_type: "offline", prompt: "consent" },
    keptParameters: ["location", "accounts-server"],
    keptFields: ["api_domain"],
    rotatesRefreshToken: false,
    expiresInSeconds: 3600,
    // as it stands in https://github.com/schmorrison/Zoho/pull/18
    invalidGrantAliases: ["invalid_code"],
    docs: "https://www.zoho.com/accounts/protocol/oauth/web-apps/access-token.html",
    checkedAt: "2026-11-21"
  }
]
