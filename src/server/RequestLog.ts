/**
 * One line for each request: method, route, status, duration, key. Never a URL, a query, a header or a body.
 *
 * @since 0.1.0
 */
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import type { HttpServerResponse } from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"

/**
 * What becomes known of a request while it is answered.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry {
  /** The pattern that it fits, not what it asked for. */
  route: string
  keyId: string | undefined
}

const current: FiberRef.FiberRef<Entry> = FiberRef.unsafeMake<Entry>({ route: "none", keyId: undefined })

/**
 * Notes a fact of the request that this fiber answers.
 *
 * @since 0.1.0
 */
export const note = (facts: Partial<Entry>): Effect.Effect<void> =>
  Effect.map(FiberRef.get(current), (entry) => void Object.assign(entry, facts))

/** What is asked every few seconds by machines. */
const quiet = new Set(["/healthz", "/readyz"])

/**
 * @since 0.1.0
 * @category middleware
 */
export const logged = <E, R>(
  app: Effect.Effect<HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse, E, R | HttpServerRequest> =>
  Effect.suspend(() => {
    const entry: Entry = { route: "none", keyId: undefined }
    return Effect.gen(function* () {
      const { method } = yield* HttpServerRequest
      const started = yield* Clock.currentTimeNanos
      const write = (status: number) =>
        Effect.flatMap(Clock.currentTimeNanos, (ended) =>
          (quiet.has(entry.route) ? Effect.logDebug("Request") : Effect.logInfo("Request")).pipe(
            Effect.annotateLogs({
              method,
              route: entry.route,
              status,
              ms: Math.round(Number(ended - started) / 10_000) / 100,
              ...(entry.keyId !== undefined && { key: entry.keyId })
            })
          )
        )
      // 499: the caller went away, and there is nobody to answer
      return yield* app.pipe(
        Effect.tap((response) => write(response.status)),
        Effect.tapErrorCause(() => write(499))
      )
    }).pipe(Effect.locally(current, entry))
  })
