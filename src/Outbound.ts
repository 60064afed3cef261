/**
 * The one way out: every call that this library makes goes through here. It leads to public addresses alone, over https, on
 * a connection of its own, with bounds on time and size.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { OutboundRefused } from "./CredentialsError.ts"
import * as Connection from "./Outbound/Connection.ts"
import * as Destination from "./Outbound/Destination.ts"
import * as Exchange from "./Outbound/Exchange.ts"
import { answeredWithin, isSent, OutboundFailure, type Progress } from "./Outbound/Failure.ts"
import * as Fetch from "./Outbound/Fetch.ts"

export {
  /**
   * @since 0.1.0
   * @category combinators
   */
  answeredWithin,
  /**
   * @since 0.1.0
   * @category errors
   */
  OutboundFailure
} from "./Outbound/Failure.ts"

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
  /** Unpacked. */
  readonly body: Redacted.Redacted<Uint8Array>
}

/**
 * What a kind of call may cost, and where it may lead.
 *
 * @since 0.1.0
 * @category models
 */
export interface Profile {
  /** For everything together: looking up, connecting, redirects, the whole body. */
  readonly timeout: Duration.DurationInput
  /** Of the body, unpacked. */
  readonly maxBytes: number
  /** How many redirects are followed, each within its origin. Any other is the answer. */
  readonly redirects: number
  /** Whether the URL may name another port than 443: for URLs that the operator wrote, not for those that users name. */
  readonly anyPort: boolean
}

/**
 * Discovery documents: 10 seconds, 256 KiB, two redirects.
 *
 * @since 0.1.0
 * @category profiles
 */
export const metadata: Profile = { timeout: "10 seconds", maxBytes: 256 * 1024, redirects: 2, anyPort: false }

/**
 * Token, revocation and registration endpoints: 60 seconds, 64 KiB, no redirect.
 *
 * @since 0.1.0
 * @category profiles
 */
export const token: Profile = { timeout: "60 seconds", maxBytes: 64 * 1024, redirects: 0, anyPort: false }

/**
 * MCP servers: 120 seconds, 4 MiB, two redirects.
 *
 * @since 0.1.0
 * @category profiles
 */
export const mcp: Profile = { timeout: "120 seconds", maxBytes: 4 * 1024 * 1024, redirects: 2, anyPort: false }

/**
 * The profile for a URL out of the operator's own provider definitions, which may name a port.
 *
 * @since 0.1.0
 * @category profiles
 */
export const listed = (profile: Profile): Profile => ({ ...profile, anyPort: true })

/**
 * Calls fail with `OutboundRefused` for a URL, or a redirect, that this service does not call: nothing was opened to it.
 *
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
    /**
     * The same in the shape of `fetch`, with bodies that stream. Each call has the profile's time, counted until its body
     * has ended. All calls end when the scope closes.
     *
     * Its promises reject with `OutboundRefused` and `OutboundFailure` as they are, so that they are still told apart when
     * they come out of the library that called it. `init.redirect` changes nothing.
     */
    readonly fetch: (profile: Profile) => Effect.Effect<Fetch.Fetch, never, Scope.Scope>
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends Connection.Options {
  /** Whether 127.0.0.0/8, `::1` and `localhost` may be called: on any port, over http too. */
  readonly allowLoopback: boolean
}

const connectTimeout = "3 seconds"

/** Where an answer of this status leads, if that is within the origin. */
const redirection = (
  { url }: Destination.Destination,
  method: string,
  { headers, status }: Exchange.Received
): Option.Option<URL> => {
  const location = headers["location"]
  // of what may change something only those that keep the method
  const redirects = method === "GET" ? [301, 302, 303, 307, 308] : [307, 308]
  if (location === undefined || !redirects.includes(status) || !URL.canParse(location, url.href)) return Option.none()
  return Option.liftPredicate(new URL(location, url), ({ origin }) => origin === url.origin)
}

const collect = Effect.fnUntraced(function* ({ headers, next, status }: Exchange.Received) {
  const pieces: Array<Uint8Array> = []
  for (let piece = yield* next; piece !== undefined; piece = yield* next) pieces.push(piece)
  return { status, headers, body: Redacted.make<Uint8Array>(Buffer.concat(pieces)) }
})

const reveal = (value: Redacted.Redacted | string) => (Redacted.isRedacted(value) ? Redacted.value(value) : value)

/**
 * Calls over connections of their own, one a call. Proxies that the environment names are not used.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Outbound> =>
  Layer.sync(Outbound, () => {
    /** Each hop is judged anew: its URL, its name's addresses. */
    const receive = Effect.fnUntraced(function* (
      request: Exchange.Outgoing,
      profile: Profile,
      progress: Progress
    ): Effect.fn.Return<Exchange.Received, OutboundRefused | OutboundFailure, Scope.Scope> {
      const { allowLoopback } = options
      const destination = yield* Destination.vet(request.url, { allowLoopback, anyPort: profile.anyPort })
      progress.host = destination.host
      const socket = yield* Effect.timeoutFail(Connection.open(destination, options, progress), {
        duration: connectTimeout,
        onTimeout: () => new OutboundFailure({ sent: isSent(progress), reason: "timeout" })
      })
      const received = yield* Exchange.over(socket, destination, request, profile.maxBytes, progress)
      const next = redirection(destination, request.method, received)
      return Option.isNone(next) || profile.redirects === 0
        ? received
        : yield* receive(
            { ...request, url: next.value.href },
            { ...profile, redirects: profile.redirects - 1 },
            progress
          )
    })

    /** Nothing of a URL but its host is told, and nothing of a body or a header. */
    const told = (
      method: string,
      { host }: Progress,
      outcome: { readonly status?: number; readonly reason?: string }
    ) =>
      Effect.logDebug("Outbound call").pipe(
        Effect.annotateLogs({ method, ...(host !== undefined && { host }), ...outcome }),
        Effect.zipRight(
          Effect.annotateCurrentSpan({
            ...(host !== undefined && { "server.address": host }),
            ...(outcome.status !== undefined && { "http.response.status_code": outcome.status })
          })
        )
      )

    const call = <A>(
      request: Exchange.Outgoing,
      profile: Profile,
      use: (received: Exchange.Received) => Effect.Effect<A, OutboundFailure>
    ): Effect.Effect<A, OutboundRefused | OutboundFailure> =>
      Effect.suspend(() => {
        const progress: Progress = { sockets: [], host: undefined }
        return receive(request, profile, progress).pipe(
          Effect.tap(({ status }) => told(request.method, progress, { status })),
          Effect.flatMap(use),
          Effect.scoped,
          answeredWithin(profile.timeout, () => isSent(progress)),
          Effect.tapError((error) =>
            told(request.method, progress, { reason: error._tag === "OutboundFailure" ? error.reason : "refused" })
          )
        )
      }).pipe(
        Effect.withSpan("Outbound.call", { kind: "client", attributes: { "http.request.method": request.method } })
      )

    return Outbound.of({
      send: ({ body, headers, method, url }, profile) =>
        Effect.suspend(() =>
          call(
            {
              method,
              url,
              headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, reveal(value)])),
              body: body === undefined ? null : Redacted.value(body)
            },
            profile,
            collect
          )
        ),
      fetch: (profile) => Fetch.make((request, use) => call(request, profile, use))
    })
  })
