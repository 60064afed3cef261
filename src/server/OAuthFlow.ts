/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { Api } from "../api/Api.ts"
import type { ProviderId, UserId } from "../Credential.ts"
import { type AuthorizeOptions, OAuthFlow } from "../OAuthFlow.ts"
import * as Generation from "./Generation.ts"

interface OfLogin {
  readonly path: { readonly userId: UserId; readonly provider: ProviderId }
}

/**
 * @since 0.1.0
 * @category handlers
 */
export const authorize = ({ path, payload }: OfLogin & { readonly payload: AuthorizeOptions }) =>
  Effect.flatMap(OAuthFlow, (flow) => flow.authorize(path.userId, path.provider, payload))

/**
 * @since 0.1.0
 * @category handlers
 */
export const callback = ({
  path,
  payload
}: OfLogin & {
  readonly payload: { readonly code: Redacted.Redacted; readonly state: Redacted.Redacted; readonly iss?: string }
}) => Effect.flatMap(OAuthFlow, (flow) => Generation.tagged(flow.callback(payload, path)))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "oauth", (handlers) =>
  handlers.handle("authorize", authorize).handle("callback", callback)
)
