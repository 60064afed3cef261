/**
 * What an operator is told after a rotation of keys: what was done, and what to do next.
 *
 * @since 0.1.0
 */
import type { Result } from "../KeyRotation.ts"
import type { KeyRing } from "../Settings/EncryptionKeys.ts"

const number = new Intl.NumberFormat("en-US")

const rows = (count: number) => `${number.format(count)} ${count === 1 ? "row" : "rows"}`

const sum = (counts: ReadonlyArray<number>) => counts.reduce((total, count) => total + count, 0)

/**
 * @since 0.1.0
 */
export const stopped = (keyId: string, done: number, total: number): string =>
  `Stopped after the batch that was under way: ${number.format(done)} of ${rows(total)} came under ${keyId}. Everything opens as before; run it again to go on.`

/**
 * @since 0.1.0
 */
export const unreachable = (done: number, total: number): string =>
  `The database has been out of reach for a minute, after ${number.format(done)} of ${rows(total)}. Everything opens as before; run it again to go on.`

/**
 * A table: how many rows of each kind were brought under the key, and how many were not.
 *
 * @since 0.1.0
 */
export const totals = (keyId: string, results: ReadonlyArray<Result>): string => {
  const lines = results.map(({ left, name, rewrapped }) => {
    const rest = sum(left.map(({ count }) => count))
    return `  ${name.padEnd(16)}${number.format(rewrapped).padStart(12)}${rest === 0 ? "" : `   ${number.format(rest)} left`}`
  })
  return `Brought under ${keyId}:\n${lines.join("\n")}\n`
}

const closedOf = (results: ReadonlyArray<Result>): ReadonlyArray<string> => {
  const closed = sum(results.map((result) => result.closed))
  if (closed === 0) return []
  const ids = results.flatMap(({ closedIds, name }) =>
    closedIds.map((id) => `  ${name} ${id.map((part) => JSON.stringify(part)).join(" ")}`)
  )
  return [
    `${rows(closed)} ${closed === 1 ? "does" : "do"} not open with any key of the ring, and ${closed === 1 ? "was" : "were"} left alone:`,
    ...ids,
    ...(ids.length < closed ? [`  and ${rows(closed - ids.length)} more`] : []),
    "Their bytes were damaged, moved, or sealed with other bytes under the same key id. Restore the right key or the rows, or delete these credentials, and run this again."
  ]
}

/**
 * What the results mean for the ring.
 *
 * @since 0.1.0
 */
export const advice = (ring: KeyRing, results: ReadonlyArray<Result>): string => {
  const [first, ...others] = ring.map(({ id }) => id)
  const needed = new Set(results.flatMap(({ left }) => left.map(({ keyId }) => keyId)))
  const closed = sum(results.map((result) => result.closed))
  const left = sum(results.flatMap((result) => result.left.map(({ count }) => count)))
  const idle = others.filter((id) => !needed.has(id))
  const lines = [...closedOf(results)]
  if (left > closed) {
    lines.push(
      `${rows(left - closed)} came under another key meanwhile: a server still seals with it. Start every server with ${first} in front, then run this again.`
    )
  }
  if (needed.size > 0) lines.push(`Keep in the ring: ${[...needed].sort().join(", ")}.`)
  if (idle.length > 0) {
    lines.push(
      `Nothing is left under ${idle.join(", ")}. Once every server was started with ${first} in front, take ${idle.length === 1 ? "it" : "them"} out of the ring and start the servers again.`
    )
  }
  if (others.length === 0 && needed.size === 0) {
    lines.push(
      `The ring holds one key, and everything stored is under it. To bring in another, put it in front: ENCRYPTION_KEYS="k2:$(openssl rand -base64 32),…what it is now…"`
    )
  }
  return lines.join("\n")
}
