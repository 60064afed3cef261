/**
 * After a backup was restored: any refresh token in it may have been spent since it was made, and nobody wrote that down.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import type { StoreUnavailable } from "./CredentialsError.ts"
import { ProviderCatalogue } from "./ProviderCatalogue.ts"
import { type Attempt, Change, type Grant, Store } from "./Store.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface HeldBack {
  /** Grants that are held back from now on. */
  readonly held: number
  /** Those that were already, or whose last answer is still to come. */
  readonly before: number
  /** Those whose provider does not rotate refresh tokens: presenting an old one harms nobody. */
  readonly exempt: number
}

/**
 * @since 0.1.0
 * @category services
 */
export class Restoration extends Context.Tag("effect-credentials/Restoration")<
  Restoration,
  {
    /**
     * Treats each grant whose provider rotates refresh tokens as if its last renewal had got no answer: the access token
     * serves while it lives, then the refresh token is presented once, and a refusal is `response_lost`, with the id of
     * the attempt that was noted here. Safe to run again, and to interrupt; before any server renews what was restored.
     */
    readonly holdBack: Effect.Effect<HeldBack, StoreUnavailable>
  }
>() {}

const pageSize = 500

/** When it was spent, if it was, nobody knows: no grace of a provider's can be counted from here. */
const longAgo = DateTime.unsafeMake(0)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Restoration, never, Store | ProviderCatalogue> = Layer.effect(
  Restoration,
  Effect.gen(function* () {
    const store = yield* Store
    const catalogue = yield* ProviderCatalogue

    const holdBack = Effect.gen(function* () {
      const deadline = yield* store.now
      // of no process that lives
      const processId = randomUUID()
      const result = { held: 0, before: 0, exempt: 0 }
      let after = Option.none<Grant>()
      do {
        const grants = yield* store.grants(after, pageSize)
        for (const { grant, provider, userId } of grants) {
          if (Option.exists(catalogue.find(provider), ({ rotatesRefreshToken }) => !rotatesRefreshToken)) {
            result.exempt++
            continue
          }
          const attempt: Attempt = {
            id: randomUUID(),
            userId,
            provider,
            grant,
            processId,
            startedAt: longAgo,
            deadline,
            probeOf: Option.none()
          }
          const isHeld = yield* store.commit([Change.OpenAttempt({ attempt })]).pipe(
            Effect.as(true),
            Effect.catchTag("Conflict", () => Effect.succeed(false))
          )
          if (isHeld) result.held++
          else result.before++
        }
        after = Option.filter(Option.fromNullable(grants.at(-1)?.grant), () => grants.length === pageSize)
      } while (Option.isSome(after))
      return result
    }).pipe(Effect.withSpan("Restoration.holdBack"))

    return Restoration.of({ holdBack })
  })
)
