/**
 * What a user's browser and an authorization server open by themselves, without a key.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"

const Page = HttpApiSchema.Text({ contentType: "text/html; charset=utf-8" })

/** A parameter given twice is as good as none (RFC 6749 3.1): that is for the page to say. */
const parameter = Schema.optionalWith(Schema.Union(Schema.String, Schema.Array(Schema.String)), { exact: true })

/** RFC 7591 2. */
const ClientMetadata = Schema.Struct({
  client_id: Schema.String,
  client_name: Schema.String,
  client_uri: Schema.String,
  redirect_uris: Schema.Array(Schema.String),
  grant_types: Schema.Array(Schema.String),
  response_types: Schema.Array(Schema.String),
  application_type: Schema.Literal("web", "native"),
  token_endpoint_auth_method: Schema.Literal("none")
})

const start = HttpApiEndpoint.get("start", "/oauth/start/:state")
  .setPath(Schema.Struct({ state: Schema.Redacted(Schema.String) }))
  .addSuccess(Page)
  .annotate(OpenApi.Summary, "Bind a login to this browser with a cookie, then go on to the provider (303)")

const callback = HttpApiEndpoint.get("callback", "/oauth/callback")
  .setUrlParams(Schema.Struct({ code: parameter, state: parameter, iss: parameter, error: parameter }))
  .addSuccess(Page)
  .annotate(OpenApi.Summary, "A browser's return from the provider: a page, or on to returnTo (303)")

const clientMetadata = HttpApiEndpoint.get("clientMetadata", "/oauth/client-metadata.json")
  .addSuccess(ClientMetadata)
  .annotate(OpenApi.Summary, "This service as an OAuth client, for authorization servers: the URL is its client id")

/**
 * @since 0.1.0
 * @category groups
 */
export const Browser = HttpApiGroup.make("browser").add(start).add(callback).add(clientMetadata)
