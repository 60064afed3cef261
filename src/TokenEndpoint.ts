/**
 * What is said to a provider's token and revocation endpoints (RFC 6749, RFC 7009), and what its answers mean. Requests are
 * built by `oauth4webapi`; answers are read here, because a strict reader would throw away tokens that a provider
 * answered a little beside the standard, after it had spent the refresh token.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as oauth from "oauth4webapi"
import { createPrivateKey, type KeyObject, type webcrypto } from "node:crypto"
import { OutboundRefused } from "./CredentialsError.ts"
import type { FailureReason } from "./Credential.ts"
import type { Answer, OutboundRequest } from "./Outbound.ts"
import type { Provider } from "./Provider.ts"
import type { TokenSet } from "./TokenSet.ts"

/**
 * This service as a provider's client.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client {
  readonly id: string
  readonly secret?: Redacted.Redacted
  /** A PEM, for `private_key_jwt`. */
  readonly privateKey?: Redacted.Redacted
}

/**
 * Why a token endpoint granted nothing.
 *
 * - `Refused`: `invalid_grant`; the refresh token or code is worth nothing
 * - `Failed`: nothing was spent, asking again later may help
 * - `Unclear`: the answer cannot be read, so the refresh token may have been spent for it
 *
 * @since 0.1.0
 * @category models
 */
export type Denial = Data.TaggedEnum<{
  Refused: {}
  Failed: { readonly reason: FailureReason; readonly retryAfterSeconds: Option.Option<number> }
  Unclear: { readonly reason: FailureReason }
}>
export const Denial = Data.taggedEnum<Denial>()

const signingAlgorithm = (
  key: KeyObject
): webcrypto.RsaHashedImportParams | webcrypto.EcKeyImportParams | webcrypto.Algorithm => {
  if (key.asymmetricKeyType === "ec") {
    const curves: Record<string, string> = { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" }
    return { name: "ECDSA", namedCurve: curves[key.asymmetricKeyDetails?.namedCurve ?? ""] ?? "P-256" }
  }
  if (key.asymmetricKeyType === "ed25519") return { name: "Ed25519" }
  return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }
}

const importPrivateKey = async (pem: Redacted.Redacted) => {
  const key = createPrivateKey(Redacted.value(pem))
  const der = key.export({ type: "pkcs8", format: "der" })
  return crypto.subtle.importKey("pkcs8", der, signingAlgorithm(key), false, ["sign"])
}

const clientAuth = async (provider: Provider, client: Client): Promise<oauth.ClientAuth> => {
  const secret = client.secret === undefined ? "" : Redacted.value(client.secret)
  switch (provider.clientAuth) {
    case "client_secret_basic":
      return oauth.ClientSecretBasic(secret)
    case "client_secret_post":
      return oauth.ClientSecretPost(secret)
    case "private_key_jwt":
      return oauth.PrivateKeyJwt(await importPrivateKey(client.privateKey ?? Redacted.make("")))
    case "none":
      return oauth.None()
  }
}

const serverOf = (provider: Provider, tokenUrl: string): oauth.AuthorizationServer => ({
  issuer: provider.issuer ?? provider.tokenUrl,
  token_endpoint: tokenUrl,
  ...(provider.revocationUrl !== undefined && { revocation_endpoint: provider.revocationUrl })
})

