/**
 * Whom an MCP server trusts: its challenge (RFC 6750, RFC 9728 5.1), its metadata as a protected resource (RFC 9728), and
 * the metadata of its authorization server (RFC 8414, OpenID Connect Discovery 1.0). What does not name the server itself,
 * or the issuer that it was asked from, is not used.
 *
 * @see https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { OutboundRefused, ProviderError } from "./CredentialsError.ts"
import * as McpServer from "./McpServer.ts"
import * as Outbound from "./Outbound.ts"

/**
 * What a server says when it refuses a call: where its metadata is, and which scopes it wants.
 *
 * @since 0.1.0
 * @category models
 */
export interface Challenge {
  readonly resourceMetadataUrl: Option.Option<string>
  readonly scopes: Option.Option<ReadonlyArray<string>>
  readonly error: Option.Option<string>
}

const words = (text: string) => text.split(/\s+/).filter((word) => word !== "")

/**
 * `name=value` and `name="value"` (RFC 9110 11.2); a comma before another scheme's name ends the challenge. Spaces can be
 * matched in one way only: a stranger's header costs time in proportion to its length.
 */
const parameter = /\s*(?:,\s*)?([a-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/giy

/** Whatever follows a quote matches, ended or not: this too takes time in proportion. */
const quoted = /"(?:[^"\\]|\\[^]?)*"?/g

/**
 * Reads the `Bearer` challenge of a `WWW-Authenticate` header, which may stand among others.
 *
 * @since 0.1.0
 */
export const readChallenge = (header: string | null): Challenge => {
  const found = new Map<string, string>()
  // a quoted text of another scheme may look like one
  const outside = (header ?? "").replaceAll(quoted, (text) => "_".repeat(text.length))
  const scheme = /(?:^|,)\s*bearer(?=\s|$|,)/i.exec(outside)
  if (header !== null && scheme !== null) {
    parameter.lastIndex = scheme.index + scheme[0].length
    for (let match = parameter.exec(header); match !== null; match = parameter.exec(header)) {
      found.set(String(match[1]).toLowerCase(), match[2]?.replaceAll(/\\(.)/g, "$1") ?? match[3] ?? "")
    }
  }
  const of = (name: string) => Option.filter(Option.fromNullable(found.get(name)), (value) => value !== "")
  return {
    resourceMetadataUrl: of("resource_metadata"),
    scopes: Option.map(of("scope"), words),
    error: of("error")
  }
}

const Texts = Schema.Array(Schema.String)
const optional = <S extends Schema.Schema.All>(schema: S) => Schema.optional(schema)

const ResourceMetadata = Schema.Struct({
  resource: Schema.String,
  authorization_servers: optional(Texts),
  scopes_supported: optional(Texts)
})

const ServerMetadata = Schema.Struct({
  issuer: Schema.String,
  authorization_endpoint: Schema.String,
  token_endpoint: Schema.String,
  registration_endpoint: optional(Schema.String),
  revocation_endpoint: optional(Schema.String),
  pushed_authorization_request_endpoint: optional(Schema.String),
  require_pushed_authorization_requests: optional(Schema.Boolean),
  scopes_supported: optional(Texts),
  code_challenge_methods_supported: optional(Texts),
  token_endpoint_auth_methods_supported: optional(Texts),
  authorization_response_iss_parameter_supported: optional(Schema.Boolean),
  client_id_metadata_document_supported: optional(Schema.Boolean)
})

/**
 * An authorization server, as its own metadata describes it.
 *
 * @since 0.1.0
 * @category models
 */
export type AuthorizationServer = typeof ServerMetadata.Type

/**
 * What a login at an MCP server needs to know.
 *
 * @since 0.1.0
 * @category models
 */
export interface Found {
  /** What tokens are asked for (RFC 8707). */
  readonly resource: string
  readonly authorizationServer: AuthorizationServer
  /** All that the server's metadata names. */
  readonly scopes: Option.Option<ReadonlyArray<string>>
}

/** For 401s of servers that say nothing else: the calls of a discovery are answered by strangers. */
const failed = () => new ProviderError({ provider: "mcp", reason: "discovery_failed" })

type DiscoveryError = OutboundRefused | ProviderError

