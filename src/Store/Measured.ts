/**
 * A driver that is watched: each operation is timed, counted when it finds the engine out of reach, and a span.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metrics from "../Metrics.ts"
import * as Span from "../Span.ts"
import type { Driver } from "./Driver.ts"

type Operation = Effect.Effect<unknown, { readonly _tag: string }>

/** What watches one operation. */
const watching = (operation: string): ((self: Operation) => Operation) => {
  const seconds = Metrics.storeSeconds.of(operation)
  const failures = Metrics.storeFailures.of(operation)
  const span = Span.within(`Store.${operation}`)
  return (self) =>
    span(
      Effect.withFiberRuntime<unknown, { readonly _tag: string }>((fiber) => {
        const clock = Context.get(fiber.currentDefaultServices, Clock.Clock)
        const since = clock.unsafeCurrentTimeNanos()
        const observe = () => seconds(Number(clock.unsafeCurrentTimeNanos() - since) / 1e9)
        return Effect.mapBoth(self, {
          onFailure: (error) => {
            observe()
            if (error._tag === "StoreUnavailable") failures(1)
            return error
          },
          onSuccess: (value) => {
            observe()
            return value
          }
        })
      })
    )
}

/**
 * The same driver, watched.
 *
 * @since 0.1.0
 * @category combinators
 */
export const make = (driver: Driver): Driver => {
  const members = Object.entries(driver).map(([operation, member]: [string, unknown]) => {
    if (Effect.isEffect(member)) return [operation, watching(operation)(member as Operation)]
    if (typeof member !== "function") return [operation, member]
    const watched = watching(operation)
    return [operation, (...parameters: ReadonlyArray<unknown>) => watched(member(...parameters))]
  })
  return Object.fromEntries(members)
}
