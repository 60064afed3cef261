/**
 * Grants that need no user: what a credential keeps of one, and the request that it makes, at first and for each renewal.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import * as oauth from "oauth4webapi"
import { type Extra, SecretText } from "../Credential.ts"
import type { OutboundRefused } from "../CredentialsError.ts"
import type { OutboundRequest } from "../Outbound.ts"
import type { Grant, Provider } from "../Provider.ts"
import type { TokenSet } from "../TokenSet.ts"
import { type Client, importPrivateKey } from "./ClientAuth.ts"
import { built, serverOf } from "./Request.ts"

const optional = <S extends Schema.Schema.All>(schema: S) => Schema.optionalWith(schema, { exact: true })

/** Whom the token is for, where the provider wants to know (RFC 8693 2.1, RFC 8707). */
const target = { audience: optional(Schema.String), resource: optional(Schema.String) }

/**
 * What is asked with: kept, sealed, in the metadata of the credential, under `grant`.
 *
 * @since 0.1.0
 * @category models
 */
export const MachineGrant = Schema.Union(
  Schema.Struct({ type: Schema.Literal("client_credentials"), ...target }),
  Schema.Struct({
    type: Schema.Literal("jwt_bearer"),
    ...target,
    /** A PEM of the credential's own, with the `issuer` that it belongs to; else the client's key signs. */
    privateKey: optional(SecretText),
    privateKeyId: optional(Schema.String),
    issuer: optional(Schema.String),
    subject: optional(Schema.String)
  }),
  Schema.Struct({
    type: Schema.Literal("token_exchange"),
    ...target,
    subjectToken: SecretText,
    subjectTokenType: Schema.String,
    actorToken: optional(SecretText),
    actorTokenType: optional(Schema.String),
    requestedTokenType: optional(Schema.String)
  })
)
export type MachineGrant = typeof MachineGrant.Type

/**
 * Whether a provider's tokens are come by without a user.
 *
 * @since 0.1.0
 */
export const isMachine = (grant: Grant): grant is MachineGrant["type"] =>
  grant !== "authorization_code" && grant !== "device_code"

const decode = Schema.decodeUnknownOption(MachineGrant)
const encode = Schema.encodeSync(MachineGrant)

/**
 * The part of a credential's metadata that keeps a grant.
 *
 * @since 0.1.0
 */
export const toExtra = (grant: MachineGrant): Extra => ({ grant: encode(grant) })

/**
 * The grant that a credential of this provider keeps. None: it is refreshed like any other.
 *
 * @since 0.1.0
 */
export const ofExtra = (provider: Provider, extra: Extra): Option.Option<MachineGrant> =>
  isMachine(provider.grant)
    ? Option.filter(decode(extra["grant"]), ({ type }) => type === provider.grant)
    : Option.none()

/**
 * The tokens of an answer whose refresh token, if it brings one, is of no use.
 *
 * @since 0.1.0
 */
export const withoutRefreshToken = (tokens: TokenSet): TokenSet => ({
  ...tokens,
  refreshToken: Option.none(),
  refreshLifetimeSeconds: Option.none()
})

/**
 * What a credential holds once a grant was made: such a grant brings no refresh token, so a handle of its own stands in its
 * place, by which renewals find each other. A token exchange that does bring one is refreshed with that from then on.
 *
 * @since 0.1.0
 */
export const held = (tokens: TokenSet, provider: Provider, extra: Extra): { tokens: TokenSet; extra: Extra } => {
  const grant = ofExtra(provider, extra)
  if (Option.isNone(grant)) return { tokens, extra }
  if (grant.value.type === "token_exchange" && Option.isSome(tokens.refreshToken)) {
    const { grant: _, ...rest } = extra
    return { tokens, extra: rest }
  }
  const handle = Option.some(Redacted.make(`grant-${randomUUID()}`))
  return { tokens: { ...withoutRefreshToken(tokens), refreshToken: handle }, extra }
}

/**
 * Whose grant it is, and what it is to allow.
 *
 * @since 0.1.0
 * @category models
 */
