/**
 * Connecting an account: the authorization code grant (RFC 6749 4.1) with PKCE (RFC 7636), from the link that the user
 * follows to the stored credential.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"
import { calculatePKCECodeChallenge } from "oauth4webapi"
import { type AuditLog, record } from "./AuditLog.ts"
import { type Authorization, AuthorizationStore } from "./AuthorizationStore.ts"
import type { CredentialId, Extra, Metadata, ProviderId, UserId } from "./Credential.ts"
import {
  AuthorizationExpired,
  type CredentialNotFound,
  InvalidRequest,
  type MissingConfig,
  type OutboundRefused,
  ProviderError,
  type ReadOnlyCredential,
  type StoreUnavailable,
  type TypeMismatch,
  type Undecryptable,
  type UnknownProvider
} from "./CredentialsError.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import type { Handler, LinkRequest } from "./HandlerRegistry/Handler.ts"
import { Login, type LoginError } from "./Login.ts"
import { type CallbackParameters, grantOf } from "./OAuthFlow/AuthorizationResponse.ts"
import { withdrawn } from "./TokenSet.ts"

export type { CallbackParameters } from "./OAuthFlow/AuthorizationResponse.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface AuthorizeOptions {
  /** Default: the provider's. */
  readonly scopes?: ReadonlyArray<string> | undefined
  /** Where the browser goes in the end; one of the configured URLs. */
  readonly returnTo?: string | undefined
  /** Reconnect this credential in place. */
  readonly credentialId?: CredentialId | undefined
  /** What fills the `{variables}` of the provider's URLs. */
  readonly variables?: Readonly<Record<string, string>> | undefined
  /** Only the browser that opens `authorizationUrl` can finish. */
  readonly bindBrowser?: boolean | undefined
}

/**
 * A login at a handler's provider, for what its credential will keep.
 *
 * @since 0.1.0
 * @category models
 */
