/**
 * Where audit events go: appended, never changed.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import type { AuditEvent } from "./AuditEvent.ts"
import type { StoreUnavailable } from "./CredentialsError.ts"
import * as Metrics from "./Metrics.ts"

/**
 * On whose behalf this fiber acts: an API key's id; `service` when nobody asked.
 *
 * @since 0.1.0
 * @category references
 */
export const actor: FiberRef.FiberRef<string> = FiberRef.unsafeMake("service")

/**
 * @since 0.1.0
 * @category ports
 */
export class AuditLog extends Context.Tag("effect-credentials/AuditLog")<
  AuditLog,
  {
    readonly append: (event: AuditEvent) => Effect.Effect<void, StoreUnavailable>
    /** The newest events first. */
    readonly recent: (limit: number) => Effect.Effect<ReadonlyArray<AuditEvent>, StoreUnavailable>
  }
>() {}

/**
 * Counts and appends an event of now, by the fiber's actor. What was done stays done when the log is out of reach: that is logged,
 * and nothing fails.
 *
 * @since 0.1.0
 */
export const record = (event: Omit<AuditEvent, "at" | "actor">): Effect.Effect<void, never, AuditLog> =>
  Effect.gen(function* () {
    const log = yield* AuditLog
    Metrics.events.update(1, event.kind)
    const at = yield* DateTime.now
    yield* log.append({ ...event, at, actor: yield* FiberRef.get(actor) })
  }).pipe(
    Effect.catchTag("StoreUnavailable", () =>
      Effect.logWarning("The audit log is out of reach: an event is only here").pipe(
        Effect.annotateLogs({ kind: event.kind })
      )
    )
  )

/**
 * The last thousand events, in this process's memory.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<AuditLog> = Layer.sync(AuditLog, () => {
  const events: Array<AuditEvent> = []
  return AuditLog.of({
    append: (event) =>
      Effect.sync(() => {
        events.push(event)
        if (events.length > 1_000) events.shift()
      }),
    recent: (limit) => Effect.sync(() => events.toReversed().slice(0, limit))
  })
})
