/**
 * What is still to be revoked at providers (RFC 7009): written down in the same transaction as the deletion, tried until
 * done, and each time only if it ends nobody else's grant.
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
import { randomUUID } from "node:crypto"
import type { Kind } from "./AuditEvent.ts"
import { AuditLog, record } from "./AuditLog.ts"
import type { Credential, OAuth2Credential } from "./Credential.ts"
import { isOAuth2 } from "./Credential.ts"
import type { StoreUnavailable } from "./CredentialsError.ts"
import { HandlerRegistry } from "./HandlerRegistry.ts"
import type { Handler } from "./HandlerRegistry/Handler.ts"
import { Change, type Revocation, Store } from "./Store.ts"
import { isMachine } from "./TokenEndpoint/MachineGrant.ts"

/**
 * `done`; `refused` by the provider for good; `pending`: to be tried again; `unsafe`: given up, because it would end the
 * grant of another credential.
 *
 * @since 0.1.0
 * @category models
 */
export type Progress = "done" | "refused" | "pending" | "unsafe"

/**
 * @since 0.1.0
 * @category services
 */
export class Revocations extends Context.Tag("effect-credentials/Revocations")<
  Revocations,
  {
    /** A revocation of what a credential holds, due a while from now; none where the provider has no such thing. */
    readonly plan: (credential: Credential) => Effect.Effect<Option.Option<Revocation>, StoreUnavailable>
    /** The same for a credential whose place a new login takes; none where that would end the new grant with the old. */
    readonly planReplaced: (
      replaced: Credential,
      by: Credential
    ) => Effect.Effect<Option.Option<Revocation>, StoreUnavailable>
    /** Tries a planned revocation now. Interruption leaves it to be tried again. */
    readonly attempt: (revocation: Revocation) => Effect.Effect<Progress, StoreUnavailable>
    /** Tries what is due. Of several processes that do so at once, one tries each. */
    readonly drain: Effect.Effect<void, StoreUnavailable>
  }
>() {}

/** How long a try may take, both tokens together. */
const tryBound = Duration.seconds(25)

/** The first try is that of whoever planned it; after it the outbox takes over. */
const firstDelay = Duration.seconds(30)

/** What a process claimed and did not come to finish is due again then. */
const claimedFor = Duration.minutes(1)

const delayAfter = (tries: number) => Duration.millis(Math.min(30_000 * 2 ** tries, 3_600_000))

/** After so many tries, over days, the grant has died by itself. */
const mostTries = 100

