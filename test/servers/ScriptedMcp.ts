/**
 * An MCP server and its authorization server on two free ports of 127.0.0.1: refresh tokens rotate, a spent one that comes
 * back ends its grant, and both say and do what a test tells them to. Every request is listed.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { createHash, randomUUID } from "node:crypto"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as LoopbackServer from "./LoopbackServer.ts"

type Json = Readonly<Record<string, unknown>>

/** What both say; a test may change each at any time. */
export interface Says {
  /** Added to the header of a 401. */
  challenge: string
  /** The scopes without which a call is a 403. */
  needs: ReadonlyArray<string>
  /** Laid over the protected resource's metadata; `undefined`: there is none. */
  resource: Json | undefined
  /** Laid over the authorization server's metadata. */
  metadata: Json
  /** Laid over the answer to the login in the browser; `undefined` leaves a parameter out. */
  redirect: Readonly<Record<string, string | undefined>>
  /** Laid over the answer of the token endpoint. */
  tokens: Json
  /** Laid over the answer of the registration endpoint. */
  registration: Json
  /** Scopes granted: all that are asked for, unless said. */
  granted: ReadonlyArray<string> | undefined
}

export interface Seen {
  readonly method: string
  readonly path: string
  readonly form: URLSearchParams
  readonly json: Json
  readonly authorization: string | undefined
}

interface Grant {
  readonly id: string
  readonly clientId: string
  readonly scope: string
  readonly resource: string
  isLive: boolean
}

export interface ScriptedMcp {
  readonly serverUrl: string
  readonly issuer: string
  readonly says: Says
  readonly seen: ReadonlyArray<Seen>
  /** Requests to a path, such as `/token`. */
  readonly to: (path: string) => ReadonlyArray<Seen>
  /** Where the browser is sent back to, as a browser that follows the login would be. */
  readonly login: (authorizationUrl: string) => Effect.Effect<URL>
  /** Ends an access token before its time: the server refuses it from now on. */
  readonly expire: (accessToken: string) => Effect.Effect<void>
  readonly liveGrants: () => number
  /** Refresh tokens that came back after they were spent. */
  readonly reuses: () => number
}

const read = async (request: IncomingMessage): Promise<string> => {
  let text = ""
  for await (const chunk of request.setEncoding("utf8")) text += String(chunk)
  return text
}

const parse = (text: string): Json => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? (value as Json) : {}
  } catch {
    return {}
  }
}

const answer = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) => {
  response.writeHead(status, { "content-type": "application/json", ...headers })
  response.end(body === undefined ? undefined : JSON.stringify(body))
}

const tool = {
  name: "echo",
  description: "Says it again",
  inputSchema: { type: "object", properties: { text: { type: "string" } } }
}

const result = (method: unknown, parameters: Json): Json => {
  switch (method) {
    case "initialize":
      return {
        protocolVersion: "2025-11-25",
        capabilities: { tools: {} },
        serverInfo: { name: "scripted", version: "1" }
      }
    case "tools/list":
      return { tools: [tool] }
    default:
      return { content: [{ type: "text", text: JSON.stringify(parameters["arguments"]) }] }
  }
}

