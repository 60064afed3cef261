/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Api } from "../api/Api.ts"
import { type ApiKey, ApiKeys, type Scope } from "../ApiKeys.ts"
import * as AuditLog from "../AuditLog.ts"
import type { UserId } from "../Credential.ts"
import { NotFound } from "../CredentialsError.ts"

const toView = ({ userId, ...key }: ApiKey) => ({ ...key, ...(Option.isSome(userId) && { userId: userId.value }) })

const ofUser = (userId: Option.Option<UserId>) => (Option.isSome(userId) ? { userId: userId.value } : {})

/**
 * @since 0.1.0
 * @category handlers
 */
export const create = Effect.fnUntraced(function* ({
  payload
}: {
  readonly payload: { readonly name: string; readonly scopes: ReadonlyArray<Scope>; readonly userId?: UserId }
}) {
  const keys = yield* ApiKeys
  const userId = Option.fromNullable(payload.userId)
  const { apiKey, key } = yield* keys.create({ name: payload.name, scopes: payload.scopes, userId })
  yield* AuditLog.record({ kind: "api_key_created", detail: apiKey.keyId, ...ofUser(userId) })
  return { ...toView(apiKey), key }
})

/**
 * @since 0.1.0
 * @category handlers
 */
export const list = Effect.fnUntraced(function* () {
  const keys = yield* ApiKeys
  return { items: (yield* keys.list).map(toView) }
})

/**
 * @since 0.1.0
 * @category handlers
 */
export const remove = Effect.fnUntraced(function* ({ path }: { readonly path: { readonly keyId: string } }) {
  const keys = yield* ApiKeys
  if (!(yield* keys.remove(path.keyId))) return yield* new NotFound()
  yield* AuditLog.record({ kind: "api_key_deleted", detail: path.keyId })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "apiKeys", (handlers) =>
  handlers.handle("create", create).handle("list", list).handle("remove", remove)
)
