/**
 * Whether a credential needs renewing: an ordered list of pure checks on what is stored, what the provider's data says,
 * and the time. The first check that has an opinion decides.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import { createHash } from "node:crypto"
import { type OAuth2Credential, type ReauthReason, reauthSoon } from "./Credential.ts"

/**
 * - `forced`: the caller asked for it
 * - `reported`: a consumer saw this generation refused upstream
 * - `expired`: the access token's time is over
 * - `expiring`: it will be within the margin
 *
 * @since 0.1.0
 * @category models
 */
export type DueReason = "forced" | "reported" | "expired" | "expiring"

/**
 * @since 0.1.0
 * @category models
 */
export type Verdict = Data.TaggedEnum<{
  /** Nothing to do: the stored access token is to be served. */
  Fresh: {}
  /** To be renewed. `living`: meanwhile the stored access token still serves. */
  Due: { readonly reason: DueReason; readonly living: boolean }
  /** No renewal can help, and the access token no longer serves. */
  Dead: { readonly reason: ReauthReason }
}>
export const Verdict = Data.taggedEnum<Verdict>()

/**
 * @since 0.1.0
 * @category models
 */
export interface Input {
  readonly credential: OAuth2Credential
  /** The provider's own margin, in seconds. */
  readonly marginSeconds: Option.Option<number>
  readonly now: DateTime.Utc
  /** How long the caller needs the token to live, in seconds. */
  readonly minValidSeconds: number
  readonly force: boolean
  /** Asked by nobody who waits: the time to renew ahead of the readers counts too. */
  readonly ahead?: boolean | undefined
}

const defaultMarginSeconds = 300

/** Between renewals that a report alone caused: none before the first, then doubling from 30 s to half an hour. */
const reportBackOffMillis = (streak: number) => (streak === 0 ? 0 : Math.min(30_000 * 2 ** (streak - 1), 1_800_000))

const millis = DateTime.toEpochMillis

/**
 * The lifetime of the stored access token in milliseconds: as the provider answered it, else from its storing to its
 * expiry. Of one without an expiry: what it can be expected to live.
 *
 * @since 0.1.0
 */
export const lifetimeMillis = (credential: OAuth2Credential): Option.Option<number> => {
  const { accessTokenExpiresAt, lifetimeSeconds } = credential.variant
  if (lifetimeSeconds !== undefined) return Option.some(lifetimeSeconds * 1000)
  if (accessTokenExpiresAt === undefined) return Option.none()
  return Option.some(Math.max(0, millis(accessTokenExpiresAt) - millis(credential.storedAt)))
}

/** When the access token ends, or can be expected to; infinity when nothing is known. */
const endMillis = (credential: OAuth2Credential): number => {
  const { accessTokenExpiresAt } = credential.variant
  if (accessTokenExpiresAt !== undefined) return millis(accessTokenExpiresAt)
  return millis(credential.storedAt) + Option.getOrElse(lifetimeMillis(credential), () => Number.POSITIVE_INFINITY)
}

/** A number from 0 to 1, evenly spread over credentials and their generations, and the same for the same one. */
const spreadOf = ({ generation, id }: OAuth2Credential) =>
  createHash("sha256").update(`${id}:${generation}`).digest().readUInt32BE() / 2 ** 32

/**
 * How long before its expiry the access token is renewed, in milliseconds: the smaller of the provider's margin (else
 * 300 s) and 10 % of the lifetime, less a jitter of at most a fifth that differs by credential and generation.
 * `minValidSeconds` raises it, at most to half the lifetime.
 *
 * @since 0.1.0
 */
export const marginMillis = (input: Input): number => marginFor(input, spreadOf(input.credential))

const marginFor = (input: Input, spread: number): number => {
  const lifetime = Option.getOrElse(lifetimeMillis(input.credential), () => 0)
  const margin = Math.min(Option.getOrElse(input.marginSeconds, () => defaultMarginSeconds) * 1000, lifetime / 10)
  return Math.max(margin * (1 - spread / 5), Math.min(input.minValidSeconds * 1000, lifetime / 2))
}

