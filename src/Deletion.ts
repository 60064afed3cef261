/**
 * The end of a credential, and of all that a user has: deleted here first, then revoked at the provider.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { AuditLog, record } from "./AuditLog.ts"
import { AuthorizationStore } from "./AuthorizationStore.ts"
import type { CredentialId, Metadata, UserId } from "./Credential.ts"
import { Leases } from "./Leases.ts"
import { type ChangeError, Lending } from "./Lending.ts"
import { LockService, refreshKey } from "./LockService.ts"
import { type Progress, Revocations } from "./Revocations.ts"
import { Change, type Revocation, Store } from "./Store.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class Deletion extends Context.Tag("effect-credentials/Deletion")<
  Deletion,
  {
    /**
     * Waits for holders and for a renewal that is under way, then deletes and writes down, in one step, what is to be
     * revoked; tries that at once, for a bounded time.
     */
    readonly credential: (
      userId: UserId,
      id: CredentialId,
      options: {
        readonly wait: Duration.Duration
        readonly leaseId: Option.Option<string>
        readonly revoke: boolean
      }
    ) => Effect.Effect<{ readonly deleted: true; readonly revoked: boolean | null }, ChangeError>
    /** Ends the user's logins under way and leases, then deletes each credential. */
    readonly user: (
      userId: UserId,
      options: { readonly wait: Duration.Duration }
    ) => Effect.Effect<{ readonly deleted: number }, ChangeError>
  }
>() {}

/** How long a deletion waits for the provider's word before the outbox takes over. */
const patience = Duration.seconds(10)

const revokedBy = { done: true, refused: false, pending: null, unsafe: null } as const satisfies Record<
  Progress,
  boolean | null
>

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  Deletion,
  never,
  Store | LockService | Lending | Leases | Revocations | AuthorizationStore | AuditLog
> = Layer.effect(
  Deletion,
  Effect.gen(function* () {
    const store = yield* Store
    const locks = yield* LockService
    const lending = yield* Lending
    const leases = yield* Leases
    const revocations = yield* Revocations
    const authorizations = yield* AuthorizationStore
    const context = yield* Effect.context<AuditLog>()

    const note = (event: Parameters<typeof record>[0]) => record(event).pipe(Effect.provide(context))

    /** Removes a credential and, in the same step, writes down what is to be revoked. */
    const remove = Effect.fnUntraced(function* (userId: UserId, id: CredentialId, revoke: boolean) {
      const metadata = yield* store.metadata(userId, id)
      // what does not open cannot be revoked, and is deleted all the same
      const credential = yield* Effect.option(store.get(userId, id))
      const revocation =
        revoke && Option.isSome(credential) ? yield* revocations.plan(credential.value) : Option.none<Revocation>()
      yield* store.commit([
        Change.Remove({ userId, id, generation: metadata.generation }),
        ...Option.toArray(revocation).map((planned) => Change.Enqueue({ revocation: planned }))
      ])
      return { metadata, revocation }
    })

    const attempt = (revocation: Option.Option<Revocation>) =>
      Option.match(revocation, {
        onNone: () => Effect.succeed(null),
        onSome: (planned) =>
          revocations.attempt(planned).pipe(
            Effect.catchTag("StoreUnavailable", () => Effect.succeed("pending" as const)),
            Effect.timeoutTo({
              duration: patience,
              onSuccess: (progress) => revokedBy[progress],
              onTimeout: () => revokedBy.pending
            })
          )
      })

    const gone = ({ generation, id, provider, userId }: Metadata) =>
      note({ kind: "credential_deleted", userId, credentialId: id, provider, generation })

    const credential: Deletion["Type"]["credential"] = Effect.fn("Deletion.credential")(function* (
      userId,
      id,
      { leaseId, revoke, wait }
    ) {
      const { metadata, revocation } = yield* lending.alone(
        userId,
        id,
        { wait, leaseId },
        Effect.gen(function* () {
          const grant = Option.flatMap(yield* Effect.option(store.get(userId, id)), store.grantOf)
          // a renewal that is under way ends first: what it brings is what is to be revoked
          if (Option.isSome(grant)) yield* locks.acquire(refreshKey(grant.value), { priority: "writer", wait })
          return yield* remove(userId, id, revoke)
        })
      )
      yield* gone(metadata)
      return { deleted: true, revoked: revoke ? yield* attempt(revocation) : false } as const
    })

    const user: Deletion["Type"]["user"] = Effect.fn("Deletion.user")(function* (userId, { wait }) {
      const forget = Change.Forget({ userId, at: yield* DateTime.now })
      yield* Effect.catchTag(store.commit([forget]), "Conflict", () => Effect.void)
      yield* authorizations.removeUser(userId)
      yield* leases.releaseUser(userId)
      const { credentials, undecryptable } = yield* store.all(userId)
      const own = [...credentials.filter(({ system }) => !system), ...undecryptable]
      const deleted = yield* Effect.forEach(own, ({ id }) =>
        credential(userId, id, { wait, leaseId: Option.none(), revoke: true }).pipe(
          Effect.as(1),
          Effect.catchTag("CredentialNotFound", () => Effect.succeed(0))
        )
      )
      yield* note({ kind: "user_deleted", userId })
      return { deleted: deleted.reduce((sum, one) => sum + one, 0) }
    })

    return Deletion.of({ credential, user })
  })
)
