/**
 * An MCP server's authorization server is not in any catalogue: its endpoints and the client that was registered there
 * stand in the credential's metadata, written at the login, and the provider is rebuilt from them.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Extra } from "../Credential.ts"
import { ProviderId } from "../Credential.ts"
import { Provider } from "../Provider.ts"
import type { Found } from "../McpDiscovery.ts"
import type { Client } from "../TokenEndpoint.ts"

/**
 * The provider of every MCP login.
 *
 * @since 0.1.0
 */
export const providerId = ProviderId.to.make("mcp")

const decodeProvider = Schema.decodeUnknownOption(Provider)

/**
 * Who this service is at an authorization server: a client that it was registered as, or that of a provider in the
 * catalogue, which keeps its secret.
 *
 * @since 0.1.0
 * @category models
 */
export type Registration =
  | (Client & { readonly auth: "client_secret_basic" | "client_secret_post" | "none" })
  | { readonly provider: ProviderId }

/**
 * What a credential keeps of the login at a server: the issuer and its endpoints are those of that day for good, so that
 * no later answer of anybody leads its tokens elsewhere.
 *
 * @since 0.1.0
 */
export const remember = (server: string, found: Found, registration: Registration): Extra => {
  const { authorizationServer, resource } = found
  return {
    mcp_server_url: server,
    mcp_resource_url: resource,
    mcp_issuer: authorizationServer.issuer,
    mcp_authorize_url: authorizationServer.authorization_endpoint,
    mcp_token_url: authorizationServer.token_endpoint,
    ...(authorizationServer.revocation_endpoint !== undefined && {
      mcp_revocation_url: authorizationServer.revocation_endpoint
    }),
    mcp_iss_required: authorizationServer.authorization_response_iss_parameter_supported === true,
    ...("provider" in registration
      ? { mcp_client_of: registration.provider }
      : {
          mcp_client_id: registration.id,
          mcp_token_endpoint_auth_method: registration.auth,
          ...(registration.secret !== undefined && { mcp_client_secret: Redacted.value(registration.secret) })
        })
  }
}

/**
 * The provider that an MCP credential was made at, and its client, or whose client that is; none when it does not say
 * where it is refreshed. Every request names the server as its resource (RFC 8707).
 *
 * @since 0.1.0
 */
export const rebuild = (
  extra: Extra
): Option.Option<{
  readonly provider: Provider
  readonly client: Client
  readonly clientOf: Option.Option<ProviderId>
}> => {
  const text = (name: string) => {
    const value = extra[`mcp_${name}`]
    return typeof value === "string" && value !== "" ? value : undefined
  }
  const tokenUrl = text("token_url")
  const secret = text("client_secret")
  const revocationUrl = text("revocation_url")
  const issuer = text("issuer")
  const resource = text("resource_url")
  return Option.map(
    decodeProvider({
      id: providerId,
      authorizationUrl: text("authorize_url") ?? tokenUrl,
      tokenUrl,
      ...(revocationUrl !== undefined && { revocationUrl }),
      ...(issuer !== undefined && { issuer }),
      requiresIss: extra["mcp_iss_required"] === true,
      pkce: "required",
      clientAuth: text("token_endpoint_auth_method") ?? (secret === undefined ? "none" : "client_secret_post"),
      ...(resource !== undefined && { authorizationParams: { resource }, tokenParams: { resource } })
    }),
    (provider) => ({
      provider,
      client: { id: text("client_id") ?? "", ...(secret !== undefined && { secret: Redacted.make(secret) }) },
      clientOf: Option.map(Option.fromNullable(text("client_of")), (id) => ProviderId.to.make(id))
    })
  )
}
