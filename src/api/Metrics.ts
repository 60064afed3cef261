/**
 * What operators' monitoring reads.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import { contentType } from "../Metrics/Exposition.ts"
import { Authentication, needs } from "./Authentication.ts"
import * as Failure from "./Failure.ts"

const metrics = HttpApiEndpoint.get("metrics", "/metrics")
  .addSuccess(HttpApiSchema.Text({ contentType }))
  .addError(Failure.Any)
  .annotateContext(needs("admin"))
  .annotate(OpenApi.Summary, "Metrics as Prometheus reads them")

/**
 * @since 0.1.0
 * @category groups
 */
export const Metrics = HttpApiGroup.make("metrics").add(metrics).middleware(Authentication)
