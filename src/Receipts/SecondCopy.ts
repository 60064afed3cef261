/**
 * Receipts in two places: one that is durable, and one that other machines reach, so that what a machine left with its disk
 * is stored by another.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Receipts from "../Receipts.ts"

const passed = (error: Receipts.SpoolUnavailable) => Effect.logWarning(error.message)

/**
 * A spool that keeps, beside each receipt of a durable one, a second copy.
 *
 * - What is written is durable when the first has it, and only then; both are waited for. A second copy that cannot be
 *   written or removed is logged: it expires by itself, and is dropped once its tokens are known to be stored.
 * - A receipt is found in either. That there is none is known only when both say so.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (durable: Receipts.Spool, copy: Receipts.Spool): Receipts.Spool => {
  const both = <A, B>(
    first: Effect.Effect<A, Receipts.SpoolUnavailable>,
    second: Effect.Effect<B, Receipts.SpoolUnavailable>
  ) => Effect.all([Effect.either(first), Effect.either(second)], { concurrency: "unbounded" })

  const atFirst = (
    first: Effect.Effect<void, Receipts.SpoolUnavailable>,
    second: Effect.Effect<void, Receipts.SpoolUnavailable>
  ) => Effect.flatMap(both(first, Effect.tapError(second, passed)), ([done]) => done)

  return {
    write: (name, bytes) => atFirst(durable.write(name, bytes), copy.write(name, bytes)),
    read: Effect.fnUntraced(function* (name) {
      const own = yield* Effect.either(durable.read(name))
      if (Either.isRight(own) && Option.isSome(own.right)) return own.right
      const other = yield* copy.read(name)
      return Option.isSome(other) ? other : yield* own
    }),
    names: Effect.flatMap(both(durable.names, copy.names), ([own, others]) => {
      if (Either.isLeft(own) && Either.isLeft(others)) return Effect.fail(own.left)
      const failures = [own, others].flatMap((found) => (Either.isLeft(found) ? [passed(found.left)] : []))
      const names = [own, others].flatMap((found) => (Either.isRight(found) ? found.right : []))
      return Effect.as(Effect.all(failures), [...new Set(names)])
    }),
    remove: (name) => atFirst(durable.remove(name), copy.remove(name)),
    replace: (name, before, after) =>
      Effect.flatMap(
        both(durable.replace(name, before, after), Effect.tapError(copy.replace(name, before, after), passed)),
        ([own, other]) => Effect.map(own, (done) => done || Either.getOrElse(other, () => false))
      )
  }
}
