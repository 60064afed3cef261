/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Api } from "../api/Api.ts"
import type { UserId } from "../Credential.ts"
import { type AuthorizeOptions, McpLogin } from "../McpLogin.ts"
import { McpTools, type Target } from "../McpTools.ts"

interface OfUser {
  readonly path: { readonly userId: UserId }
}

/**
 * @since 0.1.0
 * @category handlers
 */
export const authorize = ({ path, payload }: OfUser & { readonly payload: AuthorizeOptions }) =>
  Effect.map(
    Effect.flatMap(McpLogin, (login) => login.authorize(path.userId, payload)),
    Option.match({
      onNone: () => ({ authorizationRequired: false }),
      onSome: (begun) => ({ authorizationRequired: true, ...begun })
    })
  )

/**
 * @since 0.1.0
 * @category handlers
 */
export const tools = ({ path, payload }: OfUser & { readonly payload: Target }) =>
  Effect.flatMap(McpTools, (mcp) => mcp.list(path.userId, payload))

/**
 * @since 0.1.0
 * @category handlers
 */
export const call = ({
  path,
  payload
}: {
  readonly path: { readonly userId: UserId; readonly toolName: string }
  readonly payload: Target & { readonly arguments?: Readonly<Record<string, unknown>> }
}) => Effect.flatMap(McpTools, (mcp) => mcp.call(path.userId, payload, path.toolName, payload.arguments ?? {}))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "mcp", (handlers) =>
  handlers.handle("authorize", authorize).handle("tools", tools).handle("call", call)
)
