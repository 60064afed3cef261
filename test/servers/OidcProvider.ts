/**
 * A provider that nobody here wrote: `oidc-provider`, in this process, on a free port of 127.0.0.1. Authorization code with
 * PKCE (S256, demanded), RFC 9207 `iss`, refresh tokens that rotate always; a refresh token that comes back ends its grant.
 * Logins and consents approve themselves.
 *
 * Its storage is our own (`OidcProvider/Storage.ts`), because the bundled one forgets live tokens after some 1,000 entries.
 *
 * Its lifetimes and delays are wall-clock time: `TestClock` does not reach it.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import { type Context, Provider } from "oidc-provider"
import * as LoopbackServer from "./LoopbackServer.ts"
import * as Storage from "./OidcProvider/Storage.ts"

/** A registered client. */
export interface Client {
  readonly clientId: string
  readonly clientSecret?: string
  /** Default: `client_secret_basic`. */
  readonly clientAuth?: "client_secret_basic" | "client_secret_post" | "private_key_jwt" | "none"
  /** A PEM, for `private_key_jwt`. */
  readonly publicKey?: string
  /** Default: those of the provider's options. */
  readonly redirectUris?: ReadonlyArray<string>
}

export interface Options {
  /** The service's `${PUBLIC_URL}/oauth/callback`. */
  readonly redirectUris?: ReadonlyArray<string>
  /** Default: `oidc-client` with `oidc-secret`. The first is the one of `environment`. */
  readonly clients?: ReadonlyArray<Client>
  /** Default: 5. */
  readonly accessTokenSeconds?: number
  /** Default: 14 days. */
  readonly refreshTokenSeconds?: number
  /** Who logs in. Default: `alice`. */
  readonly account?: string
  /** Default: true. */
  readonly rotatesRefreshToken?: boolean
  /** A link without a pushed request is refused (RFC 9126). Default: false. */
  readonly requiresPushedRequests?: boolean
}

export interface OidcProvider {
  /** The issuer, without a slash at the end. */
  readonly url: string
  readonly authorizationUrl: string
  readonly tokenUrl: string
  readonly revocationUrl: string
  readonly userinfoUrl: string
  readonly introspectionUrl: string
  readonly deviceAuthorizationUrl: string
  readonly pushedAuthorizationRequestUrl: string
  /** The first client. */
  readonly clientId: string
  readonly clientSecret: string | undefined

  /** Registers a client, or replaces it: for redirect URIs that are known later than the provider. */
  readonly register: (client: Client) => void
  /** The next logins are this account's. */
  readonly login: (account: string) => void
  /** From now on token answers wait so long after they were processed; zero ends it. */
  readonly delayTokenAnswers: (duration: Duration.DurationInput) => void

  /** Whether an access token is accepted now. */
  readonly isLive: (accessToken: string) => Effect.Effect<boolean>
  /** Whether this refresh token is unspent, unexpired and unrevoked. */
  readonly isRefreshable: (refreshToken: string) => Effect.Effect<boolean>

  /** Code exchanges that succeeded. */
  readonly exchanges: number
  /** Refreshes that succeeded. */
  readonly refreshes: number
  /** Error codes that the token endpoint answered, in order, with what oidc-provider says happened. */
  readonly errors: ReadonlyArray<TokenError>
  /** Spent refresh tokens that came back: each is a login lost. */
  readonly reuses: number
  /** The grants that ended: by a reuse, or by a revocation. */
  readonly revokedGrants: ReadonlyArray<string>
  /** What went wrong inside the provider; empty, or the test is about nothing. */
  readonly faults: ReadonlyArray<unknown>

