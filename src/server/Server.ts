/**
 * The HTTP server: the contract's routes behind one listener, each request logged, each failure answered in JSON, and a
 * stop that lets go of nobody halfway.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as HashSet from "effect/HashSet"
import * as Layer from "effect/Layer"
import { InternalError, ServiceUnavailable } from "../api/PublicError.ts"
import { NotFound } from "../CredentialsError.ts"
import * as ApiKeys from "./ApiKeys.ts"
import * as Authentication from "./Authentication.ts"
import * as Browser from "./Browser.ts"
import * as Credentials from "./Credentials.ts"
import * as Docs from "./Docs.ts"
import * as ErrorAnswer from "./ErrorAnswer.ts"
import * as Gauges from "./Gauges.ts"
import * as Health from "./Health.ts"
import * as InFlight from "./InFlight.ts"
import * as Leases from "./Leases.ts"
import type { Listener } from "./Listener.ts"
import * as Mcp from "./Mcp.ts"
import * as Metrics from "./Metrics.ts"
import * as OAuthFlow from "./OAuthFlow.ts"
import * as Providers from "./Providers.ts"
import * as RequestLog from "./RequestLog.ts"
import * as Routes from "./Routes.ts"
import * as Users from "./Users.ts"

/**
 * Every route of the service.
 *
 * @since 0.1.0
 * @category layers
 */
export const routes = Layer.mergeAll(
  Layer.provide(
    Routes.layer,
    Layer.mergeAll(
      Health.layer,
      Metrics.layer,
      Providers.layer,
      Credentials.layer,
      Users.layer,
      Leases.layer,
      OAuthFlow.layer,
      Mcp.layer,
      Browser.layer,
      ApiKeys.layer
    )
  ),
  Docs.layer
).pipe(Layer.provide(Authentication.layer))

/** As long as a user id may become when each of its characters is written in percent signs. */
const maxParamLength = 255 * 12

const router = Layer.provide(
  HttpLayerRouter.layer,
  Layer.succeed(HttpLayerRouter.RouterConfig, {
    caseSensitive: true,
    ignoreDuplicateSlashes: false,
    ignoreTrailingSlash: false,
    maxParamLength
  })
)

const stopping = ErrorAnswer.make(new ServiceUnavailable({ phase: "stopping", retryAfterSeconds: 1 }))

const answerFailure = (cause: Cause.Cause<unknown>): Effect.Effect<HttpServerResponse.HttpServerResponse, unknown> => {
  if (Cause.isInterruptedOnly(cause)) {
    return HashSet.has(Cause.interruptors(cause), HttpServerError.clientAbortFiberId)
      ? Effect.failCause(cause)
      : Effect.succeed(stopping)
  }
  const error = Cause.squash(cause)
  if (HttpServerError.isServerError(error) && error._tag === "RouteNotFound") {
    return Effect.succeed(ErrorAnswer.make(new NotFound()))
  }
  if (ErrorAnswer.isPublic(error)) return Effect.succeed(ErrorAnswer.make(error))
  return Effect.as(
    Effect.logError("A request failed in a way that it should not", cause),
    ErrorAnswer.make(new InternalError())
  )
}

/** For all answers; a page that needs less strictness says so itself. */
const security = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff"
} as const

const secured = (response: HttpServerResponse.HttpServerResponse) => {
  const saysItself = Object.keys(security).some((name) => name in response.headers)
  return HttpServerResponse.setHeaders(response, saysItself ? { ...security, ...response.headers } : security)
}

/**
 * Serves on a listener until the scope closes: then no new connection is taken, open ones close once they are idle, and
 * requests in flight have `patience` to end before they are interrupted.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  listener: Listener,
  options: {
    readonly patience: Duration.DurationInput
    /** Whether all metrics are kept up to date, for an exporter; default: as they are asked for. */
    readonly exportsMetrics?: boolean
  }
) =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const inFlight = InFlight.make()
      const routed = (yield* HttpLayerRouter.HttpRouter).asHttpEffect()
      const app = inFlight.tracked(routed, stopping).pipe(
        Effect.catchAllCause(answerFailure),
        Effect.map((response) =>
          inFlight.isStopping()
            ? HttpServerResponse.setHeader(secured(response), "connection", "close")
            : secured(response)
        ),
        RequestLog.logged
      )
      // the platform's own span would record URLs with their queries
      const handler = yield* Effect.locally(
        NodeHttpServer.makeHandler(app),
        HttpMiddleware.currentTracerDisabledWhen,
        constTrue
      )
      yield* listener.attach(inFlight.listening(handler))
      yield* Effect.addFinalizer(() => Effect.zipRight(listener.stopAccepting, inFlight.drain(options.patience)))
    })
  ).pipe(
    Layer.provide(routes),
    Layer.provide(Gauges.layer({ always: options.exportsMetrics ?? false })),
    Layer.provide(router)
  )
