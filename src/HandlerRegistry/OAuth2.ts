/**
 * The handler of providers that speak OAuth 2.0: everything that differs between them is in their data.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import type { Handler, LinkRequest } from "./Handler.ts"
import type * as Outbound from "../Outbound.ts"
import { forClient, type Provider } from "../Provider.ts"
import { type Asked, isMachine, withoutRefreshToken } from "../TokenEndpoint/MachineGrant.ts"
import {
  type Client,
  deviceAuthorizationRequest,
  devicePollRequest,
  deviceProgress,
  exchangeRequest,
  machineRequest,
  pushRequest,
  readDeviceAuthorization,
  readPushed,
  readRevocation,
  readTokens,
  refreshRequest,
  revocationRequest
} from "../TokenEndpoint.ts"

const nowMillis = Effect.map(DateTime.now, DateTime.toEpochMillis)

const linkParameters = (provider: Provider, request: LinkRequest): Record<string, string> => ({
  response_type: "code",
  redirect_uri: request.redirectUri,
  state: Redacted.value(request.state),
  ...(request.scopes.length > 0 && { [provider.scopeParam]: request.scopes.join(provider.scopeSeparator) }),
  ...(request.codeChallenge !== undefined && {
    code_challenge: request.codeChallenge,
    code_challenge_method: "S256"
  }),
  ...provider.authorizationParams
})

const link = (provider: Provider, client: Client, parameters: Readonly<Record<string, string>>) => {
  // a definition whose grant begins with a browser has one
  const url = new URL(provider.authorizationUrl ?? provider.tokenUrl)
  for (const [name, value] of Object.entries({ client_id: client.id, ...parameters })) url.searchParams.set(name, value)
  return Redacted.make(url.href)
}

/**
 * Its calls have the profile: `token`, `listed` where the URLs are the operator's. `redirectUri` is the one that the credential
 * was logged in with, where that is known.
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
    authorizationUrl: (request) => link(provider, client, linkParameters(provider, request)),
    ...(provider.pushedAuthorizationRequestUrl !== undefined && {
      push: (request) =>
        Effect.zipWith(
          send(pushRequest(provider, client, linkParameters(provider, request))),
          nowMillis,
          (answer, now) =>
            Either.map(readPushed(provider, answer, now), ({ lifetimeSeconds, requestUri }) => ({
              url: link(provider, client, { request_uri: requestUri }),
              lifetimeSeconds
            }))
        )
    }),
    ...(provider.grant === "device_code" && {
      device: {
        begin: (scopes) =>
          Effect.zipWith(send(deviceAuthorizationRequest(provider, client, scopes)), nowMillis, (answer, now) =>
            readDeviceAuthorization(provider, answer, now)
          ),
        poll: (deviceCode) => send(devicePollRequest(provider, client, deviceCode)),
        progress: (answer) => deviceProgress(provider, answer)
      }
    }),
    exchange: (grant) => send(exchangeRequest(provider, client, grant)),
    ...(isMachine(provider.grant) && { request: (asked) => send(machineRequest(provider, client, asked)) }),
    refresh: (refreshToken) => send(refreshRequest(provider, client, refreshToken, redirectUri)),
    read: (answer) => Effect.map(nowMillis, (now) => readTokens(provider, answer, now)),
    ...(provider.revocationUrl !== undefined && {
      revoke: (token, hint) =>
        Effect.map(send(revocationRequest(provider, client, { token, hint })), (answer) =>
          readRevocation(provider, answer)
        )
    })
  }
}

/**
 * The handler of a credential whose grant needs no user: it is renewed by asking anew, which spends nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const asking = (handler: Handler, asked: Asked): Handler => {
  const { provider, read, request } = handler
  if (request === undefined) return handler
  return {
    ...handler,
    provider: { ...provider, rotatesRefreshToken: false },
    refresh: () => request(asked),
    read: (answer) => Effect.map(read(answer), Either.map(withoutRefreshToken))
  }
}
