/**
 * Who calls the token or revocation endpoint: the ways that the service knows (RFC 6749 2.3, RFC 7523 2.2).
 *
 * @since 0.1.0
 */
import * as Crypto from "node:crypto"
import type { ClientAuthSeen } from "./Ledger.ts"

/** A registered client: public without secret and key. */
export interface Client {
  readonly clientId: string
  readonly clientSecret?: string
  /** PEM, for `private_key_jwt`. */
  readonly publicKey?: string
}

export interface Identified {
  readonly clientId: string | undefined
  readonly clientAuth: ClientAuthSeen
  /** The client proved to be who it says. */
  readonly valid: boolean
}

const decode = (text: string) => {
  try {
    return decodeURIComponent(text.replaceAll("+", " "))
  } catch {
    return text
  }
}

const parse = (part: string): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString())
    return typeof value === "object" && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

const algorithms: Record<string, { hash: string | null; options: Omit<Crypto.VerifyKeyObjectInput, "key"> }> = {
  RS256: { hash: "sha256", options: {} },
  PS256: { hash: "sha256", options: { padding: Crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } },
  ES256: { hash: "sha256", options: { dsaEncoding: "ieee-p1363" } },
  ES384: { hash: "sha384", options: { dsaEncoding: "ieee-p1363" } },
  ES512: { hash: "sha512", options: { dsaEncoding: "ieee-p1363" } },
  EdDSA: { hash: null, options: {} },
  Ed25519: { hash: null, options: {} }
}

/** The claims of an assertion that this key signed for one of the audiences, and that has not expired. */
export const claimsOf = (
  assertion: string,
  publicKey: string | undefined,
  audiences: ReadonlyArray<string>,
  now: number
): Readonly<Record<string, unknown>> | undefined => {
  const [header = "", payload = "", signature = ""] = assertion.split(".")
  const algorithm = algorithms[String(parse(header)["alg"])]
  const claims = parse(payload)
  const audience = [claims["aud"]].flat()
  const valid =
    algorithm !== undefined &&
    publicKey !== undefined &&
    typeof claims["jti"] === "string" &&
    Number(claims["exp"]) * 1000 > now &&
    audience.some((value) => typeof value === "string" && audiences.includes(value)) &&
    signed(
      `${header}.${payload}`,
      signature,
      { key: Crypto.createPublicKey(publicKey), ...algorithm.options },
      algorithm.hash
    )
  return valid ? claims : undefined
}

const verify = (assertion: string, client: Client, audiences: ReadonlyArray<string>, now: number): boolean => {
  const claims = claimsOf(assertion, client.publicKey, audiences, now)
  return claims?.["iss"] === client.clientId && claims["sub"] === client.clientId
}

/** A key of another kind than the algorithm's makes `verify` throw. */
const signed = (text: string, signature: string, key: Crypto.VerifyKeyObjectInput, hash: string | null): boolean => {
  try {
    return Crypto.verify(hash, Buffer.from(text), key, Buffer.from(signature, "base64url"))
  } catch {
    return false
  }
}

/** Reads what the client sent. Where it sent two ways at once it is not valid (RFC 6749 2.3). */
export const identify = (request: {
  readonly authorization: string | undefined
  readonly parameters: Readonly<Record<string, string>>
  readonly clients: ReadonlyArray<Client>
  readonly accepts: ReadonlyArray<ClientAuthSeen>
  /** What an assertion's `aud` may be. */
  readonly audiences: ReadonlyArray<string>
  readonly now: number
}): Identified => {
  const { authorization, parameters } = request
  const find = (clientId: string | undefined) => request.clients.find((client) => client.clientId === clientId)
  const identified = (clientId: string | undefined, clientAuth: ClientAuthSeen, proven: boolean): Identified => ({
    clientId,
    clientAuth,
    valid: proven && request.accepts.includes(clientAuth)
  })
  if (authorization?.startsWith("Basic ")) {
    const text = Buffer.from(authorization.slice("Basic ".length), "base64").toString()
    const colon = text.indexOf(":")
    const clientId = decode(text.slice(0, colon))
    const secret = decode(text.slice(colon + 1))
    const user = text.slice(0, colon)
    const known = request.clients.find((client) => client.clientSecret === user)
    if (known !== undefined) return identified(known.clientId, "secret_as_user", secret === "")
    const alone = parameters["client_secret"] === undefined && parameters["client_assertion"] === undefined
    return identified(clientId, "client_secret_basic", alone && colon > 0 && find(clientId)?.clientSecret === secret)
  }
  const clientId = parameters["client_id"]
  const assertion = parameters["client_assertion"]
  if (assertion !== undefined) {
    const claimed = parse(assertion.split(".")[1] ?? "")["sub"]
    const client = find(typeof claimed === "string" ? claimed : clientId)
    const type = parameters["client_assertion_type"] === "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return identified(
      client?.clientId,
      "private_key_jwt",
      type && client !== undefined && verify(assertion, client, request.audiences, request.now)
    )
  }
  const client = find(clientId)
  if (parameters["client_secret"] !== undefined) {
    const right = client?.clientSecret !== undefined && client.clientSecret === parameters["client_secret"]
    return identified(clientId, "client_secret_post", right)
  }
  // an assertion may come from nobody's client (RFC 7521 4.1)
  const anybody = client ?? find("")
  return identified(anybody?.clientId, "none", anybody !== undefined && !anybody.clientSecret && !anybody.publicKey)
}
