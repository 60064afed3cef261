/**
 * How this service proves to a provider which client it is.
 *
 * @since 0.1.0
 */
import * as Redacted from "effect/Redacted"
import * as oauth from "oauth4webapi"
import { createPrivateKey, type KeyObject, type webcrypto } from "node:crypto"
import type { Provider } from "../Provider.ts"

/**
 * This service as a provider's client.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client {
  readonly id: string
  readonly secret?: Redacted.Redacted
  /** A PEM, for `private_key_jwt` and for the assertions of `jwt_bearer`. */
  readonly privateKey?: Redacted.Redacted
  /** The `kid` by which the provider knows the key. */
  readonly privateKeyId?: string
}

const signingAlgorithm = (
  key: KeyObject
): webcrypto.RsaHashedImportParams | webcrypto.EcKeyImportParams | webcrypto.Algorithm => {
  if (key.asymmetricKeyType === "ec") {
    const curves: Record<string, string> = { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" }
    return { name: "ECDSA", namedCurve: curves[key.asymmetricKeyDetails?.namedCurve ?? ""] ?? "P-256" }
  }
  if (key.asymmetricKeyType === "ed25519") return { name: "Ed25519" }
  return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }
}

/**
 * A private key out of a PEM. Throws when it cannot be read.
 *
 * @since 0.1.0
 */
export const importPrivateKey = async (pem: Redacted.Redacted): Promise<webcrypto.CryptoKey> => {
  const key = createPrivateKey(Redacted.value(pem))
  const der = key.export({ type: "pkcs8", format: "der" })
  return crypto.subtle.importKey("pkcs8", der, signingAlgorithm(key), false, ["sign"])
}

/** As a form encodes a value (RFC 6749 2.3.1): `-`, `.`, `_` stay, so that a provider that does not decode understands it too. */
const formEncoded = (text: string) => new URLSearchParams({ value: text }).toString().slice("value=".length)

const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`, "utf8").toString("base64")}`

const demand = (secret: Redacted.Redacted | undefined): string => {
  const text = secret === undefined ? "" : Redacted.value(secret)
  if (text === "") throw new TypeError("the client has no secret")
  return text
}

/**
 * HTTP Basic with the client's id and secret.
 *
 * @since 0.1.0
 */
export const clientSecretBasic =
  (secret: Redacted.Redacted | undefined): oauth.ClientAuth =>
  (_server, client, _body, headers) =>
    headers.set("authorization", basic(formEncoded(client.client_id), formEncoded(demand(secret))))

/**
 * The authentication that the provider's data asks for. Throws when the client lacks what it needs, or its key cannot be
 * read; the algorithm of an assertion follows from the key: RS256, ES256, ES384, ES512 or Ed25519.
 *
 * @since 0.1.0
 */
export const make = async (provider: Provider, client: Client): Promise<oauth.ClientAuth> => {
  switch (provider.clientAuth) {
    case "client_secret_basic":
      return clientSecretBasic(client.secret)
    case "client_secret_post":
      return oauth.ClientSecretPost(demand(client.secret))
    case "private_key_jwt":
      return oauth.PrivateKeyJwt({
        key: await importPrivateKey(client.privateKey ?? Redacted.make("")),
        ...(client.privateKeyId !== undefined && { kid: client.privateKeyId })
      })
    case "secret_as_user":
      return (_server, _client, _body, headers) => headers.set("authorization", basic(demand(client.secret), ""))
    case "none":
      return client.id === "" && provider.grant === "jwt_bearer" ? () => undefined : oauth.None()
  }
}
