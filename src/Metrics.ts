/**
 * What is counted and timed: the names, units and labels of all metrics. Values are recorded where things happen, in
 * Effect's registry, which belongs to the process.
 *
 * Every label has few values that the code or the operator chose: never a user, a credential, a URL, or any text of a
 * caller or a provider.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"

/**
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  readonly name: string
  readonly type: "counter" | "gauge" | "histogram"
  readonly help: string
  readonly labels: ReadonlyArray<string>
}

/**
 * A value for each label.
 *
 * @since 0.1.0
 * @category models
 */
export type Labels<Names extends ReadonlyArray<string>> = { readonly [Index in keyof Names]: string }

/**
 * A metric, with a value for each of its labels in their order. All of it is synchronous, for code that runs below Effect
 * too: inside an effect it belongs into `Effect.sync` or a mapping.
 *
 * @since 0.1.0
 * @category models
 */
export interface Instrument<Names extends ReadonlyArray<string>> extends Definition {
  /** Counts so much more, observes this value, or sets the gauge to it. */
  readonly update: (value: number, ...labels: Labels<Names>) => void
  /** `update` for fixed values of the labels: less to look up, for what is called all the time. */
  readonly of: (...labels: Labels<Names>) => (value: number) => void
  /** Moves a gauge by so much. */
  readonly move: (by: number, ...labels: Labels<Names>) => void
}

const definitions: Array<Definition> = []

/**
 * Every metric, in the order of this file.
 *
 * @since 0.1.0
 */
export const all: ReadonlyArray<Definition> = definitions

const instrument = <const Names extends ReadonlyArray<string>>(
  definition: Definition & { readonly labels: Names },
  metric: { readonly unsafeUpdate: Updating; readonly unsafeModify: Updating }
): Instrument<Names> => {
  definitions.push(definition)
  // the registry knows a metric by its list of labels: the same list each time is found without looking at it
  const known = new Map<string, ReadonlyArray<MetricLabel.MetricLabel>>()
  const tags = (values: ReadonlyArray<string>) => {
    const key = values.join("\u0000")
    const made = known.get(key) ?? definition.labels.map((name, index) => MetricLabel.make(name, values[index] ?? ""))
    known.set(key, made)
    return made
  }
  return {
    ...definition,
    update: (value, ...labels) => metric.unsafeUpdate(value, tags(labels)),
    of: (...labels) => {
      const fixed = tags(labels)
      return (value) => metric.unsafeUpdate(value, fixed)
    },
    move: (by, ...labels) => metric.unsafeModify(by, tags(labels))
  }
}

type Updating = (value: number, tags: ReadonlyArray<MetricLabel.MetricLabel>) => void

const counter = <const Names extends ReadonlyArray<string>>(name: string, help: string, ...labels: Names) =>
  instrument({ name, type: "counter", help, labels }, Metric.counter(name, { description: help, incremental: true }))

const gauge = <const Names extends ReadonlyArray<string>>(name: string, help: string, ...labels: Names) =>
  instrument({ name, type: "gauge", help, labels }, Metric.gauge(name, { description: help }))

const bounds = MetricBoundaries.fromIterable([
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300
])

/** In seconds. */
const histogram = <const Names extends ReadonlyArray<string>>(name: string, help: string, ...labels: Names) =>
  instrument({ name, type: "histogram", help, labels }, Metric.histogram(name, bounds, help))

/**
 * @since 0.1.0
 * @category renewals
 */
export const refreshes = counter(
  "effect_credentials_refreshes_total",
  "Spendings of a refresh token that ended, by outcome",
  "provider",
  "outcome"
)

/**
 * @since 0.1.0
 * @category renewals
 */
export const refreshSeconds = histogram(
  "effect_credentials_refresh_duration_seconds",
  "From the note of an attempt to its end, the provider's answer and the save within",
  "provider"
)

/**
 * @since 0.1.0
 * @category renewals
 */
export const openAttempts = gauge(
  "effect_credentials_open_attempts",
  "Attempts to refresh whose outcome is not known, in the whole store"
)

/**
 * @since 0.1.0
 * @category renewals
 */
export const circuitState = gauge(
  "effect_credentials_provider_circuit_state",
  "Whether a provider is left alone: 0 no, 1 the next call is a try, 2 yes; the worst of its endpoints",
  "provider"
)

/**
 * @since 0.1.0
 * @category locks
 */
export const lockWaitSeconds = histogram(
  "effect_credentials_lock_wait_duration_seconds",
  "From asking for a lock to having it, of those that got it",
  "kind",
  "mode"
)

/**
 * @since 0.1.0
 * @category locks
 */
export const lockHoldSeconds = histogram(
  "effect_credentials_lock_hold_duration_seconds",
  "From a grant to its end, of grants by this process",
  "kind",
  "mode"
)

/**
 * @since 0.1.0
 * @category locks
 */
export const lockWaiters = gauge("effect_credentials_lock_waiters", "Who waits for a lock in this process", "kind")

/**
 * @since 0.1.0
 * @category locks
 */
export const locksLost = counter(
  "effect_credentials_locks_lost_total",
  "Holds that ended before their release: their time ran out, or they were taken away",
  "kind",
  "mode"
)

/**
 * @since 0.1.0
 * @category store
 */
export const storeSeconds = histogram(
  "effect_credentials_store_operation_duration_seconds",
  "Operations of the store's engine, sealing and opening not included",
  "operation"
)

/**
 * @since 0.1.0
 * @category store
 */
export const storeFailures = counter(
  "effect_credentials_store_failures_total",
  "Operations that found the store out of reach",
  "operation"
)

/**
 * @since 0.1.0
 * @category store
 */
export const sealedRows = gauge(
  "effect_credentials_sealed_rows",
  "Sealed rows in the whole store, by table and the id of the key that they are under",
  "table",
  "key"
)

/**
 * @since 0.1.0
 * @category events
 */
export const events = counter("effect_credentials_events_total", "Events of the audit log, by kind", "kind")

/**
 * @since 0.1.0
 * @category http
 */
export const requestSeconds = histogram(
  "effect_credentials_http_request_duration_seconds",
  "Requests by method, route pattern and status; 499: the caller went away",
  "method",
  "route",
  "status"
)

/**
 * @since 0.1.0
 * @category process
 */
export const cpuSeconds = counter("process_cpu_seconds_total", "User and system CPU time of this process")

/**
 * @since 0.1.0
 * @category process
 */
export const residentBytes = gauge("process_resident_memory_bytes", "Resident memory of this process")

/**
 * @since 0.1.0
 * @category process
 */
export const startTime = gauge("process_start_time_seconds", "When this process started, in seconds since 1970")

/**
 * @since 0.1.0
 * @category process
 */
export const uptime = gauge("process_uptime_seconds", "How long this process has been running")

/**
 * @since 0.1.0
 * @category process
 */
export const heapBytes = gauge("nodejs_heap_size_used_bytes", "Used heap of the JavaScript engine")

/**
 * @since 0.1.0
 * @category process
 */
export const eventLoopLag = {
  mean: gauge("nodejs_eventloop_lag_mean_seconds", "Mean delay of the event loop since the last reading"),
  p99: gauge("nodejs_eventloop_lag_p99_seconds", "99th percentile of the event loop's delay since the last reading"),
  max: gauge("nodejs_eventloop_lag_max_seconds", "Longest delay of the event loop since the last reading")
} as const
