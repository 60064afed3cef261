/**
 * Checks the caller's key before anything else of a request is looked at.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import { RouteContext } from "@effect/platform/HttpRouter"
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as HashMap from "effect/HashMap"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { Api } from "../api/Api.ts"
import { Authentication, RequiredScope } from "../api/Authentication.ts"
import { type ApiKey, ApiKeys, type Scope } from "../ApiKeys.ts"
import * as AuditLog from "../AuditLog.ts"
import { Forbidden, RateLimited, type StoreUnavailable, Unauthorized } from "../CredentialsError.ts"
import * as FailedAttempts from "./FailedAttempts.ts"
import * as Waiting from "./Waiting.ts"

/**
 * The scope that each endpoint behind a key asks for, by method and route.
 *
 * @since 0.1.0
 */
export const requiredScopes: ReadonlyMap<string, Scope> = (() => {
  const scopes = new Map<string, Scope>()
  HttpApi.reflect(Api, {
    onGroup: () => {},
    onEndpoint: ({ endpoint, mergedAnnotations, middleware }) => {
      if (![...middleware].some((tag) => tag.key === Authentication.key)) return
      scopes.set(`${endpoint.method} ${endpoint.path}`, Context.get(mergedAnnotations as never, RequiredScope))
    }
  })
  return scopes
})()

const bearer = /^Bearer +(\S+) *$/i

const mostFailures = 20

/** Whether a key may do what a scope allows for the user that a route names, or for none. */
const permit = (key: ApiKey, scope: Scope, userId: string | undefined): Effect.Effect<void, Forbidden> => {
  if (!key.scopes.includes(scope) && !key.scopes.includes("admin")) {
    return Effect.fail(new Forbidden({ requires: `the scope "${scope}"` }))
  }
  const elsewhere = Option.exists(key.userId, (own) => (userId === undefined ? scope === "admin" : userId !== own))
  return elsewhere ? Effect.fail(new Forbidden({ requires: "not to be bound to another user" })) : Effect.void
}

/**
 * Every valid key works, however many failures came from its address before.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Authentication, never, ApiKeys> = Layer.effect(
  Authentication,
  Effect.map(ApiKeys, (keys) => {
    const failed = FailedAttempts.make(mostFailures)

    const refuse = (request: HttpServerRequest) =>
      Effect.flatMap(
        failed.count(Option.getOrElse(request.remoteAddress, () => "unknown")),
        (seconds): Effect.Effect<never, RateLimited | Unauthorized> =>
          Effect.fail(seconds > 0 ? new RateLimited({ retryAfterSeconds: seconds }) : new Unauthorized())
      )

    const admit = (key: ApiKey, { params, route }: Context.Tag.Service<typeof RouteContext>) => {
      // a route without an entry cannot be: `requiredScopes` reads the same contract
      const scope = requiredScopes.get(`${route.method} ${route.path}`) ?? "admin"
      return FiberRef.set(AuditLog.actor, key.keyId).pipe(
        Effect.zipRight(
          FiberRef.update(FiberRef.currentLogAnnotations, HashMap.set<string, unknown>("key", key.keyId))
        ),
        Effect.zipRight(permit(key, scope, params["userId"])),
        Effect.as(key)
      )
    }

    const authenticated = Effect.withFiberRuntime<
      ApiKey,
      Unauthorized | Forbidden | RateLimited | StoreUnavailable,
      HttpServerRequest | RouteContext
    >((fiber) => {
      const request = Context.unsafeGet(fiber.currentContext, HttpServerRequest)
      const route = Context.unsafeGet(fiber.currentContext, RouteContext)
      const text = bearer.exec(request.headers["authorization"] ?? "")?.[1]
      return text === undefined
        ? refuse(request)
        : Effect.flatMap(
            Waiting.boundedBy(request.url)(keys.verify(Redacted.make(text))),
            (found): Effect.Effect<ApiKey, Unauthorized | Forbidden | RateLimited> =>
              Option.isNone(found) ? refuse(request) : admit(found.value, route)
          )
    })
    return Authentication.of({ bearer: () => authenticated })
  })
)
