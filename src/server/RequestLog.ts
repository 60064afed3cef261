/**
 * One line for each request: method, route, status, duration, key. Never a URL, a query, a header or a body. The same is
 * counted, but for the key.
 *
 * @since 0.1.0
 */
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import type { HttpServerResponse } from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Metrics from "../Metrics.ts"

/** Of the request that this fiber answers: the pattern that it fits, not what it asked for. */
const current: FiberRef.FiberRef<{ route: string }> = FiberRef.unsafeMake({ route: "none" })

/**
 * Notes which route answers the request of this fiber.
 *
 * @since 0.1.0
 */
export const at = (route: string): Effect.Effect<void> =>
  Effect.map(FiberRef.get(current), (entry) => {
    entry.route = route
  })

/** What is asked every few seconds by machines. */
const quiet = new Set(["/healthz", "/readyz", "/metrics"])

/** What fits no route may come with any method that HTTP has. */
const methodOf = (method: string, route: string) => (route === "none" ? "any" : method)

/**
 * @since 0.1.0
 * @category middleware
 */
export const logged = <E, R>(
  app: Effect.Effect<HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse, E, R | HttpServerRequest> =>
  Effect.suspend(() => {
    const entry = { route: "none" }
    return Effect.gen(function* () {
      const { method } = yield* HttpServerRequest
      const started = yield* Clock.currentTimeNanos
      const write = (status: number) =>
        Effect.flatMap(Clock.currentTimeNanos, (ended) => {
          const { route } = entry
          const nanos = Number(ended - started)
          Metrics.requestSeconds.update(nanos / 1e9, methodOf(method, route), route, String(status))
          return (quiet.has(route) ? Effect.logDebug("Request") : Effect.logInfo("Request")).pipe(
            Effect.annotateLogs({ method, route, status, ms: Math.round(nanos / 10_000) / 100 })
          )
        })
      // 499: the caller went away, and there is nobody to answer
      return yield* app.pipe(
        Effect.tap((response) => write(response.status)),
        Effect.tapErrorCause(() => write(499))
      )
    }).pipe(Effect.locally(current, entry))
  })