/** Which client a credential was made with, where it keeps that: an id is only one at its issuer. */
const clientOf = (credential: Credential) => {
  const { mcp_client_id: id, mcp_client_of: provider, mcp_issuer: issuer } = Redacted.value(credential.extra)
  return JSON.stringify([id, provider, issuer])
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Revocations, never, Store | HandlerRegistry | AuditLog> = Layer.effect(
  Revocations,
  Effect.gen(function* () {
    const store = yield* Store
    const handlers = yield* HandlerRegistry
    const context = yield* Effect.context<AuditLog>()

    const note = (kind: Kind, { id, provider, userId }: Credential) =>
      record({ kind, userId, credentialId: id, provider }).pipe(Effect.provide(context))

    /** Whether nobody else's grant ends with this one. */
    const isSafe = Effect.fnUntraced(function* (credential: OAuth2Credential, handler: Handler) {
      // a client's own grant is everybody's
      if (isMachine(handler.provider.grant) && handler.provider.revocationScope !== "token") return false
      if (handler.provider.revocationScope === "token") {
        const grant = store.grantOf(credential)
        return Option.isNone(grant) || (yield* store.sharing(credential.userId, grant.value)).length === 0
      }
      const { credentials, undecryptable } = yield* store.all(credential.userId)
      return (
        !credentials.some(
          (other) => !other.system && other.provider === credential.provider && clientOf(other) === clientOf(credential)
        ) && !undecryptable.some((other) => other.provider === credential.provider)
      )
    })

    const tokensOf = ({ variant }: OAuth2Credential, handler: Handler) => {
      const access = { token: variant.accessToken, hint: "access_token" as const }
      const { takes } = handler.provider.revocation ?? {}
      if (variant.refreshToken === undefined || isMachine(handler.provider.grant) || takes === "access_token")
        return [access]
      const refresh = { token: variant.refreshToken, hint: "refresh_token" as const }
      if (takes === "refresh_token") return [refresh]
      return handler.provider.revocationScope === "token" ? [refresh, access] : [refresh]
    }

    const send = Effect.fnUntraced(function* (
      credential: OAuth2Credential,
      handler: Handler,
      revoke: NonNullable<Handler["revoke"]>
    ): Effect.fn.Return<Progress> {
      const results = yield* Effect.forEach(tokensOf(credential, handler), ({ hint, token }) =>
        revoke(token, hint).pipe(
          Effect.map(
            Either.match({
              onLeft: ({ final }): Progress => (final ? "refused" : "pending"),
              onRight: (): Progress => "done"
            })
          ),
          Effect.catchTags({
            OutboundFailure: () => Effect.succeed("pending" as const),
            OutboundRefused: () => Effect.succeed("refused" as const)
          })
        )
      )
      return results.find((result) => result !== "done") ?? "done"
    })

    const finish = Effect.fnUntraced(function* ({ credential, id, tries }: Revocation, progress: Progress) {
      if (progress === "pending" && tries < mostTries) {
        const dueAt = DateTime.addDuration(yield* store.now, delayAfter(tries))
        return yield* store.commit([Change.Postpone({ id, dueAt })])
      }
      yield* store.commit([Change.Dequeue({ id })])
      const kinds = {
        done: "revoked",
        refused: "revocation_refused",
        pending: "revocation_refused",
        unsafe: "revocation_cancelled"
      } as const
      yield* note(kinds[progress], credential)
    })

    const attempt = Effect.fn("Revocations.attempt")(function* (revocation: Revocation) {
      const { credential } = revocation
      const handler = isOAuth2(credential) ? yield* Effect.option(handlers.of(credential)) : Option.none()
      const progress = yield* Effect.gen(function* (): Effect.fn.Return<Progress, StoreUnavailable> {
        // a provider that is not configured now may be again
        if (!isOAuth2(credential) || Option.isNone(handler)) return "pending"
        if (handler.value.revoke === undefined) return "refused"
        const safe = yield* isSafe(credential, handler.value)
        if (!safe) return "unsafe"
        const sent = send(credential, handler.value, handler.value.revoke)
        return Option.getOrElse(yield* Effect.timeoutOption(sent, tryBound), (): Progress => "pending")
      })
      yield* Effect.catchTag(finish(revocation, progress), "Conflict", () => Effect.void)
      return progress
    })

    const claim = Effect.fnUntraced(function* ({ dueAt, id }: Revocation) {
      const until = DateTime.addDuration(yield* store.now, claimedFor)
      return yield* store.commit([Change.Claim({ id, dueAt, until })]).pipe(
        Effect.as(true),
        Effect.catchTag("Conflict", () => Effect.succeed(false))
      )
    })

    const planWhere = Effect.fnUntraced(function* (credential: Credential, isWorth: (handler: Handler) => boolean) {
      if (!isOAuth2(credential)) return Option.none()
      const handler = yield* Effect.option(handlers.of(credential))
      if (Option.isNone(handler) || handler.value.revoke === undefined || !isWorth(handler.value)) return Option.none()
      const dueAt = DateTime.addDuration(yield* store.now, firstDelay)
      return Option.some({ id: randomUUID(), credential, dueAt, tries: 0 })
    })

    return Revocations.of({
      plan: (credential) => planWhere(credential, () => true),
      planReplaced: (replaced, by) =>
        planWhere(
          replaced,
          ({ provider }) => provider.revocationScope === "token" || clientOf(replaced) !== clientOf(by)
        ),
      attempt,
      drain: Effect.flatMap(store.revocations(50), (due) =>
        Effect.forEach(due, (revocation) => Effect.whenEffect(attempt(revocation), claim(revocation)), {
          concurrency: 4,
          discard: true
        })
      )
    })
  })
)
