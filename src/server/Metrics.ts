/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import { Api } from "../api/Api.ts"
import * as Metrics from "../Metrics.ts"
import * as Exposition from "../Metrics/Exposition.ts"
import { Gauges } from "./Gauges.ts"

/**
 * @since 0.1.0
 * @category handlers
 */
export const metrics = Effect.fnUntraced(function* () {
  const gauges = yield* Gauges
  yield* gauges.read
  return Exposition.text(Metrics.all)
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "metrics", (handlers) => handlers.handle("metrics", metrics))
