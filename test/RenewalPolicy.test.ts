import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomUUID } from "node:crypto"
import * as Credential from "../src/Credential.ts"
import * as RenewalPolicy from "../src/RenewalPolicy.ts"

const start = Date.parse("2026-01-01T00:00:00Z")
const at = (seconds: number) => DateTime.unsafeMake(start + seconds * 1000)

const credentialOf = (
  variant: Partial<Credential.OAuth2> = {},
  fields: Partial<Credential.OAuth2Credential> = {}
): Credential.OAuth2Credential => ({
  userId: Credential.UserId.make("user"),
  id: Credential.CredentialId.to.make("3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
  provider: Credential.providerId("acme"),
  title: Option.none(),
  generation: 1,
  variant: {
    type: "oauth2",
    accessToken: Redacted.make("access"),
    refreshToken: Redacted.make("refresh"),
    scopes: [],
    ...variant
  },
  extra: Redacted.make({}),
  renewal: Credential.settled,
  system: false,
  createdAt: at(0),
  updatedAt: at(0),
  storedAt: at(0),
  ...fields
})

/** A token of so many seconds, obtained at the start. */
const lasting = (seconds: number, fields: Partial<Credential.OAuth2Credential> = {}, known = true) =>
  credentialOf({ accessTokenExpiresAt: at(seconds), ...(known && { lifetimeSeconds: seconds }) }, fields)

const withoutRefreshToken = (credential: Credential.OAuth2Credential): Credential.OAuth2Credential => {
  const { refreshToken: _, ...variant } = credential.variant
  return { ...credential, variant }
}

const inputOf = (
  credential: Credential.OAuth2Credential,
  nowSeconds: number,
  fields: Partial<RenewalPolicy.Input> = {}
): RenewalPolicy.Input => ({
  credential,
  marginSeconds: Option.none(),
  now: at(nowSeconds),
  minValidSeconds: 0,
  force: false,
  ...fields
})

const judge = (...parameters: Parameters<typeof inputOf>) => RenewalPolicy.judge(inputOf(...parameters))

const reported = (generation: number, streak = 0): Partial<Credential.OAuth2Credential> => ({
  renewal: { ...Credential.settled, reportedGeneration: Option.some(generation), reportStreak: streak }
})

const needing = (reason: Credential.ReauthReason): Partial<Credential.OAuth2Credential> => ({
  renewal: { ...Credential.settled, reauth: Option.some({ reason, attemptId: Option.none() }) }
})

const lifetime = FastCheck.integer({ min: 1, max: 10 * 365 * 86_400 })
const margin = FastCheck.option(FastCheck.integer({ min: 0, max: 100_000 })).map(Option.fromNullable)
const seconds = FastCheck.integer({ min: 0, max: 1_000_000 })
const id = FastCheck.uuid().map((text) => Credential.CredentialId.to.make(text))
const generation = FastCheck.integer({ min: 1, max: 1_000_000 })

const reauth = FastCheck.option(FastCheck.constantFrom(...Credential.ReauthReason.literals))

/** Any credential, at any time of its life, asked for in any way. */
const anyInput = FastCheck.record({
  lifetime: FastCheck.option(lifetime),
  known: FastCheck.boolean(),
  nowSeconds: FastCheck.integer({ min: -1_000, max: 20_000_000 }),
  refreshToken: FastCheck.boolean(),
  refreshExpiry: FastCheck.option(FastCheck.integer({ min: -1_000, max: 20_000_000 })),
  reported: FastCheck.option(FastCheck.integer({ min: 1, max: 3 })),
  streak: FastCheck.integer({ min: 0, max: 100 }),
  reauth,
  generation: FastCheck.integer({ min: 1, max: 3 }),
  marginSeconds: margin,
  minValidSeconds: seconds,
  force: FastCheck.boolean(),
  id
}).map((given): RenewalPolicy.Input => {
  const credential = credentialOf(
    {
      ...(given.lifetime !== null && {
        accessTokenExpiresAt: at(given.lifetime),
        ...(given.known && { lifetimeSeconds: given.lifetime })
      }),
      ...(given.refreshExpiry !== null && { refreshTokenExpiresAt: at(given.refreshExpiry) })
    },
    {
      id: given.id,
      generation: given.generation,
      renewal: {
        ...Credential.settled,
        reportedGeneration: Option.fromNullable(given.reported),
        reportStreak: given.streak,
        reauth: Option.map(Option.fromNullable(given.reauth), (reason) => ({ reason, attemptId: Option.none() }))
      }
    }
  )
  return inputOf(given.refreshToken ? credential : withoutRefreshToken(credential), given.nowSeconds, given)
})

describe("the margin", () => {
  it.prop(
    "is at most the provider's own (else 300 s) and at most 10 % of the lifetime, and the jitter takes at most a fifth",
    { lifetime, marginSeconds: margin, id, generation },
    ({ lifetime, marginSeconds, id, generation }) => {
      const millis = RenewalPolicy.marginMillis(inputOf(lasting(lifetime, { id, generation }), 0, { marginSeconds }))
      const most = Math.min(
        Option.getOrElse(marginSeconds, () => 300),
        lifetime / 10
      )
      assert.isAtMost(millis, most * 1000 + 1e-6)
      assert.isAtLeast(millis, most * 800 - 1e-6)
    }
  )

  it.prop(
    "is raised by minValidSeconds, at most to half the lifetime",
    { lifetime, marginSeconds: margin, minValidSeconds: seconds },
    ({ lifetime, ...fields }) => {
      const asked = RenewalPolicy.marginMillis(inputOf(lasting(lifetime), 0, fields))
      const own = RenewalPolicy.marginMillis(inputOf(lasting(lifetime), 0, { marginSeconds: fields.marginSeconds }))
      assert.strictEqual(asked, Math.max(own, Math.min(fields.minValidSeconds, lifetime / 2) * 1000))
    }
  )

  it.prop(
    "of a lifetime that the provider did not say counts from the storing to the expiry",
    { lifetime },
    ({ lifetime }) => {
      const stored = lasting(lifetime, {}, false)
      assert.deepStrictEqual(RenewalPolicy.lifetimeMillis(stored), Option.some(lifetime * 1000))
      assert.strictEqual(
        RenewalPolicy.marginMillis(inputOf(stored, 0)),
        RenewalPolicy.marginMillis(inputOf(lasting(lifetime), 0))
      )
    }
  )

  it("differs from credential to credential and from generation to generation, and is the same each time", () => {
    const marginOf = (fields: Partial<Credential.OAuth2Credential>) =>
      RenewalPolicy.marginMillis(inputOf(lasting(3600, fields), 0))
    const byId = Array.from({ length: 1000 }, () => marginOf({ id: Credential.CredentialId.to.make(randomUUID()) }))
    const byGeneration = Array.from({ length: 1000 }, (_, index) => marginOf({ generation: index + 1 }))
    for (const margins of [byId, byGeneration]) {
      assert.isAbove(new Set(margins).size, 950)
      // they fill the fifth that they may fill, and do not crowd in a corner of it
      for (const quarter of [0, 1, 2, 3]) {
        const from = 240_000 + quarter * 15_000
        const within = margins.filter((millis) => millis >= from && millis <= from + 15_000)
        assert.isAbove(within.length, 150, `quarter ${quarter}`)
      }
    }
    assert.strictEqual(marginOf({}), marginOf({}))
  })

  it("is 300 s less the jitter for an hour and longer, 10 % below", () => {
    const inSeconds = (lifetimeSeconds: number) =>
      RenewalPolicy.marginMillis(inputOf(lasting(lifetimeSeconds), 0)) / 1000
    assert.isTrue(inSeconds(86_400) <= 300 && inSeconds(86_400) > 240)
    assert.isTrue(inSeconds(60) <= 6 && inSeconds(60) > 4.8)
    assert.isTrue(inSeconds(5) <= 0.5 && inSeconds(5) > 0.4)
  })
})

describe("Fresh", () => {
  it.prop(
    "is a token just obtained, whatever its lifetime, the margin and what the caller wants of it",
    { lifetime, marginSeconds: margin, minValidSeconds: seconds, known: FastCheck.boolean() },
    ({ lifetime, known, ...fields }) => {
      assert.strictEqual(judge(lasting(lifetime, {}, known), 0, fields)._tag, "Fresh")
    }
  )

  it.prop(
    "is a token through the first half of its life, unless forced or reported",
    { lifetime, minValidSeconds: seconds, part: FastCheck.double({ min: 0, max: 0.499, noNaN: true }) },
    ({ lifetime, minValidSeconds, part }) => {
      assert.strictEqual(judge(lasting(lifetime), lifetime * part, { minValidSeconds })._tag, "Fresh")
    }
  )

  it.prop("is a token without an expiry, at any time", { nowSeconds: seconds, minValidSeconds: seconds }, (given) => {
    assert.strictEqual(judge(credentialOf(), given.nowSeconds, given)._tag, "Fresh")
  })

  it.prop("becomes Due once, and stays so: time alone never makes it Fresh again", { lifetime, id }, (given) => {
    const credential = lasting(given.lifetime, { id: given.id })
    const tags = Array.from({ length: 101 }, (_, step) => judge(credential, (given.lifetime * step) / 100)._tag)
    const turn = tags.indexOf("Due")
    assert.isAtLeast(turn, 90)
    assert.deepStrictEqual([...new Set(tags.slice(turn))], ["Due"])
  })
})

describe("Due", () => {
  it("says why: expiring within the margin, expired at the expiry, forced before all", () => {
    const credential = lasting(3600)
    const margin = RenewalPolicy.marginMillis(inputOf(credential, 0)) / 1000
    assert.strictEqual(judge(credential, 3600 - margin - 0.001)._tag, "Fresh")
    assert.deepStrictEqual<unknown>(
      { ...judge(credential, 3600 - margin + 0.001) },
      { _tag: "Due", reason: "expiring", living: true }
    )
    assert.deepStrictEqual<unknown>({ ...judge(credential, 3600) }, { _tag: "Due", reason: "expired", living: false })
    assert.deepStrictEqual<unknown>(
      { ...judge(credential, 0, { force: true }) },
      { _tag: "Due", reason: "forced", living: true }
    )
    assert.deepStrictEqual<unknown>(
      { ...judge(credential, 4000, { force: true }) },
      { _tag: "Due", reason: "forced", living: false }
    )
  })

  it.prop("living says whether the stored token still serves", { input: anyInput }, ({ input }) => {
    const verdict = RenewalPolicy.judge(input)
    if (verdict._tag === "Due") {
      assert.strictEqual(verdict.living, RenewalPolicy.isLiving(input.credential, input.now))
    }
  })
})

describe("a report", () => {
  it("of this generation makes it due at once; of another it says nothing", () => {
    assert.deepStrictEqual<unknown>(
      { ...judge(lasting(3600, reported(1)), 0) },
      { _tag: "Due", reason: "reported", living: false }
    )
    assert.strictEqual(judge(lasting(3600, reported(2)), 0)._tag, "Fresh")
    assert.strictEqual(judge(lasting(3600, { ...reported(1), generation: 2 }), 0)._tag, "Fresh")
  })

  it("makes a token without an expiry due too", () => {
    assert.strictEqual(judge(credentialOf({}, reported(1)), 0)._tag, "Due")
  })

  it.prop(
    "after renewals that a report alone caused counts only when the back-off is over: 30 s, doubling, half an hour",
    { streak: FastCheck.integer({ min: 1, max: 2_000 }) },
    ({ streak }) => {
      const wait = Math.min(30 * 2 ** (streak - 1), 1800)
      const credential = credentialOf({}, reported(1, streak))
      assert.strictEqual(judge(credential, wait - 0.001)._tag, "Fresh")
      assert.strictEqual(judge(credential, wait)._tag, "Due")
    }
  )

  it("does not keep an expired token from being renewed", () => {
    assert.strictEqual(judge(lasting(10, reported(1, 50)), 10)._tag, "Due")
  })
})

describe("Dead", () => {
  it.prop(
    "is only what serves no more, or what is forced: while the access token lives it is served",
    { input: anyInput },
    ({ input }) => {
      const verdict = RenewalPolicy.judge(input)
      if (verdict._tag !== "Dead") return
      const { credential, force, now } = input
      const refused = RenewalPolicy.isReported(credential) && Option.isSome(credential.renewal.reauth)
      assert.isTrue(force || refused || RenewalPolicy.isExpired(credential, now))
    }
  )

  it.prop("is whatever cannot be renewed and is forced or expired", { input: anyInput }, ({ input }) => {
    const { credential, force, now } = input
    const { refreshToken, refreshTokenExpiresAt } = credential.variant
    const helpless =
      Option.isSome(credential.renewal.reauth) ||
      refreshToken === undefined ||
      (refreshTokenExpiresAt !== undefined && DateTime.lessThanOrEqualTo(refreshTokenExpiresAt, now))
    if (helpless && (force || RenewalPolicy.isExpired(credential, now))) {
      assert.strictEqual(RenewalPolicy.judge(input)._tag, "Dead")
    }
    if (!helpless) assert.notStrictEqual(RenewalPolicy.judge(input)._tag, "Dead")
  })

  it("names its reason: what the store noted first, then what is missing, then what is over", () => {
    const expired = lasting(10)
    const reasonOf = (credential: Credential.OAuth2Credential) => {
      const verdict = judge(credential, 20)
      return verdict._tag === "Dead" ? verdict.reason : verdict._tag
    }
    const worn = { ...expired, variant: { ...expired.variant, refreshTokenExpiresAt: at(20) } }
    assert.strictEqual(reasonOf(expired), "Due")
    assert.strictEqual(reasonOf(withoutRefreshToken(expired)), "no_refresh_token")
    assert.strictEqual(reasonOf(worn), "refresh_token_expired")
    assert.strictEqual(reasonOf(withoutRefreshToken(worn)), "no_refresh_token")
    for (const reason of ["grant_revoked", "response_lost"] as const) {
      assert.strictEqual(reasonOf(withoutRefreshToken(lasting(10, needing(reason)))), reason)
    }
  })

  it("a token whose grant is gone is served until it expires, or is reported", () => {
    const gone = lasting(100, needing("grant_revoked"))
    assert.strictEqual(judge(gone, 99.9)._tag, "Fresh")
    assert.strictEqual(judge(gone, 100)._tag, "Dead")
    const refused = lasting(100, {
      renewal: {
        ...Credential.settled,
        reauth: Option.some({ reason: "grant_revoked", attemptId: Option.none() }),
        reportedGeneration: Option.some(1)
      }
    })
    assert.strictEqual(judge(refused, 0)._tag, "Dead")
  })

  it("a token without a refresh token and without an expiry is served for ever, also when it is reported", () => {
    assert.strictEqual(judge(withoutRefreshToken(credentialOf()), 1e6)._tag, "Fresh")
    assert.strictEqual(judge(withoutRefreshToken(credentialOf({}, reported(1))), 1e6)._tag, "Fresh")
  })
})

describe("aheadAt", () => {
  const aheadAt = (credential: Credential.OAuth2Credential) =>
    Option.map(RenewalPolicy.aheadAt(credential), (time) => (DateTime.toEpochMillis(time) - start) / 1000)

  it.prop(
    "is before any reader finds it due, whatever the provider's margin, by at least 5 % of the lifetime",
    { lifetime: FastCheck.integer({ min: 300, max: 10 * 365 * 86_400 }), marginSeconds: margin, id, generation },
    ({ lifetime, marginSeconds, ...fields }) => {
      const credential = lasting(lifetime, fields)
      const swept = Option.getOrThrow(aheadAt(credential))
      assert.isAtLeast(swept, lifetime * 0.8)
      assert.isAtMost(swept, Math.ceil(lifetime * 0.85 * 1000) / 1000)
      const due = Option.getOrThrow(RenewalPolicy.dueAt(inputOf(credential, 0, { marginSeconds })))
      assert.isAtLeast((DateTime.toEpochMillis(due.at) - start) / 1000 - swept, lifetime * 0.05 - 0.002)
    }
  )

  it.prop(
    "is when one who asks ahead of time finds it due, and readers do not yet",
    { lifetime: FastCheck.integer({ min: 300, max: 10 * 365 * 86_400 }), id },
    ({ lifetime, id }) => {
      const credential = lasting(lifetime, { id })
      const swept = Option.getOrThrow(aheadAt(credential))
      assert.strictEqual(judge(credential, swept, { ahead: true })._tag, "Due")
      assert.strictEqual(judge(credential, swept - 0.001, { ahead: true })._tag, "Fresh")
      assert.strictEqual(judge(credential, swept)._tag, "Fresh")
    }
  )

  it("differs from credential to credential, and fills its part of the lifetime evenly", () => {
    const all = Array.from({ length: 1000 }, () =>
      Option.getOrThrow(aheadAt(lasting(10_000, { id: Credential.CredentialId.to.make(randomUUID()) })))
    )
    for (const from of [8_000, 8_125, 8_250, 8_375]) {
      assert.isAbove(all.filter((at) => at >= from && at <= from + 125).length, 150)
    }
  })

  it("is none below five minutes, without an expiry, and when no renewal can help then", () => {
    assert.isTrue(Option.isNone(aheadAt(lasting(299))))
    assert.isTrue(Option.isSome(aheadAt(lasting(300))))
    assert.isTrue(Option.isNone(aheadAt(credentialOf())))
    assert.isTrue(Option.isNone(aheadAt(lasting(-60, {}, false))))
    assert.isTrue(Option.isNone(aheadAt(withoutRefreshToken(lasting(3600)))))
    assert.isTrue(Option.isNone(aheadAt(lasting(3600, needing("grant_revoked")))))
    assert.isTrue(Option.isNone(aheadAt(lasting(3600, { system: true }))))
    const worn = lasting(3600)
    assert.isTrue(Option.isNone(aheadAt({ ...worn, variant: { ...worn.variant, refreshTokenExpiresAt: at(2_000) } })))
  })

  it("is at once for a reported token, however long it lives, unless reports alone caused the last renewals", () => {
    for (const credential of [credentialOf({}, reported(1)), lasting(60, reported(1)), lasting(3600, reported(1))]) {
      assert.deepStrictEqual(aheadAt(credential), Option.some(0))
    }
    assert.deepStrictEqual(aheadAt(credentialOf({}, reported(1, 2))), Option.some(60))
    assert.isTrue(Option.isNone(aheadAt(credentialOf({}, reported(2)))))
  })

  it("after a failure is not before the back-off ends, and later the more failures there were, up to half an hour", () => {
    const failed = (failures: number, retryAt: number) =>
      lasting(3600, { renewal: { ...Credential.settled, failures, retryAt: Option.some(at(retryAt)) } })
    assert.deepStrictEqual(aheadAt(failed(1, 10)), aheadAt(lasting(3600)))
    assert.deepStrictEqual(aheadAt(failed(1, 4_000)), Option.some(4_000))
    assert.deepStrictEqual(aheadAt(failed(8, 4_000)), Option.some(4_000))
    assert.deepStrictEqual(aheadAt(failed(10, 4_000)), Option.some(4_000 + 1024 - 300))
    for (const failures of [11, 12, 1_000, 100_000]) {
      assert.deepStrictEqual(aheadAt(failed(failures, 4_000)), Option.some(4_000 + 1800 - 300))
    }
  })
})

describe("sweepAt", () => {
  const dying = (seconds: number, said = false): Credential.OAuth2Credential => {
    const credential = lasting(3600, { renewal: { ...Credential.settled, reauthSoonSaid: said } })
    return { ...credential, variant: { ...credential.variant, refreshTokenExpiresAt: at(seconds) } }
  }

  it("is when it is renewed ahead of time, or when the end of its refresh token is announced, whichever comes first", () => {
    const days = 86_400
    const renewed = Option.getOrThrow(RenewalPolicy.aheadAt(lasting(3600)))
    assert.deepStrictEqual(RenewalPolicy.sweepAt(lasting(3600)), Option.some(renewed))
    assert.deepStrictEqual(RenewalPolicy.sweepAt(dying(15 * days)), Option.some(renewed))
    assert.deepStrictEqual(RenewalPolicy.sweepAt(dying(14 * days + 60)), Option.some(at(60)))
    assert.deepStrictEqual(RenewalPolicy.sweepAt(dying(14 * days + 60, true)), Option.some(renewed))
    const short = dying(14 * days + 60)
    assert.deepStrictEqual(
      RenewalPolicy.sweepAt({
        ...short,
        variant: { ...short.variant, accessTokenExpiresAt: at(100), lifetimeSeconds: 100 }
      }),
      Option.some(at(60))
    )
    assert.isTrue(Option.isNone(RenewalPolicy.sweepAt(credentialOf())))
  })
})

describe("a lifetime that no answer says", () => {
  const ofLifetime = (lifetimeSeconds: number, fields: Partial<Credential.OAuth2Credential> = {}) =>
    credentialOf({ lifetimeSeconds }, fields)

  it("makes a token due towards its expected end, and does not end it", () => {
    const credential = ofLifetime(3600)
    const margin = RenewalPolicy.marginMillis(inputOf(credential, 0)) / 1000
    assert.isAtMost(margin, 300)
    assert.strictEqual(judge(credential, 3600 - margin - 0.001)._tag, "Fresh")
    for (const now of [3600 - margin + 0.001, 3600, 1e6]) {
      assert.deepStrictEqual<unknown>({ ...judge(credential, now) }, { _tag: "Due", reason: "expiring", living: true })
    }
    assert.deepStrictEqual(RenewalPolicy.aheadAt(credential), RenewalPolicy.aheadAt(lasting(3600)))
  })

  const expected = (
    credential: Credential.OAuth2Credential,
    seconds: number,
    reason: RenewalPolicy.DueReason = "reported"
  ) => RenewalPolicy.expectedLifetimeSeconds(credential, reason, at(seconds))

  it("is learned from the second report in a row, and gets only shorter", () => {
    assert.deepStrictEqual(expected(credentialOf({}, reported(1, 1)), 7_000.9), Option.some(7_000))
    assert.deepStrictEqual(expected(ofLifetime(9_000, reported(1, 1)), 7_000), Option.some(7_000))
    assert.deepStrictEqual(expected(ofLifetime(6_000, reported(1, 1)), 7_000), Option.some(6_000))
    assert.isTrue(Option.isNone(expected(credentialOf({}, reported(1)), 7_000)))
    assert.deepStrictEqual(expected(ofLifetime(9_000, reported(1)), 7_000), Option.some(9_000))
  })

  it("is not learned from a token that was refused within five minutes, expired, or was renewed for another reason", () => {
    assert.isTrue(Option.isNone(expected(credentialOf({}, reported(1, 5)), 299)))
    assert.deepStrictEqual(expected(credentialOf({}, reported(1, 5)), 300), Option.some(300))
    assert.deepStrictEqual(expected(lasting(9_000, reported(1, 5)), 7_000), Option.some(9_000))
    for (const reason of ["forced", "expired", "expiring"] as const) {
      assert.isTrue(Option.isNone(expected(credentialOf({}, reported(1, 5)), 7_000, reason)))
    }
  })

  it.prop(
    "makes no hot loop: a token just obtained is fresh for four minutes at the least",
    { streak: FastCheck.integer({ min: 0, max: 50 }), lived: seconds, id, margin },
    ({ id, lived, margin, streak }) => {
      const lifetimeSeconds = Option.getOrUndefined(expected(credentialOf({}, reported(1, streak)), lived))
      const next = credentialOf({ ...(lifetimeSeconds !== undefined && { lifetimeSeconds }) }, { id })
      assert.strictEqual(judge(next, 240, { ahead: true, marginSeconds: margin, minValidSeconds: 0 })._tag, "Fresh")
    }
  )
})

describe("isLiving", () => {
  it.prop("is neither expired nor reported", { input: anyInput }, ({ input: { credential, now } }) => {
    assert.strictEqual(
      RenewalPolicy.isLiving(credential, now),
      !RenewalPolicy.isExpired(credential, now) && !RenewalPolicy.isReported(credential)
    )
  })
})
