/**
 * What a `ScriptedProvider` demands beside RFC 6749, told by the very fields with which a provider's data describes it.
 *
 * @since 0.1.0
 */
import type { Provider, Revocation } from "../../Provider.ts"
import * as ClientAuth from "./ClientAuth.ts"
import type { Request } from "./Connection.ts"
import type { Reply } from "./Fault.ts"
import type * as Grants from "./Grants.ts"
import type * as Ledger from "./Ledger.ts"

export type Quirks = Partial<
  Pick<
    Provider,
    | "refreshUrl"
    | "requestHeaders"
    | "tokenParams"
    | "tokenRequestFormat"
    | "refreshWithRedirectUri"
    | "scopeParam"
    | "revocation"
  >
> & {
  /** How it says that a code or refresh token is worth nothing. */
  readonly invalidGrant?: Reply
}

const mediaTypes = { form: "application/x-www-form-urlencoded", json: "application/json" }

/** What a request lacks that this provider demands. */
export const missing = (quirks: Quirks, request: Request): string | undefined => {
  const { kind, headers, parameters } = request
  const isToken = kind === "authorization_code" || kind === "refresh_token"
  if (!isToken && kind !== "revocation") return undefined
  const header = Object.entries(quirks.requestHeaders ?? {}).find(
    ([name, value]) => headers[name.toLowerCase()] !== value
  )
  if (header !== undefined) return `the header ${header[0]}`
  if (headers["user-agent"] === undefined) return "a User-Agent"
  const format = isToken ? quirks.tokenRequestFormat : quirks.revocation?.format
  if (request.body !== "" && headers["content-type"] !== mediaTypes[format ?? "form"]) return `a body of ${format}`
  if (!isToken) return undefined
  if (headers["accept"] !== "application/json") return "Accept: application/json"
  const parameter = Object.entries(quirks.tokenParams ?? {}).find(([name, value]) => parameters[name] !== value)
  if (parameter !== undefined) return `the parameter ${parameter[0]}`
  if (kind !== "refresh_token") return undefined
  if ((request.path === "/refresh") !== (quirks.refreshUrl !== undefined)) return "the right URL"
  return quirks.refreshWithRedirectUri === true && parameters["redirect_uri"] === undefined ? "redirect_uri" : undefined
}

/** Who asks for a revocation that is not RFC 7009's. */
export const revoker = (
  revocation: Revocation,
  request: Request,
  clients: ReadonlyArray<ClientAuth.Client>,
  accepts: ReadonlyArray<Ledger.ClientAuthSeen>,
  grants: Grants.Grants
): ClientAuth.Identified => {
  const [client] = clients
  const expected = (value: string) =>
    value.replaceAll("{client_id}", client?.clientId ?? "").replaceAll("{client_secret}", client?.clientSecret ?? "")
  const isWhole =
    request.method === revocation.method &&
    Object.entries(revocation.params).every(([name, value]) => request.parameters[name] === expected(value)) &&
    Object.entries(revocation.headers).every(([name, value]) => request.headers[name.toLowerCase()] === expected(value))
  if (revocation.auth === "client" || revocation.auth === "basic") {
    const identified = ClientAuth.identify({
      ...request,
      clients,
      accepts: revocation.auth === "basic" ? ["client_secret_basic"] : accepts,
      audiences: [],
      now: 0
    })
    return { ...identified, valid: identified.valid && isWhole }
  }
  const isBearer = grants.access(request.authorization?.replace("Bearer ", "") ?? "") !== undefined
  const isAnonymous = request.authorization === undefined || "Authorization" in revocation.headers
  const valid = isWhole && (revocation.auth === "bearer" ? isBearer : isAnonymous)
  return { clientId: client?.clientId, clientAuth: "none", valid }
}
