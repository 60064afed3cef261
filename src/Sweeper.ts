/**
 * The work that nobody waits for: recovery, the outbox of revocations, and dropping what has expired.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { AuthorizationStore } from "./AuthorizationStore.ts"
import { Leases } from "./Leases.ts"
import { Recovery } from "./Recovery.ts"
import { Revocations } from "./Revocations.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How often there is a round; default 10 seconds. */
  readonly interval?: Duration.DurationInput | undefined
  /** More to drop in each round: what an engine knows to be over. */
  readonly prune?: Effect.Effect<void, unknown> | undefined
}

/**
 * Promotes receipts before it is built, so that nothing is served that a kept answer has already replaced; then sweeps in
 * the background until its scope closes. A round that fails is logged, and the next one comes all the same.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<never, never, Recovery | Revocations | AuthorizationStore | Leases> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const recovery = yield* Recovery
      const revocations = yield* Revocations
      const authorizations = yield* AuthorizationStore
      const leases = yield* Leases

      const step = (name: string, run: Effect.Effect<void, unknown>) =>
        Effect.catchAllCause(run, () =>
          Effect.logWarning("A round of sweeping failed").pipe(Effect.annotateLogs({ name }))
        )

      yield* step("receipts", recovery.promoteReceipts)
      yield* step("receipts", recovery.promoteReceipts).pipe(
        Effect.zipRight(step("attempts", recovery.settleAttempts)),
        Effect.zipRight(step("revocations", revocations.drain)),
        Effect.zipRight(step("authorizations", authorizations.prune)),
        Effect.zipRight(step("leases", leases.prune)),
        Effect.zipRight(step("engine", options.prune ?? Effect.void)),
        Effect.schedule(Schedule.spaced(Duration.decode(options.interval ?? "10 seconds"))),
        Effect.forkScoped
      )
    })
  )
