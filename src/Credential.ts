/**
 * What is kept for a user: the four kinds of credential, their secrets `Redacted`, and the two views of them that leave
 * the library: `Secret`, ready to send, and `Metadata`, which holds no secret.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/**
 * Whose credential it is: opaque to this library, 1–255 characters.
 *
 * @since 0.1.0
 * @category ids
 */
export const UserId = Schema.String.pipe(
  Schema.pattern(/^[^\p{Cc}\p{Cs}]{1,255}$/u, {
    message: () => "1 to 255 characters, none of them a control character"
  }),
  Schema.brand("UserId")
)
export type UserId = typeof UserId.Type

/**
 * A UUID, unique for its user; in lower case, however it is written.
 *
 * @since 0.1.0
 * @category ids
 */
export const CredentialId = Schema.transform(
  Schema.String.annotations({ message: () => "a UUID" }),
  Schema.UUID.annotations({ message: () => "a UUID" }).pipe(Schema.lowercased(), Schema.brand("CredentialId")),
  { strict: false, decode: (text) => text.toLowerCase(), encode: (id) => id }
)
export type CredentialId = typeof CredentialId.Type

/**
 * The name of a provider in its one spelling: lower case, without the `ProviderName.` that an enum's string form puts
 * before it (`ProviderName.MCP` and `mcp` are the same provider). Every provider name passes here once, at the edge.
 *
 * @since 0.1.0
 * @category ids
 */
export const ProviderId = Schema.transform(
  Schema.String.annotations({ message: () => "a provider's id" }),
  Schema.String.pipe(
    Schema.pattern(/^[a-z0-9][a-z0-9._-]{0,99}$/, {
      message: () => "a provider's id: 1 to 100 letters, digits, '.', '_' or '-'"
    }),
    Schema.brand("ProviderId")
  ),
  {
    strict: false,
    decode: (name) =>
      name
        .trim()
        .replace(/^ProviderName\./i, "")
        .toLowerCase(),
    encode: (id) => id
  }
)
export type ProviderId = typeof ProviderId.Type

/**
 * The provider of that name, in its one spelling. Throws when it cannot be one.
 *
 * @since 0.1.0
 * @category ids
 */
export const providerId = Schema.decodeSync(ProviderId)

/**
 * Secret text. A value that does not decode is never repeated in the error.
 *
 * @since 0.1.0
 * @category secrets
 */
export const SecretText = Schema.Redacted(
  Schema.String.pipe(Schema.minLength(1)).annotations({
    message: () => ({ message: "text that is not empty", override: true })
  })
).annotations({ message: () => "text that is not empty" })

/**
 * An access token, and the refresh token that brings the next one.
 *
 * @since 0.1.0
 * @category variants
 */
export const OAuth2 = Schema.Struct({
  type: Schema.Literal("oauth2"),
  accessToken: SecretText,
  refreshToken: Schema.optionalWith(SecretText, { exact: true }),
  accessTokenExpiresAt: Schema.optionalWith(Schema.DateTimeUtc, { exact: true }),
  refreshTokenExpiresAt: Schema.optionalWith(Schema.DateTimeUtc, { exact: true }),
  /**
   * The lifetime that the provider answered with this access token, in seconds. Without an expiry: what it can be expected
   * to live, by earlier answers or by reports; it serves after that, too.
   */
  lifetimeSeconds: Schema.optionalWith(Schema.Number, { exact: true }),
  /** The longest lifetime that the provider has answered for a refresh token of this grant, in seconds. */
  refreshLifetimeSeconds: Schema.optionalWith(Schema.Number, { exact: true }),
  scopes: Schema.Array(Schema.String),
  username: Schema.optionalWith(Schema.String, { exact: true })
})
export type OAuth2 = typeof OAuth2.Type

/**
 * @since 0.1.0
 * @category variants
 */
export const ApiKey = Schema.Struct({
  type: Schema.Literal("api_key"),
  apiKey: SecretText,
  expiresAt: Schema.optionalWith(Schema.DateTimeUtc, { exact: true })
})
export type ApiKey = typeof ApiKey.Type

/**
 * @since 0.1.0
 * @category variants
 */
export const UserPassword = Schema.Struct({
  type: Schema.Literal("user_password"),
  username: Schema.String,
  password: SecretText
})
export type UserPassword = typeof UserPassword.Type

/**
 * Headers that go to one host, or with `*.example.com` to that domain and all below it.
 *
 * @since 0.1.0
 * @category variants
 */
