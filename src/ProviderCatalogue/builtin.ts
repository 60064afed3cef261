/**
 * The best-known providers. What is not known for sure is absent, and has the default that is safe.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Provider } from "../Provider.ts"

/**
 * Each entry links the documentation that its facts are from.
 *
 * @since 0.1.0
 */
export const builtin: ReadonlyArray<Provider> = Schema.decodeUnknownSync(Schema.Array(Provider))([
  {
    id: "airtable",
    name: "Airtable",
    authorizationUrl: "https://airtable.com/oauth2/v1/authorize",
    tokenUrl: "https://airtable.com/oauth2/v1/token",
    pkce: "required",
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 5184000,
    docs: "https://airtable.com/developers/web/api/oauth-reference"
  },
  {
    id: "asana",
    name: "Asana",
    authorizationUrl: "https://app.asana.com/-/oauth_authorize",
    tokenUrl: "https://app.asana.com/-/oauth_token",
    revocationUrl: "https://app.asana.com/-/oauth_revoke",
    clientAuth: "client_secret_post",
    defaultScopes: ["default"],
    rotatesRefreshToken: false,
    expiresInSeconds: 3600,
    docs: "https://developers.asana.com/docs/oauth"
  },
  {
    id: "atlassian",
    name: "Atlassian",
    authorizationUrl: "https://auth.atlassian.com/authorize",
    tokenUrl: "https://auth.atlassian.com/oauth/token",
    clientAuth: "client_secret_post",
    defaultScopes: ["offline_access"],
    authorizationParams: {
      audience: "api.atlassian.com",
      prompt: "consent"
    },
    expiresInSeconds: 3600,
    docs: "https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/"
  },
  {
    id: "discord",
    name: "Discord",
    authorizationUrl: "https://discord.com/oauth2/authorize",
    tokenUrl: "https://discord.com/api/oauth2/token",
    revocationUrl: "https://discord.com/api/oauth2/token/revoke",
    expiresInSeconds: 604800,
    docs: "https://discord.com/developers/docs/topics/oauth2"
  },
  {
    id: "dropbox",
    name: "Dropbox",
    authorizationUrl: "https://www.dropbox.com/oauth2/authorize",
    tokenUrl: "https://api.dropboxapi.com/oauth2/token",
    authorizationParams: {
      token_access_type: "offline"
    },
    rotatesRefreshToken: false,
    expiresInSeconds: 14400,
    docs: "https://developers.dropbox.com/oauth-guide"
  },
  {
    id: "github",
    name: "GitHub",
    authorizationUrl: "https://github.com/login/oauth/authorize",
    tokenUrl: "https://github.com/login/oauth/access_token",
    clientAuth: "client_secret_post",
    docs: "https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps"
  },
  {
    id: "gitlab",
    name: "GitLab",
    authorizationUrl: "https://gitlab.com/oauth/authorize",
    tokenUrl: "https://gitlab.com/oauth/token",
    revocationUrl: "https://gitlab.com/oauth/revoke",
    clientAuth: "client_secret_post",
    expiresInSeconds: 7200,
    docs: "https://docs.gitlab.com/api/oauth2/"
  },
  {
    id: "google",
    name: "Google",
    authorizationUrl: "https://accounts.google.com/o/oauth2/v2/auth",
    tokenUrl: "https://oauth2.googleapis.com/token",
    revocationUrl: "https://oauth2.googleapis.com/revoke",
    clientAuth: "client_secret_post",
    authorizationParams: {
      access_type: "offline",
      prompt: "consent"
    },
    rotatesRefreshToken: false,
    expiresInSeconds: 3600,
    revocationScope: "grant",
    refreshInvalidatesAccessToken: false,
    docs: "https://developers.google.com/identity/protocols/oauth2/web-server"
  },
  {
    id: "hubspot",
    name: "HubSpot",
    authorizationUrl: "https://app.hubspot.com/oauth/authorize",
    tokenUrl: "https://api.hubapi.com/oauth/v3/token",
    clientAuth: "client_secret_post",
    defaultScopes: ["oauth"],
    rotatesRefreshToken: false,
    expiresInSeconds: 1800,
    docs: "https://developers.hubspot.com/docs/api-reference/auth-oauth-v3/guide"
  },
  {
    id: "linear",
    name: "Linear",
    authorizationUrl: "https://linear.app/oauth/authorize",
    tokenUrl: "https://api.linear.app/oauth/token",
    revocationUrl: "https://api.linear.app/oauth/revoke",
    clientAuth: "client_secret_post",
    scopeSeparator: ",",
    defaultScopes: ["read"],
    expiresInSeconds: 86400,
    docs: "https://linear.app/developers/oauth-2-0-authentication"
  },
  {
    id: "microsoft",
    name: "Microsoft Entra ID",
    authorizationUrl: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
    tokenUrl: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
    clientAuth: "client_secret_post",
    defaultScopes: ["offline_access"],
    authorizationParams: {
      response_mode: "query"
    },
    refreshInvalidatesAccessToken: false,
    docs: "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow"
  },
  {
    id: "notion",
    name: "Notion",
    authorizationUrl: "https://api.notion.com/v1/oauth/authorize",
    tokenUrl: "https://api.notion.com/v1/oauth/token",
    revocationUrl: "https://api.notion.com/v1/oauth/revoke",
    authorizationParams: {
      owner: "user"
    },
    tokenRequestFormat: "json",
    docs: "https://developers.notion.com/reference/refresh-a-token"
  },
  {
    id: "slack",
    name: "Slack",
    authorizationUrl: "https://slack.com/oauth/v2/authorize",
    tokenUrl: "https://slack.com/api/oauth.v2.access",
    scopeSeparator: ",",
    invalidGrantAliases: ["invalid_refresh_token"],
    docs: "https://docs.slack.dev/authentication/using-token-rotation"
  },
  {
    id: "spotify",
    name: "Spotify",
    authorizationUrl: "https://accounts.spotify.com/authorize",
    tokenUrl: "https://accounts.spotify.com/api/token",
    expiresInSeconds: 3600,
    docs: "https://developer.spotify.com/documentation/web-api/tutorials/refreshing-tokens"
  },
  {
    id: "zoom",
    name: "Zoom",
    authorizationUrl: "https://zoom.us/oauth/authorize",
    tokenUrl: "https://zoom.us/oauth/token",
    revocationUrl: "https://zoom.us/oauth/revoke",
    expiresInSeconds: 3600,
    refreshTokenLifetimeSeconds: 7776000,
    docs: "https://developers.zoom.us/docs/integrations/oauth/"
  }
])
