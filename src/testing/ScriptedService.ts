/**
 * Everything in memory, as the client of a scripted provider: what an application's own tests provide in the place of the
 * real engines and providers.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { StoreUnavailable } from "../CredentialsError.ts"
import * as Service from "../Service.ts"
import * as ScriptedProvider from "./ScriptedProvider.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends Service.Options {
  /** What the service calls the provider. Default: `scripted`. */
  readonly id?: string | undefined
  /** How the provider behaves. */
  readonly provider?: ScriptedProvider.Options | undefined
  /** More fields of the provider's definition, as in `PROVIDERS_FILE`. */
  readonly definition?: Readonly<Record<string, unknown>> | undefined
}

/**
 * The use cases, the ports beneath them, and the provider, which listens on a free port of 127.0.0.1 while the Layer is in
 * use. Unless told otherwise there is no work in the background.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Service.UseCases | Service.Ports | ScriptedProvider.ScriptedProvider, StoreUnavailable> => {
  const { definition, id = "scripted", provider, ...others } = options
  return Layer.unwrapEffect(
    Effect.map(ScriptedProvider.ScriptedProvider, (scripted) =>
      Service.layerMemory({
        sweeper: false,
        ...others,
        providers: [scripted.provider(id, definition)],
        clients: scripted.clients,
        allowLoopback: true
      })
    )
  ).pipe(Layer.provideMerge(ScriptedProvider.layer(provider)))
}
