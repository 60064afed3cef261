/**
 * Documents, files, tasks and calendars.
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
    id: "airtable",
    name: "Airtable",
    authorizationUrl: "https://airtable.com/oauth2/v1/authorize",
    tokenUrl: "https://airtable.com/oauth2/v1/token",
    pkce: "required",
    rotatesRefreshToken: true,
    // a refresh ends both old tokens
    refreshInvalidatesAccessToken: true,
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 60 * day,
    docs: "https://airtable.com/developers/web/api/oauth-reference",
    checkedAt: "2026-11-21"
  },
  {
    id: "asana",
    name: "Asana",
    authorizationUrl: "https://app.asana.com/-/oauth_authorize",
    tokenUrl: "https://app.asana.com/-/oauth_token",
    revocationUrl: "https://app.asana.com/-/oauth_revoke",
    clientAuth: "client_secret_post",
    pkce: "supported",
    defaultScopes: ["default"],
    rotatesRefreshToken: false,
    expiresInSeconds: 3600,
    docs: "https://developers.asana.com/docs/oauth",
    checkedAt: "2026-11-21"
  },
  {
    id: "box",
    name: "Box",
    authorizationUrl: "https://account.box.com/api/oauth2/authorize",
    tokenUrl: "https://api.box.com/oauth2/token",
    revocationUrl: "https://api.box.com/oauth2/revoke",
    // https://developer.box.com/guides/authentication/tokens/revoke/
    revocationScope: "token",
    clientAuth: "client_secret_post",
    rotatesRefreshToken: true,
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 60 * day,
    docs: "https://developer.box.com/guides/authentication/oauth2/",
    checkedAt: "2026-11-21"
  },
  {
    id: "calendly",
    name: "Calendly",
    authorizationUrl: "https://auth.calendly.com/oauth/authorize",
    tokenUrl: "https://auth.calendly.com/oauth/token",
    revocationUrl: "https://auth.calendly.com/oauth/revoke",
    clientAuth: "client_secret_post",
    pkce: "supported",
    rotatesRefreshToken: true,
    expiresInSeconds: 7200,
    docs: "https://developer.calendly.com/refresh-token-rotation-guide",
    checkedAt: "2026-11-21"
  },
  {
    id: "canva",
    name: "Canva",
    authorizationUrl: "https://www.canva.com/api/oauth/authorize",
    tokenUrl: "https://api.canva.com/rest/v1/oauth/token",
    revocationUrl: "https://api.canva.com/rest/v1/oauth/revoke",
    pkce: "required",
    rotatesRefreshToken: true,
    expiresInSeconds: 14400,
    docs: "https://www.canva.dev/docs/connect/authentication/",
    checkedAt: "2026-11-21"
  },
  {
    id: "clickup",
    name: "ClickUp",
    authorizationUrl: "https://app.clickup.com/api",
    tokenUrl: "https://api.clickup.com/api/v2/oauth/token",
    clientAuth: "client_secret_post",
    docs: "https://developer.clickup.com/docs/authentication",
    checkedAt: "2026-11-21"
  },
  {
    id: "docusign",
    name: "DocuSign",
    authorizationUrl: "https://account.docusign.com/oauth/auth",
    tokenUrl: "https://account.docusign.com/oauth/token",
    pkce: "supported",
    defaultScopes: ["signature"],
    expiresInSeconds: 28800,
    // with the scope `extended` a refresh prolongs it; without, it counts from the login
    // https://www.docusign.com/blog/developers/authorization-code-grant-refresh-tokens
    refreshTokenLifetimeSeconds: 30 * day,
    docs: "https://developers.docusign.com/platform/auth/authcode/",
    checkedAt: "2026-11-21"
  },
  {
    id: "dropbox",
    name: "Dropbox",
    authorizationUrl: "https://www.dropbox.com/oauth2/authorize",
    tokenUrl: "https://api.dropboxapi.com/oauth2/token",
    revocationUrl: "https://api.dropboxapi.com/2/auth/token/revoke",
    revocation: { auth: "bearer", takes: "access_token" },
    // the access token, its refresh token, and the other access tokens of that one
    revocationScope: "token",
    pkce: "supported",
    authorizationParams: { token_access_type: "offline" },
    rotatesRefreshToken: false,
    expiresInSeconds: 14400,
    docs: "https://developers.dropbox.com/oauth-guide",
    checkedAt: "2026-11-21"
  },
  {
    id: "miro",
    name: "Miro",
    authorizationUrl: "https://miro.com/oauth/authorize",
    tokenUrl: "https://api.miro.com/v1/oauth/token",
    revocationUrl: "https://api.miro.com/v2/oauth/revoke",
    revocation: {
      format: "json",
      auth: "none",
      takes: "access_token",
      tokenField: "accessToken",
      params: { clientId: "{client_id}", clientSecret: "{client_secret}" }
    },
    // https://developers.miro.com/reference/revoke-token
    revocationScope: "token",
    clientAuth: "client_secret_post",
    keptFields: ["team_id", "user_id"],
    rotatesRefreshToken: true,
    refreshInvalidatesAccessToken: true,
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 60 * day,
    docs: "https://developers.miro.com/reference/oauth-20-authorization-v2",
    checkedAt: "2026-11-21"
  },
  {
    id: "monday",
    name: "monday.com",
    authorizationUrl: "https://auth.monday.com/oauth2/authorize",
    // the flow before it, whose tokens never expired, ended in October 2026
    tokenUrl: "https://auth.monday.com/oauth_ms/oauth/token",
    revocationUrl: "https://auth.monday.com/oauth_ms/oauth/revoke",
    revocation: { format: "json" },
    clientAuth: "client_secret_post",
    pkce: "supported",
    tokenRequestFormat: "json",
    rotatesRefreshToken: true,
    expiresInSeconds: 3600,
    docs: "https://developer.monday.com/apps/docs/migrating-to-the-new-oauth-flow",
    checkedAt: "2026-11-21"
  },
  {
    id: "notion",
    name: "Notion",
    authorizationUrl: "https://api.notion.com/v1/oauth/authorize",
    tokenUrl: "https://api.notion.com/v1/oauth/token",
    revocationUrl: "https://api.notion.com/v1/oauth/revoke",
    revocation: { format: "json", auth: "basic", takes: "access_token" },
    authorizationParams: { owner: "user" },
    requestHeaders: { "Notion-Version": "2026-03-11" },
    tokenRequestFormat: "json",
    keptFields: ["workspace_id", "workspace_name", "bot_id"],
    rotatesRefreshToken: true,
    // in `code`, as the errors of its API
    invalidGrantAliases: ["invalid_grant"],
    docs: "https://developers.notion.com/reference/refresh-a-token",
    checkedAt: "2026-11-21"
  },
  {
    id: "todoist",
    name: "Todoist",
    authorizationUrl: "https://todoist.com/oauth/authorize",
    tokenUrl: "https://todoist.com/oauth/access_token",
    revocationUrl: "https://api.todoist.com/api/v1/revoke",
    revocation: { auth: "basic" },
    clientAuth: "client_secret_post",
    pkce: "supported",
    scopeSeparator: ",",
    defaultScopes: ["data:read_write"],
    rotatesRefreshToken: true,
    docs: "https://developer.todoist.com/api/v1/",
    checkedAt: "2026-11-21"
  }
]
