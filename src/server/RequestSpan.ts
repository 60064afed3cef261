/**
 * The span of a request: its method, the pattern that its path fits, and the status of its answer. Never a URL, a query, a
 * header or a body.
 *
 * @since 0.1.0
 */
import * as HttpTraceContext from "@effect/platform/HttpTraceContext"
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import type { HttpServerResponse } from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Span from "../Span.ts"

/**
 * Goes on with the caller's trace (W3C `traceparent`), and records nothing when the caller does not.
 *
 * @since 0.1.0
 * @category combinators
 */
export const around = <E, R>(
  method: string,
  route: string,
  answering: Effect.Effect<HttpServerResponse, E, R | HttpServerRequest>
): Effect.Effect<HttpServerResponse, E, R | HttpServerRequest> =>
  Effect.withFiberRuntime<HttpServerResponse, E, R | HttpServerRequest>((fiber) =>
    Span.isTraced(fiber)
      ? Effect.flatMap(HttpServerRequest, ({ headers }) => {
          const parent = Option.getOrUndefined(HttpTraceContext.w3c(headers))
          if (parent?.sampled === false) return Effect.withTracerEnabled(answering, false)
          return Effect.tap(answering, ({ status }) => Span.annotate({ "http.response.status_code": status })).pipe(
            Span.within(`${method} ${route}`, {
              kind: "server",
              attributes: { "http.request.method": method, "http.route": route },
              ...(parent !== undefined && { parent })
            })
          )
        })
      : answering
  )