export interface BeginOptions extends Omit<AuthorizeOptions, "variables"> {
  /** The id that a new credential gets; one that has it by then is replaced. Default: a random one. */
  readonly newCredentialId?: CredentialId | undefined
  /** Whether a reconnected account may be another than before. Default `false`. */
  readonly anyAccount?: boolean | undefined
  readonly extra: Redacted.Redacted<Extra>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Begun {
  readonly authorizationUrl: Redacted.Redacted
  readonly state: Redacted.Redacted
  readonly expiresAt: DateTime.Utc
}

/**
 * @since 0.1.0
 * @category errors
 */
export type AuthorizeError =
  | UnknownProvider
  | MissingConfig
  | InvalidRequest
  | CredentialNotFound
  | ReadOnlyCredential
  | TypeMismatch
  | Undecryptable
  | OutboundRefused
  | ProviderError
  | StoreUnavailable

/**
 * @since 0.1.0
 * @category errors
 */
export type CallbackError = LoginError

/**
 * @since 0.1.0
 * @category use cases
 */
export class OAuthFlow extends Context.Tag("effect-credentials/OAuthFlow")<
  OAuthFlow,
  {
    /** Begins a login: it expires in ten minutes, or with a link that the provider gives less time. */
    readonly authorize: (
      userId: UserId,
      provider: ProviderId,
      options: AuthorizeOptions
    ) => Effect.Effect<Begun, AuthorizeError>
    /** The same at a provider that its handler knows. */
    readonly begin: (
      userId: UserId,
      handler: Handler,
      options: BeginOptions
    ) => Effect.Effect<Begun, InvalidRequest | OutboundRefused | ProviderError | StoreUnavailable>
    /** Where a browser-bound login goes on, and the cookie that its callback will demand. */
    readonly start: (
      state: Redacted.Redacted
    ) => Effect.Effect<
      { readonly authorizationUrl: Redacted.Redacted; readonly browserSecret: Redacted.Redacted },
      AuthorizationExpired | StoreUnavailable
    >
    /**
     * Finishes a login for the user and provider that it was begun for. Of many calls with one state one exchanges the
     * code; exchange and save are one step that an interrupted caller does not split. One that is bound to a browser is
     * not finished here (`AuthorizationExpired`), and stays for that browser.
     */
    readonly callback: (
      parameters: CallbackParameters,
      by: { readonly userId: UserId; readonly provider: ProviderId }
    ) => Effect.Effect<Metadata, CallbackError>
    /** The same for a browser that returned by itself: where it goes next, and how it ended. */
    readonly browserCallback: (
      parameters: CallbackParameters,
      browserSecret: Option.Option<Redacted.Redacted>
    ) => Effect.Effect<{
      readonly returnTo: Option.Option<string>
      readonly result: Either.Either<Metadata, CallbackError>
      /** The scopes that were asked for and not granted. */
      readonly withheld: ReadonlyArray<string>
    }>
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The origin that browsers see. */
  readonly publicUrl: string
  /** What is registered at the providers as this client's redirect URI. */
  readonly redirectUri: string
  /** The exact URLs that a finished login may send the browser to. */
  readonly returnUrls: ReadonlyArray<string>
}

const lifetime = Duration.minutes(10)

const callbackPatience = Duration.seconds(30)

const random = () => Redacted.make(randomBytes(32).toString("base64url"))

const matches = (one: Redacted.Redacted, other: Redacted.Redacted) => {
  const digest = (value: Redacted.Redacted) => createHash("sha256").update(Redacted.value(value), "utf8").digest()
  return timingSafeEqual(digest(one), digest(other))
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<OAuthFlow, never, AuthorizationStore | HandlerRegistry | Login | AuditLog> =>
  Layer.effect(
    OAuthFlow,
    Effect.gen(function* () {
      const authorizations = yield* AuthorizationStore
      const handlers = yield* HandlerRegistry
      const login = yield* Login
      const context = yield* Effect.context<AuditLog>()

      const note = (event: Parameters<typeof record>[0]) => record(event).pipe(Effect.provide(context))

      /** The link to follow. One whose parameters were pushed is good for as long as the provider says. */
      const linkOf = Effect.fnUntraced(function* (handler: Handler, request: LinkRequest) {
        if (handler.push === undefined) return { authorizationUrl: handler.authorizationUrl(request), lasts: lifetime }
        const { id: provider } = handler.provider
        const pushed = yield* Effect.catchTag(
          handler.push(request),
          "OutboundFailure",
          ({ failure }) => new ProviderError({ provider, reason: failure })
        )
        if (Either.isRight(pushed)) {
          const { lifetimeSeconds, url } = pushed.right
          return { authorizationUrl: url, lasts: Duration.seconds(lifetimeSeconds) }
        }
        const denial = pushed.left
        return yield* new ProviderError({ provider, reason: denial._tag === "Refused" ? "rejected" : denial.reason })
      })

      const begin: OAuthFlow["Type"]["begin"] = Effect.fn("OAuthFlow.begin")(function* (userId, handler, asked) {
        if (asked.returnTo !== undefined && !options.returnUrls.includes(asked.returnTo)) {
          const expected = "one of the URLs that RETURN_URLS lists"
          return yield* new InvalidRequest({ issues: [{ field: "returnTo", expected }] })
        }
        const provider = handler.provider.id
        const state = random()
        const codeVerifier = handler.provider.pkce === "unsupported" ? undefined : random()
        const browserSecret = asked.bindBrowser === true ? random() : undefined
        const scopes = asked.scopes ?? handler.provider.defaultScopes
        const codeChallenge =
          codeVerifier === undefined
            ? undefined
            : yield* Effect.promise(() => calculatePKCECodeChallenge(Redacted.value(codeVerifier)))
        const now = yield* DateTime.now
        const { redirectUri } = options
        const { authorizationUrl, lasts } = yield* linkOf(handler, { state, redirectUri, scopes, codeChallenge })
        const expiresAt = DateTime.addDuration(now, Duration.min(lasts, lifetime))
        yield* authorizations.put(state, {
          userId,
          provider,
          createdAt: now,
          expiresAt,
          authorizationUrl,
          redirectUri,
          scopes,
          ...(codeVerifier !== undefined && { codeVerifier }),
          ...(browserSecret !== undefined && { browserSecret }),
          ...(asked.returnTo !== undefined && { returnTo: asked.returnTo }),
          ...(asked.credentialId !== undefined && { credentialId: asked.credentialId }),
          ...(asked.newCredentialId !== undefined && { newCredentialId: asked.newCredentialId }),
          ...(asked.anyAccount !== undefined && { anyAccount: asked.anyAccount }),
          extra: asked.extra
        })
        yield* note({ kind: "login_begun", userId, provider })
        return {
          authorizationUrl:
            browserSecret === undefined
              ? authorizationUrl
              : Redacted.make(`${options.publicUrl}/oauth/start/${Redacted.value(state)}`),
          state,
          expiresAt
        }
      })

      const authorize: OAuthFlow["Type"]["authorize"] = Effect.fn("OAuthFlow.authorize")(function* (
        userId,
        provider,
        { variables, ...asked }
      ) {
        const extra = variables === undefined ? {} : { variables }
        const handler = yield* handlers.forLogin(provider, extra)
        if (handler.provider.grant !== "authorization_code") {
          const expected = "a provider whose grant is authorization_code"
          return yield* new InvalidRequest({ issues: [{ field: "provider", expected }] })
        }
        if (asked.credentialId !== undefined) yield* login.mayReconnect(userId, provider, asked.credentialId)
        return yield* begin(userId, handler, { ...asked, extra: Redacted.make(extra) })
      })

      /** What a login that was taken comes to. */
      const conclude = Effect.fnUntraced(function* (
        pending: Authorization,
        parameters: CallbackParameters
      ): Effect.fn.Return<Metadata, CallbackError> {
        const { provider } = pending
        const known = Option.map(
          yield* Effect.option(handlers.forLogin(provider, Redacted.value(pending.extra))),
          (handler) => handler.provider
        )
        const { code, kept } = yield* grantOf(parameters, provider, known)
        const extra = Redacted.make({ ...kept, ...Redacted.value(pending.extra) })
        // whoever brought the code waits no longer; the login is ended, and stored, all the same
        return yield* login.complete({ ...pending, extra }, code).pipe(
          Effect.uninterruptible,
          Effect.disconnect,
          Effect.timeoutFail({
            duration: callbackPatience,
            onTimeout: () => new ProviderError({ provider: pending.provider, reason: "timeout" })
          }),
          Effect.interruptible
        )
      })

      const taken = Effect.flatMap(
        Option.match({ onNone: () => Effect.fail(new AuthorizationExpired()), onSome: Effect.succeed<Authorization> })
      )

      /** The login of a state, for who may end it: another browser than the one that it is bound to leaves it where it is. */
      const findFor = Effect.fnUntraced(function* (
        state: Redacted.Redacted,
        browserSecret: Option.Option<Redacted.Redacted>
      ) {
        const pending = yield* taken(authorizations.find(state))
        const bound = pending.browserSecret
        const isForeign = bound !== undefined && !Option.exists(browserSecret, (secret) => matches(secret, bound))
        return isForeign ? yield* new AuthorizationExpired() : pending
      })

      const callback: OAuthFlow["Type"]["callback"] = Effect.fn("OAuthFlow.callback")(function* (parameters, by) {
        yield* findFor(parameters.state, Option.none())
        const pending = yield* taken(authorizations.take(parameters.state, by))
        return yield* conclude(pending, parameters)
      }, Effect.uninterruptible)

      const browserCallback: OAuthFlow["Type"]["browserCallback"] = Effect.fn("OAuthFlow.browserCallback")(function* (
        parameters,
        browserSecret
      ) {
        const looked = yield* Effect.either(findFor(parameters.state, browserSecret))
        if (Either.isLeft(looked)) return { returnTo: Option.none(), result: Either.left(looked.left), withheld: [] }
        const { returnTo, scopes } = looked.right
        const concluded = Effect.flatMap(taken(authorizations.take(parameters.state, {})), (pending) =>
          conclude(pending, parameters)
        )
        const result = yield* Effect.either(concluded)
        return {
          returnTo: Option.fromNullable(returnTo),
          result,
          withheld: Either.isRight(result) ? withdrawn(scopes, result.right.scopes ?? []) : []
        }
      }, Effect.uninterruptible)

      return OAuthFlow.of({
        authorize,
        begin,
        start: (state) =>
          Effect.flatMap(taken(authorizations.find(state)), ({ authorizationUrl, browserSecret }) =>
            browserSecret === undefined
              ? Effect.fail(new AuthorizationExpired())
              : Effect.succeed({ authorizationUrl, browserSecret })
          ),
        callback,
        browserCallback
      })
    })
  )
