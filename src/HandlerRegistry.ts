/**
 * Which handler a provider or a credential has.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Extra, OAuth2Credential, ProviderId } from "./Credential.ts"
import { InvalidRequest, MissingConfig, MissingTokenUrl, UnknownProvider } from "./CredentialsError.ts"
import type { Handler } from "./HandlerRegistry/Handler.ts"
import * as Mcp from "./HandlerRegistry/Mcp.ts"
import * as OAuth2 from "./HandlerRegistry/OAuth2.ts"
import { listed, Outbound, token } from "./Outbound.ts"
import { forRefresh, type Provider, requiredVariables, resolve } from "./Provider.ts"
import { ProviderCatalogue } from "./ProviderCatalogue.ts"
import type { Client } from "./TokenEndpoint.ts"
import { ofExtra } from "./TokenEndpoint/MachineGrant.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class HandlerRegistry extends Context.Tag("effect-credentials/HandlerRegistry")<
  HandlerRegistry,
  {
    /** The handler for a login at a provider, by what its credential will keep: `variables` that fill the URLs. */
    readonly forLogin: (
      provider: ProviderId,
      extra: Extra
    ) => Effect.Effect<Handler, UnknownProvider | MissingConfig | InvalidRequest>
    /** The handler that renews and revokes a credential. */
    readonly of: (
      credential: OAuth2Credential
    ) => Effect.Effect<Handler, UnknownProvider | MissingConfig | MissingTokenUrl>
    /** Whether this service is a client of the provider. */
    readonly isConfigured: (provider: Provider) => boolean
  }
>() {}

const Variables = Schema.Struct({ variables: Schema.Record({ key: Schema.String, value: Schema.String }) })

/** The values of a provider's URL variables that a credential keeps. */
const variablesOf = (extra: Extra): Readonly<Record<string, string>> =>
  Option.match(Schema.decodeUnknownOption(Variables)(extra), {
    onNone: () => ({}),
    onSome: ({ variables }) => variables
  })

/** The redirect URI that a credential was logged in with, kept for providers that want it again. */
const redirectUriOf = (extra: Extra): string | undefined =>
  typeof extra["redirectUri"] === "string" ? extra["redirectUri"] : undefined

/**
 * Handlers for the catalogue's providers and for MCP logins. `clients` says which client this service is at a provider.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  readonly clients: (provider: Provider) => Option.Option<Client>
}): Layer.Layer<HandlerRegistry, never, ProviderCatalogue | Outbound> =>
  Layer.effect(
    HandlerRegistry,
    Effect.gen(function* () {
      const catalogue = yield* ProviderCatalogue
      const outbound = yield* Outbound

      /** A provider whose client needs nothing has one, set up or not. */
      const clientsOf = (provider: Provider) =>
        Option.orElse(options.clients(provider), () =>
          requiredVariables(provider).length === 0 ? Option.some<Client>({ id: "" }) : Option.none()
        )

      const clientOf = (provider: Provider) =>
        Effect.mapError(
          clientsOf(provider),
          () => new MissingConfig({ provider: provider.id, variables: requiredVariables(provider) })
        )

      /**
       * A provider whose URLs these variables fill, and this service's client there. A variable fills a label or a
       * segment, so a port is the definition's own.
       */
      const configured = Effect.fnUntraced(function* (id: ProviderId, variables: Readonly<Record<string, string>>) {
        const template = yield* catalogue.get(id)
        const provider = yield* Effect.mapError(
          resolve(template, variables),
          ({ expected, variable }) => new InvalidRequest({ issues: [{ field: `variables.${variable}`, expected }] })
        )
        return { provider, client: yield* clientOf(provider) }
      })

      const known = (credential: OAuth2Credential) => {
        const extra = Redacted.value(credential.extra)
        return configured(credential.provider, variablesOf(extra)).pipe(
          Effect.map(({ client, provider }) => {
            const handler = OAuth2.make(outbound, forRefresh(provider), client, listed(token), redirectUriOf(extra))
            const { userId, variant } = credential
            return Option.match(ofExtra(provider, extra), {
              onNone: () => handler,
              onSome: (grant) => OAuth2.asking(handler, { grant, scopes: variant.scopes, userId })
            })
          }),
          Effect.catchTag("InvalidRequest", () =>
            Effect.fail(new MissingTokenUrl({ credentialId: credential.id, provider: credential.provider }))
          )
        )
      }

      /** None when the credential does not say where it is refreshed. */
      const ofMcp = Effect.fnUntraced(function* (extra: Extra) {
        const rebuilt = Mcp.rebuild(extra)
        if (Option.isNone(rebuilt)) return Option.none()
        const { client, clientOf: arranged, provider } = rebuilt.value
        if (Option.isNone(arranged)) return Option.some(OAuth2.make(outbound, provider, client, token))
        const other = yield* catalogue.get(arranged.value)
        const { clientAuth } = other
        return Option.some(OAuth2.make(outbound, { ...provider, clientAuth }, yield* clientOf(other), token))
      })

      return HandlerRegistry.of({
        forLogin: (id, extra) =>
          id === Mcp.providerId
            ? Effect.flatMap(
                ofMcp(extra),
                Effect.mapError(() => new UnknownProvider({ provider: id }))
              )
            : Effect.map(configured(id, variablesOf(extra)), ({ client, provider }) =>
                OAuth2.make(outbound, provider, client, listed(token))
              ),
        of: (credential) =>
          credential.provider === Mcp.providerId
            ? Effect.flatMap(
                ofMcp(Redacted.value(credential.extra)),
                Effect.mapError(
                  () => new MissingTokenUrl({ credentialId: credential.id, provider: credential.provider })
                )
              )
            : known(credential),
        isConfigured: (provider) => Option.isSome(clientsOf(provider))
      })
    })
  )
