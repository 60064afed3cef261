/**
 * Where credentials are kept, with what belongs to the same transaction: the attempts to spend a refresh token, and the
 * outbox of revocations. Secrets are sealed before a driver sees them, in the memory layer too.
 *
 * All writing is `commit`: a list of conditional changes, all applied or none.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createHmac, randomBytes } from "node:crypto"
import { Cipher } from "./Cipher.ts"
import type {
  Credential,
  CredentialId,
  Metadata,
  OAuth2Credential,
  ProviderId,
  RenewalState,
  Type,
  UserId
} from "./Credential.ts"
import { isOAuth2, toMetadata } from "./Credential.ts"
import { CredentialNotFound, type StoreUnavailable, Undecryptable } from "./CredentialsError.ts"
import * as RenewalPolicy from "./RenewalPolicy.ts"
import {
  type AttemptRow,
  type Conflict,
  type CredentialRow,
  type Driver,
  RowChange,
  type SettingRow
} from "./Store/Driver.ts"
import * as Rewrapping from "./Rewrapping.ts"
import * as Measured from "./Store/Measured.ts"
import * as Memory from "./Store/Memory.ts"
import * as SealedRow from "./Store/SealedRow.ts"
import { lentTo, SystemCredentials } from "./SystemCredentials.ts"

/**
 * The fingerprint of a grant: an HMAC of its newest refresh token under a key of the store's own. Credentials of one
 * user, provider and client that hold the same refresh token have the same one.
 *
 * @since 0.1.0
 * @category models
 */
export type Grant = string

/**
 * One spending of a refresh token, written down before it: open (`outcome` none) until its answer is known.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt {
  readonly id: string
  readonly userId: UserId
  readonly provider: ProviderId
  /** The fingerprint of the refresh token that is spent. */
  readonly grant: Grant
  readonly processId: string
  readonly startedAt: DateTime.Utc
  /** From here on nothing of this attempt is under way any more. */
  readonly deadline: DateTime.Utc
  /** The attempt whose lost answer this one probes. */
  readonly probeOf: Option.Option<string>
}

/**
 * How an attempt ended.
 *
 * - `saved`: its tokens are stored
 * - `superseded`: its tokens came too late; the user had connected anew
 * - `refused`: the provider said no, nothing was spent that still worked
 * - `failed`: it never left this machine, or the provider failed
 * - `lost`: the answer is gone, and the probe found the refresh token spent
 * - `probed`: its answer never came; another attempt asks again
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = "saved" | "superseded" | "refused" | "failed" | "lost" | "probed"

/**
 * A revocation that is still to be done.
 *
 * @since 0.1.0
 * @category models
 */
export interface Revocation {
  readonly id: string
  readonly credential: Credential
  readonly dueAt: DateTime.Utc
  readonly tries: number
}

/**
 * @since 0.1.0
 * @category models
 */
export type Change = Data.TaggedEnum<{
  /** `exists` when the user has that id; `forgotten` when the user was deleted after `unlessForgottenSince`. */
  Create: { readonly credential: Credential; readonly unlessForgottenSince: Option.Option<DateTime.Utc> }
  /** Stores the next generation of a credential; `generation` when the stored one is not the one before. */
  Replace: { readonly credential: Credential }
  /** Notes what it names of the state of renewal; `generation` when the stored generation is not this credential's. */
  Note: { readonly credential: Credential; readonly renewal: Partial<RenewalState> }
  /** The sweeper is not to look at it before this time; `generation` when the stored generation is not this credential's. */
  PutOff: { readonly credential: Credential; readonly until: DateTime.Utc }
  /** Changes nothing; `generation` when the stored generation is another. */
  Expect: { readonly userId: UserId; readonly id: CredentialId; readonly generation: number }
  /** `generation` when the stored generation is another, or there is none. */
  Remove: { readonly userId: UserId; readonly id: CredentialId; readonly generation: number }
  /** `attempt` while another attempt for the grant is open. */
  OpenAttempt: { readonly attempt: Attempt }
  /** `attempt` when it is not open. */
  CloseAttempt: { readonly id: string; readonly outcome: Outcome }
  /** The attempt's exchange is over without a clear answer; `attempt` when it is not open. */
  ExpireAttempt: { readonly id: string; readonly at: DateTime.Utc }
  Enqueue: { readonly revocation: Revocation }
  /** Nobody else's until then; `revocation` when it is not (any more) due at that time. */
  Claim: { readonly id: string; readonly dueAt: DateTime.Utc; readonly until: DateTime.Utc }
  Postpone: { readonly id: string; readonly dueAt: DateTime.Utc }
  Dequeue: { readonly id: string }
  /** Remembers that a user is gone, so that nothing begun before can come back. */
  Forget: { readonly userId: UserId; readonly at: DateTime.Utc }
}>
export const Change = Data.taggedEnum<Change>()

