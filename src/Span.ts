/**
 * Spans beside those of `Effect.fn`: around what is called so often that a span may cost nothing while nobody traces, and
 * with attributes, of which only those named here ever leave the process.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Tracer from "effect/Tracer"

/**
 * All that a span may say beside its name: words that the code, the operator or the provider's data chose, and numbers.
 * Never a user, a credential, a URL, or text of a caller or a provider.
 *
 * @since 0.1.0
 * @category models
 */
export const attributes = [
  "http.request.method",
  "http.route",
  "http.response.status_code",
  "server.address",
  "provider",
  "lock.kind",
  "lock.mode"
] as const

/**
 * @since 0.1.0
 * @category models
 */
export type Attributes = { readonly [Name in (typeof attributes)[number]]?: string | number }

/** Makes spans that go nowhere. */
const nobody = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/**
 * Whether a fiber's spans go anywhere: the tracer is on, and is not the one that there is without any.
 *
 * @since 0.1.0
 */
export const isTraced = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  fiber.getFiberRef(FiberRef.currentTracerEnabled) && fiber.currentTracer !== nobody

/**
 * Runs an effect within a span; while nobody traces it costs one look at the fiber. `parent` may be a span of
 * another process.
 *
 * @since 0.1.0
 * @category combinators
 */
export const within =
  (
    name: string,
    options: {
      readonly attributes?: Attributes
      readonly kind?: Tracer.SpanKind
      readonly parent?: Tracer.AnySpan
    } = {}
  ) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiberRuntime<A, E, R>((fiber) =>
      isTraced(fiber)
        ? (Effect.withSpan(self, name, { ...options, captureStackTrace: false }) as Effect.Effect<A, E, R>)
        : self
    )

/**
 * Says more of the span that this effect runs within, if there is one.
 *
 * @since 0.1.0
 */
export const annotate = (given: Attributes): Effect.Effect<void> => Effect.annotateCurrentSpan(given)
