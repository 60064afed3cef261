/**
 * What may be written down of a failure that nobody foresaw: the kinds of its errors, and the places in the code that
 * they went through. Their messages are left out, since any of them may repeat a secret.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"

/**
 * @since 0.1.0
 * @category models
 */
export interface Crash {
  readonly error: string
  readonly at: ReadonlyArray<string>
}

const frame = /^\s+at (?:.*\()?((?:file:|node:|\/|[A-Z]:\\)[^\s()]+:\d+:\d+)\)?$/

const mostFrames = 8

const nameOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null) return typeof error
  if ("_tag" in error && typeof error._tag === "string") return error._tag
  const code =
    "code" in error && typeof error.code === "string" && /^[A-Z0-9_]{2,40}$/.test(error.code) ? error.code : ""
  const name = error instanceof Error ? error.constructor.name : "object"
  return code === "" ? name : `${name} ${code}`
}

/** The lines after the message, which may have lines of its own that look like places. */
const placesOf = ({ message, stack }: Error): ReadonlyArray<string> => {
  const start = stack?.indexOf(message) ?? -1
  if (stack === undefined || start === -1) return []
  return stack
    .slice(start + message.length)
    .split("\n")
    .flatMap((line) => frame.exec(line)?.[1] ?? [])
    .slice(0, mostFrames)
}

const describeError = (error: unknown): Crash => ({
  error: nameOf(error),
  at: error instanceof Error ? placesOf(error) : []
})

/**
 * @since 0.1.0
 */
export const fromError = (error: unknown): ReadonlyArray<Crash> =>
  error instanceof Error && error.cause !== undefined
    ? [describeError(error), describeError(error.cause)]
    : [describeError(error)]

/**
 * Every error of a cause, the interruptions left out.
 *
 * @since 0.1.0
 */
export const fromCause = (cause: Cause.Cause<unknown>): ReadonlyArray<Crash> =>
  [...Cause.failures(cause), ...Cause.defects(cause)].flatMap(fromError)

/**
 * Why a program ends, for who started it: the words of an error that was foreseen, else the crash.
 *
 * @since 0.1.0
 */
export const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const error = Option.getOrUndefined(Cause.failureOption(cause))
  if (error instanceof Error && "_tag" in error) return error.message
  return fromCause(cause)
    .map((crash) => [crash.error, ...crash.at].join("\n    at "))
    .join("\n")
}
