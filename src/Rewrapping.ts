/**
 * What each port that keeps sealed rows does for the rotation of keys: finds the rows whose data keys are wrapped by
 * another key than the first of the ring, and has those data keys wrapped by the first. What a row seals, and everything
 * else of it, stays as it is.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Cipher, Sealed, Subject } from "./Cipher.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface SealedRow {
  readonly keyId: string
  readonly sealed: Uint8Array
}

/**
 * What a row is known by: the parts of its key.
 *
 * @since 0.1.0
 * @category models
 */
export type Id = ReadonlyArray<string>

/**
 * How many rows there are under a key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Count {
  readonly keyId: string
  readonly count: number
}

/**
 * What a driver does for rows of one kind.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface SealedRows<Row extends SealedRow, E> {
  /** How many rows there are under each key but this one. */
  readonly besides: (keyId: string) => Effect.Effect<ReadonlyArray<Count>, E>
  readonly id: (row: Row) => Id
  /** Rows under a key in the order of their ids, after this one. */
  readonly page: (keyId: string, after: Option.Option<Id>, limit: number) => Effect.Effect<ReadonlyArray<Row>, E>
  /**
   * Puts new bytes in the place of those that were read, in rows that still hold these very bytes, and answers in how
   * many. A row that another transaction holds is not waited for, and nothing else of a row changes.
   */
  readonly reseal: (rows: ReadonlyArray<{ readonly row: Row; readonly sealed: Sealed }>) => Effect.Effect<number, E>
}

/**
 * What became of some rows that were looked at.
 *
 * @since 0.1.0
 * @category models
 */
export interface Batch {
  /** How many are under the first key now. Others may have changed meanwhile, or be held by a transaction. */
  readonly rewrapped: number
  /** The ids of those that do not open: they are as they were. */
  readonly closed: ReadonlyArray<Id>
  /** The last that was looked at, when there may be more after it. */
  readonly next: Option.Option<Id>
}

/**
 * The rewrapping of one kind of rows.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rewrapping<E> {
  readonly name: string
  /** How many rows there are under each key. */
  readonly counts: Effect.Effect<ReadonlyArray<Count>, E>
  /** How many rows there are under each key but the first of the ring. */
  readonly left: Effect.Effect<ReadonlyArray<Count>, E>
  /**
   * Brings rows under a key, in the order of their ids after this one, under the first key. What is done stays done; any
   * number may run at once, and rows may be read and written meanwhile.
   */
  readonly batch: (keyId: string, after: Option.Option<Id>, limit: number) => Effect.Effect<Batch, E>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = <Row extends SealedRow, E>(
  cipher: Cipher["Type"],
  options: {
    readonly name: string
    readonly rows: SealedRows<Row, E>
    readonly subject: (row: Row) => Subject
  }
): Rewrapping<E> => {
  const { name, rows, subject } = options
  const rewrap = (row: Row) =>
    cipher
      .rewrap({ keyId: row.keyId, bytes: row.sealed }, subject(row))
      .pipe(Effect.mapBoth({ onFailure: () => rows.id(row), onSuccess: (sealed) => ({ row, sealed }) }))
  return {
    name,
    // no key has an empty name
    counts: rows.besides(""),
    left: rows.besides(cipher.keyIds[0]),
    batch: Effect.fnUntraced(function* (keyId, after, limit) {
      const page = yield* rows.page(keyId, after, limit)
      const [closed, opened] = yield* Effect.partition(page, rewrap)
      const rewrapped = opened.length === 0 ? 0 : yield* rows.reseal(opened)
      const last = page.length < limit ? Option.none() : Option.fromNullable(page.at(-1))
      return { rewrapped, closed, next: Option.map(last, rows.id) }
    })
  }
}

const compareIds = (one: Id, other: Id): number => {
  const index = one.findIndex((part, position) => part !== other[position])
  return index === -1 ? 0 : (one[index] ?? "") < (other[index] ?? "") ? -1 : 1
}

/**
 * Sealed rows in this process's memory, where a step that does not yield is seen by nobody half done.
 *
 * @since 0.1.0
 * @category drivers
 */
export const inMemory = <Row extends SealedRow>(options: {
  readonly all: () => ReadonlyArray<Row>
  readonly get: (row: Row) => Row | undefined
  readonly id: (row: Row) => Id
  readonly put: (row: Row) => void
}): SealedRows<Row, never> => {
  const { all, get, id, put } = options
  return {
    id,
    besides: (keyId) => Effect.sync(() => countBesides(keyId, all())),
    page: (keyId, after, limit) =>
      Effect.sync(() =>
        all()
          .filter((row) => row.keyId === keyId)
          .filter((row) => Option.match(after, { onNone: () => true, onSome: (last) => compareIds(id(row), last) > 0 }))
          .sort((one, other) => compareIds(id(one), id(other)))
          .slice(0, limit)
      ),
    reseal: (rows) =>
      Effect.sync(() => {
        let resealed = 0
        for (const { row, sealed } of rows) {
          const stored = get(row)
          if (stored === undefined || Buffer.compare(stored.sealed, row.sealed) !== 0) continue
          put({ ...stored, keyId: sealed.keyId, sealed: sealed.bytes })
          resealed++
        }
        return resealed
      })
  }
}

/**
 * Counts rows that are all at hand.
 *
 * @since 0.1.0
 * @category drivers
 */
export const countBesides = (keyId: string, rows: ReadonlyArray<SealedRow>): ReadonlyArray<Count> => {
  const counts = new Map<string, number>()
  for (const row of rows) if (row.keyId !== keyId) counts.set(row.keyId, (counts.get(row.keyId) ?? 0) + 1)
  return [...counts].sort().map(([other, count]) => ({ keyId: other, count }))
}
