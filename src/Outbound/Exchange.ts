/**
 * One request and its answer over a connection that is used for nothing else. The answer's body is taken piece by piece,
 * unpacked where the server packed it without being asked to, and counted as it is unpacked.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Socket } from "node:net"
import { pipeline, type Readable } from "node:stream"
import { createBrotliDecompress, createGunzip, createInflate } from "node:zlib"
import { Client, type Dispatcher } from "undici"
import type { Destination } from "./Destination.ts"
import { failureOf, isSent, OutboundFailure, type Progress } from "./Failure.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Outgoing {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array | null
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Received {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** The next piece of the body, none at its end. */
  readonly next: Effect.Effect<Uint8Array | undefined, OutboundFailure>
}

/** An answer's headers altogether, in bytes. */
const maxHeaderSize = 16 * 1024

const unpackers = {
  gzip: createGunzip,
  "x-gzip": createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress
} as const

const unpackerOf = (encoding: string | undefined) => {
  const name = encoding?.trim().toLowerCase() ?? ""
  return Object.hasOwn(unpackers, name) ? unpackers[name as keyof typeof unpackers]() : undefined
}

const without = (headers: Readonly<Record<string, string>>, ...names: ReadonlyArray<string>) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name.toLowerCase())))

/**
 * Sends the request, and answers as soon as the answer's headers are there. The body is taken whether it is read or not; there
 * is room for it, as it is bounded. Closing the scope ends the exchange wherever it is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const over = Effect.fnUntraced(function* (
  socket: Socket,
  { url }: Destination,
  request: Outgoing,
  maxBytes: number,
  progress: Progress
): Effect.fn.Return<Received, OutboundFailure, Scope.Scope> {
  const client = yield* Effect.acquireRelease(
    Effect.sync(
      () =>
        new Client(url.origin, {
          // it may have closed since: undici would wait for ever on it
          connect: (_to, done) =>
            queueMicrotask(() => (socket.destroyed ? done(new Error("closed"), null) : done(null, socket))),
          headersTimeout: 0,
          bodyTimeout: 0,
          maxHeaderSize,
          maxResponseSize: maxBytes
        })
    ),
    (client) => Effect.promise(() => client.destroy())
  )
  const response = yield* Effect.tryPromise({
    try: () =>
      client.request({
        method: request.method as Dispatcher.HttpMethod,
        path: `${url.pathname}${url.search}`,
        // the host is the one that was judged, and what is not packed cannot grow
        headers: { ...without(request.headers, "host", "accept-encoding"), "accept-encoding": "identity" },
        body: request.body,
        // room for all of it: undici throws past everybody when a connection that it has paused is reset
        highWaterMark: maxBytes + 1,
        reset: true
      }),
    catch: (error) => failureOf(progress, error)
  })
  const headers = Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [name.toLowerCase(), [value].flat().join(", ")])
  )
  const unpacker = unpackerOf(headers["content-encoding"])
  const body: Readable = response.body.on("error", () => {})
  const unpacked = unpacker === undefined ? body : pipeline(body, unpacker, () => {})
  const pieces: AsyncIterator<Uint8Array> = unpacked[Symbol.asyncIterator]()
  let size = 0
  return {
    status: response.statusCode,
    headers: unpacker === undefined ? headers : without(headers, "content-encoding", "content-length"),
    next: Effect.flatMap(
      Effect.tryPromise({ try: () => pieces.next(), catch: (error) => failureOf(progress, error) }),
      (piece) => {
        if (piece.done === true) return Effect.succeed(undefined)
        size += piece.value.byteLength
        return size > maxBytes
          ? new OutboundFailure({ sent: isSent(progress), reason: "too_large" })
          : Effect.succeed(piece.value)
      }
    )
  }
})
