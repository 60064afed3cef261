/**
 * One renewal in progress: what was asked of it, and who waits for it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import type { CredentialId, OAuth2Credential, UserId } from "../Credential.ts"
import {
  type CredentialNotFound,
  type LeaseLost,
  LockTimeout,
  type LockUnavailable,
  type MissingConfig,
  type MissingTokenUrl,
  type NeedsReauth,
  type OutboundRefused,
  type ProviderError,
  type StoreUnavailable,
  type UnknownProvider
} from "../CredentialsError.ts"
import type { DeadlineWatch } from "../LockService/DeadlineWatch.ts"
import type { Grant } from "../Store.ts"

/**
 * @since 0.1.0
 * @category errors
 */
export type FlightError =
  | CredentialNotFound
  | NeedsReauth
  | UnknownProvider
  | MissingConfig
  | MissingTokenUrl
  | OutboundRefused
  | ProviderError
  | LockTimeout
  | LockUnavailable
  | LeaseLost
  | StoreUnavailable

/**
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly force: boolean
  /** By nobody who waits: also due when the time to renew ahead of the readers has come. */
  readonly ahead?: boolean | undefined
  readonly minValidSeconds: number
  /** A lease that the caller holds of the credential: the renewal does not wait for it. */
  readonly leaseId: Option.Option<string>
  /** How long the caller waits, before it is told `LockTimeout`; default for ever. The flight goes on. */
  readonly wait?: Duration.Duration | undefined
}

type Renewed = ReadonlyArray<OAuth2Credential>

interface Waiter {
  /** On the monotonic clock, in milliseconds. */
  readonly deadline: number
  /** Content with the stored access token as long as it serves. */
  readonly whileLiving: boolean
  readonly resume: (answer: Effect.Effect<Option.Option<Renewed>, FlightError>) => void
}

/**
 * Very many may wait for one flight: a waiter is an entry in a set, without a fiber or a timer of its own.
 *
 * @since 0.1.0
 * @category models
 */
export class Flight {
  readonly id = randomUUID()
  readonly userId: UserId
  readonly grant: Grant
  readonly seed: CredentialId
  /** Whose renewal was asked for by hand, at which generation: done once what is stored is above it. */
  readonly forced = new Map<CredentialId, number>()
  ahead = false
  minValidSeconds = 0
  fiber: Fiber.RuntimeFiber<void> | undefined
  readonly #bounds: DeadlineWatch
  readonly #waiting = new Set<Waiter>()
  #landed: Effect.Effect<Option.Option<Renewed>, FlightError> | undefined
  #serves = false

  constructor(grant: Grant, credential: OAuth2Credential, bounds: DeadlineWatch) {
    this.userId = credential.userId
    this.grant = grant
    this.seed = credential.id
    this.#bounds = bounds
  }

  /** Takes up what another caller asks for. */
  board({ generation, id }: OAuth2Credential, request: Request): void {
    if (request.force) this.forced.set(id, Math.max(generation, this.forced.get(id) ?? 0))
    this.ahead ||= request.ahead ?? false
    this.minValidSeconds = Math.max(this.minValidSeconds, request.minValidSeconds)
  }

  /**
   * What was renewed, once the flight has ended: `LockTimeout` when it has not by the deadline. With `whileLiving` none as
   * soon as the stored access token is known to serve meanwhile. Interruptible; the flight goes on.
   */
  landing(options: Pick<Waiter, "deadline" | "whileLiving">): Effect.Effect<Option.Option<Renewed>, FlightError> {
    return Effect.async((resume) => {
      if (this.#landed !== undefined) return resume(this.#landed)
      if (this.#serves && options.whileLiving) return resume(Effect.succeedNone)
      const waiter: Waiter = { ...options, resume }
      this.#waiting.add(waiter)
      this.#bounds.add(waiter, () => this.#answer(waiter, new LockTimeout({ retryAfterSeconds: 1 })))
      return Effect.sync(() => this.#forget(waiter))
    })
  }

  /** The stored access token serves: the flight waits for those who use it, or will not end it. */
  serve(): void {
    this.#serves = true
    for (const waiter of this.#waiting) if (waiter.whileLiving) this.#answer(waiter, Effect.succeedNone)
  }

  /** From now on nobody is told that it serves. */
  withhold(): void {
    this.#serves = false
  }

  land(exit: Exit.Exit<Renewed, FlightError>): void {
    const landed = Exit.map(exit, Option.some)
    this.#landed = landed
    for (const waiter of this.#waiting) this.#answer(waiter, landed)
  }

  #answer(waiter: Waiter, answer: Effect.Effect<Option.Option<Renewed>, FlightError>): void {
    this.#forget(waiter)
    waiter.resume(answer)
  }

  #forget(waiter: Waiter): void {
    this.#waiting.delete(waiter)
    this.#bounds.remove(waiter)
  }
}
