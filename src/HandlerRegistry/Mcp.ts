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
import type { Client } from "../TokenEndpoint.ts"

/**
 * The provider of every MCP login.
 *
 * @since 0.1.0
 */
export const providerId = ProviderId.to.make("mcp")

const decodeProvider = Schema.decodeUnknownOption(Provider)

/**
 * The provider and client that an MCP credential was made with; none when it does not say where it is refreshed. Every
 * token request names the server as its resource (RFC 8707).
 *
 * @since 0.1.0
 */
export const rebuild = (extra: Extra): Option.Option<{ readonly provider: Provider; readonly client: Client }> => {
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
      clientAuth: text("token_endpoint_auth_method") ?? (secret === undefined ? "none" : "client_secret_post"),
      ...(resource !== undefined && { tokenParams: { resource } })
    }),
    (provider) => ({
      provider,
      client: { id: text("client_id") ?? "", ...(secret !== undefined && { secret: Redacted.make(secret) }) }
    })
  )
}
