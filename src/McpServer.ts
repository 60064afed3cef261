/**
 * An MCP server as its URL names it: the resource that a token is for (RFC 8707).
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import { createHash } from "node:crypto"
import { CredentialId, type UserId } from "./Credential.ts"

/**
 * What a server's URL must be, in words.
 *
 * @since 0.1.0
 */
export const expected = "an absolute http(s) URL that names no user"

/**
 * The canonical URI: scheme and host in lower case, no fragment, no slash alone for a path. None when the text is no
 * http(s) URL, or names a user.
 *
 * @since 0.1.0
 */
export const canonical = (text: string): Option.Option<string> => {
  if (!URL.canParse(text)) return Option.none()
  const url = new URL(text)
  if (!/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") return Option.none()
  url.hash = ""
  return Option.some(url.pathname === "/" && url.search === "" ? url.origin : url.href)
}

/**
 * Whether two URLs name one server: a slash at the end makes no other of it.
 *
 * @since 0.1.0
 */
export const isSame = (one: string, other: string): boolean => {
  const normal = (text: string) => Option.map(canonical(text), (uri) => uri.replace(/\/(?=\?|$)/, ""))
  return one === other || Option.exists(normal(one), (uri) => Option.contains(normal(other), uri))
}

/**
 * Whether a resource identifier covers a server: the same origin, and the same path or one above it.
 *
 * @since 0.1.0
 */
export const covers = (resource: string, server: string): boolean => {
  if (!URL.canParse(resource) || !URL.canParse(server)) return false
  const [above, below] = [new URL(resource), new URL(server)]
  const folder = (path: string) => (path.endsWith("/") ? path : `${path}/`)
  return above.origin === below.origin && folder(below.pathname).startsWith(folder(above.pathname))
}

/**
 * The id of a user's credential for a server, the same for every login, so that of two at once one finds what the other
 * stored. A UUID of version 8 (RFC 9562 5.8).
 *
 * @since 0.1.0
 */
export const credentialId = (userId: UserId, server: string): CredentialId => {
  const bytes = createHash("sha256")
    .update(JSON.stringify(["mcp", userId, server]), "utf8")
    .digest()
    .subarray(0, 16)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  return CredentialId.to.make(bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"))
}