/**
 * @since 0.1.0
 * @category models
 */
export interface Filter {
  readonly provider?: ProviderId
  readonly type?: Type
  readonly status?: Metadata["status"]
}

/**
 * A place in the order of a list: after this one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cursor {
  readonly createdAt: DateTime.Utc
  readonly id: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Page {
  readonly items: ReadonlyArray<Metadata>
  readonly next: Option.Option<Cursor>
}

/**
 * @since 0.1.0
 * @category ports
 */
export class Store extends Context.Tag("effect-credentials/Store")<
  Store,
  {
    /** One read. Another user's credential is `CredentialNotFound`; system credentials are found for every user. */
    readonly get: (
      userId: UserId,
      id: CredentialId
    ) => Effect.Effect<Credential, CredentialNotFound | Undecryptable | StoreUnavailable>
    /** Like `get` without the secret: a row that does not open is answered with the status `undecryptable`. */
    readonly metadata: (
      userId: UserId,
      id: CredentialId
    ) => Effect.Effect<Metadata, CredentialNotFound | StoreUnavailable>
    /** A user's credentials and the system's, ordered by `createdAt`, then `id`. */
    readonly list: (
      userId: UserId,
      filter: Filter,
      page: { readonly limit: number; readonly after: Option.Option<Cursor> }
    ) => Effect.Effect<Page, StoreUnavailable>
    /** All credentials of a user that open, the system's last; and what is known of those that do not. */
    readonly all: (
      userId: UserId
    ) => Effect.Effect<
      { readonly credentials: ReadonlyArray<Credential>; readonly undecryptable: ReadonlyArray<Metadata> },
      StoreUnavailable
    >
    /** The user's credentials that hold a grant's newest refresh token, in id order; those that do not open are left out. */
    readonly sharing: (userId: UserId, grant: Grant) => Effect.Effect<ReadonlyArray<OAuth2Credential>, StoreUnavailable>
    /**
     * The credentials of a provider that the sweeper was to look at by now, oldest first, at most `limit`. They are the
     * caller's until `until`; then, unless something was noted of them, they are there to be claimed again. One that does
     * not open is put off for a day.
     */
    readonly claimDue: (
      provider: ProviderId,
      claim: { readonly limit: number; readonly until: DateTime.Utc }
    ) => Effect.Effect<ReadonlyArray<OAuth2Credential>, StoreUnavailable>
    /** The fingerprint of the grant that a credential holds a refresh token of. */
    readonly grantOf: (credential: Credential) => Option.Option<Grant>
    /** The grants that credentials may be renewed by, each once, after this one; in an order of their own. */
    readonly grants: (
      after: Option.Option<Grant>,
      limit: number
    ) => Effect.Effect<
      ReadonlyArray<{ readonly grant: Grant; readonly userId: UserId; readonly provider: ProviderId }>,
      StoreUnavailable
    >
    readonly openAttempt: (grant: Grant) => Effect.Effect<Option.Option<Attempt>, StoreUnavailable>
    readonly openAttempts: Effect.Effect<ReadonlyArray<Attempt>, StoreUnavailable>
    /** How an attempt stands, also one whose commit had no answer; none when it is not known, or no longer. */
    readonly outcome: (attemptId: string) => Effect.Effect<Option.Option<Outcome | "open">, StoreUnavailable>
    /** Revocations due by now, oldest first. A row that does not open is left out. */
    readonly revocations: (limit: number) => Effect.Effect<ReadonlyArray<Revocation>, StoreUnavailable>
    /** All changes or none; a condition that does not hold is `Conflict`. After `StoreUnavailable` either may be true. */
    readonly commit: (changes: ReadonlyArray<Change>) => Effect.Effect<void, Conflict | StoreUnavailable>
    /** The time by the engine's clock. */
    readonly now: Effect.Effect<DateTime.Utc, StoreUnavailable>
    /** The ids of the keys that stored rows are sealed with. */
    readonly keyIds: Effect.Effect<ReadonlyArray<string>, StoreUnavailable>
    /** Brings what is stored under the first key of the ring; generations, times and everything else stay. */
    readonly rewrapping: ReadonlyArray<Rewrapping.Rewrapping<StoreUnavailable>>
    /** Answers when the engine does. */
    readonly ping: Effect.Effect<void, StoreUnavailable>
  }