/** Most tokens are far from their end: those are told without working out the jitter. */
const isExpiring = (input: Input): boolean => {
  const left = endMillis(input.credential) - millis(input.now)
  return left <= marginFor(input, 0) && left <= marginMillis(input)
}

/**
 * Whether the stored access token's own time is over.
 *
 * @since 0.1.0
 */
export const isExpired = (credential: OAuth2Credential, now: DateTime.Utc): boolean =>
  credential.variant.accessTokenExpiresAt !== undefined &&
  millis(credential.variant.accessTokenExpiresAt) <= millis(now)

/**
 * Whether a consumer reported this very generation as refused upstream.
 *
 * @since 0.1.0
 */
export const isReported = (credential: OAuth2Credential): boolean =>
  Option.contains(credential.renewal.reportedGeneration, credential.generation)

/**
 * Whether anybody may be using the stored access token with success: it is neither expired nor reported.
 *
 * @since 0.1.0
 */
export const isLiving = (credential: OAuth2Credential, now: DateTime.Utc): boolean =>
  !isExpired(credential, now) && !isReported(credential)

/**
 * Why no renewal can help, whether or not the access token still serves; none when one can.
 *
 * @since 0.1.0
 */
export const unrenewable = ({ renewal, variant }: OAuth2Credential, now: DateTime.Utc): Option.Option<ReauthReason> => {
  if (Option.isSome(renewal.reauth)) return Option.some(renewal.reauth.value.reason)
  if (variant.refreshToken === undefined) return Option.some("no_refresh_token")
  if (variant.refreshTokenExpiresAt !== undefined && millis(variant.refreshTokenExpiresAt) <= millis(now)) {
    return Option.some("refresh_token_expired")
  }
  return Option.none()
}

/**
 * A shorter life is not planned for. Between a sweep and when a reader finds the token due there must be time for the
 * sweeper to come round; and a token that was refused so soon was hardly refused for its age.
 */
const shortestPlannedMillis = 300_000

/**
 * What the next access token can be expected to live in seconds, if its provider does not answer that: what it answered
 * before, or what reports have shown. The second report in a row of tokens whose end nobody knew, each of them five minutes
 * old or more, shows that they live no longer than that one did; a single one may have had any cause. It only ever gets
 * shorter, and makes renewals earlier: it ends no access token.
 *
 * @since 0.1.0
 */
export const expectedLifetimeSeconds = (
  credential: OAuth2Credential,
  reason: DueReason,
  at: DateTime.Utc
): Option.Option<number> => {
  const { accessTokenExpiresAt, lifetimeSeconds } = credential.variant
  const lived = millis(at) - millis(credential.storedAt)
  const shown =
    reason === "reported" &&
    accessTokenExpiresAt === undefined &&
    credential.renewal.reportStreak > 0 &&
    lived >= shortestPlannedMillis
  const seconds = Math.min(
    lifetimeSeconds ?? Number.POSITIVE_INFINITY,
    shown ? Math.floor(lived / 1000) : Number.POSITIVE_INFINITY
  )
  return Option.liftPredicate(seconds, Number.isFinite)
}

/**
 * After the first failures the sweeper waits longer than readers do, up to half an hour: nobody needs the token at once,
 * and what always fails must not use up what its provider allows.
 */
const patienceMillis = (failures: number) => Math.max(0, Math.min(1_000 * 2 ** failures, 1_800_000) - 300_000)

const reportedMillis = (credential: OAuth2Credential): number =>
  isReported(credential)
    ? millis(credential.storedAt) + reportBackOffMillis(credential.renewal.reportStreak)
    : Number.POSITIVE_INFINITY

