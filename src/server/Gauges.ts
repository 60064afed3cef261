/**
 * The metrics that nobody records as things happen: what the process uses, and what the store holds. They are read when
 * somebody looks.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { AuthorizationStore } from "../AuthorizationStore.ts"
import { CircuitBreaker } from "../CircuitBreaker.ts"
import * as Metrics from "../Metrics.ts"
import { Store } from "../Store.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class Gauges extends Context.Tag("effect-credentials/server/Gauges")<
  Gauges,
  {
    /**
     * Reads them all. The store is asked every ten seconds at most, and waited for no longer than two; while it is out of
     * reach its gauges stay as they were.
     */
    readonly read: Effect.Effect<void>
  }
>() {}

const freshness = "10 seconds"
const patience = "2 seconds"

const circuitNumbers = { closed: 0, half_open: 1, open: 2 } as const

/** The loop is looked at so often; Node tells the time from one look to the next. */
const resolutionMillis = 20

const lagSeconds = (nanos: number) => (Number.isFinite(nanos) ? Math.max(0, nanos / 1e9 - resolutionMillis / 1e3) : 0)

const ofProcess = Effect.gen(function* () {
  const started = (yield* Clock.currentTimeMillis) / 1000 - process.uptime()
  const loop = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const monitor = monitorEventLoopDelay({ resolution: resolutionMillis })
      monitor.enable()
      return monitor
    }),
    (monitor) => Effect.sync(() => monitor.disable())
  )
  let counted = 0
  return Effect.sync(() => {
    const { system, user } = process.cpuUsage()
    const used = (system + user) / 1e6
    Metrics.cpuSeconds.update(used - counted)
    counted = used
    const { heapUsed, rss } = process.memoryUsage()
    Metrics.residentBytes.update(rss)
    Metrics.heapBytes.update(heapUsed)
    Metrics.startTime.update(started)
    Metrics.uptime.update(process.uptime())
    Metrics.eventLoopLag.mean.update(lagSeconds(loop.mean))
    Metrics.eventLoopLag.p99.update(lagSeconds(loop.percentile(99)))
    Metrics.eventLoopLag.max.update(lagSeconds(loop.max))
    loop.reset()
  })
})

/** Sets a gauge to these values, and to zero for labels that had one before. */
const replacing = <Names extends ReadonlyArray<string>>(gauge: Metrics.Instrument<Names>) => {
  const known = new Map<string, Metrics.Labels<Names>>()
  return (values: ReadonlyArray<readonly [value: number, ...labels: Metrics.Labels<Names>]>) => {
    for (const labels of known.values()) gauge.update(0, ...labels)
    for (const [value, ...labels] of values) {
      known.set(labels.join(" "), labels)
      gauge.update(value, ...labels)
    }
  }
}

const ofStore = Effect.gen(function* () {
  const store = yield* Store
  const authorizations = yield* AuthorizationStore
  const breaker = yield* CircuitBreaker
  const setRows = replacing(Metrics.sealedRows)
  const setCircuits = replacing(Metrics.circuitState)

  const rows = Effect.forEach([...store.rewrapping, authorizations.rewrapping], ({ counts, name }) =>
    Effect.map(counts, (found) => found.map(({ count, keyId }) => [count, name, keyId] as const))
  )
  const circuits = Effect.map(breaker.states, (endpoints) => {
    const worst = new Map<string, number>()
    for (const { provider, state } of endpoints) {
      worst.set(provider, Math.max(worst.get(provider) ?? 0, circuitNumbers[state]))
    }
    return [...worst].map(([provider, state]) => [state, provider] as const)
  })
  const asked = Effect.all([store.openAttempts, rows, circuits]).pipe(
    Effect.map(([attempts, tables, states]) => {
      Metrics.openAttempts.update(attempts.length)
      setRows(tables.flat())
      setCircuits(states)
    })
  )
  return yield* Effect.cachedWithTTL(Effect.ignore(Effect.timeout(Effect.disconnect(asked), patience)), freshness)
})

/**
 * With `always`, they are read every ten seconds, for an exporter that does not ask.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  readonly always: boolean
}): Layer.Layer<Gauges, never, Store | AuthorizationStore | CircuitBreaker> =>
  Layer.scoped(
    Gauges,
    Effect.gen(function* () {
      const read = Effect.zipRight(yield* ofProcess, yield* ofStore)
      if (options.always) yield* Effect.forkScoped(Effect.repeat(read, Schedule.spaced(freshness)))
      return Gauges.of({ read })
    })
  )
