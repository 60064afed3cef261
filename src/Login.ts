/**
 * The end of a login: the code exchanged for tokens, and those stored, in a new credential or in the place of an old one.
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
import { randomUUID } from "node:crypto"
import { type AuditLog, record } from "./AuditLog.ts"
import type { Authorization } from "./AuthorizationStore.ts"
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
import { HandlerRegistry } from "./HandlerRegistry.ts"
import type { Handler } from "./HandlerRegistry/Handler.ts"
import { credentialKey, LockService } from "./LockService.ts"
import type { Answer, OutboundFailure } from "./Outbound.ts"
import { Revocations } from "./Revocations.ts"
import { Change, Store } from "./Store.ts"
import { held } from "./TokenEndpoint/MachineGrant.ts"
import { toVariant, withdrawn } from "./TokenSet.ts"

/**
 * @since 0.1.0
 * @category errors
 */
export type LoginError =
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
 * Runs in a fiber of its own, which only its own timer interrupts: what may have spent something is not cut off.
 *
 * @since 0.1.0
 */
export const unsplit = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  self.pipe(Effect.interruptible, Effect.forkDaemon, Effect.flatMap(Fiber.join))

/**
 * How a login asks its provider for tokens.
 *
 * @since 0.1.0
 * @category models
 */
export type Ask = (handler: Handler) => Effect.Effect<Answer, OutboundRefused | OutboundFailure>

/**
 * @since 0.1.0
 * @category services
 */
export class Login extends Context.Tag("effect-credentials/Login")<
  Login,
  {
    /**
     * Exchanges the code and stores what it brings: one step, whoever goes away meanwhile. What cannot be stored, because
     * its user or credential is gone or the account is another, is given back to the provider as far as that is safe.
     */
    readonly complete: (pending: Authorization, code: Redacted.Redacted) => Effect.Effect<Metadata, LoginError>
    /** The same for a login that asks for its tokens otherwise. */
    readonly finish: (pending: Authorization, ask: Ask) => Effect.Effect<Metadata, LoginError>
    /** Whether a login may take the place of this credential: an OAuth one of the user's own, at this provider. */
    readonly mayReconnect: (
      userId: UserId,
      provider: ProviderId,
      id: CredentialId
    ) => Effect.Effect<void, CredentialNotFound | ReadOnlyCredential | TypeMismatch | StoreUnavailable>
  }
>() {}

/** How long a reconnection waits for those who use the old grant. */
const holderWait = Duration.seconds(5)

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
export const layer: Layer.Layer<Login, never, Store | HandlerRegistry | LockService | Revocations | AuditLog> =
  Layer.effect(
    Login,
    Effect.gen(function* () {
      const store = yield* Store
      const handlers = yield* HandlerRegistry
      const locks = yield* LockService
      const revocations = yield* Revocations
      const context = yield* Effect.context<AuditLog>()

      const note = (event: Parameters<typeof record>[0]) => record(event).pipe(Effect.provide(context))

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
          const isOther = Option.isSome(before) && Option.isSome(after) && before.value !== after.value
          if (isOther && pending.anyAccount !== true) return yield* new AccountMismatch({ credentialId: id })
          const revocation = yield* revocations.planReplaced(stored, next)
          yield* store.commit([
            Change.Replace({ credential: next }),
            ...Option.toArray(revocation).map((planned) => Change.Enqueue({ revocation: planned }))
          ])
          if (Option.isSome(revocation)) yield* Effect.forkDaemon(Effect.ignore(revocations.attempt(revocation.value)))
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

      const create = Effect.fnUntraced(function* (pending: Authorization, variant: OAuth2, extra: Extra) {
        const id = pending.newCredentialId ?? CredentialId.to.make(randomUUID())
        const credential = credentialOf(pending, id, variant, extra, yield* DateTime.now)
        const created = Change.Create({ credential, unlessForgottenSince: Option.some(pending.createdAt) })
        const conflict = yield* store
          .commit([created])
          .pipe(Effect.as(undefined), Effect.catchTag("Conflict", Effect.succeed))
        if (conflict === undefined) return credential
        // another login for the same place ended first
        if (conflict.on === "exists") return yield* reconnect(pending, id, variant, extra)
        // the user was deleted while they logged in
        yield* abandon(credential)
        return yield* new AuthorizationExpired()
      })

      const mayReconnect: Login["Type"]["mayReconnect"] = Effect.fnUntraced(function* (userId, provider, id) {
        const credential = yield* store.metadata(userId, id)
        if (credential.system === true) return yield* new ReadOnlyCredential({ credentialId: id })
        if (credential.type !== "oauth2") {
          return yield* new TypeMismatch({ credentialId: id, expected: credential.type, actual: "oauth2" })
        }
        if (credential.provider !== provider) {
          return yield* new TypeMismatch({ credentialId: id, expected: credential.provider, actual: provider })
        }
      })

      const finish: Login["Type"]["finish"] = Effect.fn("Login.finish")(function* (pending: Authorization, ask: Ask) {
        const extra = Redacted.value(pending.extra)
        const handler = yield* Effect.catchTag(
          handlers.forLogin(pending.provider, extra),
          "InvalidRequest",
          () => new AuthorizationExpired()
        )
        const sentAt = yield* DateTime.now
        const answer = yield* ask(handler).pipe(
          unsplit,
          Effect.catchTag(
            "OutboundFailure",
            ({ failure }) => new ProviderError({ provider: pending.provider, reason: failure })
          )
        )
        const read = yield* handler.read(answer)
        if (Either.isLeft(read)) {
          // the code is spent or refused: only a new login helps
          return yield* read.left._tag === "Refused"
            ? new AuthorizationDenied({ provider: pending.provider, error: "invalid_grant" })
            : new ProviderError({ provider: pending.provider, reason: read.left.reason })
        }
        const { extra: begun, tokens } = held(read.right, handler.provider, extra)
        const variant = toVariant(tokens, { scopes: pending.scopes }, sentAt)
        const kept = {
          ...begun,
          ...Redacted.value(tokens.kept),
          ...(handler.provider.refreshWithRedirectUri && { redirectUri: pending.redirectUri }),
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
        return toMetadata(credential, yield* DateTime.now)
      }, Effect.uninterruptible)

      return Login.of({
        finish,
        complete: (pending, code) =>
          finish(pending, (handler) =>
            handler.exchange({
              code,
              redirectUri: pending.redirectUri,
              codeVerifier: Option.fromNullable(pending.codeVerifier)
            })
          ),
        mayReconnect
      })
    })
  )
