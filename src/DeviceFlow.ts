/**
 * Connecting an account with a code that the user is shown and enters in a browser elsewhere (RFC 8628). Nothing polls by
 * itself: each asking by the caller asks the provider at most once, as often as the provider allows.
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
import { randomBytes } from "node:crypto"
import { type AuditLog, record } from "./AuditLog.ts"
import { type Authorization, AuthorizationStore } from "./AuthorizationStore.ts"
import type { FailureReason, Metadata, ProviderId, UserId } from "./Credential.ts"
import {
  AuthorizationDenied,
  AuthorizationExpired,
  AuthorizationPending,
  InvalidRequest,
  type OutboundRefused,
  ProviderError
} from "./CredentialsError.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import { Login, type LoginError, unsplit } from "./Login.ts"
import { LockService, loginKey } from "./LockService.ts"
import type { AuthorizeError, AuthorizeOptions } from "./OAuthFlow.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Begun {
  /** What the user enters at `verificationUri`. */
  readonly userCode: string
  readonly verificationUri: string
  /** The same link with the code in it, where the provider has one. */
  readonly verificationUriComplete?: string
  readonly state: Redacted.Redacted
  readonly expiresAt: DateTime.Utc
  /** How many seconds to wait between two askings. */
  readonly interval: number
}

/**
 * @since 0.1.0
 * @category use cases
 */
export class DeviceFlow extends Context.Tag("effect-credentials/DeviceFlow")<
  DeviceFlow,
  {
    /** Begins a login: until `expiresAt` the user may enter the code. */
    readonly authorize: (
      userId: UserId,
      provider: ProviderId,
      options: Pick<AuthorizeOptions, "scopes" | "credentialId" | "variables">
    ) => Effect.Effect<Begun, AuthorizeError | OutboundRefused | ProviderError>
    /**
     * Asks whether the user is done, and stores what they granted: one step, whoever goes away meanwhile. Of many callers
     * one asks; the others, and those that come too early, are told when to come again (`AuthorizationPending`).
     */
    readonly callback: (
      state: Redacted.Redacted,
      by: { readonly userId: UserId; readonly provider: ProviderId }
    ) => Effect.Effect<Metadata, LoginError | AuthorizationPending | InvalidRequest>
  }
>() {}

/** RFC 8628 3.5: by so much the interval grows with each `slow_down`. */
const slowDownSeconds = 5

const longestInterval = 300

const after = (at: DateTime.Utc, seconds: number) => DateTime.addDuration(at, Duration.seconds(seconds))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  DeviceFlow,
  never,
  AuthorizationStore | HandlerRegistry | Login | LockService | AuditLog
