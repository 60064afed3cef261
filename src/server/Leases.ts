/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { Api } from "../api/Api.ts"
import { CurrentKey } from "../api/Authentication.ts"
import type { CredentialId, UserId } from "../Credential.ts"
import { CredentialsManager } from "../CredentialsManager.ts"
import * as Waiting from "./Waiting.ts"

const ttl = (seconds: number = 60) => Duration.seconds(seconds)

/**
 * The lease is the key's: another key cannot renew, release or name it.
 *
 * @since 0.1.0
 * @category handlers
 */
export const acquire = Effect.fnUntraced(
  function* ({
    path,
    payload
  }: {
    readonly path: { readonly userId: UserId; readonly credentialId: CredentialId }
    readonly payload: {
      readonly mode?: "exclusive" | "shared"
      readonly ttlSeconds?: number
      readonly waitSeconds?: number
      readonly minValidSeconds?: number
    }
  }) {
    const credentials = yield* CredentialsManager
    const { keyId } = yield* CurrentKey
    const { lease, secret } = yield* credentials.lend(path.userId, path.credentialId, {
      owner: keyId,
      mode: payload.mode,
      ttl: ttl(payload.ttlSeconds),
      wait: Waiting.wait(payload.waitSeconds),
      minValid: payload.minValidSeconds === undefined ? undefined : Duration.seconds(payload.minValidSeconds)
    })
    return { ...lease, secret }
  },
  (effect, { payload }) => Waiting.bounded(payload.waitSeconds)(effect)
)

interface OfLease {
  readonly path: { readonly leaseId: Redacted.Redacted }
}

/**
 * @since 0.1.0
 * @category handlers
 */
export const renew = Effect.fnUntraced(function* ({
  path,
  payload
}: OfLease & { readonly payload: { readonly ttlSeconds?: number } }) {
  const credentials = yield* CredentialsManager
  const { keyId } = yield* CurrentKey
  return yield* credentials.renewLease(path.leaseId, { owner: keyId, ttl: ttl(payload.ttlSeconds) })
})

/**
 * @since 0.1.0
 * @category handlers
 */
export const release = Effect.fnUntraced(function* ({ path }: OfLease) {
  const credentials = yield* CredentialsManager
  const { keyId } = yield* CurrentKey
  yield* credentials.releaseLease(path.leaseId, { owner: keyId })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "leases", (handlers) =>
  handlers.handle("acquire", acquire).handle("renew", renew).handle("release", release)
)
