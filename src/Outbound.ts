/**
 * The one way out: every call that this library makes to a provider goes through here, over a connection of its own, with
 * bounds on time and size, and follows no redirect.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { buildConnector, Client } from "undici"
import type { FailureReason } from "./Credential.ts"
import { OutboundRefused } from "./CredentialsError.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface OutboundRequest {
  readonly method: "GET" | "POST" | "DELETE"
  readonly url: string
  readonly headers: Readonly<Record<string, Redacted.Redacted | string>>
  readonly body?: Redacted.Redacted
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Answer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Redacted.Redacted<Uint8Array>
}

/**
 * How much time and space a kind of call gets.
 *
 * @since 0.1.0
 * @category models
 */
export interface Profile {
  readonly timeout: Duration.DurationInput
  readonly maxBytes: number
}

/**
 * Token, revocation and registration endpoints: 60 seconds, 64 KiB.
 *
 * @since 0.1.0
 * @category profiles
 */
export const token: Profile = { timeout: "60 seconds", maxBytes: 64 * 1024 }

const outcomes = {
  timeout: "timeout",
  unreachable: "unreachable",
  broken_off: "unreachable",
  too_large: "malformed_response"
} as const

/**
 * No whole answer came. With `sent: false` nothing of the request can have left this machine; otherwise the other side may
 * have acted on it.
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
 * @since 0.1.0
 * @category services
 */
export class Outbound extends Context.Tag("effect-credentials/Outbound")<
  Outbound,
  {
    /** One request, one answer of any status. Interruption closes the connection. */
    readonly send: (
      request: OutboundRequest,
      profile: Profile
    ) => Effect.Effect<Answer, OutboundRefused | OutboundFailure>
  }
>() {}

const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/** Other spellings of this machine, which nobody needs. */
const thisMachine = /^(?:(?:.*\.)?localhost\.?|0(?:\.\d{1,3}){3}|\[::(?:ffff:[0-9a-f:]*)?\])$/

/**
 * The URL, if this service calls such: https, or anything on the loopback where that is allowed.
 *
 * @since 0.1.0
 */
export const vet = (text: string, allowLoopback: boolean): Effect.Effect<URL, OutboundRefused> => {
  const refuse = (rule: string) => Effect.fail(new OutboundRefused({ rule }))
  if (!URL.canParse(text)) return refuse("it is not an absolute URL")
  const url = new URL(text)
  if (url.username !== "" || url.password !== "") return refuse("it holds a user name or password")
  if (loopback.test(url.hostname)) {
    if (!allowLoopback) return refuse("it is on this machine (OUTBOUND_ALLOW_LOOPBACK=1 allows that, for development)")
    return url.protocol === "https:" || url.protocol === "http:"
      ? Effect.succeed(url)
      : refuse("only http(s) is called")
  }
  if (thisMachine.test(url.hostname)) return refuse("it is on this machine")
  return url.protocol === "https:" ? Effect.succeed(url) : refuse("only https is called")
}

const reveal = (value: Redacted.Redacted | string) => (Redacted.isRedacted(value) ? Redacted.value(value) : value)

const isTimeout = (error: unknown) =>
  error instanceof Error && "code" in error && /TIMEOUT|ETIMEDOUT/.test(String(error.code))

const connectTimeout = Duration.toMillis("3 seconds")

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: { readonly allowLoopback: boolean }): Layer.Layer<Outbound> =>
  Layer.sync(Outbound, () => {
    const connect = buildConnector({ timeout: connectTimeout })

    const call = (url: URL, request: OutboundRequest, profile: Profile) =>
      Effect.suspend(() => {
        let sent = false
        const failure = (reason: OutboundFailure["reason"]) => new OutboundFailure({ sent, reason })
        // a connection of its own for each call: on a kept one, the other side's closing could not be told from a call
        // that broke off, and a refresh token would be in doubt for nothing
        const client = new Client(url.origin, {
          connect: (to, done) =>
            connect(to, (...result) => {
              sent = result[0] === null
              done(...result)
            }),
          headersTimeout: 0,
          bodyTimeout: 0
        })
        return Effect.tryPromise({
          try: async (signal): Promise<Answer> => {
            const response = await client.request({
              method: request.method,
              path: `${url.pathname}${url.search}`,
              headers: {
                "accept-encoding": "identity",
                ...Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, reveal(value)]))
              },
              body: request.body === undefined ? null : Redacted.value(request.body),
              reset: true,
              signal
            })
            const chunks: Array<Uint8Array> = []
            let size = 0
            for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
              size += chunk.byteLength
              if (size > profile.maxBytes) throw failure("too_large")
              chunks.push(chunk)
            }
            return {
              status: response.statusCode,
              headers: Object.fromEntries(
                Object.entries(response.headers).map(([name, value]) => [name.toLowerCase(), [value].flat().join(", ")])
              ),
              body: Redacted.make(Buffer.concat(chunks))
            }
          },
          catch: (error) =>
            error instanceof OutboundFailure
              ? error
              : failure(isTimeout(error) ? "timeout" : sent ? "broken_off" : "unreachable")
        }).pipe(
          Effect.timeoutFail({ duration: profile.timeout, onTimeout: () => failure("timeout") }),
          Effect.ensuring(Effect.promise(() => client.destroy()))
        )
      })

    return Outbound.of({
      send: (request, profile) =>
        Effect.flatMap(vet(request.url, options.allowLoopback), (url) => call(url, request, profile))
    })
  })
