/**
 * All use cases over the ports, put together once: what a program provides to have a `CredentialsManager`, an `OAuthFlow`
 * and an `Explanation`.
 *
 * @since 0.1.0
 */
import type * as Option from "effect/Option"
import * as Layer from "effect/Layer"
import * as Attempts from "./Attempts.ts"
import * as AuditLog from "./AuditLog.ts"
import * as AuthorizationStore from "./AuthorizationStore.ts"
import * as Cipher from "./Cipher.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as CredentialsManager from "./CredentialsManager.ts"
import type { StoreUnavailable } from "./CredentialsError.ts"
import * as Deletion from "./Deletion.ts"
import * as DeviceFlow from "./DeviceFlow.ts"
import * as Explanation from "./Explanation.ts"
import * as HandlerRegistry from "./HandlerRegistry.ts"
import * as KeyRotation from "./KeyRotation.ts"
import * as Leases from "./Leases.ts"
import * as LeaseStore from "./LeaseStore.ts"
import * as Lending from "./Lending.ts"
import * as LockService from "./LockService.ts"
import * as Login from "./Login.ts"
import * as MachineFlow from "./MachineFlow.ts"
import * as McpLogin from "./McpLogin.ts"
import * as McpTools from "./McpTools.ts"
import * as OAuthFlow from "./OAuthFlow.ts"
import * as Outbound from "./Outbound.ts"
import type { Provider } from "./Provider.ts"
import * as Processes from "./Processes.ts"
import * as ProviderCatalogue from "./ProviderCatalogue.ts"
import * as Receipts from "./Receipts.ts"
import * as Recovery from "./Recovery.ts"
import * as Renewal from "./Renewal.ts"
import * as Revocations from "./Revocations.ts"
import * as Store from "./Store.ts"
import * as Sweeper from "./Sweeper.ts"
import type { Client } from "./TokenEndpoint.ts"

/**
 * What an engine provides.
 *
 * @since 0.1.0
 * @category models
 */
export type Ports =
  | Store.Store
  | AuthorizationStore.AuthorizationStore
  | LeaseStore.LeaseStore
  | LockService.LockService
  | Processes.Processes
  | CircuitBreaker.CircuitBreaker
  | AuditLog.AuditLog
  | Receipts.Receipts
  | ProviderCatalogue.ProviderCatalogue
  | HandlerRegistry.HandlerRegistry
  | Outbound.Outbound

/**
 * What programs use.
 *
 * @since 0.1.0
 * @category models
 */
export type UseCases =
  | CredentialsManager.CredentialsManager
  | OAuthFlow.OAuthFlow
  | DeviceFlow.DeviceFlow
  | MachineFlow.MachineFlow
  | McpLogin.McpLogin
  | McpTools.McpTools
  | Explanation.Explanation

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Where browsers come back to; without it logins are begun for `http://localhost`. */
  readonly flow?: OAuthFlow.Options | undefined
  readonly attempts?: Attempts.Options | undefined
  readonly renewal?: Renewal.Options | undefined
  /** Given: what is stored is brought under the first key in the background, where the engine is this process's alone. */
  readonly keyRotation?: KeyRotation.Options | undefined
  /**
   * `false`: no work in the background; recovery happens as credentials are read, and of what one of several living
   * processes began, as they are read there.
   */
  readonly sweeper?: Sweeper.Options | false | undefined
}

const defaultFlow: OAuthFlow.Options = {
  publicUrl: "http://localhost",
  redirectUri: "http://localhost/oauth/callback",
  returnUrls: []
}

/**
 * The use cases over an engine's ports. Closing the scope awaits exchanges that are under way, bounded, and ends scoped
 * leases.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<UseCases, StoreUnavailable, Ports> => {
  const renewals = Renewal.layer(options.renewal).pipe(Layer.provideMerge(Attempts.layer(options.attempts)))
  const shared = Layer.mergeAll(Leases.layer, Revocations.layer, renewals)
  const flow = options.flow ?? defaultFlow
  const useCases = Layer.mergeAll(
    Layer.provideMerge(
      McpTools.layer,
      CredentialsManager.layer.pipe(Layer.provide(Deletion.layer), Layer.provide(Lending.layer))
    ),
    Layer.provideMerge(
      McpLogin.layer(flow),
      Layer.mergeAll(OAuthFlow.layer(flow), DeviceFlow.layer, MachineFlow.layer).pipe(Layer.provide(Login.layer))
    ),
    Explanation.layer
  )
  const background =
    options.sweeper === false ? Layer.empty : Sweeper.layer(options.sweeper).pipe(Layer.provide(Recovery.layer))
  const rotation =
    options.keyRotation === undefined
      ? Layer.empty
      : KeyRotation.layerBackground(options.keyRotation).pipe(Layer.provide(KeyRotation.layer))
  return Layer.mergeAll(useCases, background, rotation).pipe(Layer.provide(shared))
}

/**
 * The ports that are an engine's, in this process's memory. What is stored is sealed there too.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemoryEngine: Layer.Layer<
  Exclude<Ports, ProviderCatalogue.ProviderCatalogue | HandlerRegistry.HandlerRegistry | Outbound.Outbound>
> = Layer.mergeAll(
  Layer.mergeAll(Store.layerMemory, AuthorizationStore.layerMemory, Receipts.layerMemory).pipe(
    Layer.provide(Cipher.layerMemory)
  ),
  LeaseStore.layerMemory,
  LockService.layerMemory,
  Processes.layerSole,
  CircuitBreaker.layerMemory,
  AuditLog.layerMemory
)

/**
 * Everything in this process's memory: for tests, and for programs whose credentials need not outlive them. The ports are
 * there to be looked at.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory = (
  options: Options & {
    /** Providers beside the built-in ones. */
    readonly providers?: ReadonlyArray<Provider> | undefined
    /** Which client this program is at a provider. */
    readonly clients: (provider: Provider) => Option.Option<Client>
    /** Whether providers on this machine may be called, over http too. */
    readonly allowLoopback?: boolean | undefined
  }
): Layer.Layer<UseCases | Ports, StoreUnavailable> => {
  const protocol = HandlerRegistry.layer({ clients: options.clients }).pipe(
    Layer.provideMerge(ProviderCatalogue.layer(options.providers)),
    Layer.provideMerge(Outbound.layer({ allowLoopback: options.allowLoopback ?? false }))
  )
  return Layer.provideMerge(layer(options), Layer.merge(layerMemoryEngine, protocol))
}
