/**
 * Connecting an MCP server that a user knows by its URL alone: what it asks for, whom it trusts, which client this service
 * is there, and then a login like any other.
 *
 * @see https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { type Metadata, toMetadata, type UserId } from "./Credential.ts"
import {
  InvalidRequest,
  MissingConfig,
  type OutboundRefused,
  ProviderError,
  type StoreUnavailable,
  type UnknownProvider
} from "./CredentialsError.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import * as Mcp from "./HandlerRegistry/Mcp.ts"
import * as McpClient from "./McpClient.ts"
import * as McpDiscovery from "./McpDiscovery.ts"
import * as McpServer from "./McpServer.ts"
import { type Begun, OAuthFlow } from "./OAuthFlow.ts"
import * as Outbound from "./Outbound.ts"
import { requiredVariables } from "./Provider.ts"
import { ProviderCatalogue } from "./ProviderCatalogue.ts"
import { fits } from "./Requirement.ts"
import { Store } from "./Store.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface AuthorizeOptions {
  readonly serverUrl: string
  /** Default: what the server asks for. What was granted before is always asked for again. */
  readonly scopes?: ReadonlyArray<string> | undefined
  readonly returnTo?: string | undefined
  readonly bindBrowser?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category errors
 */
export type AuthorizeError =
  | InvalidRequest
  | OutboundRefused
  | ProviderError
  | MissingConfig
  | UnknownProvider
  | StoreUnavailable

/**
 * @since 0.1.0
 * @category use cases
 */
export class McpLogin extends Context.Tag("effect-credentials/McpLogin")<
  McpLogin,
  {
    /**
     * Begins a login at the server; none when it serves without one. The credential that the login ends in takes the place
     * of the one that the user has for this server.
     */
    readonly authorize: (
      userId: UserId,
      options: AuthorizeOptions
    ) => Effect.Effect<Option.Option<Begun>, AuthorizeError>
    /** What this service says of itself as a client, at the URL that is its id (Client ID Metadata Documents). */
    readonly clientMetadata: ClientMetadata
  }
>() {}

/**
 * RFC 7591 2.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientMetadata {
  readonly client_id: string
  readonly client_name: string
  readonly client_uri: string
  readonly redirect_uris: ReadonlyArray<string>
  readonly grant_types: ReadonlyArray<string>
  readonly response_types: ReadonlyArray<string>
  readonly application_type: "web" | "native"
  readonly token_endpoint_auth_method: "none"
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly publicUrl: string
  readonly redirectUri: string
}

/**
 * Where the document is served, below the public URL.
 *
 * @since 0.1.0
 */
export const clientMetadataPath = "/oauth/client-metadata.json"

const isOfThisMachine = (url: string) => /^(?:localhost|127\.|\[::1\])/.test(new URL(url).hostname)

const Registered = Schema.parseJson(
  Schema.Struct({
    client_id: Schema.String,
    client_secret: Schema.optional(Schema.Redacted(Schema.String)),
    token_endpoint_auth_method: Schema.optional(Schema.String)
  })
)

const isAuth = Schema.is(Schema.Literal("none", "client_secret_basic", "client_secret_post"))

/** Asks as the server says (401), else for all that its metadata names; what was granted before is not given up. */
const scopesOf = (
  asked: ReadonlyArray<string> | undefined,
  challenge: McpDiscovery.Challenge,
  found: McpDiscovery.Found,
  before: Metadata | undefined
): ReadonlyArray<string> => {
  const wanted = Option.orElse(Option.fromNullable(asked), () => Option.orElse(challenge.scopes, () => found.scopes))
  const offline = "offline_access"
  return [
    ...new Set([
      ...Option.getOrElse(wanted, () => []),
      ...(before?.scopes ?? []),
      // without it some servers issue no refresh token
      ...(found.authorizationServer.scopes_supported?.includes(offline) === true ? [offline] : [])
    ])
  ]
}