/** When the access token comes into the part of its life in which the sweeper renews it. */
const aheadMillis = (credential: OAuth2Credential): number => {
  const lifetime = Option.getOrElse(lifetimeMillis(credential), () => 0)
  return lifetime < shortestPlannedMillis
    ? Number.POSITIVE_INFINITY
    : endMillis(credential) - lifetime * (0.15 + 0.05 * spreadOf(credential))
}

/**
 * When the sweeper is to renew a credential, ahead of any reader: 15 to 20 % of the access token's lifetime before its
 * expiry (a reader finds it due at 10 % or less, whatever the provider's margin), spread by credential and generation;
 * when it was reported, as soon as a reader may; after failures not before their back-off ends.
 *
 * None when nothing can renew it, and for tokens that live shorter than 5 minutes: those are left to their readers.
 *
 * @since 0.1.0
 */
export const aheadAt = (credential: OAuth2Credential): Option.Option<DateTime.Utc> => {
  const { failures, retryAt } = credential.renewal
  const allowed = Option.match(retryAt, { onNone: () => 0, onSome: (at) => millis(at) + patienceMillis(failures) })
  const millisAt = Math.max(allowed, Math.min(reportedMillis(credential), aheadMillis(credential)))
  if (credential.system || !Number.isFinite(millisAt)) return Option.none()
  const at = DateTime.unsafeMake(Math.ceil(millisAt))
  return Option.isSome(unrenewable(credential, at)) ? Option.none() : Option.some(at)
}

/**
 * When the sweeper is to look at a credential: to renew it ahead of time, or to announce that its refresh token is about
 * to die. None when there is nothing to do.
 *
 * @since 0.1.0
 */
export const sweepAt = (credential: OAuth2Credential): Option.Option<DateTime.Utc> => {
  const announcement = credential.renewal.reauthSoonSaid ? Option.none() : reauthSoon(credential)
  return Option.reduceCompact(
    [aheadAt(credential), Option.map(announcement, ({ from }) => from)],
    Option.none<DateTime.Utc>(),
    (first, at) => Option.some(Option.match(first, { onNone: () => at, onSome: (other) => DateTime.min(other, at) }))
  )
}

/**
 * From when on the credential is due, and why it will be; none while it has neither an expiry nor a report. May be past.
 *
 * @since 0.1.0
 */
export const dueAt = (
  input: Input
): Option.Option<{ readonly at: DateTime.Utc; readonly reason: "reported" | "expiring" }> => {
  const reported = reportedMillis(input.credential)
  const expiring = endMillis(input.credential) - marginMillis(input)
  const at = Math.min(expiring, reported)
  return Number.isFinite(at)
    ? Option.some({ at: DateTime.unsafeMake(at), reason: reported <= expiring ? "reported" : "expiring" })
    : Option.none()
}

const due = (input: Input): Option.Option<DueReason> => {
  const { ahead, credential, force, now } = input
  if (force) return Option.some("forced")
  if (isExpired(credential, now)) return Option.some("expired")
  if (reportedMillis(credential) <= millis(now)) return Option.some("reported")
  const isSwept = ahead === true && Option.exists(aheadAt(credential), DateTime.lessThanOrEqualTo(now))
  return isSwept || isExpiring(input) ? Option.some("expiring") : Option.none()
}

/**
 * Judges a credential. What cannot be renewed is `Dead` only once its access token no longer serves, or when the caller
 * insists on a new one.
 *
 * @since 0.1.0
 */
export const judge = (input: Input): Verdict => {
  const { credential, now } = input
  const reason = due(input)
  if (Option.isNone(reason)) return Verdict.Fresh()
  const dead = unrenewable(credential, now)
  if (Option.isSome(dead)) {
    const serves = Option.isSome(credential.renewal.reauth) ? isLiving(credential, now) : !isExpired(credential, now)
    return serves && !input.force ? Verdict.Fresh() : Verdict.Dead({ reason: dead.value })
  }
  return Verdict.Due({ reason: reason.value, living: isLiving(credential, now) })
}
