/**
 * A login with a code that the user is shown and enters elsewhere (RFC 8628).
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as oauth from "oauth4webapi"
import type { OutboundRefused } from "../CredentialsError.ts"
import type { Answer, OutboundRequest } from "../Outbound.ts"
import type { Provider } from "../Provider.ts"
import { Denial, errorCodeOf, readTokens } from "./Answer.ts"
import type { Client } from "./ClientAuth.ts"
import { built, serverOf } from "./Request.ts"

/**
 * What the user is told, and what the service asks with meanwhile.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeviceAuthorization {
  readonly deviceCode: Redacted.Redacted
  readonly userCode: string
  readonly verificationUri: string
  readonly verificationUriComplete: Option.Option<string>
  readonly lifetimeSeconds: number
  readonly intervalSeconds: number
}

/**
 * The beginning of such a login (RFC 8628 3.1).
 *
 * @since 0.1.0
 * @category requests
 */
export const deviceAuthorizationRequest = (
  provider: Provider,
  client: Client,
  scopes: ReadonlyArray<string>
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  built(provider, client, "form", (auth, options) =>
    oauth.deviceAuthorizationRequest(
      serverOf(provider, provider.tokenUrl),
      { client_id: client.id },
      auth,
      {
        ...provider.authorizationParams,
        ...(scopes.length > 0 && { [provider.scopeParam]: scopes.join(provider.scopeSeparator) })
      },
      options
    )
  )

/**
 * Asks whether the user is done (RFC 8628 3.4).
 *
 * @since 0.1.0
 * @category requests
 */
export const devicePollRequest = (
  provider: Provider,
  client: Client,
  deviceCode: Redacted.Redacted
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  built(provider, client, provider.tokenRequestFormat, (auth, options) =>
    oauth.deviceCodeGrantRequest(
      serverOf(provider, provider.tokenUrl),
      { client_id: client.id },
      auth,
      Redacted.value(deviceCode),
      options
    )
  )

const Seconds = Schema.Union(Schema.Number, Schema.NumberFromString).pipe(Schema.positive(), Schema.finite())

const Begun = Schema.parseJson(
  Schema.Struct({
    device_code: Schema.NonEmptyString,
    user_code: Schema.NonEmptyString,
    verification_uri: Schema.optional(Schema.NonEmptyString),
    // what some providers call it
    verification_url: Schema.optional(Schema.NonEmptyString),
    verification_uri_complete: Schema.optional(Schema.NonEmptyString),
    expires_in: Seconds,
    interval: Schema.optional(Seconds)
  })
)

const decodeBegun = Schema.decodeUnknownOption(Begun)

const isLink = (text: string) => /^https?:\/\//i.test(text) && URL.canParse(text)

/** RFC 8628 3.5: what is not said is five seconds. */
const defaultInterval = 5

/**
 * Reads what a device authorization endpoint answered (RFC 8628 3.2). A link that is no web address is not passed on.
 *
 * @since 0.1.0
 * @category answers
 */
export const readDeviceAuthorization = (
  provider: Provider,
  answer: Answer,
  now: number
): Either.Either<DeviceAuthorization, Denial> => {
  const begun = decodeBegun(Buffer.from(Redacted.value(answer.body)).toString("utf8"))
  const link = Option.flatMapNullable(begun, (given) => given.verification_uri ?? given.verification_url)
  if (Option.isSome(begun) && Option.exists(link, isLink)) {
    const { device_code, expires_in, interval = defaultInterval, user_code } = begun.value
    return Either.right({
      deviceCode: Redacted.make(device_code),
      userCode: user_code,
      verificationUri: Option.getOrElse(link, () => ""),
      verificationUriComplete: Option.filter(Option.fromNullable(begun.value.verification_uri_complete), isLink),
      lifetimeSeconds: Math.max(1, Math.min(Math.floor(expires_in), 3600)),
      intervalSeconds: Math.max(1, Math.min(Math.ceil(interval), 300))
    })
  }
  const read = readTokens(provider, answer, now)
  return Either.left(Either.isLeft(read) ? read.left : Denial.Unclear({ reason: "malformed_response" }))
}

/**
 * What an answer without tokens means for the login (RFC 8628 3.5). None: it is a failure like any other.
 *
 * @since 0.1.0
 * @category answers
 */
export const deviceProgress = (
  provider: Provider,
  answer: Answer
): Option.Option<"pending" | "slow_down" | "expired" | "denied"> =>
  Option.flatMap(errorCodeOf(provider, answer), (code) => {
    switch (code) {
      case "authorization_pending":
        return Option.some("pending" as const)
      case "slow_down":
        return Option.some("slow_down" as const)
      case "expired_token":
        return Option.some("expired" as const)
      case "access_denied":
        return Option.some("denied" as const)
      default:
        return Option.none()
    }
  })
