/**
 * What the parts of one process's locks in Redis share: how they ask the server, time, and their bounds.
 *
 * @since 0.1.0
 */
import { createHash } from "node:crypto"
import { LockUnavailable } from "../../CredentialsError.ts"
import type { Argument, Redis } from "../../Redis.ts"
import type { Mode } from "../Authority.ts"
import type { Answer } from "./Alone.ts"
import { keyNames } from "./Scripts.ts"

/**
 * Durations and moments are in milliseconds, moments on the monotonic clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Session {
  /** The channel on which this process hears of its grants; its owners' names begin so. */
  readonly inbox: string
  readonly ttl: number
  readonly claim: number
  readonly waiterLease: number
  readonly unavailableAfter: number
  readonly now: () => number
  /** Calls once, unless the result is called before. */
  readonly after: (millis: number, run: () => void) => () => void
  readonly evaluate: Redis["Type"]["evaluate"]
  /** A step at a lock that perhaps nobody else is at: sent with others, and before whatever is evaluated after it. */
  readonly alone: (key: string, parameters: ReadonlyArray<Argument>, answer: Answer) => void
}

/**
 * A failed command is tried again after so many milliseconds, unless the connection comes back first.
 *
 * @since 0.1.0
 * @category constants
 */
export const retryMillis = 50

/**
 * @since 0.1.0
 * @category errors
 */
export const unavailable = () => new LockUnavailable({ retryAfterSeconds: 1 })

/**
 * The keys of a lock in Redis. Those of one lock share one of 64 slots of a cluster; what is locked does not show.
 *
 * @since 0.1.0
 * @category keys
 */
export const keysOf = (key: string): ReadonlyArray<string> => {
  const digest = createHash("sha256").update(key, "utf8").digest()
  const bucket = String((digest[0] ?? 0) % 64).padStart(2, "0")
  const base = `lk:{b${bucket}}:${digest.toString("base64url", 0, 18)}:`
  return keyNames.map((name) => base + name)
}

/**
 * Remembers what was asked for last, so that a lock that is used again and again is hashed once.
 *
 * @since 0.1.0
 * @category keys
 */
export const makeKeys = (limit = 2048): ((key: string) => ReadonlyArray<string>) => {
  // the older half is dropped when the younger is full
  let young = new Map<string, ReadonlyArray<string>>()
  let old = young
  return (key) => {
    const known = young.get(key)
    if (known !== undefined) return known
    const keys = old.get(key) ?? keysOf(key)
    if (young.size >= limit / 2) {
      old = young
      young = new Map()
    }
    young.set(key, keys)
    return keys
  }
}

/**
 * The owner under whose name Redis knows a lease that stands by itself.
 *
 * @since 0.1.0
 * @category encodings
 */
export const standingName = (id: string) => `t:${id}`

/**
 * @since 0.1.0
 * @category encodings
 */
export const isStanding = (owner: string) => owner.startsWith("t:")

/**
 * @since 0.1.0
 * @category encodings
 */
export const standingId = (owner: string) => owner.slice("t:".length)

/**
 * The process that an owner belongs to; not for leases that stand by themselves.
 *
 * @since 0.1.0
 * @category encodings
 */
export const inboxOf = (owner: string) => owner.slice(0, owner.lastIndexOf("."))

/**
 * @since 0.1.0
 * @category encodings
 */
export const letterOf = (mode: Mode) => (mode === "exclusive" ? "X" : "S")

/**
 * @since 0.1.0
 * @category encodings
 */
export const modeOf = (letter: unknown): Mode => (letter === "X" ? "exclusive" : "shared")

/**
 * @since 0.1.0
 * @category encodings
 */
export const arrayOf = (reply: unknown): ReadonlyArray<unknown> => (Array.isArray(reply) ? reply : [])

/**
 * A flat list, so many parts a row.
 *
 * @since 0.1.0
 * @category encodings
 */
export const rowsOf = (list: unknown, width: number): ReadonlyArray<ReadonlyArray<unknown>> => {
  const parts = arrayOf(list)
  return Array.from({ length: Math.floor(parts.length / width) }, (_, row) =>
    parts.slice(row * width, (row + 1) * width)
  )
}
