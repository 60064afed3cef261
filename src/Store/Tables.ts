/**
 * The columns of the store's tables.
 *
 * @since 0.1.0
 */
import * as Table from "../Database/Table.ts"
import type { AttemptRow, CredentialRow, RenewalRow, RevocationRow, SettingRow } from "./Driver.ts"

const renewal = {
  reauthReason: "reauth_reason",
  reauthAttemptId: "reauth_attempt_id",
  reportedGeneration: "reported_generation",
  reportStreak: "report_streak",
  failures: "failures",
  retryAt: "retry_at",
  lastFailure: "last_failure",
  reauthSoonSaid: "reauth_soon_said",
  sweepAt: "sweep_at"
} as const

/**
 * @since 0.1.0
 */
export const credentials = Table.make<CredentialRow>({
  userId: "user_id",
  id: "id",
  provider: "provider",
  type: "type",
  title: "title",
  generation: "generation",
  grant: "grant_fingerprint",
  ...renewal,
  createdAt: "created_at",
  updatedAt: "updated_at",
  storedAt: "stored_at",
  keyId: "key_id",
  sealed: "sealed"
})

/**
 * @since 0.1.0
 */
export const renewals = Table.make<RenewalRow>(renewal)

/**
 * @since 0.1.0
 */
export const attempts = Table.make<AttemptRow>({
  id: "id",
  userId: "user_id",
  provider: "provider",
  grant: "grant_fingerprint",
  processId: "process_id",
  startedAt: "started_at",
  deadline: "deadline",
  probeOf: "probe_of"
})

/**
 * @since 0.1.0
 */
export const revocations = Table.make<RevocationRow>({
  id: "id",
  userId: "user_id",
  credentialId: "credential_id",
  provider: "provider",
  type: "type",
  generation: "generation",
  dueAt: "due_at",
  tries: "tries",
  createdAt: "created_at",
  keyId: "key_id",
  sealed: "sealed"
})

/**
 * @since 0.1.0
 */
export const settings = Table.make<SettingRow>({ name: "name", keyId: "key_id", sealed: "sealed" })
