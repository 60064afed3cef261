/**
 * Who may call: `Authorization: Bearer <api key>`, and the scope that each endpoint asks for, written down beside it.
 *
 * @since 0.1.0
 */
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import type { ApiKey, Scope } from "../ApiKeys.ts"
import { Forbidden, RateLimited, StoreUnavailable, Unauthorized } from "../CredentialsError.ts"
import { wire } from "./PublicError.ts"

/**
 * The annotation of an endpoint that says which scope its callers need.
 *
 * @since 0.1.0
 * @category annotations
 */
export class RequiredScope extends Context.Tag("effect-credentials/api/RequiredScope")<RequiredScope, Scope>() {}

/**
 * What an endpoint is annotated with, for the server and for its readers.
 *
 * @since 0.1.0
 * @category annotations
 */
export const needs = (scope: Scope): Context.Context<RequiredScope> =>
  Context.make(RequiredScope, scope).pipe(Context.add(OpenApi.Description, `For keys with the scope \`${scope}\`.`))

/**
 * The key that the caller showed.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentKey extends Context.Tag("effect-credentials/api/CurrentKey")<CurrentKey, ApiKey>() {}

/**
 * Runs before anything else of a request is looked at: `Unauthorized` without a valid key (`RateLimited` when that was
 * tried too often), `Forbidden` when the key lacks the endpoint's scope or is another user's.
 *
 * @since 0.1.0
 * @category middleware
 */
export class Authentication extends HttpApiMiddleware.Tag<Authentication>()("effect-credentials/api/Authentication", {
  failure: Schema.Union(wire(Unauthorized), wire(Forbidden), wire(RateLimited), wire(StoreUnavailable)),
  provides: CurrentKey,
  security: { bearer: HttpApiSecurity.bearer }
}) {}
