/**
 * The socket. It is bound before anything else of the service is built, so that its port is known and a taken one is
 * noticed at once; until there is something to serve, it says that the service is starting.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createServer, type RequestListener, STATUS_CODES } from "node:http"
import type { Duplex } from "node:stream"
import type { AddressInfo } from "node:net"
import { InvalidRequest } from "../CredentialsError.ts"
import { ServiceUnavailable, wire } from "../api/PublicError.ts"
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category errors
 */
export class CannotListen extends Data.TaggedError("CannotListen")<{
  readonly host: string
  readonly port: number
  readonly code: string
}> {
  override get message() {
    const where = `${this.host}:${this.port}`
    switch (this.code) {
      case "EADDRINUSE":
        return `${where} is in use by another program: set PORT to a free port, for example PORT=8788.`
      case "EACCES":
        return `This user may not listen on ${where}: set PORT to 1024 or more, for example PORT=8787.`
      default:
        return `Cannot listen on ${where} (${this.code}): set HOST to an address of this machine, for example HOST=127.0.0.1.`
    }
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Listener {
  readonly port: number
  /** From now on requests go to this handler. */
  readonly attach: (handler: RequestListener) => Effect.Effect<void>
  /** Takes no new connection, and closes each that is open once it is idle. */
  readonly stopAccepting: Effect.Effect<void>
}

/**
 * The router takes `;` for the beginning of a query: `/v1/users/a;b/credentials/…` would be the user `a`. As a part of a
 * path it stands for itself (RFC 3986 3.3).
 */
const literalPath = (url: string): string => {
  const end = url.indexOf("?")
  const path = end === -1 ? url : url.slice(0, end)
  return /[;#]/.test(path) ? path.replaceAll(";", "%3B").replaceAll("#", "%23") + url.slice(path.length) : url
}

const starting = JSON.stringify(
  Schema.encodeSync(wire(ServiceUnavailable))(new ServiceUnavailable({ phase: "starting", retryAfterSeconds: 1 }))
)

const answerStarting: RequestListener = (_, response) => {
  response
    .writeHead(503, { "content-type": "application/json", "retry-after": "1", "cache-control": "no-store" })
    .end(starting)
}

const invalid = (field: string, expected: string) =>
  JSON.stringify(Schema.encodeSync(wire(InvalidRequest))(new InvalidRequest({ issues: [{ field, expected }] })))

const unexpected = invalid("Expect", "100-continue, or nothing")

/** Node would answer 417, and say nothing. */
const answerExpectation: RequestListener = (_, response) => {
  response.writeHead(400, { "content-type": "application/json", "cache-control": "no-store" }).end(unexpected)
}

const malformed = invalid("request", "HTTP/1.1 with headers of at most 16 KiB")

const statusOf = (code: string | undefined) => {
  switch (code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return 408
    case "HPE_HEADER_OVERFLOW":
      return 431
    default:
      return 400
  }
}

/** What is not HTTP never becomes a request; it is answered all the same. */
const answerMalformed = (error: NodeJS.ErrnoException, socket: Duplex) => {
  if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy()
  const status = statusOf(error.code)
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(malformed)}\r\n\r\n${malformed}`
  )
}

/**
 * Fails with `CannotListen`. When the scope closes, every connection is closed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bind = (options: {
  readonly host: string
  readonly port: number
}): Effect.Effect<Listener, CannotListen, Scope.Scope> =>
  Effect.gen(function* () {
    let handler: RequestListener = answerStarting
    const server = createServer({ requestTimeout: 30_000, headersTimeout: 15_000 }, (request, response) => {
      request.url = literalPath(request.url ?? "/")
      handler(request, response)
    })
      .on("clientError", answerMalformed)
      .on("checkExpectation", answerExpectation)

    yield* Effect.acquireRelease(
      Effect.async<void, CannotListen>((resume) => {
        const refuse = (error: NodeJS.ErrnoException) =>
          resume(Effect.fail(new CannotListen({ ...options, code: error.code ?? error.name })))
        server.once("error", refuse).listen(options, () => {
          server.off("error", refuse)
          resume(Effect.void)
        })
      }),
      () =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )

    return {
      port: (server.address() as AddressInfo).port,
      attach: (next) =>
        Effect.sync(() => {
          handler = next
        }),
      stopAccepting: Effect.sync(() => {
        server.close()
        const closing = setInterval(() => server.closeIdleConnections(), 50)
        server.once("close", () => clearInterval(closing))
      })
    }
  })