  /** This provider as an entry of `PROVIDERS_FILE`. */
  readonly definition: (id: string, fields?: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>
  /** The environment variables that hold the first client for the provider `id`. */
  readonly environment: (id: string) => Readonly<Record<string, string>>
}

/** A refused token request. */
export interface TokenError {
  readonly grantType: string
  readonly error: string
  readonly detail: string
}

const text = (value: unknown, field: string): string => {
  const found: unknown = typeof value === "object" && value !== null ? Reflect.get(value, field) : undefined
  return typeof found === "string" ? found : ""
}

const grantTypeOf = (context: Context) => text(context.oidc?.params, "grant_type")

const signingKey = () => {
  const { privateKey } = Crypto.generateKeyPairSync("ec", { namedCurve: "P-256" })
  return { ...privateKey.export({ format: "jwk" }), alg: "ES256", use: "sig" }
}

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

const metadataOf = (client: Client, redirectUris: ReadonlyArray<string>) => ({
  client_id: client.clientId,
  ...(client.clientSecret === undefined ? {} : { client_secret: client.clientSecret }),
  token_endpoint_auth_method: client.clientAuth ?? "client_secret_basic",
  ...(client.publicKey === undefined
    ? {}
    : { jwks: { keys: [Crypto.createPublicKey(client.publicKey).export({ format: "jwk" })] } }),
  grant_types: ["authorization_code", "refresh_token", "client_credentials", deviceGrant].filter(
    (grant) => grant !== "client_credentials" || client.clientAuth !== "none"
  ),
  response_types: ["code"],
  redirect_uris: [...(client.redirectUris ?? redirectUris)],
  id_token_signed_response_alg: "ES256"
})

/** Approves a login: one step that logs the account in and grants all scopes that were asked for. */
const approve = async (provider: Provider, context: Context, accountId: string) => {
  const { params } = await provider.interactionDetails(context.req, context.res)
  const grant = new provider.Grant({ accountId, clientId: text(params, "client_id") })
  grant.addOIDCScope(text(params, "scope"))
  const grantId = await grant.save()
  context.respond = false
  await provider.interactionFinished(
    context.req,
    context.res,
    { login: { accountId }, consent: { grantId } },
    { mergeWithLastSubmission: false }
  )
}

/** Starts a provider; it ends with the scope. */
export const make = (options: Options = {}): Effect.Effect<OidcProvider, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { server, url } = yield* LoopbackServer.listen

    const clients = options.clients ?? [{ clientId: "oidc-client", clientSecret: "oidc-secret" }]
    const client: Client = clients[0] ?? { clientId: "" }
    const revokedGrants: Array<string> = []
    const storage = Storage.make((grantId) => revokedGrants.push(grantId))
    const register = (registered: Client) =>
      storage.registerClient(registered.clientId, metadataOf(registered, options.redirectUris ?? []))
    for (const registered of clients) register(registered)

    let account = options.account ?? "alice"
    let delayMillis = 0
    let exchanges = 0
    let refreshes = 0
    const errors: Array<TokenError> = []
    const faults: Array<unknown> = []

