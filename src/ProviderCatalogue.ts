/**
 * The providers that are known: the built-in ones, and those of the operator, which add to them or override them by id.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { ProviderId } from "./Credential.ts"
import { UnknownProvider } from "./CredentialsError.ts"
import type { Provider } from "./Provider.ts"
import { builtin } from "./ProviderCatalogue/builtin.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class ProviderCatalogue extends Context.Tag("effect-credentials/ProviderCatalogue")<
  ProviderCatalogue,
  {
    readonly get: (id: ProviderId) => Effect.Effect<Provider, UnknownProvider>
    readonly find: (id: ProviderId) => Option.Option<Provider>
    /** Ordered by id. */
    readonly all: ReadonlyArray<Provider>
  }
>() {}

/**
 * The built-in providers and these; of two with one id the later.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (providers: ReadonlyArray<Provider> = []): Layer.Layer<ProviderCatalogue> =>
  Layer.sync(ProviderCatalogue, () => {
    const byId = new Map([...builtin, ...providers].map((provider) => [provider.id, provider]))
    const find = (id: ProviderId) => Option.fromNullable(byId.get(id))
    return ProviderCatalogue.of({
      find,
      get: (id) => Effect.mapError(find(id), () => new UnknownProvider({ provider: id })),
      all: [...byId.values()].sort((one, other) => (one.id < other.id ? -1 : 1))
    })
  })