> = Layer.effect(
  DeviceFlow,
  Effect.gen(function* () {
    const authorizations = yield* AuthorizationStore
    const handlers = yield* HandlerRegistry
    const login = yield* Login
    const locks = yield* LockService
    const context = yield* Effect.context<AuditLog>()

    const failed = (provider: ProviderId, reason: FailureReason) => new ProviderError({ provider, reason })

    const authorize: DeviceFlow["Type"]["authorize"] = Effect.fn("DeviceFlow.authorize")(
      function* (userId, provider, asked) {
        const extra = asked.variables === undefined ? {} : { variables: asked.variables }
        const handler = yield* handlers.forLogin(provider, extra)
        if (handler.device === undefined) {
          const expected = "a provider whose grant is device_code"
          return yield* new InvalidRequest({ issues: [{ field: "provider", expected }] })
        }
        if (asked.credentialId !== undefined) yield* login.mayReconnect(userId, provider, asked.credentialId)
        const scopes = asked.scopes ?? handler.provider.defaultScopes
        const answered = yield* Effect.catchTag(handler.device.begin(scopes), "OutboundFailure", ({ failure }) =>
          failed(provider, failure)
        )
        if (Either.isLeft(answered)) {
          const denial = answered.left
          return yield* failed(provider, denial._tag === "Refused" ? "rejected" : denial.reason)
        }
        const begun = answered.right
        const state = Redacted.make(randomBytes(32).toString("base64url"))
        const now = yield* DateTime.now
        const expiresAt = after(now, begun.lifetimeSeconds)
        const { deviceCode, intervalSeconds, userCode, verificationUri, verificationUriComplete } = begun
        yield* authorizations.put(state, {
          userId,
          provider,
          createdAt: now,
          expiresAt,
          authorizationUrl: Redacted.make(verificationUri),
          redirectUri: "",
          scopes,
          device: { deviceCode, intervalSeconds, nextPollAt: after(now, intervalSeconds) },
          ...(asked.credentialId !== undefined && { credentialId: asked.credentialId }),
          extra: Redacted.make(extra)
        })
        yield* record({ kind: "login_begun", userId, provider }).pipe(Effect.provide(context))
        return {
          userCode,
          verificationUri,
          ...Option.match(verificationUriComplete, {
            onNone: () => ({}),
            onSome: (uri) => ({ verificationUriComplete: uri })
          }),
          state,
          expiresAt,
          interval: intervalSeconds
        }
      }
    )

    /** The login waits on; it is asked for again no earlier than after its interval. */
    const wait = Effect.fnUntraced(function* (state: Redacted.Redacted, pending: Authorization, seconds: number) {
      const { device, provider } = pending
      if (device === undefined) return yield* new AuthorizationExpired()
      const intervalSeconds = Math.min(seconds, longestInterval)
      const nextPollAt = after(yield* DateTime.now, intervalSeconds)
      yield* authorizations.put(state, { ...pending, device: { ...device, intervalSeconds, nextPollAt } })
      return yield* new AuthorizationPending({ provider, retryAfterSeconds: intervalSeconds })
    })

    const asking = Effect.fnUntraced(function* (
      state: Redacted.Redacted,
      by: { readonly userId: UserId; readonly provider: ProviderId }
    ) {
      const found = yield* authorizations.find(state)
      const own = Option.filter(found, (known) => known.userId === by.userId && known.provider === by.provider)
      if (Option.isNone(own)) return yield* new AuthorizationExpired()
      const pending = own.value
      const { device, provider } = pending
      const handler = yield* Effect.catchTag(
        handlers.forLogin(provider, Redacted.value(pending.extra)),
        "InvalidRequest",
        () => new AuthorizationExpired()
      )
      if (device === undefined || handler.device === undefined) {
        const expected = "the code of the provider's answer"
        return yield* new InvalidRequest({ issues: [{ field: "code", expected }] })
      }
      const early = DateTime.distance(yield* DateTime.now, device.nextPollAt)
      if (early > 0) return yield* new AuthorizationPending({ provider, retryAfterSeconds: Math.ceil(early / 1000) })

      const answer = yield* handler.device.poll(device.deviceCode).pipe(
        unsplit,
        Effect.catchTag("OutboundFailure", ({ failure }) => failed(provider, failure))
      )
      const tokens = yield* handler.read(answer)
      if (Either.isLeft(tokens)) {
        const progress = handler.device.progress(answer)
        switch (Option.getOrUndefined(progress)) {
          case "pending":
            return yield* wait(state, pending, device.intervalSeconds)
          case "slow_down":
            return yield* wait(state, pending, device.intervalSeconds + slowDownSeconds)
          case undefined:
            if (tokens.left._tag !== "Refused") return yield* failed(provider, tokens.left.reason)
        }
        yield* authorizations.take(state, by)
        return yield* Option.contains(progress, "denied")
          ? new AuthorizationDenied({ provider, error: "access_denied" })
          : new AuthorizationExpired()
      }
      yield* authorizations.take(state, by)
      return yield* login.finish(pending, () => Effect.succeed(answer))
    })

    return DeviceFlow.of({
      authorize,
      callback: Effect.fn("DeviceFlow.callback")((state, by) =>
        Effect.zipRight(locks.acquire(loginKey(state), { wait: 0 }), asking(state, by)).pipe(
          Effect.scoped,
          Effect.catchTag(
            "LockTimeout",
            () => new AuthorizationPending({ provider: by.provider, retryAfterSeconds: 1 })
          ),
          Effect.uninterruptible
        )
      )
    })
  })
)