/** The document at a URL; none when there is no such, as far as its host can tell. */
const read = <A, I>(
  outbound: Outbound.Outbound["Type"],
  url: string,
  schema: Schema.Schema<A, I>
): Effect.Effect<Option.Option<A>, DiscoveryError> =>
  outbound.send({ method: "GET", url, headers: { accept: "application/json" } }, Outbound.metadata).pipe(
    Effect.mapError((error) => (error._tag === "OutboundRefused" ? error : failed())),
    Effect.flatMap(({ body, status }) => {
      if (status >= 500) return Effect.fail(failed())
      // a host that answers all with a page has no document here either
      if (status !== 200) return Effect.succeed(Option.none<A>())
      const text = Buffer.from(Redacted.value(body)).toString("utf8")
      return Effect.succeed(Either.getRight(Schema.decodeUnknownEither(Schema.parseJson(schema))(text)))
    })
  )

const wellKnown = (base: string, name: string, path: string) => {
  const url = new URL(base)
  return `${url.origin}/.well-known/${name}${path}`
}

const pathOf = (text: string) => new URL(text).pathname.replace(/\/$/, "")

/** The places in their order; each is asked only when the ones before had nothing. */
const firstOf = <A>(
  urls: ReadonlyArray<string>,
  find: (url: string) => Effect.Effect<Option.Option<A>, DiscoveryError>
): Effect.Effect<Option.Option<A>, DiscoveryError> =>
  Effect.reduce([...new Set(urls)], Option.none<A>(), (found, url) =>
    Option.isSome(found) ? Effect.succeed(found) : find(url)
  )

/** Of the authorization servers that a resource names: a stranger's list says how many calls it costs. */
const mostIssuers = 3

const resourceUrls = (server: string, challenge: Challenge): ReadonlyArray<string> =>
  Option.match(challenge.resourceMetadataUrl, {
    onSome: (url) => [url],
    onNone: () => {
      const { search } = new URL(server)
      const name = "oauth-protected-resource"
      return [wellKnown(server, name, pathOf(server)) + search, wellKnown(server, name, "")]
    }
  })

const issuerUrls = (issuer: string): ReadonlyArray<string> => {
  const path = pathOf(issuer)
  const inserted = ["oauth-authorization-server", "openid-configuration"].map((name) => wellKnown(issuer, name, path))
  return path === "" ? inserted : [...inserted, `${new URL(issuer).origin}${path}/.well-known/openid-configuration`]
}

/** The same identifier, but for the slash that a URL without a path may be written with. */
const isIssuer = (said: string, asked: string) =>
  said === asked || (URL.canParse(said) && new URL(said).pathname === "/" && new URL(said).href === new URL(asked).href)

/** Where browsers are sent must be as safe as what the service itself calls. */
const isSafeEndpoint = (url: string, server: string) =>
  URL.canParse(url) && (url.startsWith("https://") || (url.startsWith("http://") && server.startsWith("http://")))

/**
 * Finds the authorization server of an MCP server that refused a call. Fails with `ProviderError` (`discovery_failed`)
 * when there is none whose metadata can be trusted: the resource must cover the server, the issuer must be the one that
 * was asked, and S256 must be offered. Fails with `OutboundRefused` when it leads where this service does not call. Of the
 * authorization servers that the resource names the first three are asked: there are eleven calls at most.
 *
 * @since 0.1.0
 */
export const discover = Effect.fn("McpDiscovery.discover")(function* (
  outbound: Outbound.Outbound["Type"],
  server: string,
  challenge: Challenge
): Effect.fn.Return<Found, DiscoveryError> {
  const resource = yield* firstOf(resourceUrls(server, challenge), (url) => read(outbound, url, ResourceMetadata))
  if (Option.exists(resource, (metadata) => !McpServer.covers(metadata.resource, server))) return yield* failed()
  const named = Option.flatMapNullable(resource, (metadata) => metadata.authorization_servers)
  // before RFC 9728 was asked of servers, each was its own authorization server
  const issuers = Option.getOrElse(named, () => [new URL(server).origin])
  const authorizationServer = yield* firstOf(
    issuers.filter((issuer) => URL.canParse(issuer)).slice(0, mostIssuers),
    (issuer) =>
      firstOf(issuerUrls(issuer), (url) =>
        Effect.map(
          read(outbound, url, ServerMetadata),
          Option.filter((metadata) => isIssuer(metadata.issuer, issuer))
        )
      )
  ).pipe(Effect.flatMap(Option.match({ onNone: () => Effect.fail(failed()), onSome: Effect.succeed })))
  const { authorization_endpoint, code_challenge_methods_supported } = authorizationServer
  if (code_challenge_methods_supported?.includes("S256") !== true) return yield* failed()
  if (!isSafeEndpoint(authorization_endpoint, server)) return yield* failed()
  return {
    resource: Option.match(resource, { onNone: () => server, onSome: (metadata) => metadata.resource }),
    authorizationServer,
    scopes: Option.flatMapNullable(resource, (metadata) => metadata.scopes_supported)
  }
})
