/**
 * The credentials of all users, ready to use: stored, renewed once however many ask, lent under a lock, deleted and
 * revoked. The entry point for programs.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Credential, CredentialId, Metadata, NewCredential, Replacement, Secret, UserId } from "./Credential.ts"
import type {
  CredentialExists,
  CredentialNotFound,
  GenerationConflict,
  LeaseLost,
  LockTimeout,
  LockUnavailable,
  MissingConfig,
  MissingTokenUrl,
  NeedsReauth,
  ProviderError,
  OutboundRefused,
  ReadOnlyCredential,
  ScopeMismatch,
  StoreUnavailable,
  TypeMismatch,
  Undecryptable,
  UnknownProvider
} from "./CredentialsError.ts"
import type { Lease, Mode } from "./LockService.ts"
import type { Matches, Requirement } from "./Requirement.ts"
import type { Cursor, Filter, Page } from "./Store.ts"

/**
 * What a reading can meet.
 *
 * @since 0.1.0
 * @category errors
 */
export type ReadError = CredentialNotFound | Undecryptable | StoreUnavailable

/**
 * What a renewal can meet.
 *
 * @since 0.1.0
 * @category errors
 */
export type RenewalError =
  | ReadError
  | LockTimeout
  | LockUnavailable
  | LeaseLost
  | NeedsReauth
  | UnknownProvider
  | MissingConfig
  | MissingTokenUrl
  | OutboundRefused
  | ProviderError

/**
 * What a change can meet.
 *
 * @since 0.1.0
 * @category errors
 */
export type ChangeError = ReadError | ReadOnlyCredential | LockTimeout | LockUnavailable | LeaseLost

/**
 * @since 0.1.0
 * @category models
 */
