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

const redactedText = (expected: string) =>
  Schema.Redacted(text(expected, /^[\u0021-\u007e]{1,4096}$/)).annotations({ message: () => expected })

const authorize = HttpApiEndpoint.post("authorize", "/v1/users/:userId/oauth/:provider/authorize")
  .setPath(FlowPath)
  .setPayload(
    Schema.Struct({
      scopes: optional(Schema.Array(Label).annotations({ message: () => "a list of names of scopes" })),
      returnTo: optional(ReturnUrl),
      credentialId: optional(CredentialId),
      variables: optional(
        Schema.Record({
          key: Schema.String,
          value: Schema.String.annotations({ message: () => "text" })
        }).annotations({ message: () => "an object of names and values" })
      ),
      bindBrowser: optional(Schema.Boolean.annotations({ message: () => "true or false" }))
    }).annotations(exact)
  )
  .addSuccess(
    Schema.Struct({
      authorizationUrl: Schema.Redacted(Schema.String),
      state: Schema.Redacted(Schema.String),
      expiresAt: Timestamp
    })
  )
  .addError(
    Schema.Union(
      Failure.WithBody,
      Failure.Opening,
      wire(UnknownProvider),
      wire(MissingConfig),
      wire(ReadOnlyCredential),
      wire(TypeMismatch)
    )
  )
  .annotateContext(needs("connect"))
  .annotate(OpenApi.Summary, "Begin a login: where the user's browser goes; with credentialId, to reconnect in place")

const callback = HttpApiEndpoint.post("callback", "/v1/users/:userId/oauth/:provider/callback")
  .setPath(FlowPath)
  .setPayload(
    Schema.Struct({
      code: redactedText("the code of the provider's answer"),
      state: redactedText("the state of the provider's answer"),
      iss: optional(text("the iss of the provider's answer", /^[\u0021-\u007e]{1,2048}$/))
    }).annotations(exact)
  )
  .addSuccess(Metadata, { status: 201 })
  .addError(
    Schema.Union(
      Failure.WithBody,
      Failure.Opening,
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
  )
  .annotateContext(needs("connect"))
  .annotate(OpenApi.Summary, "End a login with what the provider sent back")

/**
 * @since 0.1.0
 * @category groups
 */
export const OAuthFlow = HttpApiGroup.make("oauth").add(authorize).add(callback).middleware(Authentication)