export const HostScoped = Schema.Struct({
  type: Schema.Literal("host_scoped"),
  host: Schema.String,
  headers: Schema.Record({ key: Schema.String, value: SecretText })
})
export type HostScoped = typeof HostScoped.Type

/**
 * @since 0.1.0
 * @category variants
 */
export const Variant = Schema.Union(OAuth2, ApiKey, UserPassword, HostScoped)
export type Variant = typeof Variant.Type

/**
 * @since 0.1.0
 * @category variants
 */
export const Type = Schema.Literal("oauth2", "api_key", "user_password", "host_scoped")
export type Type = typeof Type.Type

/**
 * Facts that belong to a credential and to nobody else: a provider's URL variables, an MCP server's endpoints and
 * client. May hold secrets, so all of it is sealed, and `harmlessMetadata` says what may be shown.
 *
 * @since 0.1.0
 * @category variants
 */
export const Extra = Schema.Record({ key: Schema.String, value: Schema.Unknown })
export type Extra = typeof Extra.Type

/**
 * Why a user must log in again.
 *
 * - `grant_revoked`: the provider answered `invalid_grant` to a refresh token that was never spent before
 * - `response_lost`: a refresh token was spent and its answer never arrived; `attemptId` names that spending
 * - `refresh_token_expired`, `no_refresh_token`: nothing is left that could renew the access token
 *
 * @since 0.1.0
 * @category models
 */
export const ReauthReason = Schema.Literal(
  "grant_revoked",
  "response_lost",
  "refresh_token_expired",
  "no_refresh_token"
)
export type ReauthReason = typeof ReauthReason.Type

/**
 * What a provider's last refusal or failure was, without its text.
 *
 * @since 0.1.0
 * @category models
 */
export const FailureReason = Schema.Literal(
  "throttled",
  "unreachable",
  "timeout",
  "malformed_response",
  "invalid_client",
  "rejected",
  "discovery_failed"
)
export type FailureReason = typeof FailureReason.Type

/**
 * Where the renewal of a credential stands: what the store remembers of it between two renewals.
 *
 * @since 0.1.0
 * @category models
 */
export interface RenewalState {
  /** Set when only the user can help. */
  readonly reauth: Option.Option<{ readonly reason: ReauthReason; readonly attemptId: Option.Option<string> }>
  /** The generation that a consumer reported as refused upstream. */
  readonly reportedGeneration: Option.Option<number>
  /** How many renewals in a row were due to a report alone. */
  readonly reportStreak: number
  /** How many renewals failed since the last that did not. */
  readonly failures: number
  /** No renewal before this time; when the last failure is `throttled` not even a forced one. */
  readonly retryAt: Option.Option<DateTime.Utc>
  readonly lastFailure: Option.Option<FailureReason>
  /** Whether it was announced that the refresh token is about to die. */
  readonly reauthSoonSaid: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export const settled: RenewalState = {
  reauth: Option.none(),
  reportedGeneration: Option.none(),
  reportStreak: 0,
  failures: 0,
  retryAt: Option.none(),
  lastFailure: Option.none(),
  reauthSoonSaid: false
}

/**
 * One credential as stored: `generation` counts the stored versions of its secret, from 1.
 *
 * @since 0.1.0
 * @category models
 */
export interface Credential<V extends Variant = Variant> {
  readonly userId: UserId
  readonly id: CredentialId
  readonly provider: ProviderId
  readonly title: Option.Option<string>
  readonly generation: number
  readonly variant: V
  readonly extra: Redacted.Redacted<Extra>
  readonly renewal: RenewalState
  /** Lent to every user, from configuration: read-only, never refreshed. */
  readonly system: boolean
  readonly createdAt: DateTime.Utc
  readonly updatedAt: DateTime.Utc
  /** When this generation was stored. */
  readonly storedAt: DateTime.Utc
}

/**
 * @since 0.1.0
 * @category models
 */
export type OAuth2Credential = Credential<OAuth2>

/**
 * @since 0.1.0
 * @category guards
 */
export const isOAuth2 = (credential: Credential): credential is OAuth2Credential => credential.variant.type === "oauth2"

/**
 * Whether a credential is ever refreshed: an OAuth one that is a user's own.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRenewable = (credential: Credential): credential is OAuth2Credential =>
  isOAuth2(credential) && !credential.system

/**
 * @since 0.1.0
 * @category models
 */
export const Status = Schema.Literal("active", "needs_reauth", "undecryptable")
export type Status = typeof Status.Type

/**
 * A credential without its secrets: what may be listed, logged and shown.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metadata {
  readonly id: CredentialId
  readonly userId: UserId
  readonly type: Type
  readonly provider: ProviderId
  readonly title?: string
  readonly username?: string
  readonly host?: string
  readonly scopes?: ReadonlyArray<string>
  readonly expiresAt?: DateTime.Utc
  readonly accessTokenExpiresAt?: DateTime.Utc
  readonly refreshTokenExpiresAt?: DateTime.Utc
  readonly metadata?: Extra
  readonly status: Status
  readonly statusReason?: ReauthReason
  /** When the refresh token dies, once that is near: from then on only the user can help. */
  readonly reauthSoonAt?: DateTime.Utc
  readonly generation: number
  readonly system?: true
  readonly createdAt: DateTime.Utc
  readonly updatedAt: DateTime.Utc
}

