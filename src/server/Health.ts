/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import { Api } from "../api/Api.ts"
import { LockUnavailable, StoreUnavailable } from "../CredentialsError.ts"
import { LockService } from "../LockService.ts"
import { Store } from "../Store.ts"

/**
 * @since 0.1.0
 * @category handlers
 */
export const alive = () => Effect.succeed({ status: "alive" } as const)

const patience = "2 seconds"

/**
 * @since 0.1.0
 * @category handlers
 */
export const ready = Effect.fnUntraced(function* () {
  const store = yield* Store
  const locks = yield* LockService
  yield* Effect.all(
    [
      Effect.timeoutFail(Effect.disconnect(store.ping), {
        duration: patience,
        onTimeout: () => new StoreUnavailable({ retryAfterSeconds: 1 })
      }),
      Effect.timeoutFail(Effect.disconnect(locks.ping), {
        duration: patience,
        onTimeout: () => new LockUnavailable({ retryAfterSeconds: 1 })
      })
    ],
    { concurrency: "unbounded", discard: true }
  )
  return { status: "ready" } as const
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "health", (handlers) =>
  handlers.handle("alive", alive).handle("ready", ready)
)
