/**
 * One setting: its variable, what it must be, an example, and how its text is read. A bad value is told by these and
 * never by itself, since it may be a secret.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Either from "effect/Either"
import * as Option from "effect/Option"

const problem = (name: string, expected: string, example: string) =>
  ConfigError.InvalidData([name], `${name}: expected ${expected}, for example ${name}=${example}`)

/** A variable that is set to nothing is not set. */
const present = (text: Option.Option<string>) =>
  Option.filter(
    Option.map(text, (value) => value.trim()),
    (value) => value !== ""
  )

/**
 * What `read` makes of a variable, none when it is not set; a problem when `read` makes nothing of it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const optional = <A>(
  name: string,
  expected: string,
  example: string,
  read: (text: string) => Option.Option<A>
): Config.Config<Option.Option<A>> =>
  Config.mapOrFail(Config.option(Config.string(name)), (text) =>
    Option.match(present(text), {
      onNone: () => Either.right(Option.none<A>()),
      onSome: (value) =>
        Option.match(read(value), {
          onNone: () => Either.left(problem(name, expected, example)),
          onSome: (read) => Either.right(Option.some(read))
        })
    })
  )

/**
 * The same with a value for when it is not set.
 *
 * @since 0.1.0
 * @category constructors
 */
export const withDefault = <A>(
  name: string,
  expected: string,
  example: string,
  read: (text: string) => Option.Option<A>,
  absent: NoInfer<A>
): Config.Config<A> =>
  Config.map(
    optional(name, expected, example, read),
    Option.getOrElse(() => absent)
  )

/**
 * Every problem of a configuration, in the order in which it was read.
 *
 * @since 0.1.0
 */
export const problems = (error: ConfigError.ConfigError): ReadonlyArray<string> =>
  ConfigError.isConfigError(error) && (error._op === "And" || error._op === "Or")
    ? [...problems(error.left), ...problems(error.right)]
    : ["message" in error ? String(error.message) : "unreadable"]