>() {}

/**
 * What is stored was sealed with keys that the ring does not hold, or holds with other bytes. Reading on would take all of
 * it for damaged.
 *
 * @since 0.1.0
 * @category errors
 */
export class KeyRingMismatch extends Data.TaggedError("KeyRingMismatch")<{ readonly keyIds: ReadonlyArray<string> }> {
  override get message() {
    return `ENCRYPTION_KEYS: expected to hold the key ${this.keyIds.join(", ")}, as it was when the stored credentials were sealed with it: put it back, after the first one.`
  }
}

const toAttemptRow = (attempt: Attempt): AttemptRow => ({
  ...attempt,
  startedAt: DateTime.toDateUtc(attempt.startedAt),
  deadline: DateTime.toDateUtc(attempt.deadline),
  probeOf: Option.getOrNull(attempt.probeOf)
})

const fromAttemptRow = (row: AttemptRow): Attempt => ({
  ...row,
  userId: row.userId as UserId,
  provider: row.provider as ProviderId,
  startedAt: DateTime.unsafeMake(row.startedAt),
  deadline: DateTime.unsafeMake(row.deadline),
  probeOf: Option.fromNullable(row.probeOf)
})

const compare = (one: Cursor, other: Cursor) =>
  DateTime.toEpochMillis(one.createdAt) - DateTime.toEpochMillis(other.createdAt) ||
  (one.id < other.id ? -1 : Number(one.id > other.id))

const scanSize = 200

/** On the row itself: to remember it elsewhere took longer than to open it once more. */
const shared = Symbol()

