/**
 * What a `ScriptedProvider` answers when nothing goes wrong: authorization, token, revocation, userinfo and metadata.
 *
 * @since 0.1.0
 */
import * as Crypto from "node:crypto"
import * as ClientAuth from "./ClientAuth.ts"
import type { Request } from "./Connection.ts"
import type { Fault, Reply, RequestKind, TokenAnswer } from "./Fault.ts"
import type * as Grants from "./Grants.ts"
import type * as Ledger from "./Ledger.ts"
import type { OtherGrants, Outcome } from "./OtherGrants.ts"
import { missing, type Quirks, revoker } from "./Quirks.ts"

export interface Options {
  /** The issuer. */
  readonly url: string
  readonly grants: Grants.Grants
  readonly others: OtherGrants
  readonly now: () => number
  /** Who logs in. */
  readonly account: () => string
  readonly clients: ReadonlyArray<ClientAuth.Client>
  readonly accepts: ReadonlyArray<Ledger.ClientAuthSeen>
  readonly redirectUris: ReadonlyArray<string> | undefined
  readonly pkce: "required" | "supported"
  readonly announcesIssuer: boolean
  readonly refreshTokenOnLogin: boolean
  readonly refreshTokenOnRefresh: boolean
  readonly scopeSeparator: string
  readonly format: "json" | "form"
  readonly shape: (answer: TokenAnswer) => unknown
  readonly quirks: Quirks | undefined
}

/** What processing a request came to: the answer, and what the ledger learns. */
export interface Processed {
  readonly reply: Reply
  readonly entry: Partial<Ledger.Entry> & { readonly outcome: Ledger.Outcome }
}

const noStore = { "cache-control": "no-store", pragma: "no-cache" }

const json = (status: number, body: unknown, headers: Record<string, string> = {}): Reply => ({
  status,
  headers: { "content-type": "application/json", ...noStore, ...headers },
  body: JSON.stringify(body)
})

const failed = (error: string, status = 400, entry: Partial<Ledger.Entry> = {}): Processed => ({
  reply: json(status, { error }, status === 401 ? { "www-authenticate": `Basic realm="scripted"` } : {}),
  entry: { ...entry, outcome: "failed", error }
})

const authenticated = new Set<RequestKind>([
  "authorization_code",
  "refresh_token",
  "machine",
  "device_authorization",
  "device_code",
  "revocation"
])

