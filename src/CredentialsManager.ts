/**
 * The credentials of all users, ready to use: stored, renewed once however many ask, lent under a lock, deleted and
 * revoked. The entry point for programs.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import type { Kind } from "./AuditEvent.ts"
import { AuditLog, record } from "./AuditLog.ts"
import {
  type Credential,
  CredentialId,
  isRenewable,
  type Metadata,
  type NewCredential,
  type Secret,
  settled,
  toMetadata,
  toSecret,
  type UserId
} from "./Credential.ts"
import {
  CredentialExists,
  type CredentialNotFound,
  GenerationConflict,
  type LeaseLost,
  LockTimeout,
  type LockUnavailable,
  type MissingConfig,
  type MissingTokenUrl,
  type NeedsReauth,
  type OutboundRefused,
  type ProviderError,
  type ScopeMismatch,
  type StoreUnavailable,
  type TypeMismatch,
  type Undecryptable,
  type UnknownProvider
} from "./CredentialsError.ts"
import { Deletion } from "./Deletion.ts"
import { Leases, type LentLease } from "./Leases.ts"
import { type ChangeError, Lending, type LendOptions, mostReturns } from "./Lending.ts"
import { type Lease, LockService, type Mode } from "./LockService.ts"
import { ProviderCatalogue } from "./ProviderCatalogue.ts"
import * as Replacement from "./Replacement.ts"
import { match, type Matches, type Requirement } from "./Requirement.ts"
import * as Span from "./Span.ts"
import { Change, type Cursor, type Filter, type Page, Store } from "./Store.ts"

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
    /** What `get` answers of a secret that need not be renewed first, else none: one read, that waits for nothing else. */
    readonly fresh: (
      userId: UserId,
      id: CredentialId,
      options?: Pick<GetOptions, "minValid">
    ) => Effect.Effect<Option.Option<Secret>, ReadError>
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
      replacement: Replacement.Replacement,
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

const defaultWait = Duration.seconds(30)

const waitOf = (options: { readonly wait?: Duration.DurationInput | undefined } | undefined) =>
  options?.wait === undefined ? defaultWait : Duration.decode(options.wait)

const secondsOf = (duration: Duration.DurationInput | undefined) =>
  duration === undefined ? 0 : Duration.toSeconds(duration)

const lendOptions = (options: AcquireOptions | undefined) => ({
  mode: options?.mode ?? "exclusive",
  wait: waitOf(options),
  minValidSeconds: secondsOf(options?.minValid)
})

/** So often all are given back because one of them has become due. */
const mostRounds = 10

const leaseOf = (options: WaitOptions | undefined) => Option.fromNullable(options?.leaseId)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  CredentialsManager,
  never,
  Store | LockService | Lending | Leases | Deletion | ProviderCatalogue | AuditLog
