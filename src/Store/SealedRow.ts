/**
 * A credential as a row and back: what is secret, and what must not be altered unseen, sealed together; the rest in the
 * open for the engine to find it by.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Cipher, Subject } from "../Cipher.ts"
import { DoesNotOpen } from "../Cipher.ts"
import type { Credential, CredentialId, Metadata, ProviderId, RenewalState, Type, UserId } from "../Credential.ts"
import { Extra, FailureReason, isOAuth2, ReauthReason, settled, Variant } from "../Credential.ts"
import * as RenewalPolicy from "../RenewalPolicy.ts"
import type { CredentialRow, RenewalRow, RevocationRow } from "./Driver.ts"

const Contents = Schema.parseJson(Schema.Struct({ variant: Variant, extra: Extra }))
const encodeContents = Schema.encodeSync(Contents)
const decodeContents = Schema.decodeUnknownEither(Contents)

/**
 * What is authenticated with the bytes of a credential's row.
 *
 * @since 0.1.0
 */
export const credentialSubject = (
  row: Pick<CredentialRow, "userId" | "id" | "provider" | "type" | "generation">
): Subject => ["credential", row.userId, row.id, row.provider, row.type, row.generation]

/**
 * What is authenticated with the bytes of a revocation's row.
 *
 * @since 0.1.0
 */
export const revocationSubject = (row: Pick<RevocationRow, "id" | "userId" | "credentialId" | "provider">): Subject => [
  "revocation",
  row.id,
  row.userId,
  row.credentialId,
  row.provider
]

const contentsOf = (credential: Credential) =>
  Buffer.from(encodeContents({ variant: credential.variant, extra: Redacted.value(credential.extra) }), "utf8")

const open = (
  cipher: Cipher["Type"],
  row: { readonly keyId: string; readonly sealed: Uint8Array },
  subject: Subject
): Effect.Effect<typeof Contents.Type, DoesNotOpen> =>
  cipher.open({ keyId: row.keyId, bytes: row.sealed }, subject).pipe(
    Effect.flatMap((plain) => decodeContents(Buffer.from(plain).toString("utf8"))),
    // authentic bytes that do not decode were written by another version: as unusable, and as loud
    Effect.mapError(() => new DoesNotOpen({ keyId: row.keyId }))
  )

const timeOrNull = (time: Option.Option<DateTime.Utc>) => Option.getOrNull(Option.map(time, DateTime.toDateUtc))

/** The columns of what is named of the state of renewal. */
const toRenewalRow = (renewal: Partial<RenewalState>): Partial<RenewalRow> => ({
  ...(renewal.reauth !== undefined && {
    reauthReason: Option.getOrNull(Option.map(renewal.reauth, (reauth) => reauth.reason)),
    reauthAttemptId: Option.getOrNull(Option.flatMap(renewal.reauth, (reauth) => reauth.attemptId))
  }),
  ...(renewal.reportedGeneration !== undefined && {
    reportedGeneration: Option.getOrNull(renewal.reportedGeneration)
  }),
  ...(renewal.reportStreak !== undefined && { reportStreak: renewal.reportStreak }),
  ...(renewal.failures !== undefined && { failures: renewal.failures }),
  ...(renewal.retryAt !== undefined && { retryAt: timeOrNull(renewal.retryAt) }),
  ...(renewal.lastFailure !== undefined && { lastFailure: Option.getOrNull(renewal.lastFailure) }),
  ...(renewal.reauthSoonSaid !== undefined && { reauthSoonSaid: renewal.reauthSoonSaid })
})

const sweepAt = (credential: Credential) =>
  isOAuth2(credential) ? timeOrNull(RenewalPolicy.sweepAt(credential)) : null

/**
 * The columns that a note on a credential sets: what it names, and when the sweeper is to look at it by what is known then.
 *
 * @since 0.1.0
 */
export const toNote = (credential: Credential, noted: Partial<RenewalState>): Partial<RenewalRow> => ({
  ...toRenewalRow(noted),
  sweepAt: sweepAt({ ...credential, renewal: { ...credential.renewal, ...noted } })
})

const isReauthReason = Schema.is(ReauthReason)
const isFailureReason = Schema.is(FailureReason)

