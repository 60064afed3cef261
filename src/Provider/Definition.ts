/**
 * The fields of a provider, each with its meaning and the default that is safe.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { ProviderId } from "../Credential.ts"

const optional = <S extends Schema.Schema.All>(schema: S) => Schema.optionalWith(schema, { exact: true })

const withDefault = <A, I>(schema: Schema.Schema<A, I>, value: NoInfer<A>) =>
  Schema.optionalWith(schema, { exact: true, default: () => value })

const Endpoint = Schema.String.pipe(
  Schema.filter((text) => URL.canParse(text.replaceAll(/\{[a-z0-9_]+\}/gi, "name")) && /^https?:\/\//.test(text), {
    message: () => "an absolute http(s) URL, such as https://example.com/oauth/token"
  })
)

const Seconds = Schema.Number.pipe(
  Schema.filter((value) => Number.isFinite(value) && value >= 0, { message: () => "a number of seconds" })
)

const Params = Schema.Record({ key: Schema.String, value: Schema.String })

/** A part of an answer: an answer has it whose fields have these values, in lists in any place. */
const AnswerPart = Schema.Record({ key: Schema.String, value: Schema.Unknown }).pipe(
  Schema.filter((part) => Object.keys(part).length > 0, { message: () => "a part of an answer that is not empty" })
)

const Day = Schema.String.pipe(
  Schema.filter((text) => /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text)), {
    message: () => "a day, such as 2026-01-31"
  })
)

/**
 * How the client authenticates at the token endpoint (RFC 6749 2.3, OpenID Connect Core 9). With `secret_as_user` the
 * secret is the user name of an HTTP Basic header that has no password.
 *
 * @since 0.1.0
 * @category models
 */
export const ClientAuth = Schema.Literal(
  "client_secret_basic",
  "client_secret_post",
  "private_key_jwt",
  "secret_as_user",
  "none"
)
export type ClientAuth = typeof ClientAuth.Type

/**
 * How a token is revoked where that is not RFC 7009. In the values of `params` and `headers`, `{client_id}` and
 * `{client_secret}` are the client's.
 *
 * @since 0.1.0
 * @category models
 */
export const Revocation = Schema.Struct({
  method: withDefault(Schema.Literal("POST", "DELETE"), "POST"),
  format: withDefault(Schema.Literal("form", "json"), "form"),
  /** Who asks: the client in its usual way, the client by HTTP Basic, the token itself (RFC 6750), or nobody. */
  auth: withDefault(Schema.Literal("client", "basic", "bearer", "none"), "client"),
  /** The one kind of token that is taken. */
  takes: optional(Schema.Literal("access_token", "refresh_token")),
  /** The name of the field that holds the token; with `auth: "bearer"` there is none. */
  tokenField: withDefault(Schema.String, "token"),
  params: withDefault(Params, {}),
  headers: withDefault(Params, {})
}).annotations({ parseOptions: { onExcessProperty: "error" } })
export type Revocation = typeof Revocation.Type

/**
 * How an access token is come by.
 *
 * - `authorization_code`: a user logs in with a browser (RFC 6749 4.1)
 * - `device_code`: a user logs in elsewhere, with a code that they are shown (RFC 8628)
 * - `client_credentials`: the client asks for itself (RFC 6749 4.4)
 * - `jwt_bearer`: a signed assertion says whom it is for (RFC 7523 2.1)
 * - `token_exchange`: another token is given for it (RFC 8693)
 *
 * @since 0.1.0
 * @category models
 */
export const Grant = Schema.Literal(
  "authorization_code",
  "device_code",
  "client_credentials",
  "jwt_bearer",
  "token_exchange"
)
export type Grant = typeof Grant.Type

/**
 * What the assertion of a `jwt_bearer` grant says (RFC 7523 3).
 *
 * @since 0.1.0
 * @category models
 */
export const Assertion = Schema.Struct({
  /** Default: the token URL. */
  audience: optional(Schema.String),
  /** The scopes stand in a claim, not in the request. */
  scopeClaim: withDefault(Schema.Boolean, false),
  /** Without a subject of its own it is for its issuer: `false` leaves `sub` out then. */
  subjectIsIssuer: withDefault(Schema.Boolean, true),
  lifetimeSeconds: withDefault(Seconds, 300),
  /** More claims; `{user_id}` in their values is the user that the credential is kept for. */
  claims: withDefault(Params, {})
}).annotations({ parseOptions: { onExcessProperty: "error" } })
export type Assertion = typeof Assertion.Type

