/**
 * Connecting an account: the link to follow, and its end for a front end that receives the provider's answer itself.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { CredentialId, ProviderId, UserId } from "../Credential.ts"
import {
  AccountMismatch,
  AuthorizationDenied,
  AuthorizationExpired,
  AuthorizationPending,
  LockTimeout,
  LockUnavailable,
  MissingConfig,
  OutboundRefused,
  ProviderError,
  ReadOnlyCredential,
  TypeMismatch,
  UnknownProvider
} from "../CredentialsError.ts"
import { Authentication, needs } from "./Authentication.ts"
import { Metadata } from "./CredentialView.ts"
import * as Failure from "./Failure.ts"
import { exact, Label, optional, ReturnUrl, text, Timestamp } from "./Parameter.ts"
import { wire } from "./PublicError.ts"

const FlowPath = Schema.Struct({ userId: UserId, provider: ProviderId })

/** What the end of a login comes to. */
const Ending = Schema.Union(
  wire(AuthorizationExpired),
  wire(AuthorizationDenied),
  wire(AccountMismatch),
  wire(UnknownProvider),
  wire(MissingConfig),
  wire(OutboundRefused),
  wire(ProviderError),
  wire(LockTimeout),
  wire(LockUnavailable)
)

const Parameter = text("text of 1 to 2048 printable characters", /^[^\p{Cc}\p{Cs}]{1,2048}$/u)

const redactedText = (expected: string) =>
  Schema.Redacted(text(expected, /^[\u0021-\u007e]{1,4096}$/)).annotations({ message: () => expected })

const scopes = optional(Schema.Array(Label).annotations({ message: () => "a list of names of scopes" }))

const variables = optional(
  Schema.Record({
    key: Schema.String,
    value: Schema.String.annotations({ message: () => "text" })
  }).annotations({ message: () => "an object of names and values" })
)

/** Where the user's browser goes. */
const Link = Schema.Struct({
  authorizationUrl: Schema.Redacted(Schema.String),
  state: Schema.Redacted(Schema.String),
  expiresAt: Timestamp
})

/** RFC 8628: what the user is shown. */
const DeviceCode = Schema.Struct({
  userCode: Schema.String,
  verificationUri: Schema.String,
  verificationUriComplete: optional(Schema.String),
  state: Schema.Redacted(Schema.String),
  expiresAt: Timestamp,
  interval: Schema.Number
})

const authorize = HttpApiEndpoint.post("authorize", "/v1/users/:userId/oauth/:provider/authorize")
  .setPath(FlowPath)
  .setPayload(
    Schema.Struct({
      scopes,
      returnTo: optional(ReturnUrl),
      credentialId: optional(CredentialId),
      variables,
      bindBrowser: optional(Schema.Boolean.annotations({ message: () => "true or false" }))
    }).annotations(exact)
  )
  .addSuccess(Schema.Union(Link, DeviceCode))
  .addError(
    Schema.Union(
      Failure.WithBody,
      Failure.Opening,
      wire(UnknownProvider),
      wire(MissingConfig),
      wire(ReadOnlyCredential),
      wire(TypeMismatch),
      wire(OutboundRefused),
      wire(ProviderError)
    )
  )
  .annotateContext(needs("connect"))
  .annotate(
    OpenApi.Summary,
    "Begin a login: where the user's browser goes, or the code to show; with credentialId, to reconnect in place"
  )

const callback = HttpApiEndpoint.post("callback", "/v1/users/:userId/oauth/:provider/callback")
  .setPath(FlowPath)
  .setPayload(
    Schema.Struct({
      /** Absent for a login with a code that the user was shown. */
      code: optional(redactedText("the code of the provider's answer")),
      state: redactedText("the state of the provider's answer"),
      iss: optional(text("the iss of the provider's answer", /^[\u0021-\u007e]{1,2048}$/)),
      /** What else the browser came back with. */
      others: optional(
        Schema.Record({
          key: Schema.String,
          value: text("text of at most 512 characters", /^[^]{0,512}$/)
        }).annotations({
          message: () => "an object of names and texts"
        })
      )
    }).annotations(exact)
  )
  .addSuccess(Metadata, { status: 201 })
  .addError(Schema.Union(Failure.WithBody, Failure.Opening, wire(AuthorizationPending), Ending))
  .annotateContext(needs("connect"))
  .annotate(OpenApi.Summary, "End a login with what the provider sent back, or ask whether the user entered the code")

const secretText = (expected: string) =>
  Schema.Redacted(text(expected, /^[^\0]{1,16384}$/)).annotations({ message: () => expected })

const connect = HttpApiEndpoint.post("connect", "/v1/users/:userId/oauth/:provider/connect")
  .setPath(FlowPath)
  .setPayload(
    Schema.Struct({
      scopes,
      credentialId: optional(CredentialId),
      variables,
      audience: optional(Parameter),
      resource: optional(Parameter),
      privateKey: optional(secretText("a private key as PEM (PKCS #8): RSA, EC or Ed25519")),
      privateKeyId: optional(Parameter),
      issuer: optional(Parameter),
      subject: optional(Parameter),
      subjectToken: optional(redactedText("the token to exchange")),
      subjectTokenType: optional(Parameter),
      actorToken: optional(redactedText("a token")),
      actorTokenType: optional(Parameter),
      requestedTokenType: optional(Parameter)
    }).annotations(exact)
  )
  .addSuccess(Metadata, { status: 201 })
  .addError(Schema.Union(Failure.WithBody, Failure.Opening, Ending, wire(ReadOnlyCredential), wire(TypeMismatch)))
  .annotateContext(needs("connect"))
  .annotate(OpenApi.Summary, "Connect without a user: client credentials, a signed assertion, or a token in exchange")

/**
 * @since 0.1.0
 * @category groups
 */
export const OAuthFlow = HttpApiGroup.make("oauth").add(authorize).add(callback).add(connect).middleware(Authentication)
