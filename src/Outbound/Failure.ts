/**
 * How a call fails that was allowed, and whether the other side may know of it.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Socket } from "node:net"
import type { FailureReason } from "../Credential.ts"

const outcomes = {
  timeout: "timeout",
  unreachable: "unreachable",
  broken_off: "unreachable",
  too_large: "malformed_response"
} as const

/**
 * No whole answer came. With `sent: false` no byte of a request was written; otherwise the other side may have acted on it.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutboundFailure extends Data.TaggedError("OutboundFailure")<{
  readonly sent: boolean
  readonly reason: "timeout" | "unreachable" | "broken_off" | "too_large"
}> {
  override get message() {
    return `The call failed (${this.reason}, ${this.sent ? "after" : "before"} sending).`
  }
  /** What it comes to for a caller who asked a provider. */
  get failure(): FailureReason {
    return outcomes[this.reason]
  }
}

/**
 * How far one call has come; kept outside its effects, so that whatever ends them can tell.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** Those that a request may have been written to. */
  readonly sockets: Array<Socket>
  /** Whom it is for, once that is known to be a host that is called. */
  host: string | undefined
}

/**
 * Whether any byte of a request was written. A TLS socket counts what goes in, not its handshake.
 *
 * @since 0.1.0
 */
export const isSent = (progress: Progress): boolean => progress.sockets.some((socket) => socket.bytesWritten > 0)

const reasonOf = (progress: Progress, error: unknown): OutboundFailure["reason"] => {
  const code = error instanceof Error && "code" in error ? String(error.code) : ""
  if (code === "UND_ERR_HEADERS_OVERFLOW" || code === "UND_ERR_RES_EXCEEDED_MAX_SIZE") return "too_large"
  return isSent(progress) ? "broken_off" : "unreachable"
}

/**
 * What an error of a socket, of TLS or of HTTP comes to. Nothing of the error itself is kept.
 *
 * @since 0.1.0
 */
export const failureOf = (progress: Progress, error: unknown): OutboundFailure =>
  new OutboundFailure({ sent: isSent(progress), reason: reasonOf(progress, error) })

/** To read what has come into the sockets meanwhile, and to unpack it. */
const catchUp = Duration.seconds(1)

/**
 * Bounds the time to an answer. A process that stood still past it has a second to hear what has come meanwhile, before it
 * fails: its timers ring before its sockets are read.
 *
 * @since 0.1.0
 */
export const answeredWithin = (duration: Duration.DurationInput, isSent: () => boolean) => {
  const timeout = Effect.gen(function* () {
    const [took] = yield* Effect.timed(Effect.sleep(duration))
    if (Duration.toMillis(took) >= Duration.toMillis(duration) + 200) yield* Effect.sleep(catchUp)
    return yield* new OutboundFailure({ sent: isSent(), reason: "timeout" })
  })
  return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | OutboundFailure, R> =>
    Effect.raceFirst(self, timeout)
}
