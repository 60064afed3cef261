/**
 * Connecting without a user: client credentials (RFC 6749 4.4), a signed assertion (RFC 7523 2.1), or another token given in
 * exchange (RFC 8693). The credential is renewed by asking anew, like any other: once, however many ask.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { CredentialId, Metadata, ProviderId, UserId } from "./Credential.ts"
import {
  InvalidRequest,
  type MissingConfig,
  type ReadOnlyCredential,
  type TypeMismatch,
  type UnknownProvider
} from "./CredentialsError.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import { Login, type LoginError } from "./Login.ts"
import type { MachineGrant } from "./TokenEndpoint.ts"
import { importPrivateKey } from "./TokenEndpoint/ClientAuth.ts"
import { toExtra } from "./TokenEndpoint/MachineGrant.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions {
  /** Default: the provider's. */
  readonly scopes?: ReadonlyArray<string> | undefined
  /** Reconnect this credential in place. */
  readonly credentialId?: CredentialId | undefined
  /** What fills the `{variables}` of the provider's URLs. */
  readonly variables?: Readonly<Record<string, string>> | undefined
  readonly audience?: string | undefined
  readonly resource?: string | undefined
  /** For `jwt_bearer`: a PEM (PKCS #8) of the credential's own, with its issuer and, if that is another, its subject. */
  readonly privateKey?: Redacted.Redacted | undefined
  readonly privateKeyId?: string | undefined
  readonly issuer?: string | undefined
  readonly subject?: string | undefined
  /** For `token_exchange`. */
  readonly subjectToken?: Redacted.Redacted | undefined
  readonly subjectTokenType?: string | undefined
  readonly actorToken?: Redacted.Redacted | undefined
  readonly actorTokenType?: string | undefined
  readonly requestedTokenType?: string | undefined
}

/**
 * @since 0.1.0
 * @category errors
 */
export type ConnectError =
  | LoginError
  | UnknownProvider
  | MissingConfig
  | InvalidRequest
  | ReadOnlyCredential
  | TypeMismatch

/**
 * @since 0.1.0
 * @category use cases
 */
export class MachineFlow extends Context.Tag("effect-credentials/MachineFlow")<
  MachineFlow,
  {
    /**
     * Asks the provider for a token, and stores it with all that is needed to ask again. Asking and storing are one step that
     * an interrupted caller does not split.
     */
    readonly connect: (
      userId: UserId,
      provider: ProviderId,
      options: ConnectOptions
    ) => Effect.Effect<Metadata, ConnectError>
  }
>() {}

const invalid = (field: string, expected: string) => new InvalidRequest({ issues: [{ field, expected }] })

const accessTokenType = "urn:ietf:params:oauth:token-type:access_token"

const given = <Fields extends object>(fields: Fields) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Name in keyof Fields as undefined extends Fields[Name] ? never : Name]: Fields[Name]
  } & { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> }

/** What belongs to one grant is refused at another: it would be kept for nothing. */
const belongsTo = {
  client_credentials: [],
  jwt_bearer: ["privateKey", "privateKeyId", "issuer", "subject"],
  token_exchange: ["subjectToken", "subjectTokenType", "actorToken", "actorTokenType", "requestedTokenType"]
} as const satisfies Record<MachineGrant["type"], ReadonlyArray<keyof ConnectOptions>>

const ofSome = Object.values(belongsTo).flat()

const grantOf = Effect.fnUntraced(function* (
  type: MachineGrant["type"],
  options: ConnectOptions
): Effect.fn.Return<MachineGrant, InvalidRequest> {
  const allowed: ReadonlyArray<string> = belongsTo[type]
  const foreign = ofSome.find((name) => options[name] !== undefined && !allowed.includes(name))
  if (foreign !== undefined) return yield* invalid(foreign, `nothing, since the provider's grant is ${type}`)
  const { actorToken, actorTokenType, audience, issuer, privateKey, privateKeyId, resource, subject } = options
  const target = given({ audience, resource })
  switch (type) {
    case "client_credentials":
      return { type, ...target }
    case "jwt_bearer": {
      if (privateKey === undefined) {
        // with the operator's key a caller could speak for anybody
        const orphan = (["privateKeyId", "issuer", "subject"] as const).find((name) => options[name] !== undefined)
        if (orphan !== undefined) return yield* invalid(orphan, "a privateKey with it")
      } else {
        yield* Effect.tryPromise({
          try: () => importPrivateKey(privateKey),
          catch: () => invalid("privateKey", "a private key as PEM (PKCS #8): RSA, EC or Ed25519")
        })
        if (issuer === undefined) return yield* invalid("issuer", "whom the privateKey belongs to")
      }
      return { type, ...target, ...given({ privateKey, privateKeyId, issuer, subject }) }
    }
    case "token_exchange": {
      const { requestedTokenType, subjectToken, subjectTokenType = accessTokenType } = options
      if (subjectToken === undefined) return yield* invalid("subjectToken", "the token to exchange")
      if ((actorToken === undefined) !== (actorTokenType === undefined)) {
        return yield* invalid("actorTokenType", "both actorToken and actorTokenType, or neither")
      }
      return {
        type,
        ...target,
        subjectToken,
        subjectTokenType,
        ...given({ actorToken, actorTokenType, requestedTokenType })
      }
    }
  }
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<MachineFlow, never, HandlerRegistry | Login> = Layer.effect(
  MachineFlow,
  Effect.gen(function* () {
    const handlers = yield* HandlerRegistry
    const login = yield* Login

    const connect: MachineFlow["Type"]["connect"] = Effect.fn("MachineFlow.connect")(
      function* (userId, provider, options) {
        const extra = options.variables === undefined ? {} : { variables: options.variables }
        const { provider: data, request } = yield* handlers.forLogin(provider, extra)
        const type = data.grant
        if (request === undefined || type === "authorization_code" || type === "device_code") {
          return yield* invalid("provider", "a provider whose grant needs no user: this one has authorize")
        }
        const grant = yield* grantOf(type, options)
        if (options.credentialId !== undefined) yield* login.mayReconnect(userId, provider, options.credentialId)
        const scopes = options.scopes ?? data.defaultScopes
        const now = yield* DateTime.now
        const asked = { grant, scopes, userId }
        return yield* login.finish(
          {
            userId,
            provider,
            createdAt: now,
            expiresAt: now,
            authorizationUrl: Redacted.make(""),
            redirectUri: "",
            scopes,
            ...(options.credentialId !== undefined && { credentialId: options.credentialId }),
            extra: Redacted.make({ ...extra, ...toExtra(grant) })
          },
          () => request(asked)
        )
      }
    )

    return MachineFlow.of({ connect })
  })
)