/** `none` before a secret: a secret that was registered expires, and takes the grant with it. */
const preferred = ["none", "client_secret_basic", "client_secret_post"] as const

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<McpLogin, never, Store | HandlerRegistry | ProviderCatalogue | OAuthFlow | Outbound.Outbound> =>
  Layer.effect(
    McpLogin,
    Effect.gen(function* () {
      const store = yield* Store
      const handlers = yield* HandlerRegistry
      const catalogue = yield* ProviderCatalogue
      const flow = yield* OAuthFlow
      const outbound = yield* Outbound.Outbound

      const clientMetadata: ClientMetadata = {
        client_id: options.publicUrl + clientMetadataPath,
        client_name: "effect-credentials",
        client_uri: options.publicUrl,
        redirect_uris: [options.redirectUri],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        application_type: isOfThisMachine(options.redirectUri) ? "native" : "web",
        token_endpoint_auth_method: "none"
      }

      /** RFC 7591 3. */
      const register = Effect.fnUntraced(function* (
        url: string,
        methods: ReadonlyArray<string>
      ): Effect.fn.Return<Mcp.Registration, OutboundRefused | ProviderError> {
        const method = preferred.find((one) => methods.includes(one))
        const { client_id: _, ...metadata } = clientMetadata
        const body = JSON.stringify({ ...metadata, token_endpoint_auth_method: method ?? "client_secret_basic" })
        const failed = (reason: ProviderError["reason"]) => new ProviderError({ provider: Mcp.providerId, reason })
        const answer = yield* Effect.catchTag(
          outbound.send(
            {
              method: "POST",
              url,
              headers: { "content-type": "application/json", accept: "application/json" },
              body: Redacted.make(body)
            },
            Outbound.token
          ),
          "OutboundFailure",
          ({ failure }) => failed(failure)
        )
        if (answer.status === 429) return yield* failed("throttled")
        if (answer.status >= 500) return yield* failed("unreachable")
        if (answer.status !== 200 && answer.status !== 201) return yield* failed("rejected")
        const text = Buffer.from(Redacted.value(answer.body)).toString("utf8")
        const given = yield* Effect.mapError(Schema.decodeUnknown(Registered)(text), () => failed("malformed_response"))
        // what was asked for is a wish: the server says what it made of it (RFC 7591 3.2.1)
        const said = given.token_endpoint_auth_method ?? method ?? "client_secret_basic"
        const secret = given.client_secret
        const auth = secret === undefined ? "none" : isAuth(said) ? said : "client_secret_basic"
        return { id: given.client_id, auth, ...(secret !== undefined && auth !== "none" && { secret }) }
      })

      /** Who this service is at an authorization server: by arrangement, by its own document, or registered just now. */
      const clientAt = Effect.fnUntraced(function* (
        server: McpDiscovery.AuthorizationServer
      ): Effect.fn.Return<Mcp.Registration, OutboundRefused | ProviderError | MissingConfig> {
        const methods = server.token_endpoint_auth_methods_supported ?? ["client_secret_basic"]
        const arranged = catalogue.all.find(({ issuer }) => issuer === server.issuer)
        if (arranged !== undefined && handlers.isConfigured(arranged)) return { provider: arranged.id }
        if (server.client_id_metadata_document_supported === true && options.publicUrl.startsWith("https:")) {
          return { id: clientMetadata.client_id, auth: "none" }
        }
        if (server.registration_endpoint !== undefined) return yield* register(server.registration_endpoint, methods)
        // the operator can still arrange it: the provider is known, and its client is not
        if (arranged !== undefined) {
          return yield* new MissingConfig({ provider: arranged.id, variables: requiredVariables(arranged) })
        }
        return yield* new ProviderError({ provider: Mcp.providerId, reason: "discovery_failed" })
      })

      /** The user's credential for a server, whatever its status. */
      const existing = Effect.fnUntraced(function* (userId: UserId, server: string) {
        const { credentials } = yield* store.all(userId)
        const now = yield* DateTime.now
        const requirement = { name: server, provider: Mcp.providerId, types: ["oauth2"], serverUrl: server } as const
        return credentials
          .map((credential) => toMetadata(credential, now))
          .find((credential) => credential.system !== true && fits(requirement, credential))
      })

      return McpLogin.of({
        clientMetadata,
        authorize: Effect.fn("McpLogin.authorize")(function* (userId, asked) {
          const server = yield* Effect.mapError(
            McpServer.canonical(asked.serverUrl),
            () => new InvalidRequest({ issues: [{ field: "serverUrl", expected: McpServer.expected }] })
          )
          const challenge = yield* McpClient.probe(outbound, server)
          if (Option.isNone(challenge)) return Option.none()
          const found = yield* McpDiscovery.discover(outbound, server, challenge.value)
          const client = yield* clientAt(found.authorizationServer)
          const extra = Mcp.remember(server, found, client)
          const handler = yield* handlers.forLogin(Mcp.providerId, extra)
          const before = yield* existing(userId, server)
          return Option.some(
            yield* flow.begin(userId, handler, {
              scopes: scopesOf(asked.scopes, challenge.value, found, before),
              returnTo: asked.returnTo,
              bindBrowser: asked.bindBrowser,
              anyAccount: true,
              ...(before === undefined
                ? { newCredentialId: McpServer.credentialId(userId, server) }
                : { credentialId: before.id }),
              extra: Redacted.make(extra)
            })
          )
        })
      })
    })
  )