/**
 * A store over a driver: seals, opens, fingerprints, and adds the system's credentials. Fails with `KeyRingMismatch` when
 * the ring cannot open what is stored.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  engine: Driver
): Effect.fn.Return<Store["Type"], StoreUnavailable | KeyRingMismatch, Cipher> {
  const driver = Measured.make(engine)
  const cipher = yield* Cipher
  const system = yield* SystemCredentials

  const missing = (yield* driver.keyIds).filter((keyId) => !cipher.keyIds.includes(keyId))
  if (missing.length > 0) return yield* new KeyRingMismatch({ keyIds: missing })

  const settingSubject = ({ name }: Pick<SettingRow, "name">) => [name]
  const name = "fingerprint-key"
  const fingerprintKey = yield* cipher.seal(randomBytes(32), settingSubject({ name })).pipe(
    Effect.flatMap(({ bytes, keyId }) => driver.setting({ name, keyId, sealed: bytes })),
    Effect.flatMap((row) => cipher.open({ keyId: row.keyId, bytes: row.sealed }, settingSubject(row))),
    Effect.catchTag("DoesNotOpen", ({ keyId }) => new KeyRingMismatch({ keyIds: [keyId] }))
  )

  const grants = new WeakMap<Credential, Option.Option<Grant>>()

  /** Worked out once for all who share what was opened. */
  const grantOf = (credential: Credential): Option.Option<Grant> => {
    const known = grants.get(credential)
    if (known !== undefined) return known
    const grant = fingerprintOf(credential)
    grants.set(credential, grant)
    return grant
  }

  const fingerprintOf = (credential: Credential): Option.Option<Grant> => {
    if (!isOAuth2(credential) || credential.variant.refreshToken === undefined) return Option.none()
    const client = Redacted.value(credential.extra)["mcp_client_id"] ?? ""
    const token = Redacted.value(credential.variant.refreshToken)
    return Option.some(
      createHmac("sha256", fingerprintKey)
        .update(JSON.stringify([credential.userId, credential.provider, client, token]))
        .digest("base64url")
    )
  }

  const systemOf = (userId: UserId) => system.credentials.map((credential) => lentTo(userId, credential, system.since))

  const find = (userId: UserId, id: CredentialId) =>
    Effect.flatMap(
      driver.find(userId, id),
      Option.match({
        onNone: () => Effect.fail(new CredentialNotFound({ credentialId: id })),
        onSome: Effect.succeed
      })
    )

  /** Those whom one statement answered with the same row share what is in it: it is opened once for all of them. */
  const open = (row: CredentialRow & { [shared]?: Credential }) => {
    const known = row[shared]
    if (known !== undefined) return Effect.succeed(known)
    return Effect.map(SealedRow.openCredential(cipher, row), (credential) => {
      row[shared] = credential
      return credential
    })
  }

  /** The system's credential of that id, else what the rows say. */
  const orSystem = <A, E>(
    userId: UserId,
    id: CredentialId,
    onSystem: (credential: Credential) => A,
    onRow: (row: CredentialRow) => Effect.Effect<A, E>
  ) => {
    const lent = system.credentials.find((credential) => credential.id === id)
    return lent === undefined
      ? Effect.flatMap(find(userId, id), onRow)
      : Effect.succeed(onSystem(lentTo(userId, lent, system.since)))
  }

  const metadataOf = (row: CredentialRow) =>
    Effect.zipWith(SealedRow.openCredential(cipher, row), DateTime.now, toMetadata).pipe(
      Effect.catchTag("DoesNotOpen", () => Effect.succeed(SealedRow.undecryptable(row)))
    )

  /** Walks a user's rows in order, a page of rows at a time, until `enough`. */
  const scan = (
    userId: UserId,
    filter: Filter,
    after: Option.Option<Cursor>,
    limit: number
  ): Effect.Effect<ReadonlyArray<Metadata>, StoreUnavailable> =>
    Effect.gen(function* () {
      const found: Array<Metadata> = []
      let from = after
      while (found.length < limit) {
        const rows = yield* driver.list({
          userId,
          provider: filter.provider ?? null,
          type: filter.type ?? null,
          after: Option.getOrNull(
            Option.map(from, (cursor) => ({ createdAt: DateTime.toDateUtc(cursor.createdAt), id: cursor.id }))
          ),
          limit: filter.status === undefined ? limit - found.length : scanSize
        })
        const items = yield* Effect.forEach(rows, metadataOf)
        found.push(...items.filter((item) => filter.status === undefined || item.status === filter.status))
        const last = items.at(-1)
        if (last === undefined || rows.length < (filter.status === undefined ? limit : scanSize)) break
        from = Option.some({ createdAt: last.createdAt, id: last.id })
      }
      return found.slice(0, limit)
    })

  const list: Store["Type"]["list"] = Effect.fnUntraced(function* (userId, filter, { after, limit }) {
    const own = yield* scan(userId, filter, after, limit + 1)
    const now = yield* DateTime.now
    const lent = systemOf(userId)
      .map((credential) => toMetadata(credential, now))
      .filter(
        (item) =>
          (filter.provider === undefined || item.provider === filter.provider) &&
          (filter.type === undefined || item.type === filter.type) &&
          (filter.status === undefined || item.status === filter.status) &&
          Option.match(after, { onNone: () => true, onSome: (cursor) => compare(cursor, item) < 0 })
      )
    const items = [...own, ...lent].sort(compare)
    const page = items.slice(0, limit)
    const last = page.at(-1)
    return {
      items: page,
      next:
        items.length > limit && last !== undefined
          ? Option.some({ createdAt: last.createdAt, id: last.id })
          : Option.none()
    }
  })

  const all: Store["Type"]["all"] = Effect.fnUntraced(function* (userId) {
    const rows: Array<CredentialRow> = []
    let from: { readonly createdAt: Date; readonly id: string } | null = null
    for (;;) {
      const page: ReadonlyArray<CredentialRow> = yield* driver.list({
        userId,
        provider: null,
        type: null,
        after: from,
        limit: scanSize
      })
      rows.push(...page)
      const last = page.at(-1)
      if (last === undefined || page.length < scanSize) break
      from = { createdAt: last.createdAt, id: last.id }
    }
    const [closed, opened] = yield* Effect.partition(rows, (row) =>
      Effect.mapError(SealedRow.openCredential(cipher, row), () => SealedRow.undecryptable(row))
    )
    return { credentials: [...opened, ...systemOf(userId)], undecryptable: closed }
  })

  /** What cannot be opened is not to stand in the way of what can. */
  const putOffDamaged = Effect.fnUntraced(function* ({ generation, id, keyId, userId }: CredentialRow) {
    yield* Effect.logError("A credential does not open, and is not renewed").pipe(
      Effect.annotateLogs({ credentialId: id, keyId })
    )
    const sweepAt = DateTime.toDateUtc(DateTime.add(yield* DateTime.now, { days: 1 }))
    const put = RowChange.Note({ userId, id, generation, renewal: { sweepAt } })
    yield* Effect.catchTag(driver.commit([put]), "Conflict", () => Effect.void)
  })

  const claimDue: Store["Type"]["claimDue"] = Effect.fnUntraced(function* (provider, { limit, until }) {
    // by the clock that says when a credential is due, so that what is claimed is
    const by = DateTime.toDateUtc(yield* DateTime.now)
    const rows = yield* driver.claimDue({ provider, by, until: DateTime.toDateUtc(until), limit })
    const [damaged, opened] = yield* Effect.partition(rows, (row) =>
      Effect.mapError(SealedRow.openCredential(cipher, row), () => row)
    )
    yield* Effect.forEach(damaged, putOffDamaged, { discard: true })
    const dueAt = (credential: OAuth2Credential) =>
      Option.match(RenewalPolicy.sweepAt(credential), { onNone: () => 0, onSome: DateTime.toEpochMillis })
    return opened.filter(isOAuth2).sort((one, other) => dueAt(one) - dueAt(other))
  })

  const toRowChange = (change: Change): Effect.Effect<RowChange> => {
    switch (change._tag) {
      case "Create":
        return Effect.map(SealedRow.sealCredential(cipher, change.credential, grantOf(change.credential)), (row) =>
          RowChange.Create({
            row,
            unlessForgottenSince: Option.getOrNull(Option.map(change.unlessForgottenSince, DateTime.toDateUtc))
          })
        )
      case "Replace":
        return Effect.map(SealedRow.sealCredential(cipher, change.credential, grantOf(change.credential)), (row) =>
          RowChange.Replace({ row })
        )
      case "Note": {
        const { generation, id, userId } = change.credential
        const renewal = SealedRow.toNote(change.credential, change.renewal)
        return Effect.succeed(RowChange.Note({ userId, id, generation, renewal }))
      }
      case "PutOff": {
        const { generation, id, userId } = change.credential
        const renewal = { sweepAt: DateTime.toDateUtc(change.until) }
        return Effect.succeed(RowChange.Note({ userId, id, generation, renewal }))
      }
      case "OpenAttempt":
        return Effect.succeed(RowChange.OpenAttempt({ row: toAttemptRow(change.attempt) }))
      case "ExpireAttempt":
        return Effect.succeed(RowChange.ExpireAttempt({ id: change.id, at: DateTime.toDateUtc(change.at) }))
      case "Enqueue":
        return Effect.map(SealedRow.sealRevocation(cipher, change.revocation), (row) => RowChange.Enqueue({ row }))
      case "Claim":
        return Effect.succeed(
          RowChange.Claim({
            id: change.id,
            dueAt: DateTime.toDateUtc(change.dueAt),
            until: DateTime.toDateUtc(change.until)
          })
        )
      case "Postpone":
        return Effect.succeed(RowChange.Postpone({ id: change.id, dueAt: DateTime.toDateUtc(change.dueAt) }))
      case "Forget":
        return Effect.succeed(RowChange.Forget({ userId: change.userId, at: DateTime.toDateUtc(change.at) }))
      default:
        return Effect.succeed(change)
    }
  }

  return Store.of({
    get: (userId, id) =>
      orSystem(
        userId,
        id,
        (lent) => lent,
        (row) => Effect.mapError(open(row), ({ keyId }) => new Undecryptable({ credentialId: id, keyId }))
      ),
    metadata: (userId, id) =>
      Effect.flatMap(DateTime.now, (now) => orSystem(userId, id, (lent) => toMetadata(lent, now), metadataOf)),
    list,
    all,
    sharing: (userId, grant) =>
      Effect.flatMap(driver.sharing(userId, grant), (rows) =>
        Effect.map(
          Effect.partition(rows, (row) => SealedRow.openCredential(cipher, row)),
          ([, opened]) => opened.filter(isOAuth2)
        )
      ),
    claimDue,
    grantOf,
    grants: (after, limit) =>
      Effect.map(driver.grants(Option.getOrNull(after), limit), (rows) =>
        rows.map(({ grant, provider, userId }) => ({
          grant,
          userId: userId as UserId,
          provider: provider as ProviderId
        }))
      ),
    openAttempt: (grant) => Effect.map(driver.openAttempt(grant), Option.map(fromAttemptRow)),
    openAttempts: Effect.map(driver.openAttempts, (rows) => rows.map(fromAttemptRow)),
    outcome: (attemptId) =>
      Effect.map(
        driver.outcome(attemptId),
        Option.map((outcome) => outcome as Outcome | "open")
      ),
    revocations: (limit) =>
      driver.now.pipe(
        Effect.flatMap((now) => driver.revocations(now, limit)),
        Effect.flatMap((rows) => Effect.partition(rows, (row) => SealedRow.openRevocation(cipher, row))),
        Effect.map(([, opened]) => opened)
      ),
    commit: (changes) => Effect.flatMap(Effect.forEach(changes, toRowChange), driver.commit),
    now: Effect.map(driver.now, DateTime.unsafeMake),
    keyIds: driver.keyIds,
    rewrapping: [
      Rewrapping.make(cipher, {
        name: "settings",
        rows: driver.sealed.settings,
        subject: settingSubject
      }),
      Rewrapping.make(cipher, {
        name: "credentials",
        rows: driver.sealed.credentials,
        subject: SealedRow.credentialSubject
      }),
      Rewrapping.make(cipher, {
        name: "revocations",
        rows: driver.sealed.revocations,
        subject: SealedRow.revocationSubject
      })
    ],
    ping: driver.ping
  })
})

/**
 * A store over any driver.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  driver: Effect.Effect<Driver, E, R>
): Layer.Layer<Store, E | StoreUnavailable | KeyRingMismatch, R | Cipher> =>
  Layer.effect(Store, Effect.flatMap(driver, make))

/**
 * Everything in this process's memory, sealed all the same: for tests, and for what need not last.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Store, never, Cipher> = Layer.orDie(layer(Memory.make))
