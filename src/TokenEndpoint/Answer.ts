/**
 * What the answer of a token endpoint means. It is read here and not by a library, because a strict reader would throw away
 * tokens that a provider answered a little beside the standard, after it had spent the refresh token.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { FailureReason } from "../Credential.ts"
import type { Answer } from "../Outbound.ts"
import type { Provider } from "../Provider.ts"
import type { TokenSet } from "../TokenSet.ts"

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

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** What some encoders write for what is no number, beside strings. It is no JSON, and the tokens beside it are paid for. */
const noNumber = /"(?:[^"\\]|\\[^])*"?|-?\b(?:NaN|Infinity)\b/g

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return JSON.parse(text.replace(noNumber, (found) => (found.startsWith('"') ? found : "null")))
  }
}

const parseFields = (text: string): Option.Option<Fields> => {
  try {
    return Option.liftPredicate(parseJson(text), isFields)
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

/** What is no number, or not above zero, says nothing; what is huge is cut to ten years. */
const wholeSeconds = (value: unknown): Option.Option<number> =>
  typeof value === "number" && value > 0
    ? Option.some(Math.max(1, Math.floor(Math.min(value, longestSeconds))))
    : Option.none()

const numeric = (value: unknown) => (typeof value === "string" && value.trim() !== "" ? Number(value) : value)

/** A point in time: seconds since 1970, milliseconds if they are that many, or text. */
const instantMillis = (value: unknown): number => {
  const number = numeric(value)
  if (typeof number === "number" && !Number.isNaN(number)) return number < 1e11 ? number * 1000 : number
  return typeof value === "string" ? Date.parse(value) : Number.NaN
}

/** A lifetime in whole seconds, by the first field that says one: how long, or until when. */
const lifetime = (
  fields: Fields,
  now: number,
  names: { readonly in: ReadonlyArray<string>; readonly at: ReadonlyArray<string> }
): Option.Option<number> =>
  Option.firstSomeOf([
    ...names.in.map((name) => wholeSeconds(numeric(fields[name]))),
    ...names.at.map((name) => wholeSeconds((instantMillis(fields[name]) - now) / 1000))
  ])

const accessLifetime = { in: ["expires_in"], at: ["expires_at"] }

const refreshLifetime = {
  in: ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"],
  at: ["refresh_token_expires_at"]
}

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

/** The object that holds the tokens: the answer itself, or what stands at the provider's `tokenPath`. */
const holder = (provider: Provider, fields: Fields): Fields => {
  if (provider.tokenPath === undefined || Option.isSome(text(fields, "access_token"))) return fields
  const inner = provider.tokenPath
    .split(".")
    .reduce<unknown>((value, name) => (isFields(value) && Object.hasOwn(value, name) ? value[name] : undefined), fields)
  return isFields(inner) ? inner : fields
}

const kept = (provider: Provider, fields: Fields): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    provider.keptFields.flatMap((name) => {
      const value = Object.hasOwn(fields, name) ? fields[name] : undefined
      return value === undefined || value === null ? [] : [[name, value]]
    })
  )

const tokenSet = (provider: Provider, answer: Fields, now: number): Option.Option<TokenSet> => {
  const fields = holder(provider, answer)
  return Option.map(text(fields, "access_token"), (accessToken) => ({
    accessToken: Redacted.make(accessToken),
    refreshToken: Option.map(text(fields, "refresh_token"), (token) => Redacted.make(token)),
    lifetimeSeconds: Option.orElse(lifetime(fields, now, accessLifetime), () =>
      Option.fromNullable(provider.expiresInSeconds)
    ),
    refreshLifetimeSeconds: Option.orElse(lifetime(fields, now, refreshLifetime), () =>
      Option.fromNullable(provider.refreshTokenLifetimeSeconds)
    ),
    refreshLifetimeRenews: provider.refreshTokenLifetimeRenews,
    scopes: scopes(fields),
    subject: subject(fields),
    kept: Redacted.make(kept(provider, answer))
  }))
}

const retryAfter = (answer: Answer, now: number): Option.Option<number> => {
  const value = answer.headers["retry-after"]
  if (value === undefined) return Option.none()
  const seconds = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - now) / 1000
  return Number.isFinite(seconds) ? Option.some(Math.min(Math.max(1, Math.ceil(seconds)), 86_400)) : Option.none()
}

