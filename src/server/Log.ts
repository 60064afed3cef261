/**
 * The service's log: lines of JSON, or lines to read. Of a cause only what `Crash` allows is written.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as HashMap from "effect/HashMap"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as List from "effect/List"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as LogSpan from "effect/LogSpan"
import * as Crash from "./Crash.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly level: LogLevel.LogLevel
  readonly format: "pretty" | "json"
  readonly write: (line: string) => void
}

interface Entry {
  readonly time: string
  readonly level: string
  readonly message: string
  readonly facts: Record<string, unknown>
  readonly crash: ReadonlyArray<Crash.Crash>
}

/** A part of a message: an error is told as a crash, and what is redacted stays so. */
const told = (part: unknown): string => {
  if (typeof part === "string") return part
  if (part instanceof Error)
    return Crash.fromError(part)
      .map((crash) => crash.error)
      .join(" < ")
  return Inspectable.toStringUnknown(part, 0)
}

const factsOf = (entries: Iterable<readonly [string, unknown]>): Record<string, unknown> => {
  const facts: Record<string, unknown> = {}
  for (const [name, value] of entries) {
    facts[name] = typeof value === "number" || typeof value === "boolean" ? value : told(value)
  }
  return facts
}

/** A part of a message that is a plain object says facts, as annotations do: at a fraction of their cost. */
const isRecord = (part: unknown): part is Record<string, unknown> =>
  typeof part === "object" && part !== null && Object.getPrototypeOf(part) === Object.prototype

const toEntry = ({ annotations, cause, date, logLevel, message, spans }: Logger.Logger.Options<unknown>): Entry => {
  const facts = factsOf(HashMap.entries(annotations))
  const parts: Array<unknown> = []
  for (const part of Array.isArray(message) ? message : [message]) {
    if (isRecord(part)) Object.assign(facts, factsOf(Object.entries(part)))
    else parts.push(part)
  }
  for (const span of List.toArray(spans)) facts[span.label] = LogSpan.render(date.getTime())(span).split("=").at(-1)
  return {
    time: date.toISOString(),
    level: logLevel.label.toLowerCase(),
    message: parts.map(told).join(" "),
    facts,
    crash: Cause.isEmpty(cause) ? [] : Crash.fromCause(cause)
  }
}

/** Every line begins alike, and a fact cannot take the place of what a line is known by. */
const toJson = ({ crash, facts, level, message, time }: Entry): string => {
  const head = { time, level, message }
  return JSON.stringify({ ...head, ...facts, ...head, ...(crash.length > 0 && { crash }) })
}

/** One line for one entry: a value cannot begin another. */
const printable = (value: unknown): string => String(value).replaceAll(/\p{Cc}+/gu, " ")

const toPretty = (entry: Entry): string => {
  const facts = Object.entries(entry.facts).map(([name, value]) => ` ${name}=${printable(value)}`)
  const head = `${entry.time.slice(11, 23)} ${entry.level.toUpperCase().padEnd(5)} ${printable(entry.message)}${facts.join("")}`
  return [
    head,
    ...entry.crash.flatMap(({ at, error }) => [`  ${error}`, ...at.map((place) => `    at ${place}`)])
  ].join("\n")
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<never> =>
  Layer.mergeAll(
    Logger.replace(
      Logger.defaultLogger,
      Logger.make((entry) => options.write((options.format === "json" ? toJson : toPretty)(toEntry(entry))))
    ),
    Logger.minimumLogLevel(options.level)
  )
