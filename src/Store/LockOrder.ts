/**
 * What a commit locks in a shared database, in the one order that keeps commits from waiting for each other in a circle:
 * users, credentials, attempts, revocations.
 *
 * @since 0.1.0
 */
import { createHash } from "node:crypto"
import type { RowChange } from "./Driver.ts"

/**
 * What is remembered of a user who is gone.
 *
 * @since 0.1.0
 */
export const hashOf = (userId: string) => createHash("sha256").update(userId, "utf8").digest()

/**
 * A row that a change locks: its table and its key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Locked {
  readonly table: "credentials" | "attempts" | "revocations"
  readonly key: readonly [string, string]
}

/**
 * @since 0.1.0
 */
export const tableOrder = ["credentials", "attempts", "revocations"] as const

/**
 * The row that must be there for a change to be made. What is only inserted locks nothing that is there.
 *
 * @since 0.1.0
 */
export const lockedBy = (change: RowChange): Locked | undefined => {
  switch (change._tag) {
    case "Replace":
      return { table: "credentials", key: [change.row.userId, change.row.id] }
    case "Note":
    case "Expect":
    case "Remove":
      return { table: "credentials", key: [change.userId, change.id] }
    case "CloseAttempt":
    case "ExpireAttempt":
      return { table: "attempts", key: [change.id, ""] }
    case "Claim":
    case "Postpone":
    case "Dequeue":
      return { table: "revocations", key: [change.id, ""] }
    default:
      return undefined
  }
}

const compareText = (one: string, other: string) => (one < other ? -1 : Number(one > other))

/**
 * @since 0.1.0
 */
export const inLockOrder = (one: Locked, other: Locked) =>
  tableOrder.indexOf(one.table) - tableOrder.indexOf(other.table) ||
  compareText(one.key[0], other.key[0]) ||
  compareText(one.key[1], other.key[1])

/**
 * Who may be deleted, or must not have been, while these changes are made: by the hash of the user's id, in one order.
 *
 * @since 0.1.0
 */
export const guardedBy = (changes: ReadonlyArray<RowChange>) => {
  const guards = new Map<string, { readonly hash: Buffer; readonly exclusive: boolean }>()
  for (const change of changes) {
    if (change._tag === "Forget" || (change._tag === "Create" && change.unlessForgottenSince !== null)) {
      const hash = hashOf(change._tag === "Forget" ? change.userId : change.row.userId)
      const key = hash.toString("hex")
      const exclusive = change._tag === "Forget" || guards.get(key)?.exclusive === true
      guards.set(key, { hash, exclusive })
    }
  }
  return [...guards].sort(([one], [other]) => compareText(one, other)).map(([, guard]) => guard)
}
