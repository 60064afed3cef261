/**
 * The handler of providers that speak OAuth 2.0: everything that differs between them is in their data.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import type { Handler } from "./Handler.ts"
import * as Outbound from "../Outbound.ts"
import type { Provider } from "../Provider.ts"
import { type Client, exchangeRequest, readTokens, refreshRequest, revocationRequest } from "../TokenEndpoint.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (outbound: Outbound.Outbound["Type"], provider: Provider, client: Client): Handler => ({
  provider,
  authorizationUrl: (request) => {
    const url = new URL(provider.authorizationUrl)
    const parameters: Record<string, string> = {
      response_type: "code",
      client_id: client.id,
      redirect_uri: request.redirectUri,
      state: Redacted.value(request.state),
      ...(request.scopes.length > 0 && { scope: request.scopes.join(provider.scopeSeparator) }),
      ...(request.codeChallenge !== undefined && {
        code_challenge: request.codeChallenge,
        code_challenge_method: "S256"
      }),
      ...provider.authorizationParams
    }
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
    return Redacted.make(url.href)
  },
  exchange: (grant) =>
    Effect.flatMap(exchangeRequest(provider, client, grant), (request) => outbound.send(request, Outbound.token)),
  refresh: (refreshToken) =>
    Effect.flatMap(refreshRequest(provider, client, refreshToken), (request) => outbound.send(request, Outbound.token)),
  read: (answer) => Effect.map(DateTime.now, (now) => readTokens(provider, answer, DateTime.toEpochMillis(now))),
  ...(provider.revocationUrl !== undefined && {
    revoke: (token, hint) =>
      revocationRequest(provider, client, { token, hint }).pipe(
        Effect.flatMap((request) => outbound.send(request, Outbound.token)),
        Effect.map((answer) =>
          answer.status >= 200 && answer.status < 300
            ? Either.right(undefined)
            : Either.left({ final: answer.status >= 400 && answer.status < 500 && answer.status !== 429 })
        )
      )
  })
})