/** Where providers put an error code that is not in `error`. */
const codeFields = ["error", "status", "code", "error_code", "type", "reason", "message"]

const has = (value: unknown, part: unknown): boolean => {
  if (Array.isArray(part)) {
    return Array.isArray(value) && part.every((wanted) => value.some((one) => has(one, wanted)))
  }
  if (!isFields(part)) return value === part
  return (
    isFields(value) && Object.keys(part).every((name) => Object.hasOwn(value, name) && has(value[name], part[name]))
  )
}

const isInvalidGrant = (provider: Provider, fields: Fields) =>
  provider.invalidGrantAliases.some((alias) =>
    typeof alias === "string" ? codeFields.some((name) => fields[name] === alias) : has(fields, alias)
  )

/** A standard code where one of the provider's own means it. */
const errorCode = (provider: Provider, fields: Fields): Option.Option<string> => {
  if (isInvalidGrant(provider, fields)) return Option.some("invalid_grant")
  const error = fields["error"]
  if (isFields(error)) return Option.orElse(text(error, "code"), () => text(error, "type"))
  return Option.orElse(text(fields, "error"), () =>
    fields["ok"] === false || fields["success"] === false ? Option.some("rejected") : Option.none()
  )
}

/**
 * The error code of an answer without tokens, whatever its status.
 *
 * @since 0.1.0
 * @category answers
 */
export const errorCodeOf = (provider: Provider, answer: Answer): Option.Option<string> =>
  Option.flatMap(parseFields(Buffer.from(Redacted.value(answer.body)).toString("utf8").trim()), (fields) =>
    errorCode(provider, fields)
  )

const denialOfCode = (code: string, after: Option.Option<number>): Denial => {
  const failed = (reason: FailureReason) => Denial.Failed({ reason, retryAfterSeconds: after })
  switch (code) {
    case "invalid_grant":
      return Denial.Refused()
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
  const code = Option.flatMap(fields, (given) => errorCode(provider, given))
  const failed = (reason: FailureReason) => Either.left(Denial.Failed({ reason, retryAfterSeconds: after }))
  if (answer.status === 429) return failed("throttled")
  if (answer.status >= 500) return failed("unreachable")
  if (answer.status >= 200 && answer.status < 300) {
    const tokens = Option.flatMap(fields, (given) => tokenSet(provider, given, now))
    if (Option.isSome(tokens)) return Either.right(tokens.value)
    if (Option.isSome(code)) return Either.left(denialOfCode(code.value, after))
    // a page is some gateway's word, not the provider's; anything else may be what is left of the tokens
    return body.startsWith("<")
      ? failed("malformed_response")
      : Either.left(Denial.Unclear({ reason: "malformed_response" }))
  }
  if (Option.isSome(code)) return Either.left(denialOfCode(code.value, after))
  if (answer.status === 401) return failed("invalid_client")
  return failed(Option.isSome(fields) || body === "" ? "rejected" : "malformed_response")
}

/**
 * What became of a revocation. Left: refused, for good or for now. Some providers say no with a 200.
 *
 * @since 0.1.0
 * @category answers
 */
export const readRevocation = (
  provider: Provider,
  answer: Answer
): Either.Either<void, { readonly final: boolean }> => {
  const { status } = answer
  if (status < 200 || status >= 300) return Either.left({ final: status >= 400 && status < 500 && status !== 429 })
  return Option.match(errorCodeOf(provider, answer), {
    onNone: () => Either.right(undefined),
    onSome: (error) => {
      const denial = denialOfCode(error, Option.none())
      return Either.left({ final: denial._tag !== "Failed" || denial.reason === "rejected" })
    }
  })
}
