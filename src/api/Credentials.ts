/**
 * A user's credentials: kept, listed, read, renewed, replaced, deleted, matched.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { CredentialId, ProviderId, Status, Type } from "../Credential.ts"
import { CredentialExists, StoreUnavailable } from "../CredentialsError.ts"
import { Authentication, needs } from "./Authentication.ts"
import * as CredentialBody from "./CredentialBody.ts"
import { Metadata, Secret } from "./CredentialView.ts"
import { Explanation } from "./ExplanationView.ts"
import * as Failure from "./Failure.ts"
import {
  CredentialPath,
  Cursor,
  exact,
  generation,
  Label,
  LeaseId,
  oneOf,
  optional,
  Query,
  text,
  UserPath,
  waiting,
  wholeBetween
} from "./Parameter.ts"
import { wire } from "./PublicError.ts"

const all = "/v1/users/:userId/credentials"
const one = `${all}/:credentialId` as const

const create = HttpApiEndpoint.post("create", all)
  .setPath(UserPath)
  .setPayload(CredentialBody.New)
  .addSuccess(Metadata, { status: 201 })
  .addError(Schema.Union(Failure.WithBody, wire(CredentialExists), wire(StoreUnavailable)))
  .annotateContext(needs("write"))
  .annotate(OpenApi.Summary, "Store a credential; a provider that is in no catalogue is fine")

const list = HttpApiEndpoint.get("list", all)
  .setPath(UserPath)
  .setUrlParams(
    Schema.Struct({
      provider: optional(ProviderId),
      type: optional(oneOf(...Type.literals)),
      status: optional(oneOf(...Status.literals)),
      limit: optional(Query.limit),
      cursor: optional(Cursor)
    }).annotations(exact)
  )
  .addSuccess(Schema.Struct({ items: Schema.Array(Metadata), nextCursor: optional(Cursor) }))
  .addError(Schema.Union(Failure.Any, wire(StoreUnavailable)))
  .annotateContext(needs("read"))
  .annotate(OpenApi.Summary, "A user's credentials and the system's, by createdAt, then id")

const read = HttpApiEndpoint.get("read", one)
  .setPath(CredentialPath)
  .addSuccess(Metadata)
  .addError(Schema.Union(Failure.Any, Failure.Reading))
  .annotateContext(needs("read"))
  .annotate(OpenApi.Summary, "A credential without its secret")

const exists = HttpApiEndpoint.head("exists", one)
  .setPath(CredentialPath)
  .addSuccess(HttpApiSchema.Empty(200))
  .addError(Schema.Union(Failure.Any, Failure.Reading))
  .annotateContext(needs("read"))
  .annotate(OpenApi.Summary, "Whether there is such a credential")

const secret = HttpApiEndpoint.get("secret", `${one}/secret`)
  .setPath(CredentialPath)
  .setUrlParams(
    Schema.Struct({
      minValidSeconds: optional(Query.minValidSeconds),
      refresh: optional(oneOf("auto", "force", "never")),
      ...waiting
    }).annotations(exact)
  )
  .addSuccess(Secret)
  .addError(Schema.Union(Failure.Any, Failure.Renewing))
  .annotateContext(needs("secret"))
  .annotate(OpenApi.Summary, "The usable secret, renewed first when it is due")

const IfMatch = Schema.transform(text('"<generation>", such as "3"', /^(?:W\/)?"[1-9]\d{0,8}"$/), generation, {
  decode: (tag) => Number(tag.replaceAll(/\D/g, "")),
  encode: (value) => `"${value}"`
})

const replace = HttpApiEndpoint.put("replace", one)
  .setPath(CredentialPath)
  .setUrlParams(Schema.Struct(waiting).annotations(exact))
  .setHeaders(Schema.Struct({ "if-match": optional(IfMatch) }))
  .setPayload(CredentialBody.Replacement)
  .addSuccess(Metadata)
  .addError(Schema.Union(Failure.WithBody, Failure.Replacing))
  .annotateContext(needs("write"))
  .annotate(OpenApi.Summary, "Store the next generation, of the same type and with scopes not narrower")

const remove = HttpApiEndpoint.del("remove", one)
  .setPath(CredentialPath)
  .setUrlParams(Schema.Struct({ revoke: optional(Query.boolean), ...waiting }).annotations(exact))
  .addSuccess(
    Schema.Struct({
      deleted: Schema.Literal(true),
      /** Null: still to be done, not supported, or unsafe. */
      revoked: Schema.NullOr(Schema.Boolean)
    })
  )
  .addError(Schema.Union(Failure.Any, Failure.Changing))
  .annotateContext(needs("write"))
  .annotate(OpenApi.Summary, "Delete, then revoke at the provider where that is safe")

