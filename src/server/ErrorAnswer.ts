/**
 * Errors as answers: the status and JSON that the contract gives their class, and `Retry-After` where they say when.
 *
 * @since 0.1.0
 */
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { InternalError, ServiceUnavailable, wire } from "../api/PublicError.ts"
import * as CredentialsError from "../CredentialsError.ts"

type Classes = typeof CredentialsError

/**
 * @since 0.1.0
 * @category models
 */
export type PublicError = InstanceType<Classes[keyof Classes]> | InternalError | ServiceUnavailable

const classes = [...Object.values(CredentialsError), InternalError, ServiceUnavailable]

const formats = new Map(
  classes.map((error) => [
    error._tag,
    {
      error,
      status: HttpApiSchema.getStatusError(error),
      encode: Schema.encodeSync(wire(error as never) as Schema.Schema<unknown>)
    }
  ])
)

const formatOf = (error: unknown) =>
  typeof error === "object" && error !== null && "_tag" in error && typeof error._tag === "string"
    ? formats.get(error._tag as PublicError["_tag"])
    : undefined

/**
 * @since 0.1.0
 * @category guards
 */
export const isPublic = (error: unknown): error is PublicError => {
  const format = formatOf(error)
  return format !== undefined && error instanceof format.error
}

/**
 * @since 0.1.0
 */
export const statusOf = (error: PublicError): number => formatOf(error)?.status ?? 500

/**
 * @since 0.1.0
 */
export const headersOf = (error: PublicError): Record<string, string> => ({
  ...("retryAfterSeconds" in error &&
    error.retryAfterSeconds !== undefined && {
      "retry-after": String(Math.max(1, Math.ceil(error.retryAfterSeconds)))
    }),
  ...(error._tag === "Unauthorized" && { "www-authenticate": "Bearer" })
})

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (error: PublicError): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(formatOf(error)?.encode(error), { status: statusOf(error), headers: headersOf(error) })

/**
 * The answer to an error of the contract; none for any other.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (error: unknown): Option.Option<HttpServerResponse.HttpServerResponse> =>
  isPublic(error) ? Option.some(make(error)) : Option.none()
