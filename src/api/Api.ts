/**
 * The contract of the HTTP server. With `HttpApiClient` it is a typed client too.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as OpenApi from "@effect/platform/OpenApi"
import { ApiKeys } from "./ApiKeys.ts"
import { Browser } from "./Browser.ts"
import { Credentials } from "./Credentials.ts"
import { Health } from "./Health.ts"
import { Leases } from "./Leases.ts"
import { Mcp } from "./Mcp.ts"
import { Metrics } from "./Metrics.ts"
import { OAuthFlow } from "./OAuthFlow.ts"
import { Providers } from "./Providers.ts"
import * as Specification from "./Specification.ts"
import { Users } from "./Users.ts"

/**
 * @since 0.1.0
 * @category contract
 */
export const Api = HttpApi.make("effect-credentials")
  .add(Health)
  .add(Metrics)
  .add(Providers)
  .add(Credentials)
  .add(Users)
  .add(Leases)
  .add(OAuthFlow)
  .add(Mcp)
  .add(Browser)
  .add(ApiKeys)
  .annotate(OpenApi.Title, "effect-credentials")
  .annotate(OpenApi.Version, "1")
  .annotate(OpenApi.Transform, Specification.publish)
