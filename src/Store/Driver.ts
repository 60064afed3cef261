/**
 * What an engine implements to be a `Store`: rows in, rows out, nothing to seal and nothing to decode, so that engines
 * cannot disagree about anything but where the rows are.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { StoreUnavailable } from "../CredentialsError.ts"
import type { SealedRows } from "../Rewrapping.ts"

/**
 * A condition of a change did not hold; nothing was changed.
 *
 * @since 0.1.0
 * @category errors
 */
export class Conflict extends Data.TaggedError("Conflict")<{
  readonly on: "exists" | "generation" | "attempt" | "revocation" | "forgotten"
}> {
  override get message() {
    return `The change does not fit what is stored (${this.on}).`
  }
}

/**
 * A credential as a driver keeps it.
 *
 * @since 0.1.0
 * @category models
 */
export interface CredentialRow {
  readonly userId: string
  readonly id: string
  readonly provider: string
  readonly type: string
  readonly title: string | null
  readonly generation: number
  readonly grant: string | null
  readonly reauthReason: string | null
  readonly reauthAttemptId: string | null
  readonly reportedGeneration: number | null
  readonly reportStreak: number
  readonly failures: number
  readonly retryAt: Date | null
  readonly lastFailure: string | null
  readonly reauthSoonSaid: boolean
  /** When the sweeper is to look at it next; none when it need not. */
  readonly sweepAt: Date | null
  readonly createdAt: Date
  readonly updatedAt: Date
  readonly storedAt: Date
  readonly keyId: string
  readonly sealed: Uint8Array
}

/**
 * @since 0.1.0
 * @category models
 */
export type RenewalRow = Pick<
  CredentialRow,
  | "reauthReason"
  | "reauthAttemptId"
  | "reportedGeneration"
  | "reportStreak"
  | "failures"
  | "retryAt"
  | "lastFailure"
  | "reauthSoonSaid"
  | "sweepAt"
>

/**
 * @since 0.1.0
 * @category models
 */
export interface AttemptRow {
  readonly id: string
  readonly userId: string
  readonly provider: string
  readonly grant: string
  readonly processId: string
  readonly startedAt: Date
  readonly deadline: Date
  readonly probeOf: string | null
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RevocationRow {
  readonly id: string
  readonly userId: string
  readonly credentialId: string
  readonly provider: string
  readonly type: string
  readonly generation: number
  readonly dueAt: Date
  readonly tries: number
  readonly createdAt: Date
  readonly keyId: string
  readonly sealed: Uint8Array
}

/**
 * @since 0.1.0
 * @category models
 */
export interface GrantRow {
  readonly grant: string
  readonly userId: string
  readonly provider: string
}

/**
 * What the store keeps for itself, by name.
 *
 * @since 0.1.0
 * @category models
 */
export interface SettingRow {
  readonly name: string
  readonly keyId: string
  readonly sealed: Uint8Array
}

/**
 * `Change` as a driver applies it.
 *
 * @since 0.1.0
 * @category models
 */
export type RowChange = Data.TaggedEnum<{
  Create: { readonly row: CredentialRow; readonly unlessForgottenSince: Date | null }
  Replace: { readonly row: CredentialRow }
  Note: {
    readonly userId: string
    readonly id: string
    readonly generation: number
    /** The columns to set; the others stay. */
    readonly renewal: Partial<RenewalRow>
  }
  Expect: { readonly userId: string; readonly id: string; readonly generation: number }
  Remove: { readonly userId: string; readonly id: string; readonly generation: number }
  OpenAttempt: { readonly row: AttemptRow }
  CloseAttempt: { readonly id: string; readonly outcome: string }
  ExpireAttempt: { readonly id: string; readonly at: Date }
  Enqueue: { readonly row: RevocationRow }
  Claim: { readonly id: string; readonly dueAt: Date; readonly until: Date }
  Postpone: { readonly id: string; readonly dueAt: Date }
  Dequeue: { readonly id: string }
  Forget: { readonly userId: string; readonly at: Date }
}>
export const RowChange = Data.taggedEnum<RowChange>()

/**
 * @since 0.1.0
 * @category ports
 */
export interface Driver {
  readonly find: (userId: string, id: string) => Effect.Effect<Option.Option<CredentialRow>, StoreUnavailable>
  /** Ordered by `createdAt`, then `id`. */
  readonly list: (options: {
    readonly userId: string
    readonly provider: string | null
    readonly type: string | null
    readonly after: { readonly createdAt: Date; readonly id: string } | null
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<CredentialRow>, StoreUnavailable>
  /** Ordered by `id`. */
  readonly sharing: (userId: string, grant: string) => Effect.Effect<ReadonlyArray<CredentialRow>, StoreUnavailable>
  /**
   * Those of a provider whose `sweepAt` is at or before `by`, the oldest of them; from then on it is `until`. Of processes
   * that claim at once, each gets others.
   */
  readonly claimDue: (claim: {
    readonly provider: string
    readonly by: Date
    readonly until: Date
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<CredentialRow>, StoreUnavailable>
  /** Each grant that a credential may be renewed by, once; ordered by itself, after this one. */
  readonly grants: (after: string | null, limit: number) => Effect.Effect<ReadonlyArray<GrantRow>, StoreUnavailable>
  readonly openAttempt: (grant: string) => Effect.Effect<Option.Option<AttemptRow>, StoreUnavailable>
  readonly openAttempts: Effect.Effect<ReadonlyArray<AttemptRow>, StoreUnavailable>
  /** `open` while it has none; none for an attempt that nobody knows (any more). */
  readonly outcome: (attemptId: string) => Effect.Effect<Option.Option<string>, StoreUnavailable>
  /** Due at or before `by`, ordered by `dueAt`. */
  readonly revocations: (by: Date, limit: number) => Effect.Effect<ReadonlyArray<RevocationRow>, StoreUnavailable>
  /** The stored setting of that name: this one, if there was none yet. */
  readonly setting: (row: SettingRow) => Effect.Effect<SettingRow, StoreUnavailable>
  readonly commit: (changes: ReadonlyArray<RowChange>) => Effect.Effect<void, Conflict | StoreUnavailable>
  readonly now: Effect.Effect<Date, StoreUnavailable>
  readonly keyIds: Effect.Effect<ReadonlyArray<string>, StoreUnavailable>
  readonly sealed: {
    readonly credentials: SealedRows<CredentialRow, StoreUnavailable>
    readonly revocations: SealedRows<RevocationRow, StoreUnavailable>
    readonly settings: SealedRows<SettingRow, StoreUnavailable>
  }
  readonly ping: Effect.Effect<void, StoreUnavailable>
}
