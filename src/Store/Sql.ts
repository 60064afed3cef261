/**
 * The store's rows in a database that speaks Postgres: the embedded engine, or a server that many processes share.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Cipher } from "../Cipher.ts"
import type { StoreUnavailable } from "../CredentialsError.ts"
import * as EngineClock from "../Database/EngineClock.ts"
import * as PointReads from "../Database/PointReads.ts"
import * as Statement from "../Database/Statement.ts"
import * as Rewrapping from "../Rewrapping/Sql.ts"
import * as Store from "../Store.ts"
import type { AttemptRow, CredentialRow, Driver, GrantRow, RevocationRow, RowChange, SettingRow } from "./Driver.ts"
import { Conflict } from "./Driver.ts"
import { guardedBy, hashOf, inLockOrder, type Locked, lockedBy, tableOrder } from "./LockOrder.ts"
import { attempts, credentials, renewals, revocations, settings } from "./Tables.ts"

/**
 * @since 0.1.0
 * @category models
 */
export type Options = EngineClock.Options

/** "ecfu": the space of the locks on users, apart from whatever else locks in this database. */
const userLocks = 0x65_63_66_75

/**
 * A driver over the tables of `migrations`.
 *
 * - A commit is one transaction (`read committed`); what a change is conditional on is part of its statement, so that it
 *   holds when the change is made. Locks are taken in one order; a transaction that another one deadlocked with, or that
 *   could not be serialised, is done again as a whole.
 * - A commit that was begun is not interrupted. When its answer is lost it may have happened: `StoreUnavailable`.
 * - No statement waits for another connection: an engine with a single one will do.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Driver, never, SqlClient.SqlClient> {
  // a client that renames columns for its owner leaves these alone
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const credentialColumns = sql.literal(credentials.selection)
  const attemptColumns = sql.literal(attempts.selection)
  const revocationColumns = sql.literal(revocations.selection)
  const settingColumns = sql.literal(settings.selection)
  const time = EngineClock.timeBy(sql, options)

  const orConflict = (
    statement: Effect.Effect<ReadonlyArray<unknown>, SqlError>,
    on: Conflict["on"]
  ): Effect.Effect<void, Conflict | SqlError> =>
    Effect.flatMap(statement, (rows) => (rows.length === 0 ? Effect.fail(new Conflict({ on })) : Effect.void))

  const at = (change: { readonly userId: string; readonly id: string }, generation: number) =>
    sql`user_id = ${change.userId} and id = ${change.id} and generation = ${generation}`

  /** The lock keeps it true until the transaction ends. */
  const expect = (change: { readonly userId: string; readonly id: string; readonly generation: number }) =>
    orConflict(sql`select 1 from credentials where ${at(change, change.generation)} for update`, "generation")

  const open = (id: string) => sql`id = ${id} and outcome is null`

  const apply = (change: RowChange): Effect.Effect<void, Conflict | SqlError> => {
    switch (change._tag) {
      case "Create": {
        const { row, unlessForgottenSince } = change
        const create = orConflict(
          sql`insert into credentials ${sql.insert(credentials.encode(row))} on conflict do nothing returning id`,
          "exists"
        )
        if (unlessForgottenSince === null) return create
        // the lock on the user, taken before, keeps this true until the transaction ends
        const notForgotten = orConflict(
          sql`
            select 1 where not exists (
              select from forgotten_users
              where user_hash = ${hashOf(row.userId).toString("hex")} and at >= ${unlessForgottenSince}
            )`,
          "forgotten"
        )
        return Effect.zipRight(notForgotten, create)
      }
      case "Replace": {
        const { createdAt: _, ...row } = change.row
        return orConflict(
          sql`
            update credentials set ${sql.update(credentials.encode(row), ["user_id", "id"])}
            where ${at(row, row.generation - 1)} returning id`,
          "generation"
        )
      }
      case "Note": {
        const noted = renewals.encode(change.renewal)
        if (Object.keys(noted).length === 0) return expect(change)
        return orConflict(
          sql`update credentials set ${sql.update(noted)} where ${at(change, change.generation)} returning id`,
          "generation"
        )
      }
      case "Expect":
        return expect(change)
      case "Remove":
        return orConflict(
          sql`delete from credentials where ${at(change, change.generation)} returning id`,
          "generation"
        )
      case "OpenAttempt":
        // also when another process opens one at this moment: the index lets one of them in
        return orConflict(
          sql`insert into attempts ${sql.insert(attempts.encode(change.row))} on conflict do nothing returning id`,
          "attempt"
        )
      case "CloseAttempt":
        return Effect.flatMap(time, (now) =>
          orConflict(
            sql`
              update attempts set outcome = ${change.outcome}, finished_at = ${now}
              where ${open(change.id)} returning id`,
            "attempt"
          )
        )
      case "ExpireAttempt":
        return orConflict(
          sql`update attempts set deadline = ${change.at} where ${open(change.id)} returning id`,
          "attempt"
        )
      case "Enqueue": {
        const columns = revocations.encode(change.row)
        return Effect.asVoid(sql`
          insert into revocations ${sql.insert(columns)}
          on conflict (id) do update set ${sql.update(columns, ["id"])}`)
      }
      case "Claim":
        return orConflict(
          sql`
            update revocations set due_at = ${change.until}
            where id = ${change.id} and due_at = ${change.dueAt} returning id`,
          "revocation"
        )
      case "Postpone":
        return Effect.asVoid(
          sql`update revocations set due_at = ${change.dueAt}, tries = tries + 1 where id = ${change.id}`
        )
      case "Dequeue":
        return Effect.asVoid(sql`delete from revocations where id = ${change.id}`)
      case "Forget":
        return Effect.asVoid(sql`
          insert into forgotten_users ${sql.insert({ user_hash: hashOf(change.userId).toString("hex"), at: change.at })}
          on conflict (user_hash) do update set at = greatest(forgotten_users.at, excluded.at)`)
    }
  }

  /**
   * Rows do not show who is about to be created: so `Forget` and a `Create` that depends on it meet at a lock of the
   * user's. Either the create comes first, and the deletion finds its row; or it sees that the user is gone.
   */
  const lockUsers = Effect.fnUntraced(function* (changes: ReadonlyArray<RowChange>) {
    const guards = guardedBy(changes)
    if (guards.length === 0) return
    // whatever the database's default: stricter levels would go on to see what was there before the wait for the lock
    yield* sql`set transaction isolation level read committed`
    for (const { exclusive, hash } of guards) {
      const key = hash.readInt32BE()
      yield* exclusive
        ? sql`select pg_advisory_xact_lock(${userLocks}, ${key})`
        : sql`select pg_advisory_xact_lock_shared(${userLocks}, ${key})`
    }
  })

  const selectLocked: Record<Locked["table"], (keys: ReadonlyArray<Locked["key"]>) => Fragment> = {
    credentials: (keys) => sql`
      select 1 from credentials where ${sql.or(keys.map(([userId, id]) => sql`(user_id = ${userId} and id = ${id})`))}
      order by user_id, id for update`,
    attempts: (keys) => sql`
      select 1 from attempts where ${sql.in(
        "id",
        keys.map(([id]) => id)
      )} order by id collate "C" for update`,
    revocations: (keys) => sql`
      select 1 from revocations where ${sql.in(
        "id",
        keys.map(([id]) => id)
      )} order by id collate "C" for update`
  }

  /** Locks the rows in one order for all, unless the changes come to them in that order by themselves. */
  const lockRows = (changes: ReadonlyArray<RowChange>) =>
    Effect.suspend(() => {
      const locked = changes.map(lockedBy).filter((row) => row !== undefined)
      const sorted = locked.toSorted(inLockOrder)
      if (sorted.every((row, index) => row === locked[index])) return Effect.void
      return Effect.forEach(
        tableOrder,
        (table) => {
          const keys = sorted.filter((row) => row.table === table).map((row) => row.key)
          return keys.length === 0 ? Effect.void : Effect.asVoid(sql`${selectLocked[table](keys)}`)
        },
        { discard: true }
      )
    })

  const selectOne = `select ${credentials.selection} from credentials where user_id = $1 and id = $2`

  const selectByKeys = (keys: ReadonlyArray<Pick<CredentialRow, "id" | "userId">>) => {
    const [only, second] = keys
    if (only !== undefined && second === undefined) return sql.unsafe<CredentialRow>(selectOne, [only.userId, only.id])
    const users = keys.map(({ userId }) => userId)
    const ids = keys.map(({ id }) => id)
    return sql<CredentialRow>`
      select ${credentialColumns} from unnest(${users}::text[], ${ids}::text[]) as asked (asked_user, asked_id)
      join credentials on user_id = asked_user and id = asked_id`
  }

  const transaction = (changes: ReadonlyArray<RowChange>) => {
    const [only, second] = changes
    if (only === undefined) return Effect.void
    // a statement is a transaction by itself
    if (second === undefined && guardedBy(changes).length === 0) return apply(only)
    return lockUsers(changes).pipe(
      Effect.zipRight(lockRows(changes)),
      Effect.zipRight(Effect.forEach(changes, apply, { discard: true })),
      sql.withTransaction
    )
  }

  const find = yield* PointReads.make({
    nameOf: ({ id, userId }: Pick<CredentialRow, "id" | "userId">) => `${id} ${userId}`,
    read: (keys) =>
      Statement.read(
        Effect.map(selectByKeys(keys), (rows) => new Map(rows.map((row) => [`${row.id} ${row.userId}`, row])))
      )
  })

  return {
    find: (userId, id) => find({ userId, id }),
    list: ({ after, limit, provider, type, userId }) =>
      Statement.read(
        sql<CredentialRow>`
          select ${credentialColumns} from credentials
          where ${sql.and([
            sql`user_id = ${userId}`,
            ...(provider === null ? [] : [sql`provider = ${provider}`]),
            ...(type === null ? [] : [sql`type = ${type}`]),
            ...(after === null ? [] : [sql`(created_at, id) > (${after.createdAt}, ${after.id})`])
          ])}
          order by created_at, id limit ${limit}`
      ),
    sharing: (userId, grant) =>
      Statement.read(
        sql<CredentialRow>`
          select ${credentialColumns} from credentials
          where user_id = ${userId} and grant_fingerprint = ${grant} order by id`
      ),
    claimDue: ({ by, limit, provider, until }) =>
      Statement.write(
        // what another process is claiming at this moment, or changing, is left to it: nobody waits here
        sql<CredentialRow>`
          update credentials set sweep_at = ${until}
          where (user_id, id) in (
            select user_id, id from credentials
            where provider = ${provider} and sweep_at <= ${by}
            order by sweep_at limit ${limit} for update skip locked
          )
          returning ${credentialColumns}`
      ),
    grants: (after, limit) =>
      Statement.read(
        sql<GrantRow>`
          select distinct on (grant_fingerprint) grant_fingerprint as grant, user_id as "userId", provider
          from credentials
          where ${sql.and([
            sql`grant_fingerprint is not null`,
            ...(after === null ? [] : [sql`grant_fingerprint > ${after}`]),
            sql`reauth_reason is null`
          ])}
          order by grant_fingerprint limit ${limit}`
      ),
    openAttempt: (grant) =>
      Statement.read(
        Effect.map(
          sql<AttemptRow>`
            select ${attemptColumns} from attempts where grant_fingerprint = ${grant} and outcome is null`,
          ([row]) => Option.fromNullable(row)
        )
      ),
    openAttempts: Statement.read(
      sql<AttemptRow>`select ${attemptColumns} from attempts where outcome is null order by started_at, id`
    ),
    outcome: (attemptId) =>
      Statement.read(
        Effect.map(
          sql<{ readonly outcome: string }>`
            select coalesce(outcome, 'open') as outcome from attempts where id = ${attemptId}`,
          ([row]) => Option.map(Option.fromNullable(row), ({ outcome }) => outcome)
        )
      ),
    revocations: (by, limit) =>
      Statement.read(
        sql<RevocationRow>`
          select ${revocationColumns} from revocations where due_at <= ${by} order by due_at, id limit ${limit}`
      ),
    setting: (row) =>
      Statement.write(
        Effect.map(
          // the update changes nothing: it makes the statement answer what is stored, whoever stored it
          sql<SettingRow>`
            insert into settings ${sql.insert(settings.encode(row))}
            on conflict (name) do update set name = excluded.name returning ${settingColumns}`,
          ([stored]) => stored ?? row
        )
      ),
    commit: (changes) => Statement.write(Effect.suspend(() => transaction(changes))),
    now:
      options.clock === "process"
        ? Effect.map(DateTime.now, DateTime.toDateUtc)
        : Statement.read(
            Effect.flatMap(sql<{ readonly now: Date }>`select clock_timestamp() as now`, (rows) =>
              Effect.orDie(Option.map(Arr.head(rows), (row) => row.now))
            )
          ),
    keyIds: Statement.read(
      Effect.map(
        // from each key of the index to the next one: a step for each key, not for each row
        sql<{ readonly keyId: string }>`
          with recursive used as (
            select min(key_id) as key_id from credentials
            union all
            select (select min(key_id) from credentials where key_id > used.key_id)
            from used where used.key_id is not null
          )
          select key_id as "keyId" from used where key_id is not null
          union select key_id from revocations
          union select key_id from settings`,
        (rows) => rows.map((row) => row.keyId)
      )
    ),
    sealed: {
      credentials: Rewrapping.make(sql, { name: "credentials", table: credentials, id: ["userId", "id"] }),
      revocations: Rewrapping.make(sql, { name: "revocations", table: revocations, id: ["id"] }),
      settings: Rewrapping.make(sql, { name: "settings", table: settings, id: ["name"] })
    },
    ping: Statement.read(Effect.asVoid(sql`select 1`))
  }
})

/**
 * Drops what is only history: attempts closed 30 days ago, which whoever asks what became of a token has read by now;
 * and the memory of users deleted a day ago, as nothing that was begun before is still under way.
 *
 * @since 0.1.0
 */
export const prune = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<void, StoreUnavailable, SqlClient.SqlClient> {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  yield* Statement.write(
    Effect.flatMap(EngineClock.timeBy(sql, options), (now) =>
      Effect.zipRight(
        sql`delete from attempts where outcome is not null and finished_at < ${now} - interval '30 days'`,
        sql`delete from forgotten_users where at < ${now} - interval '1 day'`
      )
    )
  )
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<Store.Store, StoreUnavailable | Store.KeyRingMismatch, SqlClient.SqlClient | Cipher> =>
  Store.layer(make(options))
