/**
 * The bounds of waiting: what callers say, and what holds whatever they wait for.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { CurrentKey } from "../api/Authentication.ts"
import type { ProviderId } from "../Credential.ts"
import { type LeaseLost, LockTimeout, ProviderError, StoreUnavailable } from "../CredentialsError.ts"
import { CredentialsManager, type WaitOptions } from "../CredentialsManager.ts"

const defaultSeconds = 30

const graceSeconds = 1.5

/**
 * Ends a wait that its own bounds did not: a little after `waitSeconds`, with `LockTimeout`. What was begun goes on or is
 * undone behind the caller's back.
 *
 * @since 0.1.0
 */
export const bounded =
  (waitSeconds: number = defaultSeconds) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockTimeout, R> =>
    Effect.timeoutFail(Effect.disconnect(effect), {
      duration: Duration.seconds(waitSeconds + graceSeconds),
      onTimeout: () => new LockTimeout({ retryAfterSeconds: 1 })
    })

/**
 * The same for what waits for a provider alone, with `ProviderError`.
 *
 * @since 0.1.0
 */
export const boundedFor =
  (provider: ProviderId) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | ProviderError, R> =>
    Effect.timeoutFail(Effect.disconnect(effect), {
      duration: Duration.seconds(defaultSeconds + graceSeconds),
      onTimeout: () => new ProviderError({ provider, reason: "timeout" })
    })

/**
 * The same for looking up the caller's key, with `StoreUnavailable`: no longer than the query says that the request is to
 * wait at all.
 *
 * @since 0.1.0
 */
export const boundedBy =
  (url: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | StoreUnavailable, R> => {
    const waitSeconds = /[?&]waitSeconds=(\d{1,3})(?:&|$)/.exec(url)?.[1]
    return waitSeconds === undefined
      ? effect
      : Effect.timeoutFail(Effect.disconnect(effect), {
          duration: Duration.seconds(Number(waitSeconds) + graceSeconds),
          onTimeout: () => new StoreUnavailable({ retryAfterSeconds: 1 })
        })
  }

/**
 * @since 0.1.0
 */
export const wait = (waitSeconds: number = defaultSeconds): Duration.Duration => Duration.seconds(waitSeconds)

/**
 * A request's wait, and the lease that it names: `LeaseLost` unless the caller's key holds it.
 *
 * @since 0.1.0
 */
export const options = (given: {
  readonly waitSeconds?: number
  readonly leaseId?: Redacted.Redacted
}): Effect.Effect<WaitOptions, LeaseLost | StoreUnavailable, CredentialsManager | CurrentKey> =>
  Effect.gen(function* () {
    if (given.leaseId === undefined) return { wait: wait(given.waitSeconds) }
    const credentials = yield* CredentialsManager
    const { keyId } = yield* CurrentKey
    return {
      wait: wait(given.waitSeconds),
      leaseId: yield* credentials.heldLease(given.leaseId, { owner: keyId })
    }
  })
