/**
 * Whether the service is there, and whether it can work.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { LockUnavailable, StoreUnavailable } from "../CredentialsError.ts"
import { InternalError, ServiceUnavailable, wire } from "./PublicError.ts"

const alive = HttpApiEndpoint.get("alive", "/healthz")
  .addSuccess(Schema.Struct({ status: Schema.Literal("alive") }))
  .annotate(OpenApi.Summary, "The process answers")

const ready = HttpApiEndpoint.get("ready", "/readyz")
  .addSuccess(Schema.Struct({ status: Schema.Literal("ready") }))
  .addError(Schema.Union(wire(StoreUnavailable), wire(LockUnavailable), wire(InternalError), wire(ServiceUnavailable)))
  .annotate(OpenApi.Summary, "The store and the lock service answer, within 2 seconds")

/**
 * @since 0.1.0
 * @category groups
 */
export const Health = HttpApiGroup.make("health").add(alive).add(ready)
