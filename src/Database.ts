/**
 * What the adapters of a Postgres database share (`Database/Embedded`, `Database/Server`): which failures are conflicts
 * to be tried again, and which mean that there is no database to talk to.
 *
 * @since 0.1.0
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/**
 * The five characters with which Postgres names an error; none when the failure is not the database's answer.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 * @since 0.1.0
 * @category errors
 */
export const sqlState = (error: SqlError): string | undefined => {
  const code = codeOf(error.cause)
  // the system's own codes, such as EPIPE, can be as long; no SQLSTATE starts with E
  return code !== undefined && /^(?!E)[0-9A-Z]{5}$/.test(code) ? code : undefined
}

/**
 * Whether the database could not be reached or could not serve: the same statement may succeed later, and may have been
 * done already when it was a commit that got no answer.
 *
 * @since 0.1.0
 * @category errors
 */
export const isUnavailable = (error: SqlError): boolean => {
  const state = sqlState(error)
  if (state !== undefined) return unavailableClasses.has(state.slice(0, 2)) || unavailableStates.has(state)
  const code = codeOf(error.cause)
  if (code !== undefined && socketCodes.has(code)) return true
  // the driver's own failures have no code
  return /connect|pool|queryable/i.test(wordsOf(error))
}

/**
 * Whether the session had ended, by the server's will or the network's, when a statement was to run in it: in another
 * session it may run. A pool learns of such an end only a moment after the server.
 *
 * @since 0.1.0
 * @category errors
 */
export const isStale = (error: SqlError): boolean => {
  const code = codeOf(error.cause)
  return code === undefined ? /terminated|queryable/i.test(wordsOf(error)) : staleCodes.has(code)
}

const staleCodes = new Set(["57P01", "ECONNRESET", "EPIPE"])

const wordsOf = (error: SqlError) => `${error.message} ${error.cause instanceof Error ? error.cause.message : ""}`

/**
 * Runs a whole transaction again, at most five times and after a growing, jittered pause, when Postgres gave it up in
 * favour of another one (SQLSTATE 40001 or 40P01). The last failure stays as it is. Only for the outermost transaction:
 * inside another one nothing can be run again.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withRetry = <A, E, R>(transaction: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.retry(transaction, { while: isConflict, times: 5, schedule: retrySchedule })

const retrySchedule = Schedule.exponential("10 millis").pipe(Schedule.jittered)

const isConflict = (error: unknown) => {
  const state = error instanceof SqlError ? sqlState(error) : undefined
  return state === "40001" || state === "40P01"
}

/** Connection failures, refused logins, missing resources, errors of the system below. */
const unavailableClasses = new Set(["08", "28", "53", "58"])

/**
 * Shutdown, crash, not yet started, database dropped, idle session ended; a standby that took the primary's place; and
 * what took too long: a statement, a lock, a pause or a whole transaction.
 */
const unavailableStates = new Set([
  "57P01",
  "57P02",
  "57P03",
  "57P04",
  "57P05",
  "25006",
  "57014",
  "55P03",
  "25P03",
  "25P04"
])

const socketCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ENOENT",
  "EACCES"
])

const codeOf = (cause: unknown): string | undefined =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : undefined