const refresh = HttpApiEndpoint.post("refresh", `${one}/refresh`)
  .setPath(CredentialPath)
  .setUrlParams(Schema.Struct(waiting).annotations(exact))
  .setPayload(Schema.Struct({ ifGeneration: optional(generation), leaseId: optional(LeaseId) }).annotations(exact))
  .addSuccess(Metadata)
  .addError(Schema.Union(Failure.WithBody, Failure.Renewing))
  .annotateContext(needs("write"))
  .annotate(OpenApi.Summary, "Renew now; those that ask at once share one renewal")

const report = HttpApiEndpoint.post("report", `${one}/report`)
  .setPath(CredentialPath)
  .setPayload(Schema.Struct({ generation, status: wholeBetween(100, 599) }).annotations(exact))
  .addSuccess(HttpApiSchema.Accepted)
  .addError(Schema.Union(Failure.WithBody, Failure.Opening))
  .annotateContext(needs("secret"))
  .annotate(OpenApi.Summary, "The provider refused this generation: it is due at once")

const explain = HttpApiEndpoint.get("explain", `${one}/explain`)
  .setPath(CredentialPath)
  .addSuccess(Explanation)
  .addError(Schema.Union(Failure.Any, Failure.Reading))
  .annotateContext(needs("read"))
  .annotate(OpenApi.Summary, "Its status, next renewal and why, holders and queue, last provider error, next action")

const Names = Schema.Array(Label).annotations({ message: () => "a list of names" })

const Requirement = Schema.Struct({
  name: Label,
  provider: ProviderId,
  types: optional(Schema.Array(oneOf(...Type.literals)).annotations({ message: () => "a list of types" })),
  scopes: optional(Names),
  host: optional(Label),
  serverUrl: optional(text("a URL", /^https?:\/\/[^\s]{1,2000}$/))
}).annotations({ ...exact, identifier: "Requirement" })

const match = HttpApiEndpoint.post("match", `${all}/match`)
  .setPath(UserPath)
  .setPayload(
    Schema.Struct({
      requirements: Schema.Array(Requirement).annotations({ message: () => "a list of requirements" })
    }).annotations(exact)
  )
  .addSuccess(
    Schema.Struct({
      matches: Schema.Array(
        Schema.Struct({
          name: Schema.String,
          credentialId: Schema.NullOr(CredentialId),
          candidates: Schema.Array(Metadata)
        })
      ),
      missing: Schema.Array(Schema.String)
    })
  )
  .addError(Schema.Union(Failure.WithBody, wire(StoreUnavailable)))
  .annotateContext(needs("read"))
  .annotate(OpenApi.Summary, "Which credential serves which need, and what is missing")

/**
 * @since 0.1.0
 * @category groups
 */
export const Credentials = HttpApiGroup.make("credentials")
  .add(create)
  .add(list)
  .add(match)
  .add(read)
  .add(exists)
  .add(secret)
  .add(replace)
  .add(remove)
  .add(refresh)
  .add(report)
  .add(explain)
  .middleware(Authentication)