export interface WaitOptions {
  /** How long to wait for holders or for a renewal; default 30 seconds. */
  readonly wait?: Duration.DurationInput | undefined
  /** The id of a lease of this credential that the caller holds, and that is therefore not waited for. */
  readonly leaseId?: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface GetOptions extends WaitOptions {
  /** How long the answer must be valid at least, as far as half its lifetime. */
  readonly minValid?: Duration.DurationInput | undefined
  /** `auto`: renewed when due. `force`: renewed now. `never`: as stored. Default `auto`. */
  readonly refresh?: "auto" | "force" | "never" | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface AcquireOptions {
  /** Default `exclusive`. */
  readonly mode?: Mode | undefined
  readonly wait?: Duration.DurationInput | undefined
  readonly minValid?: Duration.DurationInput | undefined
}

/**
 * A lease that was given to a holder outside this process.
 *
 * @since 0.1.0
 * @category models
 */
export interface LentLease {
  readonly leaseId: Redacted.Redacted
  readonly mode: Mode
  readonly fencingToken: number
  readonly expiresAt: DateTime.Utc
}

/**
 * @since 0.1.0
 * @category use cases
 */
export class CredentialsManager extends Context.Tag("effect-credentials/CredentialsManager")<
  CredentialsManager,
  {
    /** Stores a new credential, at generation 1. */
    readonly create: (
      userId: UserId,
      credential: NewCredential
    ) => Effect.Effect<Metadata, CredentialExists | StoreUnavailable>
    readonly exists: (userId: UserId, id: CredentialId) => Effect.Effect<boolean, StoreUnavailable>
    readonly metadata: (
      userId: UserId,
      id: CredentialId
    ) => Effect.Effect<Metadata, CredentialNotFound | StoreUnavailable>
    readonly list: (
      userId: UserId,
      filter: Filter,
      page: { readonly limit: number; readonly after: Option.Option<Cursor> }
    ) => Effect.Effect<Page, StoreUnavailable>
    /**
     * The usable secret, renewed first when it is due. A fresh one costs one read of the store and no lock. Waits only
     * for a renewal, and only when the stored token no longer serves; an interrupted caller leaves the renewal untouched.
     */
    readonly get: (userId: UserId, id: CredentialId, options?: GetOptions) => Effect.Effect<Secret, RenewalError>
    /**
     * The usable secret under a lease that ends with the scope: on success, failure and interruption. When it is due, the
     * lease is given back while it is renewed.
     */
    readonly acquire: (
      userId: UserId,
      id: CredentialId,
      options?: AcquireOptions
    ) => Effect.Effect<{ readonly secret: Secret; readonly lease: Lease }, RenewalError, Scope.Scope>
    /** Several at once, locked in the order of their ids: all or none. The answer has the order of `ids`. */
    readonly acquireAll: (
      userId: UserId,
      ids: ReadonlyArray<CredentialId>,
      options?: AcquireOptions
    ) => Effect.Effect<ReadonlyArray<{ readonly secret: Secret; readonly lease: Lease }>, RenewalError, Scope.Scope>
    /** Renews now; a no-op when the generation is not `ifGeneration` any more. Those that ask at once share one renewal. */
    readonly refresh: (
      userId: UserId,
      id: CredentialId,
      options?: WaitOptions & { readonly ifGeneration?: number | undefined }
    ) => Effect.Effect<Metadata, RenewalError>
    /** `get` for a credential that was read before: renewed if it is due, else as it is now. */
    readonly refreshIfNeeded: (
      userId: UserId,
      credential: Pick<Credential, "id">
    ) => Effect.Effect<Secret, RenewalError>
    /** Stores a new version, of the same type and with scopes not narrower. Waits for holders, ahead of queued users. */
    readonly update: (
      userId: UserId,
      id: CredentialId,
      replacement: Replacement,
      options?: WaitOptions & { readonly ifGeneration?: number | undefined }
    ) => Effect.Effect<Metadata, ChangeError | GenerationConflict | ScopeMismatch | TypeMismatch>
    /**
     * Deletes, then revokes at the provider where that is safe. `revoked: null`: still to be done, not supported, or
     * unsafe, since it would end another credential's grant.
     */
    readonly delete: (
      userId: UserId,
      id: CredentialId,
      options?: WaitOptions & { readonly revoke?: boolean | undefined }
    ) => Effect.Effect<{ readonly deleted: true; readonly revoked: boolean | null }, ChangeError>
    /** The user is gone: logins under way, leases, and each credential as by `delete`. */
    readonly deleteUser: (
      userId: UserId,
      options?: Pick<WaitOptions, "wait">
    ) => Effect.Effect<{ readonly deleted: number }, ChangeError>
    /** A consumer saw this generation refused upstream: it is due at once. Ignored when the generation has moved on. */
    readonly report: (
      userId: UserId,
      id: CredentialId,
      report: { readonly generation: number; readonly status: number }
    ) => Effect.Effect<void, ReadError>
    /** A getter over one reading of all of a user's credentials; what it renews, it keeps. */
    readonly cachedGetter: (
      userId: UserId
    ) => Effect.Effect<(id: CredentialId) => Effect.Effect<Option.Option<Secret>, RenewalError>>
    /** Which credential serves which requirement; own credentials before the system's, older before younger. */
    readonly match: (
      userId: UserId,
      requirements: ReadonlyArray<Requirement>
    ) => Effect.Effect<Matches, StoreUnavailable>
    /** `acquire` for a holder outside this process: the lease is durable, and lasts `ttl` unless renewed. */
    readonly lend: (
      userId: UserId,
      id: CredentialId,
      options: AcquireOptions & { readonly owner: string; readonly ttl: Duration.DurationInput }
    ) => Effect.Effect<{ readonly secret: Secret; readonly lease: LentLease }, RenewalError>
    /** Prolongs a lent lease of this owner to `ttl` from now. */
    readonly renewLease: (
      leaseId: Redacted.Redacted,
      options: { readonly owner: string; readonly ttl: Duration.DurationInput }
    ) => Effect.Effect<LentLease, LeaseLost | LockUnavailable | StoreUnavailable>
    readonly releaseLease: (
      leaseId: Redacted.Redacted,
      options: { readonly owner: string }
    ) => Effect.Effect<void, LeaseLost | LockUnavailable | StoreUnavailable>
    /** The id that a lent lease has among `WaitOptions`, if this owner holds it. */
    readonly heldLease: (
      leaseId: Redacted.Redacted,
      options: { readonly owner: string }
    ) => Effect.Effect<string, LeaseLost | StoreUnavailable>
    /** Ends every scoped lease of this process. */
    readonly releaseAll: Effect.Effect<void>
  }
>() {}