export const make = (options: Options) => {
  const { accepts, clients, grants, now, pkce, quirks, url } = options
  const separator = options.scopeSeparator
  const tokenUrl = `${url}/token`

  const scopesOf = (request: Request) =>
    request.parameters[quirks?.scopeParam ?? "scope"]?.split(separator).filter((scope) => scope !== "")

  /** Who calls, at the endpoints where a client must say so. */
  const identify = (request: Request): ClientAuth.Identified | undefined =>
    request.kind === "revocation" && quirks?.revocation !== undefined
      ? revoker(quirks.revocation, request, clients, accepts, grants)
      : authenticated.has(request.kind)
        ? ClientAuth.identify({ ...request, clients, accepts, audiences: [url, tokenUrl], now: now() })
        : undefined

  const worthless = (entry: Partial<Ledger.Entry> = {}): Processed => {
    const plain = failed("invalid_grant", 400, entry)
    return { ...plain, reply: quirks?.invalidGrant ?? plain.reply }
  }

  const encode = (value: unknown): Reply =>
    options.format === "form" && typeof value === "object" && value !== null
      ? {
          status: 200,
          headers: { "content-type": "application/x-www-form-urlencoded", ...noStore },
          body: new URLSearchParams(
            Object.fromEntries(Object.entries(value).map(([name, field]) => [name, String(field)]))
          ).toString()
        }
      : json(200, value)

  /** OpenID Connect Core 2, signed with the client's secret: says who logged in, where `openid` was asked for. */
  const idToken = (tokens: Grants.Tokens) => {
    const seconds = Math.floor(now() / 1000)
    const { account, clientId } = tokens.grant
    const claims = { iss: url, sub: account, aud: clientId, iat: seconds, exp: seconds + tokens.expiresIn }
    const text = [{ alg: "HS256", typ: "JWT" }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".")
    const secret = clients.find((client) => client.clientId === clientId)?.clientSecret ?? ""
    return `${text}.${Crypto.createHmac("sha256", secret).update(text).digest("base64url")}`
  }

  const answer = (
    tokens: Grants.Tokens,
    outcome: "issued" | "rotated" | "kept" | "graced",
    withRefreshToken: boolean,
    fault: Fault
  ): Processed => {
    const plain: TokenAnswer = {
      access_token: tokens.accessToken,
      token_type: "Bearer",
      expires_in: tokens.expiresIn,
      ...(withRefreshToken ? { refresh_token: tokens.refreshToken } : {}),
      ...(tokens.scopes.length === 0 ? {} : { scope: tokens.scopes.join(separator) }),
      ...(tokens.scopes.includes("openid") ? { id_token: idToken(tokens) } : {})
    }
    const shaped = options.shape(plain)
    const isRecord = typeof shaped === "object" && shaped !== null
    return {
      reply: encode(fault.tokens !== undefined && isRecord ? fault.tokens({ ...shaped }) : shaped),
      entry: {
        outcome,
        grantId: tokens.grant.id,
        issued: {
          accessToken: tokens.accessToken,
          ...(withRefreshToken ? { refreshToken: tokens.refreshToken } : {})
        }
      }
    }
  }

  const authorize = (request: Request, fault: Fault): Processed => {
    const { parameters } = request
    const redirectUri = parameters["redirect_uri"] ?? ""
    const known = clients.some((client) => client.clientId === parameters["client_id"])
    if (!known || !URL.canParse(redirectUri) || options.redirectUris?.includes(redirectUri) === false) {
      return failed("invalid_request")
    }
    const target = new URL(redirectUri)
    const challenge = parameters["code_challenge"]
    const error =
      parameters["response_type"] !== "code"
        ? "unsupported_response_type"
        : (challenge === undefined && pkce === "required") ||
            (challenge !== undefined && parameters["code_challenge_method"] !== "S256")
          ? "invalid_request"
          : undefined
    if (error === undefined) {
      const clientId = parameters["client_id"] ?? ""
      const scopes = scopesOf(request) ?? []
      const code = grants.authorize({
        clientId,
        account: options.account(),
        redirectUri,
        scopes,
        codeChallenge: challenge
      })
      target.searchParams.set("code", code)
    } else {
      target.searchParams.set("error", error)
    }
    if (parameters["state"] !== undefined) target.searchParams.set("state", parameters["state"])
    if (options.announcesIssuer) target.searchParams.set("iss", url)
    fault.redirect?.(target.searchParams)
    return {
      reply: { status: 302, headers: { location: target.href, ...noStore }, body: "" },
      entry: error === undefined ? { outcome: "approved" } : { outcome: "failed", error }
    }
  }

  const exchange = (request: Request, clientId: string, fault: Fault): Processed => {
    const tokens = grants.redeem(request.parameters["code"] ?? "", {
      clientId,
      redirectUri: request.parameters["redirect_uri"] ?? "",
      codeVerifier: request.parameters["code_verifier"]
    })
    return tokens === undefined ? worthless() : answer(tokens, "issued", options.refreshTokenOnLogin, fault)
  }

  const refresh = (request: Request, clientId: string, fault: Fault): Processed => {
    const presented = request.parameters["refresh_token"] ?? ""
    const spending = grants.spend(presented, clientId, scopesOf(request))
    if (spending.outcome === "failed") return spending.error === "invalid_grant" ? worthless() : failed(spending.error)
    if (spending.outcome === "reused") {
      const { entry, reply } = worthless()
      return { reply, entry: { ...entry, outcome: "reused", grantId: spending.grant.id } }
    }
    const shown = spending.outcome !== "kept" || options.refreshTokenOnRefresh
    return answer(spending.tokens, spending.outcome, shown, fault)
  }

  const granted = (outcome: Outcome, withRefreshToken: boolean, fault: Fault): Processed =>
    typeof outcome === "string"
      ? outcome === "invalid_grant"
        ? worthless()
        : failed(outcome)
      : answer(outcome, "issued", withRefreshToken, fault)

  const revoke = (request: Request): Processed => {
    const { auth, tokenField = "token" } = quirks?.revocation ?? {}
    const bearer = request.authorization?.replace("Bearer ", "")
    const grant = grants.revoke((auth === "bearer" ? bearer : request.parameters[tokenField]) ?? "")
    return {
      reply: { status: 200, headers: noStore, body: "" },
      entry: { outcome: "revoked", ...(grant === undefined ? {} : { grantId: grant.id }) }
    }
  }

  const userinfo = (request: Request): Processed => {
    const access = grants.access(request.authorization?.replace(/^Bearer /i, "") ?? "")
    if (access === undefined) {
      const reply = json(401, { error: "invalid_token" }, { "www-authenticate": `Bearer error="invalid_token"` })
      return { reply, entry: { outcome: "failed", error: "invalid_token" } }
    }
    const { account, id } = access.grant
    return {
      reply: json(200, { sub: account, name: account, email: `${account}@example.com` }),
      entry: { outcome: "answered", grantId: id }
    }
  }

  const metadata = () =>
    json(200, {
      issuer: url,
      authorization_endpoint: `${url}/authorize`,
      token_endpoint: tokenUrl,
      revocation_endpoint: `${url}/revoke`,
      userinfo_endpoint: `${url}/userinfo`,
      response_types_supported: ["code"],
      grant_types_supported: ["authorization_code", "refresh_token"],
      code_challenge_methods_supported: ["S256"],
      token_endpoint_auth_methods_supported: accepts,
      authorization_response_iss_parameter_supported: options.announcesIssuer
    })

  /** Synchronous: no other request comes between looking at a token and spending it. */
  const process = (request: Request, caller: ClientAuth.Identified | undefined, fault: Fault): Processed => {
    if (caller?.valid === false) return failed("invalid_client", 401)
    const lack = quirks === undefined ? undefined : missing(quirks, request)
    if (lack !== undefined) return failed(`invalid_request: ${lack}`)
    const clientId = caller?.clientId ?? ""
    switch (request.kind) {
      case "authorization":
        return authorize(request, fault)
      case "authorization_code":
        return exchange(request, clientId, fault)
      case "refresh_token":
        return refresh(request, clientId, fault)
      case "machine":
        return granted(options.others.machine(request, clientId, scopesOf(request) ?? []), false, fault)
      case "device_authorization":
        return {
          reply: json(200, options.others.begin(clientId, scopesOf(request) ?? [], url)),
          entry: { outcome: "answered" }
        }
      case "device_code":
        return granted(options.others.poll(request.parameters["device_code"] ?? "", clientId), true, fault)
      case "revocation":
        return revoke(request)
      case "userinfo":
        return userinfo(request)
      case "metadata":
        return { reply: metadata(), entry: { outcome: "answered" } }
      default:
        return request.path === "/token" ? failed("unsupported_grant_type") : failed("not_found", 404)
    }
  }

  return { identify, process }
}