const fromRenewalRow = (row: RenewalRow): RenewalState => ({
  reauth: Option.map(Option.liftPredicate(row.reauthReason, isReauthReason), (reason) => ({
    reason,
    attemptId: Option.fromNullable(row.reauthAttemptId)
  })),
  reportedGeneration: Option.fromNullable(row.reportedGeneration),
  reportStreak: row.reportStreak,
  failures: row.failures,
  retryAt: Option.map(Option.fromNullable(row.retryAt), DateTime.unsafeMake),
  lastFailure: Option.liftPredicate(row.lastFailure, isFailureReason),
  reauthSoonSaid: row.reauthSoonSaid
})

/**
 * @since 0.1.0
 */
export const sealCredential = (
  cipher: Cipher["Type"],
  credential: Credential,
  grant: Option.Option<string>
): Effect.Effect<CredentialRow> => {
  const row = {
    userId: credential.userId,
    id: credential.id,
    provider: credential.provider,
    type: credential.variant.type,
    title: Option.getOrNull(credential.title),
    generation: credential.generation,
    grant: Option.getOrNull(grant),
    ...(toNote(credential, credential.renewal) as RenewalRow),
    createdAt: DateTime.toDateUtc(credential.createdAt),
    updatedAt: DateTime.toDateUtc(credential.updatedAt),
    storedAt: DateTime.toDateUtc(credential.storedAt)
  }
  return Effect.map(cipher.seal(contentsOf(credential), credentialSubject(row)), ({ keyId, bytes }) => ({
    ...row,
    keyId,
    sealed: bytes
  }))
}

/**
 * @since 0.1.0
 */
export const openCredential = (cipher: Cipher["Type"], row: CredentialRow): Effect.Effect<Credential, DoesNotOpen> =>
  Effect.map(open(cipher, row, credentialSubject(row)), ({ extra, variant }) => ({
    userId: row.userId as UserId,
    id: row.id as CredentialId,
    provider: row.provider as ProviderId,
    title: Option.fromNullable(row.title),
    generation: row.generation,
    variant,
    extra: Redacted.make(extra),
    renewal: fromRenewalRow(row),
    system: false,
    createdAt: DateTime.unsafeMake(row.createdAt),
    updatedAt: DateTime.unsafeMake(row.updatedAt),
    storedAt: DateTime.unsafeMake(row.storedAt)
  }))

/**
 * What is known of a row that does not open.
 *
 * @since 0.1.0
 */
export const undecryptable = (row: CredentialRow): Metadata => ({
  id: row.id as CredentialId,
  userId: row.userId as UserId,
  type: row.type as Type,
  provider: row.provider as ProviderId,
  ...(row.title !== null && { title: row.title }),
  status: "undecryptable",
  generation: row.generation,
  createdAt: DateTime.unsafeMake(row.createdAt),
  updatedAt: DateTime.unsafeMake(row.updatedAt)
})

/**
 * @since 0.1.0
 */
export const sealRevocation = (
  cipher: Cipher["Type"],
  revocation: {
    readonly id: string
    readonly credential: Credential
    readonly dueAt: DateTime.Utc
    readonly tries: number
  }
): Effect.Effect<RevocationRow> => {
  const { credential } = revocation
  const row = {
    id: revocation.id,
    userId: credential.userId,
    credentialId: credential.id,
    provider: credential.provider,
    type: credential.variant.type,
    generation: credential.generation,
    createdAt: DateTime.toDateUtc(credential.createdAt),
    dueAt: DateTime.toDateUtc(revocation.dueAt),
    tries: revocation.tries
  }
  return Effect.map(cipher.seal(contentsOf(credential), revocationSubject(row)), ({ keyId, bytes }) => ({
    ...row,
    keyId,
    sealed: bytes
  }))
}

/**
 * @since 0.1.0
 */
export const openRevocation = (cipher: Cipher["Type"], row: RevocationRow) =>
  Effect.map(open(cipher, row, revocationSubject(row)), ({ extra, variant }) => {
    const createdAt = DateTime.unsafeMake(row.createdAt)
    const credential: Credential = {
      userId: row.userId as UserId,
      id: row.credentialId as CredentialId,
      provider: row.provider as ProviderId,
      title: Option.none(),
      generation: row.generation,
      variant,
      extra: Redacted.make(extra),
      renewal: settled,
      system: false,
      createdAt,
      updatedAt: createdAt,
      storedAt: createdAt
    }
    return { id: row.id, credential, dueAt: DateTime.unsafeMake(row.dueAt), tries: row.tries }
  })
