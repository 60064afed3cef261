/**
 * The answers that could not be stored when they came: each the only copy of a token that was already paid for. A receipt is
 * sealed, durable before anybody relies on it, and goes when its tokens are stored or revoked.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Cipher, type Sealed } from "./Cipher.ts"
import { ProviderId, UserId } from "./Credential.ts"
import type { Answer } from "./Outbound.ts"
import * as Rewrapping from "./Rewrapping.ts"
import type { Attempt } from "./Store.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Receipt {
  readonly attempt: Attempt
  readonly answer: Answer
  readonly receivedAt: DateTime.Utc
}

/**
 * The spool cannot be written or read.
 *
 * @since 0.1.0
 * @category errors
 */
export class SpoolUnavailable extends Data.TaggedError("SpoolUnavailable")<{
  readonly doing: "write" | "read"
  /** What says where the spool is. */
  readonly place: "DATA_DIR" | "REDIS_URL"
}> {
  override get message() {
    return `The spool of receipts cannot be ${this.doing === "write" ? "written" : "read"}: see to ${this.place}.`
  }
}

/**
 * @since 0.1.0
 * @category ports
 */
export class Receipts extends Context.Tag("effect-credentials/Receipts")<
  Receipts,
  {
    /** Durable when it returns. */
    readonly keep: (receipt: Receipt) => Effect.Effect<void, SpoolUnavailable>
    readonly find: (attemptId: string) => Effect.Effect<Option.Option<Receipt>, SpoolUnavailable>
    /** All receipts that open. */
    readonly all: Effect.Effect<ReadonlyArray<Receipt>, SpoolUnavailable>
    readonly drop: (attemptId: string) => Effect.Effect<void, SpoolUnavailable>
    /** Brings the receipts under the first key of the ring. */
    readonly rewrapping: Rewrapping.Rewrapping<SpoolUnavailable>
  }
>() {}

/**
 * What keeps sealed receipts: bytes by name.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Spool {
  readonly write: (name: string, bytes: Uint8Array) => Effect.Effect<void, SpoolUnavailable>
  readonly read: (name: string) => Effect.Effect<Option.Option<Uint8Array>, SpoolUnavailable>
  readonly names: Effect.Effect<ReadonlyArray<string>, SpoolUnavailable>
  readonly remove: (name: string) => Effect.Effect<void, SpoolUnavailable>
  /** Writes `after` where `before` is; else changes nothing, and answers `false`. */
  readonly replace: (name: string, before: Uint8Array, after: Uint8Array) => Effect.Effect<boolean, SpoolUnavailable>
}

const Contents = Schema.parseJson(
  Schema.Struct({
    attempt: Schema.Struct({
      id: Schema.String,
      userId: UserId,
      provider: ProviderId,
      grant: Schema.String,
      processId: Schema.String,
      startedAt: Schema.DateTimeUtc,
      deadline: Schema.DateTimeUtc,
      probeOf: Schema.Option(Schema.String)
    }),
    answer: Schema.Struct({
      status: Schema.Number,
      headers: Schema.Record({ key: Schema.String, value: Schema.String }),
      body: Schema.Redacted(Schema.Uint8ArrayFromBase64)
    }),
    receivedAt: Schema.DateTimeUtc
  })
)
const encodeContents = Schema.encodeSync(Contents)
const decodeContents = Schema.decodeUnknown(Contents)

const Wrapped = Schema.parseJson(Schema.Struct({ keyId: Schema.String, bytes: Schema.Uint8ArrayFromBase64 }))
const encodeWrapped = Schema.encodeSync(Wrapped)
const decodeWrapped = Schema.decodeUnknown(Wrapped)

const subject = (attemptId: string) => ["receipt", attemptId] as const

interface ReceiptRow extends Rewrapping.SealedRow {
  readonly attemptId: string
  readonly written: Uint8Array
}

const unwritten = (bytes: Uint8Array) => decodeWrapped(Buffer.from(bytes).toString("utf8"))
const written = (sealed: Sealed) => Buffer.from(encodeWrapped(sealed), "utf8")

