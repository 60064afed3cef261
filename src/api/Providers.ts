/**
 * The providers that accounts can be connected at.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { ProviderId } from "../Credential.ts"
import { Authentication, needs } from "./Authentication.ts"
import * as Failure from "./Failure.ts"

/**
 * @since 0.1.0
 * @category answers
 */
export const ProviderView = Schema.Struct({
  id: ProviderId,
  name: Schema.String,
  /** Whether this service has a client there. */
  configured: Schema.Boolean,
  defaultScopes: Schema.Array(Schema.String)
}).annotations({ identifier: "Provider" })

const list = HttpApiEndpoint.get("list", "/v1/providers")
  .addSuccess(Schema.Struct({ items: Schema.Array(ProviderView) }))
  .addError(Failure.Any)
  .annotateContext(needs("read"))
  .annotate(OpenApi.Summary, "All known providers; those that are not configured answer MissingConfig")

/**
 * @since 0.1.0
 * @category groups
 */
export const Providers = HttpApiGroup.make("providers").add(list).middleware(Authentication)
