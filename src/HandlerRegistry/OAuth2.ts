/**
 * The handler of providers that speak OAuth 2.0: everything that differs between them is in their data.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Handler } from "./Handler.ts"
import type * as Outbound from "../Outbound.ts"
import { forClient, type Provider } from "../Provider.ts"
import {
  type Client,
  exchangeRequest,
  readRevocation,
  readTokens,
  refreshRequest,
  revocationRequest
} from "../TokenEndpoint.ts"

const link = (provider: Provider, client: Client, request: Parameters<Handler["authorizationUrl"]>[0]) => {
  const url = new URL(provider.authorizationUrl)
  const parameters: Record<string, string> = {
    response_type: "code",
    client_id: client.id,
    redirect_uri: request.redirectUri,
    state: Redacted.value(request.state),
    ...(request.scopes.length > 0 && { [provider.scopeParam]: request.scopes.join(provider.scopeSeparator) }),
    ...(request.codeChallenge !== undefined && {
      code_challenge: request.codeChallenge,
      code_challenge_method: "S256"
    }),
    ...provider.authorizationParams
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return Redacted.make(url.href)
}

/**
 * Its calls have the profile: `token`, `listed` where the URLs are the operator's. `redirectUri` is the one that the credential was logged in with, where that is known.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  outbound: Outbound.Outbound["Type"],
  data: Provider,
  client: Client,
  profile: Outbound.Profile,
  redirectUri?: string
): Handler => {
  const provider = forClient(data, client.id)
  const send = Effect.flatMap((request: Outbound.OutboundRequest) => outbound.send(request, profile))
  return {
    provider,
    authorizationUrl: (request) => link(provider, client, request),
    exchange: (grant) => send(exchangeRequest(provider, client, grant)),
    refresh: (refreshToken) => send(refreshRequest(provider, client, refreshToken, redirectUri)),
    read: (answer) => Effect.map(DateTime.now, (now) => readTokens(provider, answer, DateTime.toEpochMillis(now))),
    ...(provider.revocationUrl !== undefined && {
      revoke: (token, hint) =>
        Effect.map(send(revocationRequest(provider, client, { token, hint })), (answer) =>
          readRevocation(provider, answer)
        )
    })
  }
}