const Definition = Schema.Struct({
  id: ProviderId,
  name: optional(Schema.String),
  grant: withDefault(Grant, "authorization_code"),
  /** Where the browser goes, for `authorization_code`. */
  authorizationUrl: optional(Endpoint),
  tokenUrl: Endpoint,
  /** Where a login with a code that is shown begins, for `device_code`. */
  deviceAuthorizationUrl: optional(Endpoint),
  /** Where the parameters of the link are pushed first (RFC 9126). */
  pushedAuthorizationRequestUrl: optional(Endpoint),
  /** Where refresh tokens are spent, when that is not the token endpoint. */
  refreshUrl: optional(Endpoint),
  /** RFC 7009, unless `revocation` says otherwise; `{client_id}` in it is the client's. */
  revocationUrl: optional(Endpoint),
  revocation: optional(Revocation),
  /** RFC 8414; checked against `iss` of an authorization response (RFC 9207). */
  issuer: optional(Schema.String),
  /** Its authorization responses always name the issuer (RFC 9207): one that does not is refused. */
  requiresIss: withDefault(Schema.Boolean, false),
  clientAuth: withDefault(ClientAuth, "client_secret_basic"),
  /** RFC 7636, always S256; `unsupported` alone leaves it out. */
  pkce: withDefault(Schema.Literal("required", "supported", "unsupported"), "supported"),
  scopeSeparator: withDefault(Schema.String, " "),
  /** The parameter of the link that holds the scopes. */
  scopeParam: withDefault(Schema.String, "scope"),
  defaultScopes: withDefault(Schema.Array(Schema.String), []),
  authorizationParams: withDefault(Params, {}),
  tokenParams: withDefault(Params, {}),
  /** More headers of every token and revocation request. */
  requestHeaders: withDefault(Params, {}),
  /** A refresh spends the refresh token and brings the next one. */
  rotatesRefreshToken: withDefault(Schema.Boolean, true),
  /** A refresh ends the access token it replaces, so a renewal must wait for those who use it. */
  refreshInvalidatesAccessToken: withDefault(Schema.Boolean, true),
  /** What a revocation ends: the token alone, or every token of this user and client. */
  revocationScope: withDefault(Schema.Literal("token", "grant"), "grant"),
  /** How long a spent refresh token may be presented again. */
  reuseGraceSeconds: optional(Seconds),
  /** How long before its expiry an access token is renewed. */
  marginSeconds: optional(Seconds),
  /** How long a refresh token lives, where the answer does not say. */
  refreshTokenLifetimeSeconds: optional(Seconds),
  /** A refresh prolongs that lifetime; `false`: it counts from the login. */
  refreshTokenLifetimeRenews: withDefault(Schema.Boolean, true),
  /** How long an access token lives, where the answer does not say. */
  expiresInSeconds: optional(Seconds),
  tokenRequestFormat: withDefault(Schema.Literal("form", "json"), "form"),
  /** For `jwt_bearer`. */
  assertion: optional(Assertion),
  /** A refresh repeats the redirect URI of the login. */
  refreshWithRedirectUri: withDefault(Schema.Boolean, false),
  /** The object in a token answer that holds the tokens where the answer itself does not; names joined by dots. */
  tokenPath: optional(Schema.String),
  /** Fields of a login's token answer that the credential keeps in its metadata, such as the host of the API. */
  keptFields: withDefault(Schema.Array(Schema.String), []),
  /** The same of the parameters with which the browser comes back. */
  keptParameters: withDefault(Schema.Array(Schema.String), []),
  /** What means `invalid_grant` in answers of this provider: error codes, or parts of an answer. */
  invalidGrantAliases: withDefault(Schema.Array(Schema.Union(Schema.String, AnswerPart)), []),
  /** It answers `invalid_grant` in passing: one confirmation before the user is asked to log in again. */
  invalidGrantMayPass: withDefault(Schema.Boolean, false),
  /** Hosts that a URL with variables may have; needed where a variable is more than one label of the host. */
  allowedHosts: optional(Schema.Array(Schema.String)),
  /** The headers in which the API wants the access token, as `{access_token}`. Default: `Authorization: Bearer`. */
  apiHeaders: optional(Params),
  /** Where the provider documents these facts. */
  docs: optional(Schema.String),
  /** The day on which they were last compared with `docs`. */
  checkedAt: optional(Day)
}).annotations({ parseOptions: { onExcessProperty: "error" } })

/**
 * The fields of a provider definition.
 *
 * @since 0.1.0
 * @category models
 */
export const fields = Definition.fields

/** The endpoint without which a grant cannot begin. */
const beginnings: Partial<Record<Grant, "authorizationUrl" | "deviceAuthorizationUrl">> = {
  authorization_code: "authorizationUrl",
  device_code: "deviceAuthorizationUrl"
}

/**
 * A provider definition, as it stands in `PROVIDERS_FILE` and in the built-in catalogue.
 *
 * @since 0.1.0
 * @category models
 */
export const Provider = Definition.pipe(
  Schema.filter((provider) => {
    const beginning = beginnings[provider.grant]
    return beginning === undefined || provider[beginning] !== undefined
      ? undefined
      : { path: [beginning], message: `an absolute http(s) URL, since the grant is ${provider.grant}` }
  })
).annotations({ identifier: "Provider" })
export type Provider = typeof Provider.Type
