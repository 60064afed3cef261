/**
 * One line for each request: method, route, status, duration, key. Never a URL, a query, a header or a body. The same is
 * counted, but for the key.
 *
 * @since 0.1.0
 */
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import type { HttpServerResponse } from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metrics from "../Metrics.ts"

/** By request: the pattern that it fits, not what it asked for. */
const routes = new WeakMap<object, string>()

/**
 * Notes which route answers a request.
 *
 * @since 0.1.0
 */
export const at = (request: HttpServerRequest, route: string): void => void routes.set(request.source as object, route)

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
  Effect.withFiberRuntime((fiber) => {
    const { method, source } = Context.unsafeGet(fiber.currentContext, HttpServerRequest)
    const clock = Context.get(fiber.currentDefaultServices, Clock.Clock)
    const started = clock.unsafeCurrentTimeNanos()
    const write = (status: number) => {
      const route = routes.get(source as object) ?? "none"
      const nanos = Number(clock.unsafeCurrentTimeNanos() - started)
      Metrics.requestSeconds.update(nanos / 1e9, methodOf(method, route), route, String(status))
      const facts = { method, route, status, ms: Math.round(nanos / 10_000) / 100 }
      return quiet.has(route) ? Effect.logDebug("Request", facts) : Effect.logInfo("Request", facts)
    }
    return Effect.matchCauseEffect(app, {
      onSuccess: (response) => Effect.as(write(response.status), response),
      // 499: the caller went away, and there is nobody to answer
      onFailure: (cause) => Effect.zipRight(write(499), Effect.failCause(cause))
    })
  })