/** There are few: each look goes through all. */
const sealedRows = (spool: Spool): Rewrapping.SealedRows<ReceiptRow, SpoolUnavailable> => {
  const read = (attemptId: string) =>
    Effect.flatMap(
      spool.read(attemptId),
      Option.match({
        onNone: () => Effect.succeed(Option.none<ReceiptRow>()),
        onSome: (bytes) =>
          unwritten(bytes).pipe(
            Effect.map((sealed) => ({ attemptId, written: bytes, keyId: sealed.keyId, sealed: sealed.bytes })),
            // what no key ever sealed needs none
            Effect.option
          )
      })
    )
  const all = Effect.flatMap(spool.names, (names) =>
    Effect.map(Effect.forEach(names.toSorted(), read), (rows) => rows.flatMap(Option.toArray))
  )
  return {
    id: (row) => [row.attemptId],
    besides: (keyId) => Effect.map(all, (rows) => Rewrapping.countBesides(keyId, rows)),
    page: (keyId, after, limit) =>
      Effect.map(all, (rows) =>
        rows
          .filter((row) => row.keyId === keyId)
          .filter((row) => Option.match(after, { onNone: () => true, onSome: ([last = ""]) => row.attemptId > last }))
          .slice(0, limit)
      ),
    reseal: (rows) =>
      Effect.map(
        Effect.filter(rows, ({ row, sealed }) => spool.replace(row.attemptId, row.written, written(sealed))),
        (replaced) => replaced.length
      )
  }
}

/**
 * Receipts over a spool, sealed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (spool: Spool): Effect.fn.Return<Receipts["Type"], never, Cipher> {
  const cipher = yield* Cipher

  const open = (attemptId: string, bytes: Uint8Array) =>
    unwritten(bytes).pipe(
      Effect.flatMap((sealed) => cipher.open(sealed, subject(attemptId))),
      Effect.flatMap((plain) => decodeContents(Buffer.from(plain).toString("utf8"))),
      // what does not open stays where it is: another key ring may open it
      Effect.tapError(() => Effect.logError("A receipt does not open").pipe(Effect.annotateLogs({ attemptId }))),
      Effect.option
    )

  const find = (attemptId: string) =>
    Effect.flatMap(
      spool.read(attemptId),
      Option.match({ onNone: () => Effect.succeed(Option.none<Receipt>()), onSome: (bytes) => open(attemptId, bytes) })
    )

  return Receipts.of({
    keep: Effect.fnUntraced(function* (receipt) {
      const sealed = yield* cipher.seal(Buffer.from(encodeContents(receipt), "utf8"), subject(receipt.attempt.id))
      yield* spool.write(receipt.attempt.id, written(sealed))
    }),
    find,
    all: Effect.map(
      Effect.flatMap(spool.names, (names) => Effect.forEach(names, find)),
      (found) => found.flatMap(Option.toArray)
    ),
    drop: spool.remove,
    rewrapping: Rewrapping.make(cipher, {
      name: "receipts",
      rows: sealedRows(spool),
      subject: (row) => subject(row.attemptId)
    })
  })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(spool: Effect.Effect<Spool, E, R>): Layer.Layer<Receipts, E, R | Cipher> =>
  Layer.effect(Receipts, Effect.flatMap(spool, make))

/**
 * A spool in this process's memory.
 *
 * @since 0.1.0
 * @category drivers
 */
export const makeMemory: Effect.Effect<Spool> = Effect.sync(() => {
  const files = new Map<string, Uint8Array>()
  return {
    write: (name, bytes) => Effect.sync(() => void files.set(name, bytes)),
    read: (name) => Effect.sync(() => Option.fromNullable(files.get(name))),
    names: Effect.sync(() => [...files.keys()]),
    remove: (name) => Effect.sync(() => void files.delete(name)),
    replace: (name, before, after) =>
      Effect.sync(() => {
        const isSame = Buffer.compare(files.get(name) ?? Buffer.of(), before) === 0
        if (isSame) files.set(name, after)
        return isSame
      })
  }
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Receipts, never, Cipher> = layer(makeMemory)
