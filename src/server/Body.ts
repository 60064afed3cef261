/**
 * Bodies, read with care: at most 64 KiB, counted while they arrive; UTF-8, JSON, nested at most 32 deep. What is wrong
 * with one is the caller's fault, and said so.
 *
 * @since 0.1.0
 */
import * as Headers from "@effect/platform/Headers"
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import type { IncomingMessage } from "node:http"
import { InvalidRequest, PayloadTooLarge } from "../CredentialsError.ts"

/**
 * @since 0.1.0
 * @category bounds
 */
export const maxBytes = 64 * 1024

/**
 * @since 0.1.0
 * @category bounds
 */
export const maxDepth = 32

const refuse = (field: string, expected: string) => Effect.fail(new InvalidRequest({ issues: [{ field, expected }] }))

/** Stops at the first byte too many; what still arrives is thrown away, so that the answer can be read. */
const collect = (source: IncomingMessage): Effect.Effect<Buffer, PayloadTooLarge | InvalidRequest> =>
  Effect.async((resume) => {
    const chunks: Array<Buffer> = []
    let size = 0
    const stop = () => {
      source.off("data", onData).off("end", onEnd).off("error", onBroken).off("close", onBroken)
    }
    const end = (result: Effect.Effect<Buffer, PayloadTooLarge | InvalidRequest>) => {
      stop()
      resume(result)
    }
    const onData = (chunk: Buffer) => {
      size += chunk.length
      if (size <= maxBytes) return void chunks.push(chunk)
      end(Effect.fail(new PayloadTooLarge({ limitBytes: maxBytes })))
      source.on("error", () => {}).resume()
    }
    const onEnd = () => end(Effect.succeed(Buffer.concat(chunks, size)))
    const onBroken = () => end(refuse("body", "a whole body"))
    source.on("data", onData).on("end", onEnd).on("error", onBroken).on("close", onBroken)
    return Effect.sync(stop)
  })

const quote = 0x22
const backslash = 0x5c

/** Looks at brackets alone: whether it is JSON is for the parser to say. */
const isTooDeep = (text: string): boolean => {
  let depth = 0
  let inText = false
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (inText) {
      if (code === backslash) at++
      else if (code === quote) inText = false
    } else if (code === quote) inText = true
    else if (code === 0x7b || code === 0x5b) {
      if (++depth > maxDepth) return true
    } else if (code === 0x7d || code === 0x5d) depth--
  }
  return false
}

const isJson = /^application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?;?$/i

const parse = (body: Buffer): Effect.Effect<unknown, InvalidRequest> => {
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body)
  } catch {
    return refuse("body", "text in UTF-8")
  }
  if (isTooDeep(text)) return refuse("body", `JSON nested at most ${maxDepth} deep`)
  try {
    return Effect.succeed(JSON.parse(text))
  } catch {
    return refuse("body", "JSON")
  }
}

/**
 * Reads the body of a request. An empty one is `{}`: where all is optional, nothing need be sent.
 *
 * @since 0.1.0
 */
export const read = (request: HttpServerRequest): Effect.Effect<unknown, PayloadTooLarge | InvalidRequest> =>
  Effect.suspend((): Effect.Effect<unknown, PayloadTooLarge | InvalidRequest> => {
    const { headers } = request
    const length = Number(headers["content-length"] ?? 0)
    if (length === 0 && headers["transfer-encoding"] === undefined) return Effect.succeed({})
    const type = headers["content-type"]
    if (type !== undefined && !isJson.test(type.trim())) return refuse("Content-Type", "application/json")
    if (headers["content-encoding"] !== undefined) return refuse("Content-Encoding", "none")
    if (length > maxBytes) return Effect.fail(new PayloadTooLarge({ limitBytes: maxBytes }))
    return Effect.flatMap(collect(request.source as IncomingMessage), (body) =>
      body.length === 0 ? Effect.succeed({}) : parse(body)
    )
  })

/**
 * The same request, whose `json` is read with care when an endpoint asks for it, and not before.
 *
 * @since 0.1.0
 */
export const guarded = (request: HttpServerRequest): HttpServerRequest =>
  // every declared type leads to `json`, which judges the real one
  Object.create(request, {
    headers: { value: Headers.set(request.headers, "content-type", "application/json") },
    json: { get: () => read(request) }
  }) as HttpServerRequest
