/**
 * The processes that work on one store: each beats there while it lives, so that the others know what a dead one left to
 * them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { randomUUID } from "node:crypto"
import type { StoreUnavailable } from "./CredentialsError.ts"

/**
 * @since 0.1.0
 * @category ports
 */
export class Processes extends Context.Tag("effect-credentials/Processes")<
  Processes,
  {
    /** This process: a random UUID, another one with each start. */
    readonly id: string
    /**
     * Whether a process may still be at work on what it began: this one always is, another one while it beats. One that
     * stands still (SIGSTOP, a suspended machine) looks dead and may go on later, so this alone protects nothing.
     */
    readonly isAlive: (processId: string) => Effect.Effect<boolean, StoreUnavailable>
  }
>() {}

/**
 * What keeps the beats: a row for each process, by the engine's clock.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Heartbeats {
  readonly beat: (processId: string) => Effect.Effect<void, StoreUnavailable>
  /** Whether the last beat is less than so long ago. */
  readonly hasBeaten: (processId: string, within: Duration.Duration) => Effect.Effect<boolean, StoreUnavailable>
  readonly end: (processId: string) => Effect.Effect<void, StoreUnavailable>
  /** Drops those that have been silent for so long. */
  readonly prune: (silence: Duration.Duration) => Effect.Effect<void, StoreUnavailable>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How often a process beats; three beats missed, and it counts as dead. Default 5 seconds. */
  readonly interval?: Duration.DurationInput | undefined
}

/**
 * One of several processes. Beats from before the layer is built until its scope closes, and then leaves no trace; fails
 * when the first beat does. A later one that fails is made up for by the next.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  heartbeats: Effect.Effect<Heartbeats, E, R>,
  options: Options = {}
): Layer.Layer<Processes, E | StoreUnavailable, R> =>
  Layer.scoped(
    Processes,
    Effect.gen(function* () {
      const { beat, end, hasBeaten, prune } = yield* heartbeats
      const interval = Duration.decode(options.interval ?? "5 seconds")
      const id = randomUUID()
      // every row begins with a start, so this bounds them
      yield* prune(Duration.days(1))
      yield* Effect.acquireRelease(beat(id), () => end(id).pipe(Effect.timeoutOption("2 seconds"), Effect.ignore))
      yield* Effect.ignore(beat(id)).pipe(
        Effect.delay(interval),
        Effect.withTracerEnabled(false),
        Effect.forever,
        Effect.forkScoped
      )
      return Processes.of({
        id,
        isAlive: (processId) =>
          processId === id ? Effect.succeed(true) : hasBeaten(processId, Duration.times(interval, 3))
      })
    })
  )

/**
 * The only process on its store, as the embedded engine and `SoleProcess` see to: every other one is dead.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSole: Layer.Layer<Processes> = Layer.sync(Processes, () => {
  const id = randomUUID()
  return Processes.of({ id, isAlive: (processId) => Effect.succeed(processId === id) })
})

/**
 * Beats in this process's memory, for those who share the value.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<Heartbeats> = Effect.sync(() => {
  const beats = new Map<string, number>()
  const isSilent = (processId: string, bound: Duration.Duration, now: number) =>
    now - (beats.get(processId) ?? Number.NEGATIVE_INFINITY) >= Duration.toMillis(bound)
  return {
    beat: (processId) => Effect.map(Clock.currentTimeMillis, (now) => void beats.set(processId, now)),
    hasBeaten: (processId, within) => Effect.map(Clock.currentTimeMillis, (now) => !isSilent(processId, within, now)),
    end: (processId) => Effect.sync(() => void beats.delete(processId)),
    prune: (silence) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        for (const id of beats.keys()) if (isSilent(id, silence, now)) beats.delete(id)
      })
  }
})
