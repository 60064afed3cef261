/**
 * An OAuth 2.0 provider for tests that keeps a ledger of every request and misbehaves on demand: it delays, cuts, lies,
 * resets, and tells exactly which refresh token was spent when. A plain HTTP server on a free port of 127.0.0.1; the
 * endpoints are real, the logins approve themselves.
 *
 * ```ts
 * const program = Effect.gen(function* () {
 *   const provider = yield* ScriptedProvider.make({ accessTokenSeconds: 5 })
 *   const { refreshToken } = provider.issue()
 *   provider.next(Fault.resetAfter) // the next token request spends, and its answer is lost
 *   // … let the code under test refresh `refreshToken` at `provider.tokenUrl` …
 *   assert.strictEqual(provider.spends, 1)
 *   assert.strictEqual(provider.reuses, 0)
 * }).pipe(Effect.scoped)
 * ```
 *
 * Lifetimes and delays follow Effect's `Clock`: under `TestClock` a token expires, and a delay ends, when the test says so.
 * The controls (`issue`, `next`, …) are plain synchronous calls.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import { Provider } from "../Provider.ts"
import type { Client } from "../TokenEndpoint.ts"
import * as LoopbackServer from "./LoopbackServer.ts"
import type * as ClientAuth from "./ScriptedProvider/ClientAuth.ts"
import * as Connection from "./ScriptedProvider/Connection.ts"
import * as Endpoints from "./ScriptedProvider/Endpoints.ts"
import type { Fault, Reply, RequestKind, TokenAnswer } from "./ScriptedProvider/Fault.ts"
import * as Grants from "./ScriptedProvider/Grants.ts"
import * as Ledger from "./ScriptedProvider/Ledger.ts"
import * as OtherGrants from "./ScriptedProvider/OtherGrants.ts"
import type { Quirks } from "./ScriptedProvider/Quirks.ts"

export * as Fault from "./ScriptedProvider/Fault.ts"
export type { Client } from "./ScriptedProvider/ClientAuth.ts"
export type { ClientAuthSeen, Entry, Outcome } from "./ScriptedProvider/Ledger.ts"

/**
 * How the provider behaves when nothing is scripted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Default: one confidential client, `scripted-client` with `scripted-secret`. The first is the one of `issue`. */
  readonly clients?: ReadonlyArray<ClientAuth.Client>
  /** Accepted ways of authenticating. Default: `client_secret_basic` alone. */
  readonly clientAuth?: ReadonlyArray<Ledger.ClientAuthSeen>
  /** Exact redirect URIs. Default: any. */
  readonly redirectUris?: ReadonlyArray<string>
  /** Who logs in. Default: `alice`. */
  readonly account?: string
  readonly pkce?: "required" | "supported"
  /** RFC 9207: authorizations name their issuer. Default: true. */
  readonly announcesIssuer?: boolean
  /** Default: 3600. */
  readonly accessTokenSeconds?: number
  /** Default: refresh tokens live for ever. */
  readonly refreshTokenSeconds?: number
  /** A refresh spends the refresh token and brings the next one. Default: true. */
  readonly rotatesRefreshToken?: boolean
  /** A login answers a refresh token. Default: true. */
  readonly refreshTokenOnLogin?: boolean
  /** A refresh that does not rotate answers the refresh token again. Default: true; one that rotates always answers it. */
  readonly refreshTokenOnRefresh?: boolean
  /** A refresh ends the grant's other access tokens. Default: true. */
  readonly refreshInvalidatesAccessToken?: boolean
  /** How long a spent refresh token is answered again, each time with a new pair. Default: 0. */
  readonly reuseGraceSeconds?: number
  /** A spent refresh token that comes back ends every token of its grant. Default: true. */
  readonly reuseRevokesGrant?: boolean
  /** What a revocation ends: one login's tokens, or every grant of this user and client. Default: `grant`. */
  readonly revocationScope?: "token" | "grant"
  /** Default: ` `. */
  readonly scopeSeparator?: string
  /** How token answers are encoded; `form` is what GitHub does unless asked. Default: `json`. */
  readonly format?: "json" | "form"
  /** The shape of every token answer, where it is not RFC 6749's. */
  readonly shape?: (answer: TokenAnswer) => unknown
  /** PEMs of those whose assertions it takes (RFC 7523 2.1), by issuer. Default: nobody's. */
  readonly issuers?: Readonly<Record<string, string>>
  /** How often a device code may be asked for, in seconds. Default: 5. */
  readonly deviceIntervalSeconds?: number
  /** Default: 900. */
  readonly deviceCodeSeconds?: number
  /** What it demands and answers beside the standard. Default: nothing. */
  readonly quirks?: Quirks
}

