/**
 * The internet, for as long as a scope lives: every TCP connection that this process tries is noted, and none leaves the
 * machine. It is watched where Node asks the system to connect, below every library, after every look-up.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import * as Https from "node:https"
import type * as Tls from "node:tls"

export interface PublicNetwork {
  /** `93.184.216.34:443`, `[2606:2800:220:1::1]:443`, in the order in which they were tried. */
  readonly tried: ReadonlyArray<string>
  /** From now on who connects to the address gets the local port, or no answer at all. All others are refused at once. */
  readonly lead: (address: string, to: number | "silence") => void
}

type Connect = (request: object, address: string, port: number) => number

interface Handle {
  connect: Connect
  connect6: Connect
}

const connectionRefused = -111

/** What `net` and `tls` connect with. */
const handle = (): Handle => {
  const binding: unknown = Reflect.get(process, "binding")
  if (typeof binding !== "function") throw new Error("process.binding is gone: connections cannot be watched")
  return Reflect.apply(binding, process, ["tcp_wrap"]).TCP.prototype
}

export const watch: Effect.Effect<PublicNetwork, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const prototype = handle()
      const { connect, connect6 } = prototype
      const tried: Array<string> = []
      const led = new Map<string, number | "silence">()
      const trying = (shown: (address: string) => string): Connect =>
        function (this: Handle, request, address, port) {
          tried.push(`${shown(address)}:${port}`)
          const to = led.get(address)
          if (to === "silence") return 0
          return to === undefined ? connectionRefused : connect.call(this, request, "127.0.0.1", to)
        }
      prototype.connect = trying((address) => address)
      prototype.connect6 = trying((address) => `[${address}]`)
      const restore = () => Object.assign(prototype, { connect, connect6 })
      const network: PublicNetwork = { tried, lead: (address, to) => void led.set(address, to) }
      return { network, restore }
    }),
    ({ restore }) => Effect.sync(restore)
  ),
  ({ network }) => network
)

/** Signs itself, for `public.example`, every name below it, 93.184.216.34 and 2606:2800:220:1::1. */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBrTCCAVKgAwIBAgIBATAKBggqhkjOPQQDAjAiMSAwHgYDVQQDDBdlZmZlY3Qt
Y3JlZGVudGlhbHMgdGVzdDAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAw
MFowIjEgMB4GA1UEAwwXZWZmZWN0LWNyZWRlbnRpYWxzIHRlc3QwWTATBgcqhkjO
PQIBBggqhkjOPQMBBwNCAAQ+oTCJpgG/EpL8xwIjM5bp+jcdRAj8DEoTy+R+AVw9
UlP9+Xq9ztEAkQdBfuAbo3/HrwsSsNutivcOF1dx+/iWo3cwdTAPBgNVHRMBAf8E
BTADAQH/MEMGA1UdEQQ8MDqCDnB1YmxpYy5leGFtcGxlghAqLnB1YmxpYy5leGFt
cGxlhwRduNgihxAmBigAAiAAAQAAAAAAAAABMB0GA1UdDgQWBBQrmmJUarEDyUNu
gjJrGbbizjab9jAKBggqhkjOPQQDAgNJADBGAiEAtwMBikrtcXVWQ0macyA+TQK9
JsX3CVTENlcqYxNMgjQCIQCVwIywSd3GzB1qqLS96IZ/aqxvoCkwrQVjBznFnlw8
0A==
-----END CERTIFICATE-----
`

/** Of no worth to anybody: it is only good for the certificate above. */
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwYIYVBnh7HjiLsD8
7329kPuHrKswHJak1YNyU6I6H0WhRANCAAQ+oTCJpgG/EpL8xwIjM5bp+jcdRAj8
DEoTy+R+AVw9UlP9+Xq9ztEAkQdBfuAbo3/HrwsSsNutivcOF1dx+/iW
-----END PRIVATE KEY-----
`

export interface SecureServer {
  readonly port: number
  /** Each request's method, `Host` header, path, and the name that the client asked for in its TLS handshake. */
  readonly requests: ReadonlyArray<{
    readonly method: string | undefined
    readonly host: string | undefined
    readonly path: string | undefined
    readonly servername: string | false | undefined
  }>
}

/** An HTTPS server on a free port of 127.0.0.1. */
export const serve = (
  answer: (request: Http.IncomingMessage, response: Http.ServerResponse) => void
): Effect.Effect<SecureServer, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.async<Https.Server>((resume) => {
        const server = Https.createServer({ key, cert: certificate })
        server.on("tlsClientError", () => {})
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    ),
    (server) => {
      const requests: Array<SecureServer["requests"][number]> = []
      server.on("request", (request, response) => {
        const { servername } = request.socket as Tls.TLSSocket & { readonly servername?: string | false }
        requests.push({ method: request.method, host: request.headers.host, path: request.url, servername })
        answer(request, response)
      })
      const address = server.address()
      return { port: address === null || typeof address === "string" ? 0 : address.port, requests }
    }
  )
