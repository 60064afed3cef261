/**
 * From a destination to an open connection. A name is looked up once, every answer is judged, and the connection goes to
 * what was judged: there is no second look-up whose answer could be another. The certificate is checked for the name.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { lookup } from "node:dns/promises"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { OutboundRefused } from "../CredentialsError.ts"
import { reach } from "./Address.ts"
import type { Destination } from "./Destination.ts"
import { failureOf, OutboundFailure, type Progress } from "./Failure.ts"

/**
 * All addresses of a name. Any error means that it has none.
 *
 * @since 0.1.0
 * @category models
 */
export type Resolve = (name: string) => Effect.Effect<ReadonlyArray<string>, unknown>

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The system's resolver unless given. */
  readonly resolve?: Resolve | undefined
  /** PEM certificates that are trusted in place of Node's own list. */
  readonly certificateAuthorities?: ReadonlyArray<string> | undefined
}

const bySystem: Resolve = (name) =>
  Effect.map(
    Effect.tryPromise(() => lookup(name, { all: true })),
    (answers) => answers.map(({ address }) => address)
  )

/** Refused when one of several answers is: a name that leads here and there is a trap, or a mistake that would hide. */
const addressesOf = Effect.fnUntraced(function* (destination: Destination, resolve: Resolve, progress: Progress) {
  if (Option.isSome(destination.addresses)) return destination.addresses.value
  const addresses = yield* Effect.mapError(resolve(destination.host), () =>
    failureOf(progress, "the name does not resolve")
  )
  if (addresses.some((address) => reach(address) !== "public")) {
    return yield* new OutboundRefused({ rule: "its host resolves to an address that is not a public one" })
  }
  return addresses
})

const dial = ({ host, url }: Destination, addresses: ReadonlyArray<string>, options: Options): Net.Socket => {
  const secure = url.protocol === "https:"
  const to = {
    host,
    port: url.port === "" ? (secure ? 443 : 80) : Number(url.port),
    autoSelectFamily: true,
    // asked only where the host is a name
    lookup: (_name: string, _options: unknown, answer: Parameters<Net.LookupFunction>[2]) =>
      process.nextTick(
        answer,
        null,
        addresses.map((address) => ({ address, family: Net.isIP(address) }))
      )
  }
  const socket = secure
    ? Tls.connect({
        ...to,
        ...(Net.isIP(host) === 0 && { servername: host }),
        ALPNProtocols: ["http/1.1"],
        // said here so that no environment variable can unsay it
        rejectUnauthorized: true,
        ...(options.certificateAuthorities !== undefined && { ca: [...options.certificateAuthorities] })
      })
    : Net.connect(to)
  return socket.setNoDelay(true).on("error", () => {})
}

/**
 * A connection on which nothing of a request was written yet, until the scope closes. `OutboundRefused` when the name leads
 * to an address that is not public: then nothing was opened.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = Effect.fnUntraced(function* (
  destination: Destination,
  options: Options,
  progress: Progress
): Effect.fn.Return<Net.Socket, OutboundRefused | OutboundFailure, Scope.Scope> {
  const addresses = yield* addressesOf(destination, options.resolve ?? bySystem, progress)
  if (addresses.length === 0) return yield* failureOf(progress, "the name has no address")
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => dial(destination, addresses, options)),
    (socket) => Effect.sync(() => socket.destroy())
  )
  progress.sockets.push(socket)
  yield* Effect.async<void, OutboundFailure>((resume) => {
    socket
      .once(socket instanceof Tls.TLSSocket ? "secureConnect" : "connect", () => resume(Effect.void))
      .once("error", (error) => resume(failureOf(progress, error)))
  })
  return socket
})
