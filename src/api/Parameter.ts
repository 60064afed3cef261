/**
 * What callers give beside a body: ids in the path, and the query's parameters. Each says in fixed words what was
 * expected, so that no error repeats what was given.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { CredentialId, UserId } from "../Credential.ts"
import type { Cursor as StoreCursor } from "../Store.ts"

/**
 * An object that refuses what it does not name, and tells all that is wrong.
 *
 * @since 0.1.0
 */
export const exact = {
  message: () => "an object",
  parseOptions: { onExcessProperty: "error", errors: "all" }
} as const

/**
 * A field that may be absent.
 *
 * @since 0.1.0
 */
export const optional = <S extends Schema.Schema.All>(schema: S) => Schema.optionalWith(schema, { exact: true })

/**
 * One of a few words.
 *
 * @since 0.1.0
 */
export const oneOf = <Words extends readonly [string, ...ReadonlyArray<string>]>(...words: Words) =>
  Schema.Literal(...words).annotations({ message: () => ({ message: `one of ${words.join(", ")}`, override: true }) })

/**
 * Text of a known kind.
 *
 * @since 0.1.0
 */
export const text = (expected: string, pattern: RegExp) =>
  Schema.String.annotations({ message: () => expected }).pipe(
    Schema.pattern(pattern, { message: () => expected, description: expected })
  )

/**
 * What a person gave something as its name: one line.
 *
 * @since 0.1.0
 */
export const Label = text("text of 1 to 255 printable characters", /^[^\p{Cc}\p{Cs}]{1,255}$/u)

/**
 * A number between bounds, both allowed.
 *
 * @since 0.1.0
 */
export const between = (low: number, high: number, unit = "") => {
  const expected = `a number${unit} from ${low} to ${high}`
  return Schema.Number.annotations({ message: () => expected }).pipe(
    Schema.filter((value) => value >= low && value <= high, {
      message: () => expected,
      description: expected,
      jsonSchema: { minimum: low, maximum: high }
    })
  )
}

/**
 * A whole number between bounds, both allowed.
 *
 * @since 0.1.0
 */
export const wholeBetween = (low: number, high: number) => {
  const expected = `a whole number from ${low} to ${high}`
  return Schema.Number.annotations({ message: () => expected }).pipe(
    Schema.filter((value) => Number.isInteger(value) && value >= low && value <= high, {
      message: () => expected,
      description: expected,
      jsonSchema: { type: "integer", minimum: low, maximum: high }
    })
  )
}

/** A number as it stands in a query. */
const fromQuery = <R>(schema: Schema.Schema<number, number, R>, expected: string) =>
  Schema.transform(text(expected, /^\d{1,6}(?:\.\d{1,3})?$/), schema, { decode: Number, encode: String })

/**
 * How long to wait for holders or for a renewal; 30 seconds unless said.
 *
 * @since 0.1.0
 * @category parameters
 */
export const waitSeconds = between(0, 300, " of seconds")

/**
 * How long a lease lasts unless renewed; 60 seconds unless said.
 *
 * @since 0.1.0
 * @category parameters
 */
export const ttlSeconds = between(1, 3600, " of seconds")

/**
 * How long the answer must be valid at least.
 *
 * @since 0.1.0
 * @category parameters
 */
export const minValidSeconds = between(0, 86_400, " of seconds")

/**
 * The number of a stored version.
 *
 * @since 0.1.0
 * @category parameters
 */
export const generation = wholeBetween(1, 2_147_483_647)

/**
 * The id of a lease: whoever knows it holds it.
 *
 * @since 0.1.0
 * @category parameters
 */
export const LeaseId = Schema.Redacted(
  text("a UUID", /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)
).annotations({ message: () => "a UUID" })

/**
 * The same, in a query.
 *
 * @since 0.1.0
 * @category parameters
 */
export const Query = {
  waitSeconds: fromQuery(waitSeconds, "a number of seconds from 0 to 300"),
  minValidSeconds: fromQuery(minValidSeconds, "a number of seconds from 0 to 86400"),
  limit: fromQuery(wholeBetween(1, 200), "a whole number from 1 to 200"),
  boolean: Schema.transform(oneOf("true", "false"), Schema.Boolean, {
    decode: (word) => word === "true",
    encode: (value) => (value ? "true" : "false")
  })
} as const

/**
 * How a request waits, and the lease of its own that it need not wait for.
 *
 * @since 0.1.0
 * @category parameters
 */
export const waiting = { waitSeconds: optional(Query.waitSeconds), leaseId: optional(LeaseId) } as const

/**
 * An instant, ISO 8601 with its offset; written in UTC.
 *
 * @since 0.1.0
 * @category values
 */
export const Timestamp = Schema.transform(
  text(
    "a time in ISO 8601 with its offset, such as 2030-01-31T12:00:00Z",
    /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})$/
  ).pipe(
    Schema.filter((given) => !Number.isNaN(Date.parse(given)), {
      message: () => "a time that exists, such as 2030-01-31T12:00:00Z",
      jsonSchema: { format: "date-time" }
    })
  ),
  Schema.DateTimeUtcFromSelf,
  { strict: true, decode: (given) => DateTime.unsafeMake(given), encode: DateTime.formatIso }
)

const cursorExpected = "the nextCursor of an earlier page"

const cursorShape = /^(\d{1,15})\.([0-9a-f-]{36})$/

/**
 * A place in a list; opaque to callers.
 *
 * @since 0.1.0
 * @category values
 */
export const Cursor: Schema.Schema<StoreCursor, string> = Schema.transformOrFail(
  text(cursorExpected, /^[A-Za-z0-9_-]{1,100}$/),
  Schema.typeSchema(Schema.Struct({ createdAt: Schema.DateTimeUtcFromSelf, id: Schema.String })),
  {
    strict: true,
    decode: (given, _, ast) => {
      const parts = cursorShape.exec(Buffer.from(given, "base64url").toString("latin1"))
      return parts?.[1] === undefined || parts[2] === undefined || Number(parts[1]) > 8.64e15
        ? ParseResult.fail(new ParseResult.Type(ast, given, cursorExpected))
        : ParseResult.succeed({ createdAt: DateTime.unsafeMake(Number(parts[1])), id: parts[2] })
    },
    encode: ({ createdAt, id }) =>
      ParseResult.succeed(Buffer.from(`${DateTime.toEpochMillis(createdAt)}.${id}`, "latin1").toString("base64url"))
  }
).annotations({ message: () => cursorExpected })

/**
 * @since 0.1.0
 * @category paths
 */
export const UserPath = Schema.Struct({ userId: UserId })

/**
 * @since 0.1.0
 * @category paths
 */
export const CredentialPath = Schema.Struct({ userId: UserId, credentialId: CredentialId })

/**
 * Where a finished login sends the browser.
 *
 * @since 0.1.0
 */
export const ReturnUrl = text("one of the configured return URLs", /^https?:\/\/[^\s]{1,2000}$/)
