/**
 * Statements as the adapters of the ports run them: whatever goes wrong in the database is `StoreUnavailable`.
 *
 * @since 0.1.0
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { StoreUnavailable } from "../CredentialsError.ts"
import * as Database from "../Database.ts"

/** Logs the SQLSTATE alone: the error's own text can hold what was to be stored. */
const unavailable = (error: SqlError) =>
  (Database.isUnavailable(error)
    ? Effect.logWarning("The database is out of reach")
    : Effect.logError("The database refused a statement, which is a bug: the caller is told that it is out of reach")
  ).pipe(
    Effect.annotateLogs({ sqlState: Database.sqlState(error) ?? "none" }),
    Effect.zipRight(Effect.fail(new StoreUnavailable({ retryAfterSeconds: 1 })))
  )

const isSqlError = (error: unknown): error is SqlError => error instanceof SqlError

/**
 * One that is not about reaching the database is a bug of ours, and logged as that, but no reason to end a request
 * without an answer.
 */
const answered = <A, E, R>(
  statement: Effect.Effect<A, E | SqlError, R>
): Effect.Effect<A, Exclude<E, SqlError> | StoreUnavailable, R> =>
  Effect.catchAll(statement, (error): Effect.Effect<never, Exclude<E, SqlError> | StoreUnavailable> =>
    isSqlError(error) ? unavailable(error) : Effect.fail(error as Exclude<E, SqlError>)
  )

/** So that the pool hears first which of its other connections ended with this one. */
const everySocketHeard = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))

/**
 * A statement that only reads, with `StoreUnavailable` in place of any `SqlError`. Asked again at once, in another
 * session, when its own had ended, as after a failover: at most three times, as the next one may be about to end too.
 * Never for one that writes, which may have been done.
 *
 * @since 0.1.0
 * @category combinators
 */
export const read = <A, E, R>(
  statement: Effect.Effect<A, E | SqlError, R>
): Effect.Effect<A, Exclude<E, SqlError> | StoreUnavailable, R> => {
  // by hand: `Effect.retry` costs a read that goes well as much as the statement
  const asked = (times: number): Effect.Effect<A, E | SqlError, R> =>
    Effect.catchAll(statement, (error) =>
      times > 0 && isSqlError(error) && Database.isStale(error)
        ? Effect.zipRight(everySocketHeard, asked(times - 1))
        : Effect.fail(error)
    )
  return answered(asked(3))
}

/**
 * The same for a statement or transaction that writes: done again as a whole when Postgres gave it up for another
 * one's sake (`Database.withRetry`), and not interrupted once begun, as nobody could tell whether it was done. After
 * `StoreUnavailable` it may have been done.
 *
 * @since 0.1.0
 * @category combinators
 */
export const write = <A, E, R>(
  transaction: Effect.Effect<A, E | SqlError, R>
): Effect.Effect<A, Exclude<E, SqlError> | StoreUnavailable, R> =>
  transaction.pipe(
    // `withTransaction` dies of a commit, or a rollback, that fails
    Effect.catchSomeDefect((defect) => (isSqlError(defect) ? Option.some(Effect.fail(defect)) : Option.none())),
    Database.withRetry,
    answered,
    Effect.uninterruptible
  )
