/**
 * The server on a free port of 127.0.0.1, over ports in memory or over stand-ins, and plain HTTP calls to it: what is
 * sent is exactly what the test wrote.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Http from "node:http"
import * as ApiKeys from "../../src/ApiKeys.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import { OAuthFlow } from "../../src/OAuthFlow.ts"
import * as Listener from "../../src/server/Listener.ts"
import * as Server from "../../src/server/Server.ts"
import * as Service from "../../src/Service.ts"

export const bootstrapKey = "bootstrap-key-of-a-test"

export interface Call {
  /** `null`: no key. Default: the bootstrap key. */
  readonly key?: string | null
  /** Sent as JSON; a string or bytes as they are. */
  readonly body?: unknown
  readonly headers?: Http.OutgoingHttpHeaders
}

export interface Reply {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly text: string
  /** The body as JSON; `undefined` when it is not. */
  readonly json: unknown
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const bytesOf = (body: unknown): string | Uint8Array =>
  typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body)

/** One call over a connection of its own. Interruption cuts the connection. */
export const call = (url: string, method: string, path: string, options: Call = {}): Effect.Effect<Reply> =>
  Effect.async<Reply>((resume) => {
    const { hostname, port } = new URL(url)
    const body = options.body === undefined ? undefined : bytesOf(options.body)
    const request = Http.request(
      {
        hostname,
        port,
        method,
        path,
        agent: false,
        headers: {
          ...(options.key !== null && { authorization: `Bearer ${options.key ?? bootstrapKey}` }),
          ...(body !== undefined && { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
          ...options.headers
        }
      },
      (response) => {
        const chunks: Array<Buffer> = []
        response
          .on("data", (chunk: Buffer) => chunks.push(chunk))
          .on("end", () => {
            const text = Buffer.concat(chunks).toString("utf8")
            resume(
              Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers, text, json: parsed(text) })
            )
          })
      }
    )
    // the server may answer and close before a large body is sent: the answer is what counts
    request.on("error", (error) => resume(Effect.die(error))).end(body)
    return Effect.sync(() => request.destroy())
  })

export class Serving extends Context.Tag("test/Serving")<
  Serving,
  {
    readonly url: string
    readonly call: (method: string, path: string, options?: Call) => Effect.Effect<Reply>
  }
>() {}

type Needs = Layer.Layer.Context<ReturnType<typeof Server.layer>>

/** Serves over these ports until the scope closes. */
export const over = <E, R>(
  ports: Layer.Layer<Needs, E, R>
): Layer.Layer<Serving | Needs, E | Listener.CannotListen, R> =>
  Layer.scoped(
    Serving,
    Effect.gen(function* () {
      const listener = yield* Listener.bind({ host: "127.0.0.1", port: 0 })
      yield* Effect.acquireRelease(Layer.build(Server.layer(listener, { patience: "1 second" })), () => Effect.void)
      const url = `http://127.0.0.1:${listener.port}`
      return { url, call: (method, path, options) => call(url, method, path, options) }
    })
  ).pipe(Layer.provideMerge(ports))

const keys = ApiKeys.layerMemory({ bootstrap: Redacted.make(bootstrapKey) })

/** Everything real, in memory. GitHub alone is configured. */
export const inMemory = over(
  Layer.merge(
    Service.layerMemory({
      sweeper: false,
      clients: (provider) =>
        provider.id === "github" ? Option.some({ id: "client", secret: Redacted.make("client-secret") }) : Option.none()
    }),
    keys
  )
)

/** What is named does what the test says; the rest is real. */
export const standIn = (stand: {
  readonly credentials?: Partial<CredentialsManager["Type"]>
  readonly flow?: Partial<OAuthFlow["Type"]>
}) =>
  over(
    Layer.effectContext(
      Effect.gen(function* () {
        const context = yield* Effect.context<CredentialsManager | OAuthFlow>()
        return context.pipe(
          Context.add(CredentialsManager, {
            ...Context.get(context, CredentialsManager),
            // so that `get` is asked
            fresh: () => Effect.succeedNone,
            ...stand.credentials
          }),
          Context.add(OAuthFlow, { ...Context.get(context, OAuthFlow), ...stand.flow })
        )
      })
    ).pipe(Layer.provideMerge(Layer.merge(Service.layerMemory({ sweeper: false, clients: () => Option.none() }), keys)))
  )
