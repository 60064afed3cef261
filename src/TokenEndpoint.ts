/**
 * What is said to a provider's token and revocation endpoints (RFC 6749, RFC 7009), and what its answers mean. Requests are
 * built by `oauth4webapi`; answers are read in `TokenEndpoint/Answer.ts`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as oauth from "oauth4webapi"
import type { OutboundRefused } from "./CredentialsError.ts"
import type { OutboundRequest } from "./Outbound.ts"
import type { Provider, Revocation } from "./Provider.ts"
import { type Client, clientSecretBasic, make as clientAuth } from "./TokenEndpoint/ClientAuth.ts"
import { built, encode, headersOf, mediaTypes, orRefused, serverOf } from "./TokenEndpoint/Request.ts"

export { Denial, readRevocation, readTokens } from "./TokenEndpoint/Answer.ts"
export {
  deviceAuthorizationRequest,
  devicePollRequest,
  deviceProgress,
  readDeviceAuthorization
} from "./TokenEndpoint/DeviceCode.ts"
export { pushRequest, readPushed } from "./TokenEndpoint/PushedAuthorization.ts"
export { MachineGrant, machineRequest } from "./TokenEndpoint/MachineGrant.ts"
export type { Client } from "./TokenEndpoint/ClientAuth.ts"

/**
 * The exchange of an authorization code for tokens (RFC 6749 4.1.3, RFC 7636 4.5).
 *
 * @since 0.1.0
 * @category requests
 */
export const exchangeRequest = (
  provider: Provider,
  client: Client,
  grant: {
    readonly code: Redacted.Redacted
    readonly redirectUri: string
    readonly codeVerifier: Option.Option<Redacted.Redacted>
  }
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  built(provider, client, provider.tokenRequestFormat, (auth, options) => {
    const server = serverOf(provider, provider.tokenUrl)
    const parameters = oauth.validateAuthResponse(
      server,
      { client_id: client.id },
      new URLSearchParams({ code: Redacted.value(grant.code) }),
      oauth.expectNoState
    )
    return oauth.authorizationCodeGrantRequest(
      server,
      { client_id: client.id },
      auth,
      parameters,
      grant.redirectUri,
      Option.match(grant.codeVerifier, { onNone: () => oauth.nopkce, onSome: Redacted.value }),
      options
    )
  })

/**
 * The spending of a refresh token (RFC 6749 6). `redirectUri` is that of the login, for providers that want it repeated.
 *
 * @since 0.1.0
 * @category requests
 */
export const refreshRequest = (
  provider: Provider,
  client: Client,
  refreshToken: Redacted.Redacted,
  redirectUri?: string
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  built(provider, client, provider.tokenRequestFormat, (auth, options) =>
    oauth.refreshTokenGrantRequest(
      serverOf(provider, provider.refreshUrl ?? provider.tokenUrl),
      { client_id: client.id },
      auth,
      Redacted.value(refreshToken),
      provider.refreshWithRedirectUri && redirectUri !== undefined
        ? { ...options, additionalParameters: { ...provider.tokenParams, redirect_uri: redirectUri } }
        : options
    )
  )

/** A token, and what it is. */
interface Subject {
  readonly token: Redacted.Redacted
  readonly hint: "refresh_token" | "access_token"
}

const revocationAuth = (provider: Provider, client: Client, revocation: Revocation, { token }: Subject) => {
  switch (revocation.auth) {
    case "client":
      return clientAuth(provider, client)
    case "basic":
      return clientSecretBasic(client.secret)
    case "bearer":
      return ((_server, _client, _body, headers) =>
        headers.set("authorization", `Bearer ${Redacted.value(token)}`)) satisfies oauth.ClientAuth
    case "none":
      return (() => undefined) satisfies oauth.ClientAuth
  }
}

/** A revocation as the provider's data describes it. */
const describedRevocation = (provider: Provider, revocation: Revocation, client: Client, subject: Subject) =>
  orRefused(async (): Promise<OutboundRequest> => {
    const filled = (value: string) =>
      value
        .replaceAll("{client_id}", client.id)
        .replaceAll("{client_secret}", client.secret === undefined ? "" : Redacted.value(client.secret))
    const fields = new URLSearchParams()
    for (const [name, value] of Object.entries(revocation.params)) fields.set(name, filled(value))
    if (revocation.auth !== "bearer") fields.set(revocation.tokenField, Redacted.value(subject.token))
    const headers = new Headers()
    for (const [name, value] of Object.entries(revocation.headers)) headers.set(name, filled(value))
    const auth = await revocationAuth(provider, client, revocation, subject)
    await auth(serverOf(provider, provider.tokenUrl), { client_id: client.id }, fields, headers)
    if (provider.revocationUrl === undefined) throw new Error("the provider has no revocation URL")
    const { format, method } = revocation
    const hasBody = fields.size > 0
    return {
      method,
      url: provider.revocationUrl,
      headers: { ...headersOf(provider, headers), ...(hasBody && { "content-type": mediaTypes[format] }) },
      ...(hasBody && { body: encode(fields, format) })
    }
  })

/**
 * The revocation of a token at the provider's revocation URL: RFC 7009 2.1, or what the provider has instead of it.
 *
 * @since 0.1.0
 * @category requests
 */
export const revocationRequest = (
  provider: Provider,
  client: Client,
  subject: Subject
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  provider.revocation === undefined
    ? built(provider, client, "form", (auth, options) =>
        oauth.revocationRequest(
          serverOf(provider, provider.tokenUrl),
          { client_id: client.id },
          auth,
          Redacted.value(subject.token),
          { ...options, additionalParameters: { token_type_hint: subject.hint } }
        )
      )
    : describedRevocation(provider, provider.revocation, client, subject)
