/**
 * Users, who are known by their credentials alone.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { Authentication, needs } from "./Authentication.ts"
import * as Failure from "./Failure.ts"
import { exact, optional, Query, UserPath } from "./Parameter.ts"

const remove = HttpApiEndpoint.del("remove", "/v1/users/:userId")
  .setPath(UserPath)
  .setUrlParams(Schema.Struct({ waitSeconds: optional(Query.waitSeconds) }).annotations(exact))
  .addSuccess(Schema.Struct({ deleted: Schema.Number }))
  .addError(Schema.Union(Failure.Any, Failure.Changing))
  .annotateContext(needs("write"))
  .annotate(OpenApi.Summary, "The user is gone: logins, leases and each credential as by its own DELETE")

/**
 * @since 0.1.0
 * @category groups
 */
export const Users = HttpApiGroup.make("users").add(remove).middleware(Authentication)
