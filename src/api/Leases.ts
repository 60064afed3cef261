/**
 * Leases: the right to use a credential, taken, prolonged and given back by id.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { LeaseLost, LockUnavailable, StoreUnavailable } from "../CredentialsError.ts"
import { Authentication, needs } from "./Authentication.ts"
import { Secret } from "./CredentialView.ts"
import * as Failure from "./Failure.ts"
import {
  CredentialPath,
  exact,
  LeaseId,
  minValidSeconds,
  oneOf,
  optional,
  Timestamp,
  ttlSeconds,
  waitSeconds
} from "./Parameter.ts"
import { wire } from "./PublicError.ts"

const LeasePath = Schema.Struct({ leaseId: LeaseId })

const Mode = oneOf("exclusive", "shared")

const acquire = HttpApiEndpoint.post("acquire", "/v1/users/:userId/credentials/:credentialId/leases")
  .setPath(CredentialPath)
  .setPayload(
    Schema.Struct({
      mode: optional(Mode),
      ttlSeconds: optional(ttlSeconds),
      waitSeconds: optional(waitSeconds),
      minValidSeconds: optional(minValidSeconds)
    }).annotations(exact)
  )
  .addSuccess(
    Schema.Struct({
      leaseId: LeaseId,
      mode: Mode,
      fencingToken: Schema.Number,
      expiresAt: Timestamp,
      secret: Secret
    }),
    { status: 201 }
  )
  .addError(Schema.Union(Failure.WithBody, Failure.Renewing))
  .annotateContext(needs("lease"))
  .annotate(OpenApi.Summary, "The usable secret under a lock")

const failures = Schema.Union(wire(LeaseLost), wire(LockUnavailable), wire(StoreUnavailable))

const renew = HttpApiEndpoint.post("renew", "/v1/leases/:leaseId/renew")
  .setPath(LeasePath)
  .setPayload(Schema.Struct({ ttlSeconds: optional(ttlSeconds) }).annotations(exact))
  .addSuccess(Schema.Struct({ leaseId: LeaseId, fencingToken: Schema.Number, expiresAt: Timestamp }))
  .addError(Schema.Union(Failure.WithBody, failures))
  .annotateContext(needs("lease"))
  .annotate(OpenApi.Summary, "Prolong a lease to ttlSeconds from now")

const release = HttpApiEndpoint.del("release", "/v1/leases/:leaseId")
  .setPath(LeasePath)
  .addSuccess(HttpApiSchema.NoContent)
  .addError(Schema.Union(Failure.Any, failures))
  .annotateContext(needs("lease"))
  .annotate(OpenApi.Summary, "Give a lease back")

/**
 * @since 0.1.0
 * @category groups
 */
export const Leases = HttpApiGroup.make("leases").add(acquire).add(renew).add(release).middleware(Authentication)