export const start: Effect.Effect<ScriptedMcp, never, Scope.Scope> = Effect.gen(function* () {
  const resourceServer = yield* LoopbackServer.listen
  const authorizationServer = yield* LoopbackServer.listen
  const serverUrl = `${resourceServer.url}/mcp`
  const issuer = authorizationServer.url
  const says: Says = {
    challenge: "",
    needs: [],
    resource: {},
    metadata: {},
    redirect: {},
    tokens: {},
    registration: {},
    granted: undefined
  }
  const seen: Array<Seen> = []
  const codes = new Map<string, { readonly grant: Grant; readonly challenge: string; readonly redirectUri: string }>()
  const accessTokens = new Map<string, Grant>()
  const refreshTokens = new Map<string, { readonly grant: Grant; isSpent: boolean }>()
  const grants: Array<Grant> = []
  let reuses = 0

  const note = (request: IncomingMessage, body: string): Seen => {
    const one = {
      method: request.method ?? "",
      path: new URL(request.url ?? "/", "http://x").pathname,
      form: new URLSearchParams(body),
      json: parse(body),
      authorization: request.headers.authorization
    }
    seen.push(one)
    return one
  }

  const issue = (grant: Grant) => {
    const accessToken = `at-${randomUUID()}`
    const refreshToken = `rt-${randomUUID()}`
    accessTokens.set(accessToken, grant)
    refreshTokens.set(refreshToken, { grant, isSpent: false })
    return {
      access_token: accessToken,
      refresh_token: refreshToken,
      token_type: "Bearer",
      expires_in: 3600,
      scope: grant.scope,
      ...says.tokens
    }
  }

  const token = ({ form }: Seen, response: ServerResponse) => {
    const refuse = () => answer(response, 400, { error: "invalid_grant" })
    if (form.get("grant_type") === "refresh_token") {
      const known = refreshTokens.get(form.get("refresh_token") ?? "")
      if (known === undefined || !known.grant.isLive) return refuse()
      if (known.isSpent) {
        reuses++
        known.grant.isLive = false
        return refuse()
      }
      known.isSpent = true
      return answer(response, 200, issue(known.grant))
    }
    const code = form.get("code") ?? ""
    const login = codes.get(code)
    codes.delete(code)
    const challenge = createHash("sha256")
      .update(form.get("code_verifier") ?? "")
      .digest("base64url")
    if (login === undefined || challenge !== login.challenge || form.get("redirect_uri") !== login.redirectUri) {
      return refuse()
    }
    return answer(response, 200, issue(login.grant))
  }

  authorizationServer.server.on("request", (request, response) => {
    void read(request).then((body) => {
      const asked = note(request, body)
      switch (asked.path) {
        case "/.well-known/oauth-authorization-server":
          return answer(response, 200, {
            issuer,
            authorization_endpoint: `${issuer}/authorize`,
            token_endpoint: `${issuer}/token`,
            registration_endpoint: `${issuer}/register`,
            revocation_endpoint: `${issuer}/revoke`,
            response_types_supported: ["code"],
            code_challenge_methods_supported: ["S256"],
            token_endpoint_auth_methods_supported: ["none"],
            authorization_response_iss_parameter_supported: true,
            ...says.metadata
          })
        case "/register":
          return answer(response, 201, { client_id: `client-${randomUUID()}`, ...asked.json, ...says.registration })
        case "/token":
          return token(asked, response)
        case "/revoke": {
          const known = refreshTokens.get(asked.form.get("token") ?? "")
          if (known !== undefined) known.grant.isLive = false
          return answer(response, 200, {})
        }
        default:
          return answer(response, 404, {})
      }
    })
  })

  resourceServer.server.on("request", (request, response) => {
    void read(request).then((body) => {
      const asked = note(request, body)
      if (asked.path.startsWith("/.well-known/oauth-protected-resource")) {
        return says.resource === undefined
          ? answer(response, 404, {})
          : answer(response, 200, { resource: serverUrl, authorization_servers: [issuer], ...says.resource })
      }
      if (asked.path !== "/mcp") return answer(response, 404, {})
      if (request.method !== "POST") return answer(response, 405, {})
      const grant = accessTokens.get(asked.authorization?.replace(/^Bearer /, "") ?? "")
      const where = `Bearer resource_metadata="${resourceServer.url}/.well-known/oauth-protected-resource/mcp"`
      if (grant === undefined || !grant.isLive || grant.resource !== serverUrl) {
        return answer(response, 401, {}, { "www-authenticate": where + says.challenge })
      }
      const { id, method, params } = asked.json
      if (method === "tools/call" && says.needs.some((scope) => !grant.scope.split(" ").includes(scope))) {
        const wanted = `, error="insufficient_scope", scope="${says.needs.join(" ")}"`
        return answer(response, 403, {}, { "www-authenticate": where + wanted })
      }
      if (id === undefined) return answer(response, 202, undefined)
      return answer(response, 200, { jsonrpc: "2.0", id, result: result(method, (params ?? {}) as Json) })
    })
  })

  return {
    serverUrl,
    issuer,
    says,
    seen,
    to: (path) => seen.filter((one) => one.path === path),
    login: (authorizationUrl) =>
      Effect.sync(() => {
        const { searchParams } = new URL(authorizationUrl)
        const of = (name: string) => searchParams.get(name) ?? ""
        const grant: Grant = {
          id: randomUUID(),
          clientId: of("client_id"),
          scope: says.granted?.join(" ") ?? of("scope"),
          resource: of("resource"),
          isLive: true
        }
        grants.push(grant)
        const code = randomUUID()
        codes.set(code, { grant, challenge: of("code_challenge"), redirectUri: of("redirect_uri") })
        const back = new URL(of("redirect_uri"))
        for (const [name, value] of Object.entries({ code, state: of("state"), iss: issuer, ...says.redirect })) {
          if (value !== undefined) back.searchParams.set(name, value)
        }
        return back
      }),
    expire: (accessToken) => Effect.sync(() => void accessTokens.delete(accessToken)),
    liveGrants: () => grants.filter(({ isLive }) => isLive).length,
    reuses: () => reuses
  }
})
