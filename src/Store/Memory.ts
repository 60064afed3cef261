/**
 * The store's rows in this process's memory.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Rewrapping from "../Rewrapping.ts"
import type { AttemptRow, CredentialRow, Driver, GrantRow, RevocationRow, RowChange, SettingRow } from "./Driver.ts"
import { Conflict } from "./Driver.ts"

const after = (row: CredentialRow, cursor: { readonly createdAt: Date; readonly id: string }) =>
  row.createdAt.getTime() > cursor.createdAt.getTime() ||
  (row.createdAt.getTime() === cursor.createdAt.getTime() && row.id > cursor.id)

const byCreation = (one: CredentialRow, other: CredentialRow) =>
  one.createdAt.getTime() - other.createdAt.getTime() || (one.id < other.id ? -1 : 1)

/** More than could matter to anybody, and little to keep. */
const rememberedOutcomes = 10_000

/**
 * A driver over plain maps. A commit is one synchronous step: nobody sees half of it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Driver> = Effect.sync(() => {
  const users = new Map<string, Map<string, CredentialRow>>()
  /** The open ones. */
  const attempts = new Map<string, AttemptRow>()
  /** How the last of the others ended. */
  const outcomes = new Map<string, string>()
  const revocations = new Map<string, RevocationRow>()
  const settings = new Map<string, SettingRow>()
  const forgotten = new Map<string, Date>()

  const rowsOf = (userId: string) => [...(users.get(userId)?.values() ?? [])]

  const at = (userId: string, id: string, generation: number) => {
    const row = users.get(userId)?.get(id)
    if (row?.generation !== generation) throw new Conflict({ on: "generation" })
    return row
  }

  const open = (id: string) => {
    const attempt = attempts.get(id)
    if (attempt === undefined) throw new Conflict({ on: "attempt" })
    return attempt
  }

  const openFor = (grant: string) => [...attempts.values()].find((attempt) => attempt.grant === grant)

  /** Sets or (with `undefined`) removes an entry, and tells how to undo it. */
  const put = <V>(map: Map<string, V>, key: string, value: V | undefined) => {
    const before = map.get(key)
    if (value === undefined) map.delete(key)
    else map.set(key, value)
    return () => {
      if (before === undefined) map.delete(key)
      else map.set(key, before)
    }
  }

  const putRow = (userId: string, id: string, row: CredentialRow | undefined) => {
    const rows = users.get(userId) ?? new Map<string, CredentialRow>()
    users.set(userId, rows)
    return put(rows, id, row)
  }

  const apply = (change: RowChange): (() => void) => {
    switch (change._tag) {
      case "Create": {
        const { row, unlessForgottenSince } = change
        const gone = forgotten.get(row.userId)
        if (unlessForgottenSince !== null && gone !== undefined && gone.getTime() >= unlessForgottenSince.getTime()) {
          throw new Conflict({ on: "forgotten" })
        }
        if (users.get(row.userId)?.has(row.id) === true) throw new Conflict({ on: "exists" })
        return putRow(row.userId, row.id, row)
      }
      case "Replace": {
        const { row } = change
        const stored = at(row.userId, row.id, row.generation - 1)
        return putRow(row.userId, row.id, { ...row, createdAt: stored.createdAt })
      }
      case "Note":
        return putRow(change.userId, change.id, {
          ...at(change.userId, change.id, change.generation),
          ...change.renewal
        })
      case "Expect":
        at(change.userId, change.id, change.generation)
        return () => {}
      case "Remove":
        at(change.userId, change.id, change.generation)
        return putRow(change.userId, change.id, undefined)
      case "OpenAttempt":
        if (openFor(change.row.grant) !== undefined || attempts.has(change.row.id)) {
          throw new Conflict({ on: "attempt" })
        }
        return put(attempts, change.row.id, change.row)
      case "CloseAttempt": {
        const reopen = put(attempts, open(change.id).id, undefined)
        const forget = put(outcomes, change.id, change.outcome)
        return () => {
          reopen()
          forget()
        }
      }
      case "ExpireAttempt":
        return put(attempts, change.id, { ...open(change.id), deadline: change.at })
      case "Enqueue":
        return put(revocations, change.row.id, change.row)
      case "Claim": {
        const row = revocations.get(change.id)
        if (row?.dueAt.getTime() !== change.dueAt.getTime()) throw new Conflict({ on: "revocation" })
        return put(revocations, change.id, { ...row, dueAt: change.until })
      }
      case "Postpone": {
        const row = revocations.get(change.id)
        return put(revocations, change.id, row && { ...row, dueAt: change.dueAt, tries: row.tries + 1 })
      }
      case "Dequeue":
        return put(revocations, change.id, undefined)
      case "Forget": {
        const before = forgotten.get(change.userId)
        return put(forgotten, change.userId, before !== undefined && before > change.at ? before : change.at)
      }
    }
  }

  const commit = (changes: ReadonlyArray<RowChange>) => {
    const undo: Array<() => void> = []
    try {
      for (const change of changes) undo.push(apply(change))
    } catch (error) {
      for (const step of undo.toReversed()) step()
      throw error
    }
    for (const id of outcomes.keys()) {
      if (outcomes.size <= rememberedOutcomes) break
      outcomes.delete(id)
    }
  }

  return {
    // a copy for each reader, as a statement answers
    find: (userId, id) =>
      Effect.sync(() => Option.map(Option.fromNullable(users.get(userId)?.get(id)), (row) => ({ ...row }))),
    list: (options) =>
      Effect.sync(() =>
        rowsOf(options.userId)
          .filter(
            (row) =>
              (options.provider === null || row.provider === options.provider) &&
              (options.type === null || row.type === options.type) &&
              (options.after === null || after(row, options.after))
          )
          .sort(byCreation)
          .slice(0, options.limit)
      ),
    sharing: (userId, grant) =>
      Effect.sync(() =>
        rowsOf(userId)
          .filter((row) => row.grant === grant)
          .sort((one, other) => (one.id < other.id ? -1 : 1))
      ),
    claimDue: ({ by, limit, provider, until }) =>
      Effect.sync(() =>
        [...users.values()]
          .flatMap((rows) => [...rows.values()])
          .flatMap((row) =>
            row.provider === provider && row.sweepAt !== null && row.sweepAt <= by ? [{ row, at: row.sweepAt }] : []
          )
          .sort((one, other) => one.at.getTime() - other.at.getTime())
          .slice(0, limit)
          .map(({ row }) => {
            const claimed = { ...row, sweepAt: until }
            putRow(row.userId, row.id, claimed)
            return claimed
          })
      ),
    grants: (after, limit) =>
      Effect.sync(() => {
        const rows = [...users.values()].flatMap((owned) => [...owned.values()])
        const grants = new Map<string, GrantRow>()
        for (const { grant, provider, reauthReason, userId } of rows) {
          if (grant === null || reauthReason !== null || (after !== null && grant <= after)) continue
          grants.set(grant, { grant, userId, provider })
        }
        return [...grants.values()].sort((one, other) => (one.grant < other.grant ? -1 : 1)).slice(0, limit)
      }),
    openAttempt: (grant) => Effect.sync(() => Option.fromNullable(openFor(grant))),
    openAttempts: Effect.sync(() => [...attempts.values()]),
    outcome: (attemptId) =>
      Effect.sync(() => (attempts.has(attemptId) ? Option.some("open") : Option.fromNullable(outcomes.get(attemptId)))),
    revocations: (by, limit) =>
      Effect.sync(() =>
        [...revocations.values()]
          .filter((row) => row.dueAt.getTime() <= by.getTime())
          .sort((one, other) => one.dueAt.getTime() - other.dueAt.getTime())
          .slice(0, limit)
      ),
    setting: (row) =>
      Effect.sync(() => {
        const stored = settings.get(row.name) ?? row
        settings.set(row.name, stored)
        return stored
      }),
    commit: (changes) =>
      Effect.suspend(() => {
        try {
          commit(changes)
          return Effect.void
        } catch (error) {
          return error instanceof Conflict ? Effect.fail(error) : Effect.die(error)
        }
      }),
    now: Effect.map(DateTime.now, DateTime.toDateUtc),
    keyIds: Effect.sync(() => [
      ...new Set(
        [...[...users.values()].flatMap((rows) => [...rows.values()]), ...revocations.values()]
          .map((row) => row.keyId)
          .concat([...settings.values()].map((sealed) => sealed.keyId))
      )
    ]),
    sealed: {
      credentials: Rewrapping.inMemory({
        all: () => [...users.values()].flatMap((rows) => [...rows.values()]),
        get: (row) => users.get(row.userId)?.get(row.id),
        id: (row) => [row.userId, row.id],
        put: (row) => putRow(row.userId, row.id, row)
      }),
      revocations: Rewrapping.inMemory({
        all: () => [...revocations.values()],
        get: (row) => revocations.get(row.id),
        id: (row) => [row.id],
        put: (row) => revocations.set(row.id, row)
      }),
      settings: Rewrapping.inMemory({
        all: () => [...settings.values()],
        get: (row) => settings.get(row.name),
        id: (row) => [row.name],
        put: (row) => settings.set(row.name, row)
      })
    },
    ping: Effect.void
  }
})
