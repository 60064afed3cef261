/**
 * The official SDK's example server as a process of its own, with or without its example authorization server, for as long
 * as the scope lives. Nobody here wrote either.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as LoopbackServer from "./LoopbackServer.ts"

export interface McpServer {
  readonly serverUrl: string
  /** Where its users log in. */
  readonly issuer: string
}

const example = fileURLToPath(
  new URL(
    "../../node_modules/@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js",
    import.meta.url
  )
)

const answers = (url: string): Effect.Effect<void> =>
  Effect.promise((signal) =>
    fetch(url, { signal }).then(
      (response) => response.body?.cancel().then(() => true) ?? true,
      () => false
    )
  ).pipe(
    Effect.flatMap((is) => (is ? Effect.void : Effect.zipRight(Effect.sleep("50 millis"), answers(url)))),
    Effect.withClock(Clock.make())
  )

/** `strict` wants tokens that were issued for this very server. */
export const start = (options: { readonly login: "none" | "strict" }): Effect.Effect<McpServer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const port = yield* LoopbackServer.freePort
    const authPort = yield* LoopbackServer.freePort
    yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [example, ...(options.login === "none" ? [] : ["--oauth", "--oauth-strict"])], {
          env: { PATH: process.env["PATH"], MCP_PORT: String(port), MCP_AUTH_PORT: String(authPort) },
          stdio: "ignore"
        })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const serverUrl = `http://localhost:${port}/mcp`
    yield* Effect.orDie(
      Effect.timeout(
        Effect.all([
          answers(serverUrl),
          ...(options.login === "none" ? [] : [answers(`http://localhost:${authPort}/`)])
        ]),
        "20 seconds"
      )
    )
    return { serverUrl, issuer: `http://localhost:${authPort}/` }
  })
