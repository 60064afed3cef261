/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import { Api } from "../api/Api.ts"
import type { UserId } from "../Credential.ts"
import { CredentialsManager } from "../CredentialsManager.ts"
import * as Waiting from "./Waiting.ts"

/**
 * @since 0.1.0
 * @category handlers
 */
export const remove = ({
  path,
  urlParams
}: {
  readonly path: { readonly userId: UserId }
  readonly urlParams: { readonly waitSeconds?: number }
}) =>
  Effect.flatMap(CredentialsManager, (credentials) =>
    credentials.deleteUser(path.userId, { wait: Waiting.wait(urlParams.waitSeconds) })
  ).pipe(Waiting.bounded(urlParams.waitSeconds))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "users", (handlers) => handlers.handle("remove", remove))
