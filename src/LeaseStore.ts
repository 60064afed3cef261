/**
 * The leases that were given to holders outside this process, remembered so that a restart loses none.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { CredentialId, UserId } from "./Credential.ts"
import type { StoreUnavailable } from "./CredentialsError.ts"
import type { Mode } from "./LockService.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface LeaseRecord {
  /** A hash of the lease's id: the id itself is known to its holder alone. */
  readonly idHash: string
  readonly userId: UserId
  readonly credentialId: CredentialId
  /** The API key that took it. */
  readonly owner: string
  readonly mode: Mode
  readonly fencingToken: number
  readonly expiresAt: DateTime.Utc
}

/**
 * @since 0.1.0
 * @category ports
 */
export class LeaseStore extends Context.Tag("effect-credentials/LeaseStore")<
  LeaseStore,
  {
    /** Durable when it returns; replaces the record of the same lease. */
    readonly put: (record: LeaseRecord) => Effect.Effect<void, StoreUnavailable>
    readonly find: (idHash: string) => Effect.Effect<Option.Option<LeaseRecord>, StoreUnavailable>
    readonly remove: (idHash: string) => Effect.Effect<void, StoreUnavailable>
    /** All records, expired ones among them. */
    readonly all: Effect.Effect<ReadonlyArray<LeaseRecord>, StoreUnavailable>
    readonly ofUser: (userId: UserId) => Effect.Effect<ReadonlyArray<LeaseRecord>, StoreUnavailable>
    /** Drops what expired before a time. */
    readonly prune: (before: DateTime.Utc) => Effect.Effect<void, StoreUnavailable>
  }
>() {}

/**
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<LeaseStore> = Layer.sync(LeaseStore, () => {
  const records = new Map<string, LeaseRecord>()
  return LeaseStore.of({
    put: (record) => Effect.sync(() => void records.set(record.idHash, record)),
    find: (idHash) => Effect.sync(() => Option.fromNullable(records.get(idHash))),
    remove: (idHash) => Effect.sync(() => void records.delete(idHash)),
    all: Effect.sync(() => [...records.values()]),
    ofUser: (userId) => Effect.sync(() => [...records.values()].filter((record) => record.userId === userId)),
    prune: (before) =>
      Effect.sync(() => {
        for (const record of records.values()) {
          if (record.expiresAt.epochMillis <= before.epochMillis) records.delete(record.idHash)
        }
      })
  })
})
