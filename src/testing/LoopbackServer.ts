/**
 * A plain HTTP server on a free port of 127.0.0.1, for as long as its scope lives. Closing the scope cuts every
 * connection, so that no test waits for a keep-alive.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Http from "node:http"

/** A listening server without a handler: attach one (`server.on("request", …)`) before the address is given away. */
export interface LoopbackServer {
  readonly server: Http.Server
  readonly port: number
  /** Without a slash at the end. */
  readonly url: string
}

const open = Effect.async<Http.Server>((resume) => {
  const server = Http.createServer()
  server.once("error", (cause) => resume(Effect.die(cause)))
  server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
})

const close = (server: Http.Server) =>
  Effect.async<void>((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })

const portOf = (server: Http.Server) => {
  const address = server.address()
  return address === null || typeof address === "string" ? 0 : address.port
}

/** Listens until the scope closes. */
export const listen: Effect.Effect<LoopbackServer, never, Scope.Scope> = Effect.acquireRelease(open, close).pipe(
  Effect.map((server) => {
    const port = portOf(server)
    return { server, port, url: `http://127.0.0.1:${port}` }
  })
)

/** A port that nobody listens on just now. */
export const freePort: Effect.Effect<number> = Effect.scoped(Effect.map(listen, (server) => server.port))
