/**
 * Requests to a `ScriptedProvider` as they come off the wire, and answers as they go, or fail to go, onto it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import type { Fault, Reply, RequestKind } from "./Fault.ts"
import type { Entry } from "./Ledger.ts"

/** A request, read to its end. */
export interface Request {
  readonly kind: RequestKind
  readonly method: string
  readonly path: string
  readonly authorization: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** The raw body. */
  readonly body: string
  /** Query and form (or JSON) fields. */
  readonly parameters: Readonly<Record<string, string>>
}

const body = (request: Http.IncomingMessage) =>
  Effect.async<string>((resume) => {
    const chunks: Array<Buffer> = []
    const done = () => resume(Effect.succeed(Buffer.concat(chunks).toString()))
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.once("end", done)
    request.once("close", done)
    request.once("error", done)
  })

const record = (text: string): Readonly<Record<string, string>> => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null
      ? Object.fromEntries(Object.entries(value).map(([name, field]) => [name, String(field)]))
      : {}
  } catch {
    return {}
  }
}

const read = (message: Http.IncomingMessage, text: string): Request => {
  const url = new URL(message.url ?? "/", "http://127.0.0.1")
  const isJson = message.headers["content-type"]?.includes("json") === true
  const fields = isJson ? record(text) : Object.fromEntries(new URLSearchParams(text))
  const parameters = { ...Object.fromEntries(url.searchParams), ...fields }
  const method = message.method ?? "GET"
  return {
    kind: kindOf(method, url.pathname, parameters["grant_type"]),
    method,
    path: url.pathname,
    authorization: message.headers.authorization,
    headers: Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, String(value)])),
    body: text,
    parameters
  }
}

const kindOfGrant: Readonly<Record<string, RequestKind>> = {
  authorization_code: "authorization_code",
  refresh_token: "refresh_token",
  client_credentials: "machine",
  "urn:ietf:params:oauth:grant-type:jwt-bearer": "machine",
  "urn:ietf:params:oauth:grant-type:token-exchange": "machine",
  "urn:ietf:params:oauth:grant-type:device_code": "device_code"
}

const kindOf = (method: string, path: string, grantType: string | undefined): RequestKind => {
  switch (`${method} ${path}`) {
    case "GET /authorize":
      return "authorization"
    case "POST /token":
    case "POST /refresh":
      return kindOfGrant[grantType ?? ""] ?? "other"
    case "POST /device":
      return "device_authorization"
    case "POST /revoke":
    case "DELETE /revoke":
      return "revocation"
    case "GET /userinfo":
      return "userinfo"
    case "GET /.well-known/oauth-authorization-server":
      return "metadata"
    default:
      return "other"
  }
}

/** Waits for the whole request; what a client that went away has sent is all there is. */
export const receive = (message: Http.IncomingMessage): Effect.Effect<Request> =>
  Effect.map(body(message), (text) => read(message, text))

/** Answers, or does what the fault says instead; ends when the kernel has it all. */
export const send = (request: Http.IncomingMessage, response: Http.ServerResponse, reply: Reply, fault: Fault) =>
  Effect.async<Entry["sent"]>((resume) => {
    const { socket } = request
    if (socket.destroyed) return resume(Effect.succeed("aborted"))
    if (fault.reset !== undefined) {
      socket.resetAndDestroy()
      return resume(Effect.succeed("reset"))
    }
    const bytes = Buffer.from(reply.body)
    response.writeHead(reply.status, { ...reply.headers, "content-length": bytes.length })
    response.once("close", () => resume(Effect.succeed(response.writableFinished ? "answered" : "aborted")))
    if (fault.cut === true) {
      response.write(bytes.subarray(0, Math.floor(bytes.length / 2)), () => {
        resume(Effect.succeed("cut"))
        socket.destroy()
      })
      return
    }
    response.end(bytes, () => resume(Effect.succeed("answered")))
  })