export interface Asked {
  readonly grant: MachineGrant
  readonly scopes: ReadonlyArray<string>
  readonly userId: string
}

type JwtBearer = Extract<MachineGrant, { readonly type: "jwt_bearer" }>

/** Signed by a key of the credential's own, or else by the client's. */
const assertionOf = async (provider: Provider, client: Client, grant: JwtBearer, { scopes, userId }: Asked) => {
  const { audience, claims, lifetimeSeconds, scopeClaim, subjectIsIssuer } = {
    scopeClaim: false,
    subjectIsIssuer: true,
    lifetimeSeconds: 300,
    claims: {},
    ...provider.assertion
  }
  const own = grant.privateKey !== undefined
  const key = await importPrivateKey(grant.privateKey ?? client.privateKey ?? Redacted.make(""))
  const keyId = own ? grant.privateKeyId : client.privateKeyId
  const issuer = (own ? grant.issuer : undefined) ?? client.id
  const subject = own ? grant.subject : undefined
  const sign = oauth.PrivateKeyJwt(
    { key, ...(keyId !== undefined && { kid: keyId }) },
    {
      [oauth.modifyAssertion]: (_header, payload) => {
        if (subject !== undefined) payload["sub"] = subject
        else if (!subjectIsIssuer) delete payload["sub"]
        payload["exp"] = Number(payload["iat"]) + lifetimeSeconds
        if (scopeClaim && scopes.length > 0) payload["scope"] = scopes.join(provider.scopeSeparator)
        for (const [name, value] of Object.entries(claims)) payload[name] = value.replaceAll("{user_id}", userId)
      }
    }
  )
  const form = new URLSearchParams()
  await sign({ issuer: audience ?? provider.tokenUrl }, { client_id: issuer }, form, new Headers())
  return form.get("client_assertion") ?? ""
}

const grantTypes = {
  client_credentials: "client_credentials",
  jwt_bearer: "urn:ietf:params:oauth:grant-type:jwt-bearer",
  token_exchange: "urn:ietf:params:oauth:grant-type:token-exchange"
} as const

const own = async (provider: Provider, client: Client, asked: Asked): Promise<Record<string, string | undefined>> => {
  const { grant } = asked
  switch (grant.type) {
    case "client_credentials":
      return {}
    case "jwt_bearer":
      return { assertion: await assertionOf(provider, client, grant, asked) }
    case "token_exchange":
      return {
        subject_token: Redacted.value(grant.subjectToken),
        subject_token_type: grant.subjectTokenType,
        actor_token: grant.actorToken === undefined ? undefined : Redacted.value(grant.actorToken),
        actor_token_type: grant.actorTokenType,
        requested_token_type: grant.requestedTokenType
      }
  }
}

/**
 * The request for the token of a grant that needs no user (RFC 6749 4.4.2, RFC 7523 2.1, RFC 8693 2.1).
 *
 * @since 0.1.0
 * @category requests
 */
export const machineRequest = (
  provider: Provider,
  client: Client,
  asked: Asked
): Effect.Effect<OutboundRequest, OutboundRefused> =>
  built(provider, client, provider.tokenRequestFormat, async (auth, options) => {
    const { grant, scopes } = asked
    const isClaim = grant.type === "jwt_bearer" && provider.assertion?.scopeClaim === true
    const parameters = {
      ...(await own(provider, client, asked)),
      audience: grant.audience,
      resource: grant.resource,
      [provider.scopeParam]: isClaim || scopes.length === 0 ? undefined : scopes.join(provider.scopeSeparator)
    }
    const given = Object.entries(parameters).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))
    return oauth.genericTokenEndpointRequest(
      serverOf(provider, provider.tokenUrl),
      // the library wants a name, which only a client that authenticates sends
      { client_id: client.id === "" ? "none" : client.id },
      auth,
      grantTypes[grant.type],
      // what the operator fixed is not the caller's to change
      { ...Object.fromEntries(given), ...provider.tokenParams },
      options
    )
  })