/** The request that `oauth4webapi` would send: it builds, and `Outbound` sends. */
const built = (
  provider: Provider,
  client: Client,
  build: (auth: oauth.ClientAuth, options: oauth.TokenEndpointRequestOptions) => Promise<Response>
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  Effect.tryPromise({
    try: async () => {
      let request: OutboundRequest | undefined
      await build(await clientAuth(provider, client), {
        additionalParameters: provider.tokenParams,
        // which URLs are called is `Outbound`'s to judge
        [oauth.allowInsecureRequests]: true,
        [oauth.customFetch]: async (url, init) => {
          const form = new URLSearchParams(String(init.body))
          const json = provider.tokenRequestFormat === "json"
          request = {
            method: "POST",
            url,
            headers: {
              ...Object.fromEntries(
                [...new Headers(init.headers)].map(([name, value]) => [
                  name,
                  name === "authorization" ? Redacted.make(value) : value
                ])
              ),
              accept: "application/json",
              "content-type": json ? "application/json" : "application/x-www-form-urlencoded"
            },
            body: Redacted.make(json ? JSON.stringify(Object.fromEntries(form)) : form.toString())
          }
          return new Response(null)
        }
      })
      if (request === undefined) throw new Error("oauth4webapi built no request")
      return request
    },
    catch: () => new OutboundRefused({ rule: "the client's id, secret or key cannot be used" })
  })

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
  built(provider, client, (auth, options) => {
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
 * The spending of a refresh token (RFC 6749 6).
 *
 * @since 0.1.0
 * @category requests
 */
export const refreshRequest = (
  provider: Provider,
  client: Client,
  refreshToken: Redacted.Redacted
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  built(provider, client, (auth, options) =>
    oauth.refreshTokenGrantRequest(
      serverOf(provider, provider.refreshUrl ?? provider.tokenUrl),
      { client_id: client.id },
      auth,
      Redacted.value(refreshToken),
      options
    )
  )

/**
 * The revocation of a token (RFC 7009 2.1).
 *
 * @since 0.1.0
 * @category requests
 */
export const revocationRequest = (
  provider: Provider,
  client: Client,
  subject: { readonly token: Redacted.Redacted; readonly hint: "refresh_token" | "access_token" }
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  built(provider, client, (auth, options) =>
    oauth.revocationRequest(
      serverOf(provider, provider.tokenUrl),
      { client_id: client.id },
      auth,
      Redacted.value(subject.token),
      { ...options, additionalParameters: { token_type_hint: subject.hint } }
    )
  )

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const parseFields = (text: string): Option.Option<Fields> => {
  try {
    return Option.liftPredicate(JSON.parse(text) as unknown, isFields)
  } catch {
    const form = new URLSearchParams(text)
    return form.has("access_token") || form.has("error") ? Option.some(Object.fromEntries(form)) : Option.none()
  }
}

const text = (fields: Fields, name: string): Option.Option<string> => {
  const value = fields[name]
  return typeof value === "string" && value !== "" ? Option.some(value) : Option.none()
}

const longestSeconds = 10 * 365 * 86_400

/** A lifetime in whole seconds: what is no number, or not above zero, says nothing; what is huge is cut to ten years. */
const lifetime = (fields: Fields, ...names: ReadonlyArray<string>): Option.Option<number> =>
  Option.firstSomeOf(
    names.map((name) => {
      const value = fields[name]
      const seconds = typeof value === "string" && value.trim() !== "" ? Number(value) : value
      return typeof seconds === "number" && seconds > 0
        ? Option.some(Math.max(1, Math.floor(Math.min(seconds, longestSeconds))))
        : Option.none()
    })
  )

const scopes = (fields: Fields): Option.Option<ReadonlyArray<string>> => {
  const value = fields["scope"] ?? fields["scopes"]
  const list = Array.isArray(value)
    ? value.filter((scope) => typeof scope === "string")
    : typeof value === "string"
      ? value.split(/[\s,]+/)
      : []
  const given = list.filter((scope) => scope !== "")
  return given.length === 0 ? Option.none() : Option.some(given)
}

/**
 * The `sub` of an ID token. It came straight from the token endpoint, so its signature need not be checked (OpenID
 * Connect Core 3.1.3.7, 6).
 */
const subject = (fields: Fields): Option.Option<string> =>
  Option.flatMap(text(fields, "id_token"), (idToken) =>
    Option.flatMap(parseFields(Buffer.from(idToken.split(".")[1] ?? "", "base64url").toString("utf8")), (claims) =>
      text(claims, "sub")
    )
  )

const tokenSet = (provider: Provider, fields: Fields): Option.Option<TokenSet> =>
  Option.map(text(fields, "access_token"), (accessToken) => ({
    accessToken: Redacted.make(accessToken),
    refreshToken: Option.map(text(fields, "refresh_token"), (token) => Redacted.make(token)),
    lifetimeSeconds: Option.orElse(lifetime(fields, "expires_in"), () =>
      Option.fromNullable(provider.expiresInSeconds)
    ),
    refreshLifetimeSeconds: Option.orElse(lifetime(fields, "refresh_token_expires_in", "refresh_expires_in"), () =>
      Option.fromNullable(provider.refreshTokenLifetimeSeconds)
    ),
    scopes: scopes(fields),
    subject: subject(fields)
  }))

const retryAfter = (answer: Answer, now: number): Option.Option<number> => {
  const value = answer.headers["retry-after"]
  if (value === undefined) return Option.none()
  const seconds = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - now) / 1000
  return Number.isFinite(seconds) ? Option.some(Math.min(Math.max(1, Math.ceil(seconds)), 86_400)) : Option.none()
}

const errorCode = (fields: Fields): Option.Option<string> => {
  const error = fields["error"]
  if (isFields(error)) return Option.orElse(text(error, "code"), () => text(error, "type"))
  return Option.orElse(text(fields, "error"), () =>
    fields["ok"] === false || fields["success"] === false ? Option.some("rejected") : Option.none()
  )
}

const denialOfCode = (provider: Provider, code: string, after: Option.Option<number>): Denial => {
  if (code === "invalid_grant" || provider.invalidGrantAliases.includes(code)) return Denial.Refused()
  const failed = (reason: FailureReason) => Denial.Failed({ reason, retryAfterSeconds: after })
  switch (code) {
    case "invalid_client":
    case "unauthorized_client":
      return failed("invalid_client")
    case "slow_down":
    case "rate_limited":
    case "ratelimited":
      return failed("throttled")
    case "server_error":
    case "temporarily_unavailable":
      return failed("unreachable")
    default:
      return failed("rejected")
  }
}

/**
 * Reads the answer of a token endpoint. Nothing of the provider's text is kept but the tokens.
 *
 * @since 0.1.0
 * @category answers
 */
export const readTokens = (provider: Provider, answer: Answer, now: number): Either.Either<TokenSet, Denial> => {
  const body = Buffer.from(Redacted.value(answer.body)).toString("utf8").trim()
  const fields = parseFields(body)
  const after = retryAfter(answer, now)
  const code = Option.flatMap(fields, errorCode)
  const failed = (reason: FailureReason) => Either.left(Denial.Failed({ reason, retryAfterSeconds: after }))
  if (answer.status === 429) return failed("throttled")
  if (answer.status >= 500) return failed("unreachable")
  if (answer.status >= 200 && answer.status < 300) {
    const tokens = Option.flatMap(fields, (given) => tokenSet(provider, given))
    if (Option.isSome(tokens)) return Either.right(tokens.value)
    if (Option.isSome(code)) return Either.left(denialOfCode(provider, code.value, after))
    // a page is some gateway's word, not the provider's; anything else may be what is left of the tokens
    return body.startsWith("<")
      ? failed("malformed_response")
      : Either.left(Denial.Unclear({ reason: "malformed_response" }))
  }
  if (Option.isSome(code)) return Either.left(denialOfCode(provider, code.value, after))
  if (answer.status === 401) return failed("invalid_client")
  return failed(Option.isSome(fields) || body === "" ? "rejected" : "malformed_response")
}
