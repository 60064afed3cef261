/**
 * The requests that are being answered: known, so that a stop can wait for them, and end those that take too long.
 *
 * @since 0.1.0
 */
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import type { HttpServerResponse } from "@effect/platform/HttpServerResponse"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type { RequestListener } from "node:http"

/**
 * @since 0.1.0
 * @category models
 */
export interface InFlight {
  /** Remembers the fiber that answers a request. Once `drain` was called, `refused` answers instead. */
  readonly tracked: <E, R>(
    app: Effect.Effect<HttpServerResponse, E, R>,
    refused: HttpServerResponse
  ) => Effect.Effect<HttpServerResponse, E, R | HttpServerRequest>
  /** Forgets a request when its answer has left, or has nowhere to go any more. */
  readonly listening: (listener: RequestListener) => RequestListener
  readonly isStopping: () => boolean
  /** Waits until all are answered; those that are not after `patience` are interrupted. */
  readonly drain: (patience: Duration.DurationInput) => Effect.Effect<void>
}

const step = Duration.millis(20)

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (): InFlight => {
  const fibers = new Map<object, Fiber.RuntimeFiber<unknown, unknown>>()
  let stopping = false

  const untilIdle: Effect.Effect<void> = Effect.suspend(() =>
    fibers.size === 0 ? Effect.void : Effect.zipRight(Effect.sleep(step), untilIdle)
  )
  // a stop is not interruptible; its waiting must be, to end in time
  const idleWithin = (patience: Duration.DurationInput) =>
    Effect.timeoutOption(Effect.interruptible(untilIdle), patience)

  return {
    tracked: <E, R>(app: Effect.Effect<HttpServerResponse, E, R>, refused: HttpServerResponse) =>
      Effect.flatMap(HttpServerRequest, (request) =>
        stopping
          ? Effect.succeed(refused)
          : Effect.withFiberRuntime<HttpServerResponse, E, R>((fiber) => {
              fibers.set(request.source as object, fiber)
              return app
            })
      ),
    listening: (listener) => (request, response) => {
      response.once("close", () => fibers.delete(request))
      listener(request, response)
    },
    isStopping: () => stopping,
    drain: (patience) =>
      Effect.gen(function* () {
        stopping = true
        yield* idleWithin(patience)
        for (const fiber of fibers.values()) fiber.unsafeInterruptAsFork(FiberId.none)
        yield* idleWithin("1 second")
      })
  }
}
