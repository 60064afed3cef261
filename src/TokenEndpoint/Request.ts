/**
 * What all requests to a provider have in common.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as oauth from "oauth4webapi"
import { OutboundRefused } from "../CredentialsError.ts"
import type { OutboundRequest } from "../Outbound.ts"
import type { Provider } from "../Provider.ts"
import { type Client, make as clientAuth } from "./ClientAuth.ts"

/** Some providers refuse or throttle a client that does not name itself. */
const userAgent = "effect-credentials"

/**
 * @since 0.1.0
 */
export const serverOf = (provider: Provider, tokenUrl: string): oauth.AuthorizationServer => ({
  issuer: provider.issuer ?? provider.tokenUrl,
  token_endpoint: tokenUrl,
  ...(provider.revocationUrl !== undefined && { revocation_endpoint: provider.revocationUrl }),
  ...(provider.deviceAuthorizationUrl !== undefined && {
    device_authorization_endpoint: provider.deviceAuthorizationUrl
  }),
  ...(provider.pushedAuthorizationRequestUrl !== undefined && {
    pushed_authorization_request_endpoint: provider.pushedAuthorizationRequestUrl
  })
})

/**
 * @since 0.1.0
 */
export const mediaTypes = { form: "application/x-www-form-urlencoded", json: "application/json" } as const

/**
 * @since 0.1.0
 */
export const encode = (fields: URLSearchParams, format: keyof typeof mediaTypes) =>
  Redacted.make(format === "json" ? JSON.stringify(Object.fromEntries(fields)) : fields.toString())

/**
 * @since 0.1.0
 */
export const headersOf = (
  provider: Provider,
  given: Iterable<readonly [string, string]>
): Readonly<Record<string, Redacted.Redacted | string>> => ({
  ...Object.fromEntries([...given].map(([name, value]) => [name, Redacted.make(value)])),
  accept: "application/json",
  "user-agent": userAgent,
  ...Object.fromEntries(Object.entries(provider.requestHeaders).map(([name, value]) => [name.toLowerCase(), value]))
})

/**
 * @since 0.1.0
 */
export const orRefused = <A>(build: () => Promise<A>): Effect.Effect<A, OutboundRefused> =>
  Effect.tryPromise({
    try: build,
    catch: () => new OutboundRefused({ rule: "the client's id, secret or key cannot be used" })
  })

/**
 * The request that `oauth4webapi` would send: it builds, and `Outbound` sends.
 *
 * @since 0.1.0
 */
export const built = (
  provider: Provider,
  client: Client,
  format: keyof typeof mediaTypes,
  build: (auth: oauth.ClientAuth, options: oauth.TokenEndpointRequestOptions) => Promise<Response>
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  orRefused(async () => {
    let request: OutboundRequest | undefined
    await build(await clientAuth(provider, client), {
      additionalParameters: provider.tokenParams,
      // which URLs are called is `Outbound`'s to judge
      [oauth.allowInsecureRequests]: true,
      [oauth.customFetch]: async (url, init) => {
        request = {
          method: "POST",
          url,
          headers: { ...headersOf(provider, new Headers(init.headers)), "content-type": mediaTypes[format] },
          body: encode(new URLSearchParams(String(init.body)), format)
        }
        return new Response(null)
      }
    })
    if (request === undefined) throw new Error("oauth4webapi built no request")
    return request
  })
