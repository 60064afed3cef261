/**
 * Leases for holders outside this process: known to their holder by an unguessable id, bound to the key that took them,
 * remembered over a restart, and over by their own time unless renewed.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createHash, randomUUID } from "node:crypto"
import type { CredentialId, UserId } from "./Credential.ts"
import { LeaseLost, type LockTimeout, type LockUnavailable, type StoreUnavailable } from "./CredentialsError.ts"
import { type LeaseRecord, LeaseStore } from "./LeaseStore.ts"
import { credentialKey, LockService, type Mode } from "./LockService.ts"

/**
 * A lease as its holder sees it.
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
 * @category models
 */
export interface TakeOptions {
  /** Who takes it; nobody else can renew or release it. */
  readonly owner: string
  readonly mode: Mode
  readonly wait: Duration.DurationInput
  readonly ttl: Duration.DurationInput
}

/**
 * @since 0.1.0
 * @category services
 */
export class Leases extends Context.Tag("effect-credentials/Leases")<
  Leases,
  {
    /** Waits at most `wait`. The lease is not yet remembered: `remember` makes it durable, `forget` gives it back. */
    readonly take: (
      userId: UserId,
      id: CredentialId,
      options: TakeOptions
    ) => Effect.Effect<Taken, LockTimeout | LockUnavailable>
    /**
     * Durable when it returns. Its time counts from its granting; from here, when a renewal of the credential came in
     * between.
     */
    readonly remember: (taken: Taken) => Effect.Effect<LentLease, LeaseLost | LockUnavailable | StoreUnavailable>
    readonly forget: (taken: Taken) => Effect.Effect<void>
    /** Prolongs a lease to `ttl` from now. */
    readonly renew: (
      leaseId: Redacted.Redacted,
      owner: string,
      ttl: Duration.DurationInput
    ) => Effect.Effect<LentLease, LeaseLost | LockUnavailable | StoreUnavailable>
    readonly release: (
      leaseId: Redacted.Redacted,
      owner: string
    ) => Effect.Effect<LeaseRecord, LeaseLost | LockUnavailable | StoreUnavailable>
    /** The id under which the lock service knows a lease of this owner. */
    readonly held: (leaseId: Redacted.Redacted, owner: string) => Effect.Effect<string, LeaseLost | StoreUnavailable>
    /** Ends all leases of a user. */
    readonly releaseUser: (userId: UserId) => Effect.Effect<void, StoreUnavailable>
    /** Drops the records of leases whose time is over. */
    readonly prune: Effect.Effect<void, StoreUnavailable>
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Taken {
  readonly leaseId: Redacted.Redacted
  readonly holderId: string
  readonly userId: UserId
  readonly credentialId: CredentialId
  readonly owner: string
  readonly mode: Mode
  readonly fencingToken: number
  readonly ttl: Duration.DurationInput
  readonly takenAt: DateTime.Utc
}

/** A lease that is not older than this tenth of its time, and than a second, is as good as a new one. */
const isYoung = ({ takenAt, ttl }: Taken, now: DateTime.Utc): boolean =>
  DateTime.distance(takenAt, now) <= Math.min(1_000, Duration.toMillis(ttl) / 10)

const hash = (leaseId: Redacted.Redacted) =>
  createHash("sha256").update(Redacted.value(leaseId), "utf8").digest("base64url")

/**
 * Takes up the leases of before a restart as it is built, so that nobody is granted what another still holds.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Leases, StoreUnavailable, LockService | LeaseStore> = Layer.effect(
  Leases,
  Effect.gen(function* () {
    const locks = yield* LockService
    const records = yield* LeaseStore

    const keyOf = (record: Pick<LeaseRecord, "userId" | "credentialId">) =>
      credentialKey(record.userId, record.credentialId)

    const now = yield* DateTime.now
    yield* records.prune(now)
    yield* Effect.forEach(yield* records.all, (record) =>
      locks.adopt({
        id: record.idHash,
        key: keyOf(record),
        mode: record.mode,
        fencingToken: record.fencingToken,
        ttl: Duration.millis(DateTime.distance(now, record.expiresAt))
      })
    )

    const find = Effect.fnUntraced(function* (leaseId: Redacted.Redacted, owner: string) {
      const record = Option.filter(yield* records.find(hash(leaseId)), (found) => found.owner === owner)
      return yield* Effect.mapError(record, () => new LeaseLost())
    })

    const lent = (leaseId: Redacted.Redacted, record: LeaseRecord): LentLease => ({
      leaseId,
      mode: record.mode,
      fencingToken: record.fencingToken,
      expiresAt: record.expiresAt
    })

    const keep = Effect.fnUntraced(function* (
      leaseId: Redacted.Redacted,
      record: Omit<LeaseRecord, "expiresAt">,
      from: DateTime.Utc,
      ttl: Duration.DurationInput
    ) {
      const next = { ...record, expiresAt: DateTime.addDuration(from, ttl) }
      yield* records.put(next)
      return lent(leaseId, next)
    })

    const prolong = Effect.fnUntraced(function* (
      leaseId: Redacted.Redacted,
      record: Omit<LeaseRecord, "expiresAt">,
      ttl: Duration.DurationInput
    ) {
      yield* Effect.tapError(locks.renew(keyOf(record), record.idHash, ttl), () =>
        Effect.ignore(records.remove(record.idHash))
      )
      return yield* keep(leaseId, record, yield* DateTime.now, ttl)
    }, Effect.uninterruptible)

    const end = (record: LeaseRecord) =>
      Effect.zipRight(records.remove(record.idHash), locks.release(keyOf(record), record.idHash)).pipe(
        Effect.uninterruptible
      )

    return Leases.of({
      take: Effect.fnUntraced(function* (userId, credentialId, { mode, owner, ttl, wait }) {
        const leaseId = Redacted.make(randomUUID())
        const { fencingToken, id } = yield* locks.take(credentialKey(userId, credentialId), {
          id: hash(leaseId),
          mode,
          ttl,
          wait
        })
        const takenAt = yield* DateTime.now
        return { leaseId, holderId: id, userId, credentialId, owner, mode, fencingToken, ttl, takenAt }
      }),
      remember: Effect.fnUntraced(function* (taken) {
        const { credentialId, fencingToken, holderId, leaseId, mode, owner, takenAt, ttl, userId } = taken
        const record = { idHash: holderId, userId, credentialId, owner, mode, fencingToken }
        return yield* isYoung(taken, yield* DateTime.now)
          ? keep(leaseId, record, takenAt, ttl)
          : prolong(leaseId, record, ttl)
      }, Effect.uninterruptible),
      forget: (taken) => Effect.ignore(locks.release(keyOf(taken), taken.holderId)),
      renew: (leaseId, owner, ttl) => Effect.flatMap(find(leaseId, owner), (record) => prolong(leaseId, record, ttl)),
      release: (leaseId, owner) => Effect.tap(find(leaseId, owner), end),
      held: (leaseId, owner) => Effect.map(find(leaseId, owner), ({ idHash }) => idHash),
      releaseUser: (userId) =>
        Effect.flatMap(records.ofUser(userId), (all) =>
          Effect.forEach(
            all,
            (record) =>
              Effect.catchTags(end(record), { LeaseLost: () => Effect.void, LockUnavailable: () => Effect.void }),
            { discard: true }
          )
        ),
      prune: Effect.flatMap(DateTime.now, records.prune)
    })
  })
)