    const day = 24 * 60 * 60
    const provider = new Provider(url, {
      adapter: storage.adapter,
      jwks: { keys: [signingKey()] },
      cookies: { keys: [Crypto.randomBytes(32).toString("base64url")] },
      clientAuthMethods: ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
      pkce: { required: () => true },
      rotateRefreshToken: options.rotatesRefreshToken ?? true,
      scopes: ["openid", "offline_access", "profile", "email", "read", "write"],
      claims: { openid: ["sub"], profile: ["name"], email: ["email"] },
      findAccount: (_context: unknown, accountId: string) => ({
        accountId,
        claims: () => ({ sub: accountId, name: accountId, email: `${accountId}@example.com` })
      }),
      interactions: {
        url: (_context: unknown, interaction: { readonly uid: string }) => `/approve/${interaction.uid}`
      },
      features: {
        devInteractions: { enabled: false },
        revocation: {
          enabled: true,
          allowedPolicy: (
            _context: unknown,
            caller: { readonly clientId: string },
            token: { readonly clientId: string }
          ) => token.clientId === caller.clientId
        },
        introspection: { enabled: true, allowedPolicy: () => true },
        clientCredentials: { enabled: true },
        deviceFlow: { enabled: true },
        pushedAuthorizationRequests: {
          enabled: true,
          requirePushedAuthorizationRequests: options.requiresPushedRequests ?? false
        }
      },
      ttl: {
        AccessToken: options.accessTokenSeconds ?? 5,
        AuthorizationCode: 60,
        ClientCredentials: options.accessTokenSeconds ?? 5,
        DeviceCode: 600,
        RefreshToken: options.refreshTokenSeconds ?? 14 * day,
        IdToken: 3600,
        Interaction: 3600,
        Session: 14 * day,
        Grant: 14 * day
      }
    })
    provider.on("grant.success", (context: Context) => {
      if (grantTypeOf(context) === "refresh_token") refreshes += 1
      else exchanges += 1
    })
    provider.on("grant.error", (context: Context, error: unknown) => {
      errors.push({
        grantType: grantTypeOf(context),
        error: text(error, "error"),
        detail: text(error, "error_detail") || text(error, "error_description")
      })
    })
    provider.on("server_error", (_context: Context, error: unknown) => faults.push(error))
    provider.on("error", (error: unknown) => faults.push(error))
    provider.use(async (context, next) => {
      if (context.method === "GET" && context.path.startsWith("/approve/")) {
        return approve(provider, context, account)
      }
      await next()
      if (context.path === "/token" && delayMillis > 0) {
        await new Promise((resolve) => setTimeout(resolve, delayMillis))
      }
    })
    const handle = provider.callback()
    server.on("request", (request, response) => {
      handle(request, response).catch((error: unknown) => faults.push(error))
    })

    return {
      url,
      authorizationUrl: `${url}/auth`,
      tokenUrl: `${url}/token`,
      revocationUrl: `${url}/token/revocation`,
      userinfoUrl: `${url}/me`,
      introspectionUrl: `${url}/token/introspection`,
      deviceAuthorizationUrl: `${url}/device/auth`,
      pushedAuthorizationRequestUrl: `${url}/request`,
      clientId: client.clientId,
      clientSecret: client.clientSecret,
      register,
      login: (next) => {
        account = next
      },
      delayTokenAnswers: (duration) => {
        delayMillis = Duration.toMillis(duration)
      },
      isLive: (accessToken) =>
        Effect.map(
          Effect.promise(() => provider.AccessToken.find(accessToken)),
          (token) => token !== undefined
        ),
      isRefreshable: (refreshToken) =>
        Effect.map(
          Effect.promise(() => provider.RefreshToken.find(refreshToken)),
          (token) => token !== undefined && token.consumed === undefined
        ),
      get exchanges() {
        return exchanges
      },
      get refreshes() {
        return refreshes
      },
      get errors() {
        return [...errors]
      },
      get reuses() {
        return errors.filter((error) => error.detail === Storage.reused).length
      },
      get revokedGrants() {
        return [...revokedGrants]
      },
      get faults() {
        return [...faults]
      },
      definition: (id, fields = {}) => ({
        id,
        authorizationUrl: `${url}/auth`,
        tokenUrl: `${url}/token`,
        revocationUrl: `${url}/token/revocation`,
        issuer: url,
        clientAuth: client.clientAuth ?? "client_secret_basic",
        pkce: "required",
        defaultScopes: ["openid", "offline_access"],
        // OpenID Connect Core 11: without it offline_access is ignored
        authorizationParams: { prompt: "consent" },
        rotatesRefreshToken: options.rotatesRefreshToken ?? true,
        refreshInvalidatesAccessToken: false,
        ...fields
      }),
      environment: (id) => {
        const stem = id.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")
        return {
          [`${stem}_CLIENT_ID`]: client.clientId,
          ...(client.clientSecret === undefined ? {} : { [`${stem}_CLIENT_SECRET`]: client.clientSecret })
        }
      }
    }
  })
