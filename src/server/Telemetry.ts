/**
 * Traces and metrics to a collector of the operator's, by OTLP over HTTP in its JSON form. Loaded only where a collector is
 * named.
 *
 * Spans are looked through as they leave: of their attributes only those that `Span` names go, of an error only its kind,
 * and no events, which the log's lines would be.
 *
 * @since 0.1.0
 */
import * as OtlpMetrics from "@effect/opentelemetry/OtlpMetrics"
import * as OtlpSerialization from "@effect/opentelemetry/OtlpSerialization"
import * as OtlpTracer from "@effect/opentelemetry/OtlpTracer"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Span from "../Span.ts"

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string | null }
}

/** What is read of a span as the exporter makes it. */
interface OutgoingSpan {
  readonly attributes: ReadonlyArray<Attribute>
  readonly events: ReadonlyArray<{ readonly name: string; readonly attributes: ReadonlyArray<Attribute> }>
  readonly status: { readonly code: number }
}

interface OutgoingTraces {
  readonly resourceSpans: ReadonlyArray<{
    readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<OutgoingSpan> }>
  }>
}

const told: ReadonlySet<string> = new Set(Span.attributes)

/** OTLP's code for a span that ended in an error. */
const failed = 2

/** A tag or the name of a class; whatever else an error is called stays here. */
const kindOf = ({ events }: OutgoingSpan): string => {
  const exception = events.find(({ name }) => name === "exception")
  const kind = exception?.attributes.find(({ key }) => key === "exception.type")?.value.stringValue ?? ""
  return /^[A-Za-z][A-Za-z0-9]{0,59}$/.test(kind) ? kind : "Error"
}

/**
 * A span as it may leave.
 *
 * @since 0.1.0
 */
export const harmless = (span: OutgoingSpan): OutgoingSpan => {
  const attributes = span.attributes.filter(({ key }) => told.has(key))
  const { code } = span.status
  return {
    ...span,
    attributes:
      code === failed ? [...attributes, { key: "error.type", value: { stringValue: kindOf(span) } }] : attributes,
    events: [],
    status: { code }
  }
}

const harmlessTraces = (data: OutgoingTraces): OutgoingTraces => ({
  ...data,
  resourceSpans: data.resourceSpans.map((ofResource) => ({
    ...ofResource,
    scopeSpans: ofResource.scopeSpans.map((ofScope) => ({ ...ofScope, spans: ofScope.spans.map(harmless) }))
  }))
})

const serialization = Layer.effect(
  OtlpSerialization.OtlpSerialization,
  Effect.map(OtlpSerialization.OtlpSerialization, (plain) => ({
    ...plain,
    // the exporter types what it hands over as unknown
    traces: (data: unknown) => plain.traces(harmlessTraces(data as OutgoingTraces))
  }))
).pipe(Layer.provide(OtlpSerialization.layerJson))

/** A collector that takes a call and never answers is given up like one that is not there. */
const patience = "5 seconds"

const client = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(HttpClient.HttpClient, (plain) =>
    HttpClient.transform(plain, (answer, request) =>
      Effect.timeoutFail(answer, {
        duration: patience,
        onTimeout: () =>
          new HttpClientError.RequestError({ request, reason: "Transport", description: "no answer in time" })
      })
    )
  )
).pipe(Layer.provide(FetchHttpClient.layer))

const serviceName = "effect-credentials"

/** How long a stop waits for what is still to be sent. */
const shutdownTimeout = "2 seconds"

/**
 * Sends spans every five seconds and metrics every ten, and what is left when the scope closes, which takes two seconds at
 * most. A collector that does not answer is left alone for a minute; until then spans are dropped, and nobody waits.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  /** Without `/v1/traces` and `/v1/metrics`, which are put behind it. */
  readonly endpoint: string
}): Layer.Layer<never> => {
  const base = options.endpoint.replace(/\/+$/, "")
  const resource = { serviceName }
  return Layer.mergeAll(
    OtlpTracer.layer({ url: `${base}/v1/traces`, resource, shutdownTimeout }),
    OtlpMetrics.layer({ url: `${base}/v1/metrics`, resource, shutdownTimeout })
  ).pipe(Layer.provide(serialization), Layer.provide(client))
}
