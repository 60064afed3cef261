/**
 * The rotation of the keys of the ring: everything that is stored is brought under the first of them, so that the others
 * can be dropped. Only the data keys are wrapped anew; what they seal is not touched, and nobody waits.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { AuthorizationStore } from "./AuthorizationStore.ts"
import type { StoreUnavailable } from "./CredentialsError.ts"
import { Receipts, type SpoolUnavailable } from "./Receipts.ts"
import type { Count, Id, Rewrapping } from "./Rewrapping.ts"
import { Store } from "./Store.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many rows a transaction changes at most; default 500. */
  readonly batchSize?: number | undefined
  /** The pause after each batch; default none. */
  readonly pause?: Duration.DurationInput | undefined
  /** The kinds of rows to go through, by name; default all. */
  readonly only?: ReadonlyArray<string> | undefined
  /** Called when the number of rows is known, and after each batch. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** What is gone through. */
  readonly name: string
  /** Rows that were brought under the first key. */
  readonly rewrapped: number
  /** Rows that there were to bring there, and those that came since. */
  readonly total: number
}

/**
 * What became of the rows of one kind.
 *
 * @since 0.1.0
 * @category models
 */
export interface Result {
  readonly name: string
  readonly rewrapped: number
  /** How many do not open: they are as they were, under the key that they name. */
  readonly closed: number
  /** The ids of the first thousand of these. */
  readonly closedIds: ReadonlyArray<Id>
  /** How many rows are still under each key but the first, those that do not open included. */
  readonly left: ReadonlyArray<Count>
}

/**
 * @since 0.1.0
 * @category services
 */
export class KeyRotation extends Context.Tag("effect-credentials/KeyRotation")<
  KeyRotation,
  {
    /** How many rows of each kind there are under each key but the first. Those without any are left out. */
    readonly left: Effect.Effect<ReadonlyArray<Pick<Result, "name" | "left">>, StoreUnavailable | SpoolUnavailable>
    /**
     * Brings all rows under the first key, and answers what became of those of each kind. What is sealed with another key
     * meanwhile, by a process with another ring, is brought there too, in at most five rounds; the answer tells what is left.
     *
     * Online: reads and writes go on, and whatever is written meanwhile stays; generations and times are not changed.
     * Interrupted, it ends with the batch that is under way; whenever it is run again it does what is left to do, and
     * several may run at once. While the engine is out of reach it tries again for a minute.
     */
    readonly run: (options?: Options) => Effect.Effect<ReadonlyArray<Result>, StoreUnavailable | SpoolUnavailable>
  }
>() {}

const rounds = 5

/** Transactions that held a row have ended. */
const betweenRounds = Duration.millis(200)

const listed = 1_000

const again = Schedule.exponential("100 millis").pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.upTo("1 minute")
)

type Kind = Rewrapping<StoreUnavailable | SpoolUnavailable>

const sum = (counts: ReadonlyArray<Count>) => counts.reduce((total, { count }) => total + count, 0)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<KeyRotation, never, Store | AuthorizationStore | Receipts> = Layer.effect(
  KeyRotation,
  Effect.gen(function* () {
    const store = yield* Store
    const authorizations = yield* AuthorizationStore
    const receipts = yield* Receipts
    const all: ReadonlyArray<Kind> = [...store.rewrapping, authorizations.rewrapping, receipts.rewrapping]

    const leftOf = (kinds: ReadonlyArray<Kind>) =>
      Effect.map(
        Effect.forEach(kinds, ({ left, name }) => Effect.map(left, (counts) => ({ name, left: counts }))),
        (found) => found.filter((kind) => kind.left.length > 0)
      )

    const run = Effect.fn("KeyRotation.run")(function* (options: Options = {}) {
      const kinds = all.filter(({ name }) => options.only?.includes(name) ?? true)
      const batchSize = Math.max(1, options.batchSize ?? 500)
      const pause = options.pause === undefined ? Effect.void : Effect.sleep(options.pause)
      const found = yield* leftOf(kinds)
      const total = found.reduce((rows, kind) => rows + sum(kind.left), 0)
      let rewrapped = 0
      const tell = (name: string) =>
        options.onProgress?.({ name, rewrapped, total: Math.max(total, rewrapped) }) ?? Effect.void

      /** Once through all rows of a kind that are not under the first key. */
      const round = Effect.fnUntraced(function* (rewrapping: Kind) {
        const closedIds: Array<Id> = []
        let [done, closed] = [0, 0]
        for (const { keyId } of yield* Effect.retry(rewrapping.left, again)) {
          let after = Option.none<Id>()
          do {
            const batch = yield* Effect.retry(rewrapping.batch(keyId, after, batchSize), again)
            done += batch.rewrapped
            rewrapped += batch.rewrapped
            closed += batch.closed.length
            closedIds.push(...batch.closed.slice(0, listed - closedIds.length))
            after = batch.next
            yield* Effect.zipRight(tell(rewrapping.name), pause)
          } while (Option.isSome(after))
        }
        return { done, closed, closedIds }
      })

      const rotate = Effect.fnUntraced(function* (rewrapping: Kind) {
        const { name } = rewrapping
        let done = 0
        for (let number = 1; ; number++) {
          const last = yield* round(rewrapping)
          done += last.done
          const counts = yield* Effect.retry(rewrapping.left, again)
          if (sum(counts) <= last.closed || number === rounds) {
            return { name, rewrapped: done, closed: last.closed, closedIds: last.closedIds, left: counts }
          }
          yield* Effect.sleep(betweenRounds)
        }
      })

      yield* tell(found[0]?.name ?? "")
      return yield* Effect.forEach(kinds, rotate)
    })

    return KeyRotation.of({ left: leftOf(all), run })
  })
)

/**
 * Runs once in the background, from the start on, and tells the log when there was something to do. For an engine that
 * belongs to this process, or the part of it that does: of processes that share an engine, all must know the first key
 * before anything is brought under it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerBackground = (options: Options = {}): Layer.Layer<never, never, KeyRotation> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const { run } = yield* KeyRotation
      const once = Effect.gen(function* () {
        const results = yield* run(options)
        const [rows, closed] = [
          results.reduce((total, { rewrapped }) => total + rewrapped, 0),
          results.reduce((total, result) => total + result.closed, 0)
        ]
        const keyIds = [...new Set(results.flatMap(({ left }) => left.map(({ keyId }) => keyId)))].join()
        if (rows > 0)
          yield* Effect.logInfo("Stored rows were brought under the first key").pipe(Effect.annotateLogs({ rows }))
        if (closed > 0) {
          yield* Effect.logWarning("Stored rows do not open, and need a key that is not the first").pipe(
            Effect.annotateLogs({ rows: closed, keyIds })
          )
        }
      })
      yield* once.pipe(
        Effect.tapErrorCause(() => Effect.logWarning("Bringing stored rows under the first key failed: trying again")),
        Effect.retry(Schedule.spaced("1 minute")),
        Effect.forkScoped
      )
    })
  )
