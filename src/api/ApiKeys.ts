/**
 * The keys of callers.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { Scope } from "../ApiKeys.ts"
import { UserId } from "../Credential.ts"
import { NotFound, StoreUnavailable } from "../CredentialsError.ts"
import { Authentication, needs } from "./Authentication.ts"
import * as Failure from "./Failure.ts"
import { exact, Label, oneOf, optional, text, Timestamp } from "./Parameter.ts"
import { wire } from "./PublicError.ts"

const KeyId = text("a UUID", /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)

const Scopes = Schema.Array(oneOf(...Scope.literals))
  .annotations({ message: () => "a list of scopes" })
  .pipe(
    Schema.filter((scopes) => scopes.length > 0 && new Set(scopes).size === scopes.length, {
      message: () => "a list of one or more different scopes",
      jsonSchema: { minItems: 1, uniqueItems: true }
    })
  )

/**
 * @since 0.1.0
 * @category answers
 */
export const KeyView = Schema.Struct({
  keyId: Schema.String,
  name: Schema.String,
  scopes: Schema.Array(Scope),
  userId: optional(UserId),
  createdAt: Timestamp
}).annotations({ identifier: "ApiKey" })

const create = HttpApiEndpoint.post("create", "/v1/api-keys")
  .setPayload(Schema.Struct({ name: Label, scopes: Scopes, userId: optional(UserId) }).annotations(exact))
  .addSuccess(Schema.Struct({ ...KeyView.fields, key: Schema.Redacted(Schema.String) }), { status: 201 })
  .addError(Schema.Union(Failure.WithBody, wire(StoreUnavailable)))
  .annotateContext(needs("admin"))
  .annotate(OpenApi.Summary, "Make a key; it is shown once, here")

const list = HttpApiEndpoint.get("list", "/v1/api-keys")
  .addSuccess(Schema.Struct({ items: Schema.Array(KeyView) }))
  .addError(Schema.Union(Failure.Any, wire(StoreUnavailable)))
  .annotateContext(needs("admin"))
  .annotate(OpenApi.Summary, "All keys but the bootstrap key")

const remove = HttpApiEndpoint.del("remove", "/v1/api-keys/:keyId")
  .setPath(Schema.Struct({ keyId: KeyId }))
  .addSuccess(HttpApiSchema.NoContent)
  .addError(Schema.Union(Failure.Any, wire(NotFound), wire(StoreUnavailable)))
  .annotateContext(needs("admin"))
  .annotate(OpenApi.Summary, "End a key")

/**
 * @since 0.1.0
 * @category groups
 */
export const ApiKeys = HttpApiGroup.make("apiKeys").add(create).add(list).add(remove).middleware(Authentication)
