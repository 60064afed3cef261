/**
 * What dead processes left: answers that were kept and not stored, and attempts whose answer never came.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Attempts } from "./Attempts.ts"
import type { StoreUnavailable } from "./CredentialsError.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import { Processes } from "./Processes.ts"
import { type Receipt, Receipts, type SpoolUnavailable } from "./Receipts.ts"
import { Renewal } from "./Renewal.ts"
import { type Attempt, Change, Store } from "./Store.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class Recovery extends Context.Tag("effect-credentials/Recovery")<
  Recovery,
  {
    /** Stores the tokens of kept answers, where nothing newer took their place. */
    readonly promoteReceipts: Effect.Effect<void, StoreUnavailable | SpoolUnavailable>
    /**
     * Has attempts settled that have no answer and can get none any more, as far as their access token has expired: this
     * process's own, and those of dead ones. Of several processes that do so at once, one asks the provider.
     */
    readonly settleAttempts: Effect.Effect<void, StoreUnavailable>
  }
>() {}

/** An answer that nobody could use for so long is of no use. */
const keptFor = Duration.days(30)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Recovery, never, Store | Receipts | Attempts | HandlerRegistry | Renewal | Processes> =
  Layer.effect(
    Recovery,
    Effect.gen(function* () {
      const store = yield* Store
      const receipts = yield* Receipts
      const attempts = yield* Attempts
      const handlers = yield* HandlerRegistry
      const renewal = yield* Renewal
      const processes = yield* Processes

      const sharing = ({ grant, userId }: Attempt) => store.sharing(userId, grant)

      const promote = Effect.fnUntraced(function* (receipt: Receipt) {
        // a copy of what somebody stored
        if (Option.contains(yield* store.outcome(receipt.attempt.id), "saved")) {
          return yield* receipts.drop(receipt.attempt.id)
        }
        const [credential] = yield* sharing(receipt.attempt)
        const handler = credential === undefined ? Option.none() : yield* Effect.option(handlers.of(credential))
        const promoted = Option.isSome(handler) && (yield* attempts.promote(receipt, handler.value))
        const age = DateTime.distanceDuration(receipt.receivedAt, yield* DateTime.now)
        if (!promoted && Duration.greaterThan(age, keptFor)) yield* receipts.drop(receipt.attempt.id)
      })

      const settle = Effect.fnUntraced(function* (attempt: Attempt) {
        const [credential] = yield* sharing(attempt)
        if (credential === undefined) {
          const over = Change.CloseAttempt({ id: attempt.id, outcome: "superseded" })
          return yield* Effect.catchTag(store.commit([over]), "Conflict", () => Effect.void)
        }
        // the renewal knows what to do, and its outcome is noted where it matters
        yield* Effect.ignore(renewal.renew(credential, { force: false, minValidSeconds: 0, leaseId: Option.none() }))
      })

      return Recovery.of({
        promoteReceipts: Effect.flatMap(receipts.all, (all) => Effect.forEach(all, promote, { discard: true })).pipe(
          Effect.withSpan("Recovery.promoteReceipts")
        ),
        settleAttempts: Effect.gen(function* () {
          const now = yield* store.now
          const open = yield* store.openAttempts
          const over = open.filter(({ deadline }) => DateTime.lessThanOrEqualTo(deadline, now))
          const others = new Set(over.map(({ processId }) => processId).filter((id) => id !== processes.id))
          const alive = new Set(yield* Effect.filter(others, processes.isAlive))
          const left = over.filter(({ processId }) => !alive.has(processId))
          yield* Effect.forEach(left, settle, { concurrency: 4, discard: true })
        }).pipe(Effect.withSpan("Recovery.settleAttempts"))
      })
    })
  )
