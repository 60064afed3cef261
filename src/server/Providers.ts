/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import { Api } from "../api/Api.ts"
import { HandlerRegistry } from "../HandlerRegistry.ts"
import { displayName } from "../Provider.ts"
import { ProviderCatalogue } from "../ProviderCatalogue.ts"

/**
 * @since 0.1.0
 * @category handlers
 */
export const list = Effect.fnUntraced(function* () {
  const catalogue = yield* ProviderCatalogue
  const registry = yield* HandlerRegistry
  return {
    items: catalogue.all.map((provider) => ({
      id: provider.id,
      name: displayName(provider),
      configured: registry.isConfigured(provider),
      defaultScopes: provider.defaultScopes
    }))
  }
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "providers", (handlers) => handlers.handle("list", list))
