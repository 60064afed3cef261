/**
 * The contract's endpoints on the router: each behind the body guard, each failure answered in the contract's JSON.
 *
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import { HttpApiDecodeError } from "@effect/platform/HttpApiError"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import type { HttpServerResponse } from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { InvalidRequest, NotFound, PayloadTooLarge } from "../CredentialsError.ts"
import * as Body from "./Body.ts"
import * as ErrorAnswer from "./ErrorAnswer.ts"
import * as Refusal from "./Refusal.ts"
import * as RequestLog from "./RequestLog.ts"
import * as RequestSpan from "./RequestSpan.ts"

const withBody = new Set(["POST", "PUT", "PATCH"])

/** The builder reads bodies with `orDie`: what `Body` refuses arrives as a defect. */
const refusedBody = (defect: unknown) =>
  defect instanceof InvalidRequest || defect instanceof PayloadTooLarge
    ? Option.some(Effect.fail(defect))
    : Option.none()

const answered = (error: unknown): Effect.Effect<HttpServerResponse, unknown> =>
  error instanceof HttpApiDecodeError
    ? Effect.succeed(ErrorAnswer.make(Refusal.make(error.issues)))
    : Option.match(ErrorAnswer.of(error), { onNone: () => Effect.fail(error), onSome: Effect.succeed })

/**
 * What every route has around it. HEAD reaches GET routes by the router's own rule, and is refused here: only a route of
 * its own answers it.
 *
 * @since 0.1.0
 */
export const guarded = <E, R>(
  method: string,
  path: string,
  handler: Effect.Effect<HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse, unknown, R | HttpServerRequest> => {
  const careful: Effect.Effect<HttpServerResponse, E | InvalidRequest | PayloadTooLarge, R | HttpServerRequest> =
    withBody.has(method)
      ? Effect.catchSomeDefect(Effect.updateService(handler, HttpServerRequest, Body.guarded), refusedBody)
      : handler
  const answering = Effect.flatMap(
    HttpServerRequest,
    (
      request
    ): Effect.Effect<HttpServerResponse, E | InvalidRequest | PayloadTooLarge | NotFound, R | HttpServerRequest> => {
      if (request.method === "HEAD" && method !== "HEAD") return Effect.fail(new NotFound())
      RequestLog.at(request, path)
      return careful
    }
  ).pipe(Effect.catchAll(answered))
  return RequestSpan.around(method, path, answering)
}

/**
 * Puts the handled endpoints of all groups on the router.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, never, HttpLayerRouter.HttpRouter> = HttpApiBuilder.Router.unwrap(
  Effect.fnUntraced(function* (handled) {
    const router = yield* HttpLayerRouter.HttpRouter
    for (const { handler, method, path, uninterruptible } of handled.routes) {
      // the builder has given handlers their services, and calls what it made of them `Route<unknown, unknown>`
      const handling = handler as Effect.Effect<HttpServerResponse, unknown>
      const answering = guarded(method, path, handling) as Effect.Effect<HttpServerResponse>
      yield* router.addAll([HttpLayerRouter.route(method as "GET", path, answering, { uninterruptible })])
    }
  }, Layer.effectDiscard)
)