/**
 * Tokens that the provider made without a browser.
 *
 * @since 0.1.0
 * @category models
 */
export interface Issued {
  readonly grantId: string
  readonly clientId: string
  readonly account: string
  readonly accessToken: string
  readonly refreshToken: string
  readonly scopes: ReadonlyArray<string>
  readonly expiresAt: Date
}

/**
 * A running provider.
 *
 * @since 0.1.0
 * @category services
 */
export class ScriptedProvider extends Context.Tag("effect-credentials/testing/ScriptedProvider")<
  ScriptedProvider,
  {
    /** The issuer, without a slash at the end. */
    readonly url: string
    readonly authorizationUrl: string
    readonly tokenUrl: string
    readonly revocationUrl: string
    readonly userinfoUrl: string
    readonly deviceAuthorizationUrl: string
    /** The first client. */
    readonly clientId: string
    readonly clientSecret: string | undefined

    /** Each of these faults befalls one coming request that it is `on`, in this order. */
    readonly next: (...faults: ReadonlyArray<Fault>) => void
    /** Befalls every request for which none is queued; `undefined` ends it. */
    readonly always: (fault: Fault | undefined) => void
    /** How many queued faults have not befallen a request yet. */
    readonly queued: number

    /** Makes a grant as if the user had logged in. */
    readonly issue: (grant?: {
      readonly account?: string
      readonly clientId?: string
      readonly scopes?: ReadonlyArray<string>
      readonly accessTokenSeconds?: number
    }) => Issued
    /** Whether userinfo accepts this access token now. */
    readonly isLive: (accessToken: string) => boolean
    /** Whether this refresh token is unspent, unexpired and unrevoked. */
    readonly isRefreshable: (refreshToken: string) => boolean
    /** Ends all tokens of the grant that this token belongs to, as a user who disconnects the app. */
    readonly endGrant: (token: string) => void
    /** The access token expires now. */
    readonly expire: (accessToken: string) => void
    /** A user enters the code that they were shown; `false` when there is no such code. */
    readonly enterCode: (userCode: string, answer: "approved" | "denied") => boolean
    /** The next logins are this account's. */
    readonly login: (account: string) => void

    /** Everything that was asked, in order of arrival. */
    readonly ledger: ReadonlyArray<Ledger.Entry>
    /** Refresh requests that arrived, whatever came of them. */
    readonly refreshes: number
    /** Refresh tokens that were accepted for the first time, or at a provider that keeps them. */
    readonly spends: number
    /** Spent refresh tokens that came back within the grace. */
    readonly graces: number
    /** Spent refresh tokens that came back: each is a login lost. */
    readonly reuses: number
    /** Code exchanges that succeeded. */
    readonly exchanges: number
    /** Waits until the ledger passes a test, tried after each change. */
    readonly awaitLedger: (
      test: (ledger: ReadonlyArray<Ledger.Entry>) => boolean
    ) => Effect.Effect<ReadonlyArray<Ledger.Entry>>

    /** This provider as an entry of `PROVIDERS_FILE`. */
    readonly definition: (id: string, fields?: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>
    /** The environment variables that hold the first client for the provider `id`. */
    readonly environment: (id: string) => Readonly<Record<string, string>>
    /** The same, decoded: for `ProviderCatalogue` and `Service.layerMemory`. */
    readonly provider: (id: string, fields?: Readonly<Record<string, unknown>>) => Provider
    /** The first client, for whichever provider is asked about: for `HandlerRegistry` and `Service.layerMemory`. */
    readonly clients: (provider: Provider) => Option.Option<Client>
  }
>() {}

const nothing: Reply = { status: 503, headers: {}, body: "" }

const matches = (fault: Fault, kind: RequestKind) =>
  fault.on === undefined || fault.on === "token"
    ? kind === "authorization_code" || kind === "refresh_token"
    : fault.on === kind

/**
 * Starts a provider; it ends with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<ScriptedProvider["Type"], never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const run = yield* FiberSet.makeRuntime<never>()
    const { server, url } = yield* LoopbackServer.listen

    const clients = options.clients ?? [{ clientId: "scripted-client", clientSecret: "scripted-secret" }]
    const client = clients[0] ?? { clientId: "" }
    const accepts = options.clientAuth ?? ["client_secret_basic"]
    const pkce = options.pkce ?? "required"
    const scopeSeparator = options.scopeSeparator ?? " "
    const announcesIssuer = options.announcesIssuer ?? true
    const tokenUrl = `${url}/token`
    const rules: Grants.Options = {
      accessTokenSeconds: options.accessTokenSeconds ?? 3600,
      refreshTokenSeconds: options.refreshTokenSeconds,
      rotatesRefreshToken: options.rotatesRefreshToken ?? true,
      refreshInvalidatesAccessToken: options.refreshInvalidatesAccessToken ?? true,
      reuseGraceSeconds: options.reuseGraceSeconds ?? 0,
      reuseRevokesGrant: options.reuseRevokesGrant ?? true,
      revocationScope: options.revocationScope ?? "grant"
    }
    const now = () => clock.unsafeCurrentTimeMillis()
    const grants = Grants.make(rules, now)
    const ledger = Ledger.make()

    let account = options.account ?? "alice"
    const others = OtherGrants.make({
      grants,
      now,
      account: () => account,
      audiences: [url, tokenUrl],
      issuers: options.issuers ?? {},
      intervalSeconds: options.deviceIntervalSeconds ?? 5,
      codeSeconds: options.deviceCodeSeconds ?? 900
    })
    const endpoints = Endpoints.make({
      url,
      grants,
      others,
      now,
      account: () => account,
      clients,
      accepts,
      pkce,
      redirectUris: options.redirectUris,
      announcesIssuer,
      refreshTokenOnLogin: options.refreshTokenOnLogin ?? true,
      refreshTokenOnRefresh: options.refreshTokenOnRefresh ?? true,
      scopeSeparator,
      format: options.format ?? "json",
      shape: options.shape ?? ((answer) => answer),
      quirks: options.quirks
    })

    let standing: Fault | undefined
    const queue: Array<Fault> = []

    const take = (kind: RequestKind): Fault => {
      const index = queue.findIndex((fault) => matches(fault, kind))
      const queued = index < 0 ? undefined : queue.splice(index, 1)[0]
      return queued ?? (standing !== undefined && matches(standing, kind) ? standing : {})
    }

    const serve = (message: Http.IncomingMessage, response: Http.ServerResponse) =>
      Effect.gen(function* () {
        const request = yield* Connection.receive(message)
        if (!message.complete) return
        const caller = endpoints.identify(request)
        const refreshToken = request.kind === "refresh_token" ? request.parameters["refresh_token"] : undefined
        const fault = take(request.kind)
        const index = ledger.open({
          kind: request.kind,
          receivedAt: now(),
          method: request.method,
          path: request.path,
          headers: request.headers,
          body: request.body,
          parameters: request.parameters,
          ...(caller === undefined ? {} : { clientAuth: caller.clientAuth }),
          ...(caller?.clientId === undefined ? {} : { clientId: caller.clientId }),
          ...(refreshToken === undefined ? {} : { refreshToken })
        })
        if (fault.delayBefore !== undefined) yield* Effect.sleep(fault.delayBefore)

        const processed: Endpoints.Processed =
          fault.reset === "before" || fault.refuse !== undefined
            ? { reply: fault.refuse ?? nothing, entry: { outcome: "refused" } }
            : endpoints.process(request, caller, fault)
        ledger.update(index, { ...processed.entry, processedAt: now() })
        if (fault.onProcessed !== undefined) yield* fault.onProcessed

        if (fault.delayAfter !== undefined) yield* Effect.sleep(fault.delayAfter)
        const reply = fault.reply === undefined ? processed.reply : fault.reply(processed.reply)
        const sent = yield* Connection.send(message, response, reply, fault)
        const shown = sent === "answered" || sent === "cut"
        ledger.update(index, { sent, answeredAt: now(), ...(shown ? { status: reply.status } : {}) })

        if (fault.onAnswered !== undefined) {
          const { after, run } = fault.onAnswered
          if (after !== undefined && Duration.toMillis(after) > 0) yield* Effect.sleep(after)
          yield* run
        }
      })

    server.on("request", (message, response) => {
      run(serve(message, response))
    })

    const counted = (...outcomes: ReadonlyArray<Ledger.Outcome>) =>
      ledger.count((entry) => outcomes.includes(entry.outcome))

    const definition: ScriptedProvider["Type"]["definition"] = (id, fields = {}) => ({
      id,
      authorizationUrl: `${url}/authorize`,
      tokenUrl,
      revocationUrl: `${url}/revoke`,
      clientAuth: accepts[0] ?? "client_secret_basic",
      pkce,
      scopeSeparator,
      rotatesRefreshToken: rules.rotatesRefreshToken,
      refreshInvalidatesAccessToken: rules.refreshInvalidatesAccessToken,
      revocationScope: rules.revocationScope,
      ...(announcesIssuer ? { issuer: url } : {}),
      ...(rules.reuseGraceSeconds > 0 ? { reuseGraceSeconds: rules.reuseGraceSeconds } : {}),
      ...fields
    })

    return {
      url,
      authorizationUrl: `${url}/authorize`,
      tokenUrl,
      revocationUrl: `${url}/revoke`,
      userinfoUrl: `${url}/userinfo`,
      deviceAuthorizationUrl: `${url}/device`,
      clientId: client.clientId,
      clientSecret: client.clientSecret,
      next: (...faults) => {
        queue.push(...faults)
      },
      always: (fault) => {
        standing = fault
      },
      get queued() {
        return queue.length
      },
      issue: (grant = {}) => {
        const tokens = grants.issue({ clientId: client.clientId, account, scopes: [], ...grant })
        return {
          grantId: tokens.grant.id,
          clientId: tokens.grant.clientId,
          account: tokens.grant.account,
          accessToken: tokens.accessToken,
          refreshToken: tokens.refreshToken,
          scopes: tokens.scopes,
          expiresAt: new Date(tokens.expiresAt)
        }
      },
      isLive: (accessToken) => grants.access(accessToken) !== undefined,
      isRefreshable: grants.isRefreshable,
      endGrant: grants.end,
      expire: grants.expire,
      enterCode: others.enter,
      login: (next) => {
        account = next
      },
      get ledger() {
        return ledger.entries()
      },
      get refreshes() {
        return ledger.count((entry) => entry.kind === "refresh_token")
      },
      get spends() {
        return counted("rotated", "kept")
      },
      get graces() {
        return counted("graced")
      },
      get reuses() {
        return counted("reused")
      },
      get exchanges() {
        return counted("issued")
      },
      awaitLedger: ledger.await,
      definition,
      provider: (id, fields) => Schema.decodeUnknownSync(Provider)(definition(id, fields)),
      clients: () =>
        Option.some({
          id: client.clientId,
          ...(client.clientSecret !== undefined && { secret: Redacted.make(client.clientSecret) })
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

/**
 * A provider for as long as the Layer is in use.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<ScriptedProvider> => Layer.scoped(ScriptedProvider, make(options))
