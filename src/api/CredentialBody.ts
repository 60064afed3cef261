/**
 * Credentials as callers give them: the four kinds, whole to create one, in part to replace one.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { CredentialId, ProviderId, SecretText } from "../Credential.ts"
import { exact, Label, optional, text, Timestamp } from "./Parameter.ts"

const Username = text("text of at most 255 printable characters", /^[^\p{Cc}\p{Cs}]{0,255}$/u)

/** RFC 6749 3.3, with what providers have made of it. */
const Scopes = Schema.Array(
  text("the name of a scope: printable and without spaces", /^[^\p{Cc}\p{Cs}\s]{1,255}$/u)
).annotations({
  message: () => "a list of names of scopes"
})

const Host = text(
  "a host such as api.example.com, *.example.com or api.example.com:8443",
  /^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?(?::\d{1,5})?$|^\[[0-9a-f:.]{2,45}\](?::\d{1,5})?$/i
)

/** RFC 9110 5.1. */
const HeaderName = text("the name of a header", /^(?!__proto__$)[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/)

const headerValue = "the value of a header: one line of text"

/** RFC 9110 5.5: a value that could begin another header is none. */
const HeaderValue = Schema.Redacted(text(headerValue, /^(?:\t|[^\p{Cc}\p{Cs}]){1,8192}$/u)).annotations({
  message: () => headerValue
})

const Headers = Schema.Record({ key: HeaderName, value: HeaderValue }).annotations({
  message: () => "an object of headers"
})

const Metadata = Schema.Redacted(
  Schema.Record({ key: Schema.String, value: Schema.Unknown }).annotations({ message: () => "an object" })
).annotations({ message: () => "an object" })

const shared = { title: optional(Label), metadata: optional(Metadata) } as const

const given = { id: optional(CredentialId), provider: ProviderId, ...shared } as const

const oauth2 = {
  type: Schema.Literal("oauth2"),
  refreshToken: optional(SecretText),
  accessTokenExpiresAt: optional(Timestamp),
  refreshTokenExpiresAt: optional(Timestamp),
  scopes: optional(Scopes),
  username: optional(Username)
} as const
const apiKey = { type: Schema.Literal("api_key"), expiresAt: optional(Timestamp) } as const
const userPassword = { type: Schema.Literal("user_password") } as const
const hostScoped = { type: Schema.Literal("host_scoped") } as const

const oneOf = "an object whose type is one of oauth2, api_key, user_password, host_scoped"

/**
 * A new credential. `id` is made where none is given.
 *
 * @since 0.1.0
 * @category bodies
 */
export const New = Schema.Union(
  Schema.Struct({ ...given, ...oauth2, accessToken: SecretText }).annotations(exact),
  Schema.Struct({ ...given, ...apiKey, apiKey: SecretText }).annotations(exact),
  Schema.Struct({ ...given, ...userPassword, username: Username, password: SecretText }).annotations(exact),
  Schema.Struct({ ...given, ...hostScoped, host: Host, headers: Headers }).annotations(exact)
).annotations({ identifier: "NewCredential", message: () => oneOf })
export type New = typeof New.Type

const kept = { provider: optional(ProviderId), ...shared } as const

/**
 * A new version of a credential: an absent field keeps its value.
 *
 * @since 0.1.0
 * @category bodies
 */
export const Replacement = Schema.Union(
  Schema.Struct({ ...kept, ...oauth2, accessToken: optional(SecretText) }).annotations(exact),
  Schema.Struct({ ...kept, ...apiKey, apiKey: optional(SecretText) }).annotations(exact),
  Schema.Struct({
    ...kept,
    ...userPassword,
    username: optional(Username),
    password: optional(SecretText)
  }).annotations(exact),
  Schema.Struct({ ...kept, ...hostScoped, host: optional(Host), headers: optional(Headers) }).annotations(exact)
).annotations({ identifier: "Replacement", message: () => oneOf })
export type Replacement = typeof Replacement.Type
