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
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createHash, randomBytes, randomUUID, timingSafeEqual } from "node:crypto"
import { calculatePKCECodeChallenge } from "oauth4webapi"
import { type AuditLog, record } from "./AuditLog.ts"
import { type Authorization, AuthorizationStore } from "./AuthorizationStore.ts"
import {
  type Credential,
  CredentialId,
  type Extra,
  type Metadata,
  type OAuth2,
  type ProviderId,
  settled,
  toMetadata,
  type UserId
} from "./Credential.ts"
import {
  AccountMismatch,
  AuthorizationDenied,
  AuthorizationExpired,
  type CredentialNotFound,
  InvalidRequest,
  type LockUnavailable,
  type MissingConfig,
  type OutboundRefused,
  ProviderError,
  ReadOnlyCredential,
  type StoreUnavailable,
  TypeMismatch,
  type Undecryptable,
  type UnknownProvider
} from "./CredentialsError.ts"
import { HandlerRegistry, variablesOf } from "./HandlerRegistry.ts"
import { credentialKey, LockService } from "./LockService.ts"
import { Revocations } from "./Revocations.ts"
import { Change, Store } from "./Store.ts"
import { toVariant, withdrawn } from "./TokenSet.ts"

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
 * What a provider sends back with the browser.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallbackParameters {
  readonly state: Redacted.Redacted
  readonly code?: Redacted.Redacted | undefined
  readonly error?: string | undefined
  /** RFC 9207. */
  readonly iss?: string | undefined
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
  | StoreUnavailable

/**
 * @since 0.1.0
 * @category errors
 */
export type CallbackError =
  | AuthorizationExpired
  | AuthorizationDenied
  | AccountMismatch
  | UnknownProvider
  | MissingConfig
  | CredentialNotFound
  | Undecryptable
  | ProviderError
  | OutboundRefused
  | LockUnavailable
  | StoreUnavailable

/**
 * @since 0.1.0
 * @category use cases
 */
export class OAuthFlow extends Context.Tag("effect-credentials/OAuthFlow")<
  OAuthFlow,
  {
    /** Begins a login: ten minutes from now it expires. */
    readonly authorize: (
      userId: UserId,
      provider: ProviderId,
      options: AuthorizeOptions
    ) => Effect.Effect<
      {
        readonly authorizationUrl: Redacted.Redacted
        readonly state: Redacted.Redacted
        readonly expiresAt: DateTime.Utc
      },
      AuthorizeError
    >
    /** Where a browser-bound login goes on, and the cookie that its callback will demand. */
    readonly start: (
      state: Redacted.Redacted
    ) => Effect.Effect<
      { readonly authorizationUrl: Redacted.Redacted; readonly browserSecret: Redacted.Redacted },
      AuthorizationExpired | StoreUnavailable
    >
    /**
     * Finishes a login for the user and provider that it was begun for. Of many calls with one state one exchanges the
     * code; exchange and save are one step that an interrupted caller does not split.
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

/** How long a reconnection waits for those who use the old grant. */
const holderWait = Duration.seconds(5)

/** The codes of RFC 6749 4.1.2.1 and OpenID Connect Core 3.1.2.6; anything else is not repeated. */
const registeredErrors = new Set([
  "access_denied",
  "account_selection_required",
  "consent_required",
  "interaction_required",
  "invalid_request",
  "invalid_scope",
  "login_required",
  "server_error",
  "temporarily_unavailable",
  "unauthorized_client",
  "unsupported_response_type"
])

const random = () => Redacted.make(randomBytes(32).toString("base64url"))

const matches = (one: Redacted.Redacted, other: Redacted.Redacted) => {
  const digest = (value: Redacted.Redacted) => createHash("sha256").update(Redacted.value(value), "utf8").digest()
  return timingSafeEqual(digest(one), digest(other))
}

/** Who a credential belongs to at its provider, if the login said so. */
const subjectOf = (extra: Redacted.Redacted<Extra>) => {
  const subject = Redacted.value(extra)["subject"]
  return typeof subject === "string" ? Option.some(subject) : Option.none()
}

const usernameOf = ({ variant }: Credential) =>
  variant.type === "oauth2" && variant.username !== undefined ? { username: variant.username } : {}

const credentialOf = (
  pending: Authorization,
  id: CredentialId,
  variant: OAuth2,
  extra: Extra,
  at: DateTime.Utc
): Credential => ({
  userId: pending.userId,
  id,
  provider: pending.provider,
  title: Option.none(),
  generation: 1,
  variant,
  extra: Redacted.make(extra),
  renewal: settled,
  system: false,
  createdAt: at,
  updatedAt: at,
  storedAt: at
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<OAuthFlow, never, Store | AuthorizationStore | HandlerRegistry | LockService | Revocations | AuditLog> =>
  Layer.effect(
    OAuthFlow,
    Effect.gen(function* () {
      const store = yield* Store
      const authorizations = yield* AuthorizationStore
      const handlers = yield* HandlerRegistry
      const locks = yield* LockService
      const revocations = yield* Revocations
      const context = yield* Effect.context<AuditLog>()

      const note = (event: Parameters<typeof record>[0]) => record(event).pipe(Effect.provide(context))

      const mayReconnect = Effect.fnUntraced(function* (userId: UserId, provider: ProviderId, id: CredentialId) {
        const credential = yield* store.metadata(userId, id)
        if (credential.system === true) return yield* new ReadOnlyCredential({ credentialId: id })
        if (credential.type !== "oauth2") {
          return yield* new TypeMismatch({ credentialId: id, expected: credential.type, actual: "oauth2" })
        }
        if (credential.provider !== provider) {
          return yield* new TypeMismatch({ credentialId: id, expected: credential.provider, actual: provider })
        }
      })

      const authorize: OAuthFlow["Type"]["authorize"] = Effect.fn("OAuthFlow.authorize")(
        function* (userId, provider, asked) {
          const handler = yield* handlers.forLogin(provider, asked.variables ?? {})
          if (asked.returnTo !== undefined && !options.returnUrls.includes(asked.returnTo)) {
            const expected = "one of the URLs that RETURN_URLS lists"
            return yield* new InvalidRequest({ issues: [{ field: "returnTo", expected }] })
          }
          if (asked.credentialId !== undefined) yield* mayReconnect(userId, provider, asked.credentialId)
          const state = random()
          const codeVerifier = handler.provider.pkce === "unsupported" ? undefined : random()
          const browserSecret = asked.bindBrowser === true ? random() : undefined
          const scopes = asked.scopes ?? handler.provider.defaultScopes
          const codeChallenge =
            codeVerifier === undefined
              ? undefined
              : yield* Effect.promise(() => calculatePKCECodeChallenge(Redacted.value(codeVerifier)))
          const now = yield* DateTime.now
          const expiresAt = DateTime.addDuration(now, lifetime)
          const authorizationUrl = handler.authorizationUrl({
            state,
            redirectUri: options.redirectUri,
            scopes,
            codeChallenge
          })
          yield* authorizations.put(state, {
            userId,
            provider,
            createdAt: now,
            expiresAt,
            authorizationUrl,
            redirectUri: options.redirectUri,
            scopes,
            ...(codeVerifier !== undefined && { codeVerifier }),
            ...(browserSecret !== undefined && { browserSecret }),
            ...(asked.returnTo !== undefined && { returnTo: asked.returnTo }),
            ...(asked.credentialId !== undefined && { credentialId: asked.credentialId }),
            extra: Redacted.make(asked.variables === undefined ? {} : { variables: asked.variables })
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
        }
      )

      /** Tokens that nobody will keep are given back to the provider, as far as that is safe. */
      const abandon = (credential: Credential) =>
        Effect.gen(function* () {
          const revocation = yield* revocations.plan(credential)
          if (Option.isSome(revocation)) {
            yield* store.commit([Change.Enqueue({ revocation: revocation.value })])
            yield* Effect.forkDaemon(Effect.ignore(revocations.attempt(revocation.value)))
          }
          const { id, provider, userId } = credential
          yield* note({ kind: "login_abandoned", userId, credentialId: id, provider })
        }).pipe(Effect.ignore)

      const create = Effect.fnUntraced(function* (pending: Authorization, variant: OAuth2, extra: Extra) {
        const id = CredentialId.to.make(randomUUID())
        const credential = credentialOf(pending, id, variant, extra, yield* DateTime.now)
        const created = Change.Create({ credential, unlessForgottenSince: Option.some(pending.createdAt) })
        yield* store.commit([created]).pipe(
          // the user was deleted while they logged in
          Effect.catchTag("Conflict", () => Effect.zipRight(abandon(credential), new AuthorizationExpired()))
        )
        return credential
      })

      /** Stores the new grant in the place of the old one; what the login does not bring goes with it. */
      const reconnect = Effect.fnUntraced(function* (
        pending: Authorization,
        id: CredentialId,
        variant: OAuth2,
        extra: Extra
      ) {
        const once = Effect.gen(function* () {
          const stored = yield* store.get(pending.userId, id)
          const now = yield* DateTime.now
          const next: Credential = {
            ...stored,
            generation: stored.generation + 1,
            variant: { ...variant, ...(variant.username === undefined && usernameOf(stored)) },
            extra: Redacted.make({ ...Redacted.value(stored.extra), ...extra }),
            renewal: settled,
            updatedAt: now,
            storedAt: now
          }
          const before = subjectOf(stored.extra)
          const after = subjectOf(next.extra)
          if (Option.isSome(before) && Option.isSome(after) && before.value !== after.value) {
            return yield* new AccountMismatch({ credentialId: id })
          }
          yield* store.commit([Change.Replace({ credential: next })])
          return next
        })
        const untilStored: Effect.Effect<
          Credential,
          AccountMismatch | CredentialNotFound | Undecryptable | StoreUnavailable
        > = Effect.catchTag(once, "Conflict", () => untilStored)
        return yield* untilStored.pipe(
          Effect.tapError((error) =>
            error._tag === "CredentialNotFound" || error._tag === "AccountMismatch"
              ? Effect.flatMap(DateTime.now, (now) => abandon(credentialOf(pending, id, variant, extra, now)))
              : Effect.void
          )
        )
      })

      /** Exchanges the code and stores what it brings: one step, whoever goes away meanwhile. */
      const finish = Effect.fn("OAuthFlow.finish")(function* (pending: Authorization, code: Redacted.Redacted) {
        const extra = Redacted.value(pending.extra)
        const handler = yield* Effect.catchTag(
          handlers.forLogin(pending.provider, variablesOf(extra)),
          "InvalidRequest",
          () => new AuthorizationExpired()
        )
        const sentAt = yield* DateTime.now
        const exchange = handler.exchange({
          code,
          redirectUri: pending.redirectUri,
          codeVerifier: Option.fromNullable(pending.codeVerifier)
        })
        const answer = yield* exchange.pipe(
          Effect.interruptible,
          Effect.forkDaemon,
          Effect.flatMap(Fiber.join),
          Effect.catchTag("OutboundFailure", ({ reason }) =>
            Effect.fail(
              new ProviderError({
                provider: pending.provider,
                reason: reason === "timeout" ? "timeout" : reason === "too_large" ? "malformed_response" : "unreachable"
              })
            )
          )
        )
        const read = yield* handler.read(answer)
        if (Either.isLeft(read)) {
          // the code is spent or refused: only a new login helps
          return yield* read.left._tag === "Refused"
            ? new AuthorizationDenied({ provider: pending.provider, error: "invalid_grant" })
            : new ProviderError({ provider: pending.provider, reason: read.left.reason })
        }
        const tokens = read.right
        const variant = toVariant(tokens, { scopes: pending.scopes }, sentAt)
        const kept = {
          ...extra,
          ...Option.match(tokens.subject, { onNone: () => ({}), onSome: (subject) => ({ subject }) })
        }
        const { credentialId } = pending
        const credential =
          credentialId === undefined
            ? yield* create(pending, variant, kept)
            : yield* Effect.scoped(
                Effect.zipRight(
                  locks
                    .acquire(credentialKey(pending.userId, credentialId), { priority: "writer", wait: holderWait })
                    .pipe(
                      // a login is not lost to a holder that stays: the generation keeps them apart
                      Effect.catchTag("LockTimeout", () => Effect.void)
                    ),
                  reconnect(pending, credentialId, variant, kept)
                )
              )
        const { id, generation, provider, userId } = credential
        yield* note({ kind: "login_finished", userId, credentialId: id, provider, generation })
        if (withdrawn(pending.scopes, variant.scopes).length > 0)
          yield* note({ kind: "scopes_narrowed", userId, credentialId: id, provider, generation })
        return toMetadata(credential)
      }, Effect.uninterruptible)

      /** What a login that was taken comes to. */
      const conclude = Effect.fnUntraced(function* (
        pending: Authorization,
        { code, error, iss }: CallbackParameters
      ): Effect.fn.Return<Metadata, CallbackError> {
        const { provider } = pending
        const handler = yield* Effect.option(handlers.forLogin(provider, variablesOf(Redacted.value(pending.extra))))
        const issuer = Option.flatMapNullable(handler, (known) => known.provider.issuer)
        if (iss !== undefined && Option.isSome(issuer) && issuer.value !== iss) {
          return yield* new AuthorizationDenied({ provider, error: "issuer_mismatch" })
        }
        if (error !== undefined) {
          return yield* new AuthorizationDenied({ provider, error: registeredErrors.has(error) ? error : "other" })
        }
        if (code === undefined) return yield* new AuthorizationDenied({ provider, error: "invalid_request" })
        return yield* finish(pending, code)
      })

      const taken = Effect.flatMap(
        Option.match({ onNone: () => Effect.fail(new AuthorizationExpired()), onSome: Effect.succeed<Authorization> })
      )

      const callback: OAuthFlow["Type"]["callback"] = Effect.fn("OAuthFlow.callback")((parameters, by) =>
        Effect.uninterruptible(
          Effect.flatMap(taken(authorizations.take(parameters.state, by)), (pending) => conclude(pending, parameters))
        )
      )

      const browserCallback: OAuthFlow["Type"]["browserCallback"] = Effect.fn("OAuthFlow.browserCallback")(function* (
        parameters,
        browserSecret
      ) {
        const found = yield* Effect.orElseSucceed(authorizations.find(parameters.state), Option.none)
        const bound = Option.flatMapNullable(found, (pending) => pending.browserSecret)
        // another browser than the one that began leaves the login where it is
        const foreign = Option.isSome(bound) && !Option.exists(browserSecret, (secret) => matches(secret, bound.value))
        const result: Effect.Effect<Metadata, CallbackError> = foreign
          ? Effect.fail(new AuthorizationExpired())
          : Effect.flatMap(taken(authorizations.take(parameters.state, {})), (pending) => conclude(pending, parameters))
        return {
          returnTo: foreign ? Option.none() : Option.flatMapNullable(found, (pending) => pending.returnTo),
          result: yield* Effect.either(result)
        }
      }, Effect.uninterruptible)

      return OAuthFlow.of({
        authorize,
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
