/**
 * The providers that are known without being defined. What is not known for sure is absent, and has the default that is
 * safe; what a provider documents stands in its entry, with a link to where it does.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Provider } from "../Provider.ts"
import * as Commerce from "./Commerce.ts"
import * as Communication from "./Communication.ts"
import * as Customers from "./Customers.ts"
import * as Development from "./Development.ts"
import * as Platforms from "./Platforms.ts"
import * as Work from "./Work.ts"

/**
 * In no order.
 *
 * @since 0.1.0
 */
export const builtin: ReadonlyArray<Provider> = Schema.decodeSync(Schema.Array(Provider))([
  ...Platforms.providers,
  ...Development.providers,
  ...Work.providers,
  ...Customers.providers,
  ...Commerce.providers,
  ...Communication.providers
])
