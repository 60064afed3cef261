/**
 * MCP servers by their URLs: a login, and the tools.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { CredentialId, UserId } from "../Credential.ts"
import { MissingConfig, OutboundRefused, ProviderError, ScopeMismatch, UnknownProvider } from "../CredentialsError.ts"
import { expected } from "../McpServer.ts"
import { Authentication, needs } from "./Authentication.ts"
import * as Failure from "./Failure.ts"
import { exact, Label, optional, ReturnUrl, text, Timestamp, UserPath } from "./Parameter.ts"
import { wire } from "./PublicError.ts"

const ServerUrl = text(expected, /^https?:\/\/[^\s]{1,2000}$/i)

const Target = { serverUrl: ServerUrl, credentialId: optional(CredentialId) }

const JsonObject = Schema.Record({ key: Schema.String, value: Schema.Unknown }).annotations({
  message: () => "a JSON object"
})

const authorize = HttpApiEndpoint.post("authorize", "/v1/users/:userId/mcp/authorize")
  .setPath(UserPath)
  .setPayload(
    Schema.Struct({
      serverUrl: ServerUrl,
      scopes: optional(Schema.Array(Label).annotations({ message: () => "a list of names of scopes" })),
      returnTo: optional(ReturnUrl),
      bindBrowser: optional(Schema.Boolean.annotations({ message: () => "true or false" }))
    }).annotations(exact)
  )
  .addSuccess(
    Schema.Struct({
      authorizationRequired: Schema.Boolean,
      authorizationUrl: optional(Schema.Redacted(Schema.String)),
      state: optional(Schema.Redacted(Schema.String)),
      expiresAt: optional(Timestamp)
    })
  )
  .addError(
    Schema.Union(
      Failure.WithBody,
      Failure.Reading,
      wire(UnknownProvider),
      wire(MissingConfig),
      wire(OutboundRefused),
      wire(ProviderError)
    )
  )
  .annotateContext(needs("connect"))
  .annotate(OpenApi.Summary, "Begin a login at an MCP server, found by its URL alone; or learn that it needs none")

const tools = HttpApiEndpoint.post("tools", "/v1/users/:userId/mcp/tools")
  .setPath(UserPath)
  .setPayload(Schema.Struct(Target).annotations(exact))
  .addSuccess(
    Schema.Struct({
      serverName: Schema.String,
      protocolVersion: Schema.String,
      tools: Schema.Array(
        Schema.Struct({ name: Schema.String, description: optional(Schema.String), inputSchema: JsonObject })
      )
    })
  )
  .addError(Schema.Union(Failure.WithBody, Failure.Renewing, wire(ScopeMismatch)))
  .annotateContext(needs("secret"))
  .annotate(OpenApi.Summary, "The tools of an MCP server")

const call = HttpApiEndpoint.post("call", "/v1/users/:userId/mcp/tools/:toolName/call")
  .setPath(
    Schema.Struct({
      userId: UserId,
      toolName: text("the name of a tool", /^[^\p{Cc}\p{Cs}]{1,255}$/u)
    })
  )
  .setPayload(Schema.Struct({ ...Target, arguments: optional(JsonObject) }).annotations(exact))
  .addSuccess(
    Schema.Struct({
      content: Schema.Array(Schema.Unknown),
      structuredContent: optional(JsonObject),
      isError: Schema.Boolean
    })
  )
  .addError(Schema.Union(Failure.WithBody, Failure.Renewing, wire(ScopeMismatch)))
  .annotateContext(needs("secret"))
  .annotate(OpenApi.Summary, "Call a tool of an MCP server")

/**
 * @since 0.1.0
 * @category groups
 */
export const Mcp = HttpApiGroup.make("mcp").add(authorize).add(tools).add(call).middleware(Authentication)
