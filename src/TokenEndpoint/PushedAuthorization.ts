/**
 * The parameters of a link, pushed to the provider before anybody follows it (RFC 9126).
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
import { Denial, readTokens } from "./Answer.ts"
import type { Client } from "./ClientAuth.ts"
import { built, serverOf } from "./Request.ts"

/**
 * @since 0.1.0
 * @category requests
 */
export const pushRequest = (
  provider: Provider,
  client: Client,
  parameters: Readonly<Record<string, string>>
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  built(provider, client, "form", (auth, options) =>
    oauth.pushedAuthorizationRequest(
      serverOf(provider, provider.tokenUrl),
      { client_id: client.id },
      auth,
      { ...parameters },
      options
    )
  )

const Pushed = Schema.parseJson(
  Schema.Struct({
    request_uri: Schema.NonEmptyString,
    expires_in: Schema.Union(Schema.Number, Schema.NumberFromString).pipe(Schema.positive(), Schema.finite())
  })
)

const decode = Schema.decodeUnknownOption(Pushed)

/**
 * @since 0.1.0
 * @category answers
 */
export const readPushed = (
  provider: Provider,
  answer: Answer,
  now: number
): Either.Either<{ readonly requestUri: string; readonly lifetimeSeconds: number }, Denial> => {
  const pushed = decode(Buffer.from(Redacted.value(answer.body)).toString("utf8"))
  if (answer.status >= 200 && answer.status < 300 && Option.isSome(pushed)) {
    return Either.right({ requestUri: pushed.value.request_uri, lifetimeSeconds: Math.floor(pushed.value.expires_in) })
  }
  const read = readTokens(provider, answer, now)
  return Either.left(Either.isLeft(read) ? read.left : Denial.Unclear({ reason: "malformed_response" }))
}