> = Layer.effect(
  CredentialsManager,
  Effect.gen(function* () {
    const store = yield* Store
    const locks = yield* LockService
    const lending = yield* Lending
    const leases = yield* Leases
    const deletion = yield* Deletion
    const catalogue = yield* ProviderCatalogue
    const context = yield* Effect.context<AuditLog>()

    const secretOf = (credential: Credential) =>
      toSecret(credential, Option.getOrUndefined(catalogue.find(credential.provider))?.apiHeaders)

    const note = (
      kind: Kind,
      { generation, id, provider, userId }: Pick<Metadata, "generation" | "id" | "provider" | "userId">,
      detail?: string
    ) =>
      record({ kind, userId, credentialId: id, provider, generation, ...(detail !== undefined && { detail }) }).pipe(
        Effect.provide(context)
      )

    const create: CredentialsManager["Type"]["create"] = Effect.fn("CredentialsManager.create")(
      function* (userId, given) {
        const now = yield* DateTime.now
        const id = given.id ?? CredentialId.to.make(randomUUID())
        const credential: Credential = {
          userId,
          id,
          provider: given.provider,
          title: Option.fromNullable(given.title),
          generation: 1,
          variant: given.variant,
          extra: given.extra ?? Redacted.make({}),
          renewal: settled,
          system: false,
          createdAt: now,
          updatedAt: now,
          storedAt: now
        }
        const exists = new CredentialExists({ credentialId: id })
        const taken = yield* Effect.option(store.metadata(userId, id))
        if (Option.exists(taken, ({ system }) => system === true)) return yield* exists
        yield* store
          .commit([Change.Create({ credential, unlessForgottenSince: Option.none() })])
          .pipe(Effect.catchTag("Conflict", () => exists))
        const metadata = toMetadata(credential, now)
        yield* note("credential_created", metadata)
        return metadata
      }
    )

    const update: CredentialsManager["Type"]["update"] = Effect.fn("CredentialsManager.update")(
      function* (userId, id, replacement, options) {
        const expected = options?.ifGeneration
        const replace = Effect.gen(function* () {
          const credential = yield* store.get(userId, id)
          if (expected !== undefined && expected !== credential.generation) {
            return yield* new GenerationConflict({ credentialId: id, expected, actual: credential.generation })
          }
          const now = yield* DateTime.now
          const next = yield* Replacement.apply(replacement, credential, now)
          yield* store.commit([Change.Replace({ credential: next })])
          return toMetadata(next, now)
        })
        const metadata = yield* lending.alone(userId, id, { wait: waitOf(options), leaseId: leaseOf(options) }, replace)
        yield* note("credential_replaced", metadata)
        return metadata
      }
    )

    const get: CredentialsManager["Type"]["get"] = Effect.fnUntraced(function* (userId, id, options) {
      const credential = yield* store.get(userId, id)
      if (options?.refresh === "never" || !isRenewable(credential)) return secretOf(credential)
      const wait = waitOf(options)
      const leaseId = leaseOf(options)
      return secretOf(
        options?.refresh === "force"
          ? yield* lending.after(credential, credential.generation, { wait, leaseId })
          : yield* lending.usable(credential, { wait, leaseId, minValidSeconds: secondsOf(options?.minValid) })
      )
    }, Span.within("CredentialsManager.get"))

    const fresh: CredentialsManager["Type"]["fresh"] = (userId, id, options) =>
      Effect.flatMap(store.get(userId, id), (credential) =>
        Effect.map(lending.isFresh(credential, secondsOf(options?.minValid)), (isFresh) =>
          isFresh ? Option.some(secretOf(credential)) : Option.none()
        )
      ).pipe(Span.within("CredentialsManager.fresh"))

    const refresh: CredentialsManager["Type"]["refresh"] = Effect.fn("CredentialsManager.refresh")(
      function* (userId, id, options) {
        const credential = yield* store.get(userId, id)
        if (!isRenewable(credential)) return toMetadata(credential, yield* DateTime.now)
        const renewed = yield* lending.after(credential, options?.ifGeneration ?? credential.generation, {
          wait: waitOf(options),
          leaseId: leaseOf(options)
        })
        return toMetadata(renewed, yield* DateTime.now)
      }
    )

    const acquire: CredentialsManager["Type"]["acquire"] = (userId, id, options) =>
      Effect.map(lending.acquire(userId, id, lendOptions(options)), ({ credential, lease }) => ({
        secret: secretOf(credential),
        lease
      })).pipe(Effect.withSpan("CredentialsManager.acquire"))

    /** All of them, in their order; none, and nothing held, when one has become due since it was looked at. */
    const holdAll = Effect.fnUntraced(function* (
      userId: UserId,
      ids: ReadonlyArray<CredentialId>,
      options: LendOptions & { readonly orLiving: boolean }
    ) {
      const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
      const held: Array<{ readonly secret: Secret; readonly lease: Lease }> = []
      const all = Effect.forEach(ids, (id) =>
        Effect.map(Effect.flatten(lending.acquireIfUsable(userId, id, options)), ({ credential, lease }) =>
          held.push({ secret: secretOf(credential), lease })
        )
      )
      return yield* all.pipe(
        Effect.as(Option.some(held)),
        Scope.extend(scope),
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
        Effect.catchTag("NoSuchElementException", () => Effect.succeedNone)
      )
    })

    const acquireAll: CredentialsManager["Type"]["acquireAll"] = Effect.fn("CredentialsManager.acquireAll")(
      function* (userId, ids, options) {
        const different = [...new Set(ids)].sort()
        for (let round = 0; round < mostRounds; round++) {
          // due ones first, while nothing is held: a renewal may need what others of the same grant hold
          yield* Effect.forEach(different, (id) => get(userId, id, options), {
            concurrency: "unbounded",
            discard: true
          })
          const orLiving = round >= mostReturns
          const held = yield* holdAll(userId, different, { ...lendOptions(options), orLiving })
          if (Option.isNone(held)) continue
          return ids.flatMap((id) => held.value.find(({ secret }) => secret.credentialId === id) ?? [])
        }
        return yield* new LockTimeout({ retryAfterSeconds: 1 })
      }
    )

    const report: CredentialsManager["Type"]["report"] = Effect.fn("CredentialsManager.report")(function* (
      userId,
      id,
      { generation, status }
    ) {
      const credential = yield* store.get(userId, id)
      if (!isRenewable(credential) || credential.generation !== generation || status !== 401) return
      const reported = Change.Note({ credential, renewal: { reportedGeneration: Option.some(generation) } })
      yield* Effect.catchTag(store.commit([reported]), "Conflict", () => Effect.void)
      yield* note("credential_reported", credential, String(status))
    })

    const cachedGetter: CredentialsManager["Type"]["cachedGetter"] = (userId) =>
      Effect.gen(function* () {
        const known = new Map<CredentialId, Credential>()
        const snapshot = yield* Effect.cached(
          Effect.map(store.all(userId), ({ credentials, undecryptable }) => {
            for (const credential of credentials) known.set(credential.id, credential)
            return undecryptable
          })
        )
        return Effect.fnUntraced(function* (id: CredentialId) {
          const undecryptable = yield* snapshot
          const credential = known.get(id)
          if (credential === undefined) {
            if (undecryptable.some((closed) => closed.id === id)) yield* store.get(userId, id)
            return Option.none()
          }
          const usable = yield* lending.usable(credential, {
            wait: defaultWait,
            minValidSeconds: 0,
            leaseId: Option.none()
          })
          known.set(id, usable)
          return Option.some(secretOf(usable))
        })
      })

    return CredentialsManager.of({
      create,
      exists: (userId, id) =>
        store.metadata(userId, id).pipe(
          Effect.as(true),
          Effect.catchTag("CredentialNotFound", () => Effect.succeed(false))
        ),
      metadata: store.metadata,
      list: store.list,
      get,
      fresh,
      acquire,
      acquireAll,
      refresh,
      refreshIfNeeded: (userId, { id }) => get(userId, id),
      update,
      delete: (userId, id, options) =>
        deletion.credential(userId, id, {
          wait: waitOf(options),
          leaseId: leaseOf(options),
          revoke: options?.revoke ?? true
        }),
      deleteUser: (userId, options) => deletion.user(userId, { wait: waitOf(options) }),
      report,
      cachedGetter,
      match: (userId, requirements) =>
        Effect.zipWith(store.all(userId), DateTime.now, ({ credentials, undecryptable }, now) =>
          match(requirements, [...credentials.map((each) => toMetadata(each, now)), ...undecryptable], now)
        ),
      lend: (userId, id, options) =>
        lending.lend(userId, id, { ...lendOptions(options), owner: options.owner, ttl: options.ttl }).pipe(
          Effect.tap(({ credential }) => note("lease_taken", credential)),
          Effect.map(({ credential, lease }) => ({ secret: secretOf(credential), lease })),
          Effect.withSpan("CredentialsManager.lend")
        ),
      renewLease: (leaseId, { owner, ttl }) => leases.renew(leaseId, owner, ttl),
      releaseLease: (leaseId, { owner }) =>
        Effect.flatMap(leases.release(leaseId, owner), ({ credentialId, userId }) =>
          record({ kind: "lease_released", userId, credentialId }).pipe(Effect.provide(context))
        ),
      heldLease: (leaseId, { owner }) => leases.held(leaseId, owner),
      releaseAll: locks.releaseAll
    })
  })
)