/**
 * A credential ready to use. `headers` is what goes on the wire to the provider.
 *
 * @since 0.1.0
 * @category models
 */
export interface Secret {
  readonly credentialId: CredentialId
  readonly generation: number
  readonly type: Type
  readonly expiresAt?: DateTime.Utc
  readonly accessToken?: Redacted.Redacted
  readonly apiKey?: Redacted.Redacted
  readonly username?: string
  readonly password?: Redacted.Redacted
  readonly host?: string
  readonly headers: Readonly<Record<string, Redacted.Redacted>>
}

const bearer = (token: Redacted.Redacted) => ({
  Authorization: Redacted.make(`Bearer ${Redacted.value(token)}`)
})

/** The headers in which a provider wants its access tokens: `{access_token}` stands for the token. */
const filled = (token: Redacted.Redacted, templates: Readonly<Record<string, string>>) =>
  Object.fromEntries(
    Object.entries(templates).map(([name, template]) => [
      name,
      Redacted.make(template.replaceAll("{access_token}", () => Redacted.value(token)))
    ])
  )

/**
 * The header or headers that carry a credential: `Bearer` (RFC 6750), `Basic` (RFC 7617), or the host's own. With
 * `apiHeaders` an access token stands in those, in the place of `{access_token}`.
 *
 * @since 0.1.0
 * @category views
 */
export const headers = (
  variant: Variant,
  apiHeaders?: Readonly<Record<string, string>>
): Readonly<Record<string, Redacted.Redacted>> => {
  switch (variant.type) {
    case "oauth2":
      return apiHeaders === undefined ? bearer(variant.accessToken) : filled(variant.accessToken, apiHeaders)
    case "api_key":
      return bearer(variant.apiKey)
    case "user_password": {
      const pair = Buffer.from(`${variant.username}:${Redacted.value(variant.password)}`, "utf8").toString("base64")
      return { Authorization: Redacted.make(`Basic ${pair}`) }
    }
    case "host_scoped":
      return variant.headers
  }
}

/**
 * When the credential stops working by itself, if it says so.
 *
 * @since 0.1.0
 * @category views
 */
export const expiresAt = (variant: Variant): Option.Option<DateTime.Utc> => {
  switch (variant.type) {
    case "oauth2":
      return Option.fromNullable(variant.accessTokenExpiresAt)
    case "api_key":
      return Option.fromNullable(variant.expiresAt)
    default:
      return Option.none()
  }
}

/**
 * @since 0.1.0
 * @category views
 */
export const toSecret = (credential: Credential, apiHeaders?: Readonly<Record<string, string>>): Secret => {
  const { variant } = credential
  const expiry = expiresAt(variant)
  const shared = {
    credentialId: credential.id,
    generation: credential.generation,
    type: variant.type,
    ...(Option.isSome(expiry) && { expiresAt: expiry.value }),
    headers: headers(variant, apiHeaders)
  }
  switch (variant.type) {
    case "oauth2":
      return { ...shared, accessToken: variant.accessToken }
    case "api_key":
      return { ...shared, apiKey: variant.apiKey }
    case "user_password":
      return { ...shared, username: variant.username, password: variant.password }
    case "host_scoped":
      return { ...shared, host: variant.host }
  }
}

const secretName = /secret|token|key|password|passwd|passphrase|authorization|cookie|verifier|assertion|signature/i

/**
 * The part of `extra` whose names are harmless, at every depth: a name that speaks of a secret, a token, a key or a
 * password is left out with all below it.
 *
 * @since 0.1.0
 * @category views
 */
export const harmlessMetadata = (extra: Extra): Extra => {
  const strip = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(strip)
    if (value === null || typeof value !== "object") return value
    return Object.fromEntries(
      Object.entries(value)
        .filter(([name]) => !secretName.test(name))
        .map(([name, inner]) => [name, strip(inner)])
    )
  }
  return strip(extra) as Extra
}

