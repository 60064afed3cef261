/**
 * A JSON array in a file of the operator's. What is wrong in it is told by index and field, never by its value.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { readFile } from "node:fs/promises"
import * as Refusal from "../server/Refusal.ts"

/**
 * The elements, or one line that says what is wrong with the first that is.
 *
 * @since 0.1.0
 */
export const readArray = <A, I>(file: string, element: Schema.Schema<A, I>): Effect.Effect<ReadonlyArray<A>, string> =>
  Effect.gen(function* () {
    const text = yield* Effect.tryPromise({
      try: () => readFile(file, "utf8"),
      catch: (error) => `cannot read ${file} (${error instanceof Error && "code" in error ? error.code : "unknown"})`
    })
    const json = yield* Effect.try({
      try: (): unknown => JSON.parse(text),
      catch: () => `${file} is not JSON`
    })
    if (!Array.isArray(json)) return yield* Effect.fail(`${file} is not a JSON array`)
    const decode = Schema.decodeUnknownEither(element, { errors: "all" })
    const decoded: Array<A> = []
    for (const [index, value] of json.entries()) {
      const result = decode(value)
      if (Either.isLeft(result)) {
        const issues = ParseResult.ArrayFormatter.formatErrorSync(result.left)
        const [issue] = Refusal.make(issues).issues
        const field = issue === undefined || issue.field === "body" ? "" : `.${issue.field}`
        return yield* Effect.fail(`${file}[${index}]${field}: expected ${issue?.expected ?? "another value"}`)
      }
      decoded.push(result.right)
    }
    return decoded
  })
