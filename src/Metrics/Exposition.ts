/**
 * Metrics as text, in Prometheus's format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import type * as MetricKey from "effect/MetricKey"
import * as MetricState from "effect/MetricState"
import type { Definition } from "../Metrics.ts"

/**
 * @since 0.1.0
 */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

const escaped = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const quoted = (text: string) => `"${escaped(text).replaceAll('"', '\\"')}"`

const numeral = (value: number | bigint) => {
  if (value === Number.POSITIVE_INFINITY) return "+Inf"
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value)
}

type Pairs = ReadonlyArray<readonly [name: string, value: string]>

const sample = (name: string, labels: Pairs, value: number | bigint) => {
  const set = labels.map(([label, text]) => `${label}=${quoted(text)}`).join(",")
  return `${name}${set === "" ? "" : `{${set}}`} ${numeral(value)}`
}

const samples = (name: string, labels: Pairs, state: MetricState.MetricState.Untyped): ReadonlyArray<string> => {
  if (MetricState.isCounterState(state)) return [sample(name, labels, state.count)]
  if (MetricState.isGaugeState(state)) return [sample(name, labels, state.value)]
  if (!MetricState.isHistogramState(state)) return []
  // the registry's buckets are cumulative, as the format's are, and so is its last one, of all values
  return [
    ...state.buckets.map(([bound, count]) => sample(`${name}_bucket`, [...labels, ["le", numeral(bound)]], count)),
    sample(`${name}_sum`, labels, state.sum),
    sample(`${name}_count`, labels, state.count)
  ]
}

const labelsOf = (key: MetricKey.MetricKey.Untyped): Pairs => key.tags.map(({ key: label, value }) => [label, value])

/**
 * The values of these metrics now. Those that the registry holds beside them are left out.
 *
 * @since 0.1.0
 */
export const text = (definitions: ReadonlyArray<Definition>): string => {
  const byName = new Map<string, Array<string>>(definitions.map(({ name }) => [name, []]))
  for (const { metricKey, metricState } of Metric.unsafeSnapshot()) {
    byName.get(metricKey.name)?.push(...samples(metricKey.name, labelsOf(metricKey), metricState))
  }
  return definitions
    .flatMap(({ help, name, type }) => {
      const lines = byName.get(name) ?? []
      return lines.length === 0 ? [] : [`# HELP ${name} ${escaped(help)}`, `# TYPE ${name} ${type}`, ...lines]
    })
    .map((line) => `${line}\n`)
    .join("")
}