const variantMetadata = (variant: Variant) => {
  switch (variant.type) {
    case "oauth2":
      return {
        scopes: variant.scopes,
        ...(variant.username !== undefined && { username: variant.username }),
        ...(variant.accessTokenExpiresAt && { accessTokenExpiresAt: variant.accessTokenExpiresAt }),
        ...(variant.refreshTokenExpiresAt && { refreshTokenExpiresAt: variant.refreshTokenExpiresAt })
      }
    case "api_key":
      return variant.expiresAt ? { expiresAt: variant.expiresAt } : {}
    case "user_password":
      return { username: variant.username }
    case "host_scoped":
      return { host: variant.host }
  }
}

/** Enough to reach a user who logs in every other week. */
const longestNoticeSeconds = 14 * 86_400

/**
 * When the refresh token dies, and from when on that is said: 14 days before, or in the last fifth of its lifetime where
 * the provider answers one that is shorter than 70 days, since such tokens are commonly replaced long before they die.
 * None when nothing is known of its end, or when the user has to log in already.
 *
 * @since 0.1.0
 */
export const reauthSoon = ({
  renewal,
  system,
  variant
}: Credential): Option.Option<{ readonly from: DateTime.Utc; readonly at: DateTime.Utc }> => {
  if (system || variant.type !== "oauth2" || Option.isSome(renewal.reauth)) return Option.none()
  const { refreshLifetimeSeconds, refreshToken, refreshTokenExpiresAt } = variant
  if (refreshToken === undefined || refreshTokenExpiresAt === undefined) return Option.none()
  const seconds = Math.min(longestNoticeSeconds, (refreshLifetimeSeconds ?? Number.POSITIVE_INFINITY) / 5)
  return Option.some({ from: DateTime.subtract(refreshTokenExpiresAt, { seconds }), at: refreshTokenExpiresAt })
}

/**
 * Whether it is to be said now that the refresh token is about to die.
 *
 * @since 0.1.0
 */
export const isReauthSoon = (credential: Credential, now: DateTime.Utc): boolean =>
  Option.exists(reauthSoon(credential), ({ from }) => DateTime.lessThanOrEqualTo(from, now))

/**
 * What may be shown of a credential at a time.
 *
 * @since 0.1.0
 * @category views
 */
export const toMetadata = (credential: Credential, now: DateTime.Utc): Metadata => {
  const { renewal, variant } = credential
  const extra = harmlessMetadata(Redacted.value(credential.extra))
  const soon = isReauthSoon(credential, now) ? reauthSoon(credential) : Option.none()
  return {
    id: credential.id,
    userId: credential.userId,
    type: variant.type,
    provider: credential.provider,
    ...(Option.isSome(credential.title) && { title: credential.title.value }),
    ...variantMetadata(variant),
    ...(Object.keys(extra).length > 0 && { metadata: extra }),
    status: Option.isSome(renewal.reauth) ? "needs_reauth" : "active",
    ...(Option.isSome(renewal.reauth) && { statusReason: renewal.reauth.value.reason }),
    ...(Option.isSome(soon) && { reauthSoonAt: soon.value.at }),
    generation: credential.generation,
    ...(credential.system && { system: true as const }),
    createdAt: credential.createdAt,
    updatedAt: credential.updatedAt
  }
}

/**
 * Whether a host (with its port, if it has one) fits a pattern: the same host, or with `*.example.com` that domain and
 * every name below it. A pattern with a port fits that port alone.
 *
 * @since 0.1.0
 * @category matching
 */
export const matchesHost = (pattern: string, host: string): boolean => {
  const split = (value: string) => {
    const at = /^(.*?)(?::(\d+))?$/.exec(value.trim().toLowerCase())
    return { name: (at?.[1] ?? "").replace(/\.$/, ""), port: at?.[2] }
  }
  const wanted = split(pattern)
  const given = split(host)
  if (wanted.port !== undefined && wanted.port !== given.port) return false
  if (!wanted.name.startsWith("*.")) return wanted.name === given.name
  const domain = wanted.name.slice(2)
  return given.name === domain || given.name.endsWith(`.${domain}`)
}

/**
 * What is needed to make a credential: everything but what the store adds.
 *
 * @since 0.1.0
 * @category models
 */
export interface NewCredential {
  readonly id?: CredentialId
  readonly provider: ProviderId
  readonly title?: string
  readonly variant: Variant
  readonly extra?: Redacted.Redacted<Extra>
}
