/**
 * Why a credential is as it is, and what happens next: what an operator or a user's support asks before they touch it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { CircuitBreaker, endpointOf } from "./CircuitBreaker.ts"
import { type Credential, type CredentialId, isRenewable, toMetadata, type UserId } from "./Credential.ts"
import type { CredentialNotFound, StoreUnavailable } from "./CredentialsError.ts"
import {
  type Hindrance,
  type LeaseHolder,
  neverRenewed,
  nextAction,
  renewalFacts,
  type Report
} from "./Explanation/Report.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import { LeaseStore } from "./LeaseStore.ts"
import { credentialKey, LockService } from "./LockService.ts"
import { ProviderCatalogue } from "./ProviderCatalogue.ts"
import { Store } from "./Store.ts"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  Report
} from "./Explanation/Report.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class Explanation extends Context.Tag("effect-credentials/Explanation")<
  Explanation,
  {
    /**
     * Reads and answers: takes no lock, calls no provider, changes nothing. `owner` is whose leases are marked as `mine`.
     * While the lock service is out of reach, which is waited for no longer than two seconds, all but `leases` is told.
     */
    readonly explain: (
      userId: UserId,
      id: CredentialId,
      options?: { readonly owner?: string | undefined }
    ) => Effect.Effect<Report, CredentialNotFound | StoreUnavailable>
  }
>() {}

const hindranceOf: Record<"UnknownProvider" | "MissingConfig" | "MissingTokenUrl", Hindrance> = {
  UnknownProvider: "unknown_provider",
  MissingConfig: "missing_config",
  MissingTokenUrl: "missing_token_url"
}

const patience = "2 seconds"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  Explanation,
  never,
  Store | LockService | LeaseStore | HandlerRegistry | ProviderCatalogue | CircuitBreaker
> = Layer.effect(
  Explanation,
  Effect.gen(function* () {
    const store = yield* Store
    const locks = yield* LockService
    const records = yield* LeaseStore
    const handlers = yield* HandlerRegistry
    const catalogue = yield* ProviderCatalogue
    const breaker = yield* CircuitBreaker

    const renewalOf = Effect.fnUntraced(function* (credential: Credential, now: DateTime.Utc) {
      if (!isRenewable(credential)) return neverRenewed
      const grant = store.grantOf(credential)
      const handler = yield* Effect.either(handlers.of(credential))
      return renewalFacts(credential, {
        now,
        marginSeconds: Option.flatMapNullable(catalogue.find(credential.provider), (data) => data.marginSeconds),
        attempt: Option.isSome(grant) ? yield* store.openAttempt(grant.value) : Option.none(),
        blockedBy: Option.map(Either.getLeft(handler), (error) => hindranceOf[error._tag]),
        circuit: Either.isRight(handler)
          ? Option.some(yield* breaker.stateOf(endpointOf(handler.right.provider)))
          : Option.none()
      })
    })

    const leasesOf = Effect.fnUntraced(function* (userId: UserId, id: CredentialId, owner: string | undefined) {
      const seen = yield* Effect.zipRight(locks.ping, locks.inspect(credentialKey(userId, id))).pipe(
        Effect.disconnect,
        Effect.timeoutOption(patience),
        Effect.orElseSucceed(Option.none)
      )
      if (Option.isNone(seen)) return { available: false } as const
      const known = new Map((yield* records.ofUser(userId)).map((record) => [record.idHash, record]))
      const holders = seen.value.holders.map(({ fencingToken, id: holder, mode }): LeaseHolder => {
        const record = known.get(holder)
        return {
          mode,
          fencingToken,
          ...(record !== undefined && { expiresAt: record.expiresAt }),
          ...(record !== undefined && record.owner === owner && { mine: true as const })
        }
      })
      return { available: true, holders, waiting: seen.value.waiting } as const
    })

    const explain: Explanation["Type"]["explain"] = Effect.fn("Explanation.explain")(function* (userId, id, options) {
      const now = yield* DateTime.now
      const { metadata, renewal } = yield* store.get(userId, id).pipe(
        Effect.flatMap((credential) =>
          Effect.map(renewalOf(credential, now), (facts) => ({ metadata: toMetadata(credential, now), renewal: facts }))
        ),
        Effect.catchTag("Undecryptable", () =>
          Effect.map(store.metadata(userId, id), (closed) => ({ metadata: closed, renewal: neverRenewed }))
        )
      )
      const expiresAt = metadata.accessTokenExpiresAt ?? metadata.expiresAt
      const facts = {
        credentialId: metadata.id,
        type: metadata.type,
        provider: metadata.provider,
        ...(metadata.system && { system: metadata.system }),
        generation: metadata.generation,
        status: metadata.status,
        ...(metadata.statusReason && { statusReason: metadata.statusReason }),
        ...(expiresAt && { expiresAt }),
        ...(metadata.reauthSoonAt && { reauthSoonAt: metadata.reauthSoonAt }),
        renewal
      }
      return {
        ...facts,
        leases: yield* leasesOf(userId, id, options?.owner),
        nextAction: nextAction(facts, now)
      }
    })

    return Explanation.of({ explain })
  })
)
