import { assert, layer as withLayer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { randomBytes, randomUUID } from "node:crypto"
import * as Cipher from "../../src/Cipher.ts"
import * as Credential from "../../src/Credential.ts"
import * as RenewalPolicy from "../../src/RenewalPolicy.ts"
import * as Store from "../../src/Store.ts"
import type { CredentialRow, Driver } from "../../src/Store/Driver.ts"
import { Conflict, RowChange } from "../../src/Store/Driver.ts"
import * as SealedRow from "../../src/Store/SealedRow.ts"
import { SystemCredentials } from "../../src/SystemCredentials.ts"

const { Change } = Store

/** The engine under test. */
export class StoreDriver extends Context.Tag("effect-credentials/test/StoreDriver")<StoreDriver, Driver>() {}

const key = (id: string) => ({ id, bytes: Redacted.make(randomBytes(32)) })

const ring = [key("contract"), key("elsewhere")] as const

/** Seals with a key that the ring knows by name, and has with other bytes. */
const otherCipher = Cipher.make([key("elsewhere")])

/** A user of this test alone: engines are shared by the tests of a file. */
const newUser = () => Credential.UserId.make(`user ${randomUUID()} ünïcode 🔑`)
const newId = () => Credential.CredentialId.to.make(randomUUID())
const time = (iso: string) => DateTime.unsafeMake(iso)
const provider = (name: string) => Schema.decodeSync(Credential.ProviderId)(name)

const longAgo = time("2024-05-06T07:08:09.123Z")

const oauth2 = (fields: Partial<Credential.OAuth2> = {}): Credential.OAuth2 => ({
  type: "oauth2",
  accessToken: Redacted.make(`access-${randomUUID()}`),
  refreshToken: Redacted.make(`refresh-${randomUUID()}`),
  accessTokenExpiresAt: time("2024-05-06T08:08:09.123Z"),
  lifetimeSeconds: 3600,
  scopes: ["repo", "user"],
  ...fields
})

const apiKey = (): Credential.ApiKey => ({ type: "api_key", apiKey: Redacted.make(`key-${randomUUID()}`) })

const newCredential = (
  userId: Credential.UserId,
  fields: Partial<Credential.Credential> = {}
): Credential.Credential => ({
  userId,
  id: newId(),
  provider: provider("github"),
  title: Option.some('work\'s "own"; drop table credentials --'),
  generation: 1,
  variant: oauth2(),
  extra: Redacted.make({ tenant: "acme", mcp_client_secret: `extra-${randomUUID()}` }),
  renewal: Credential.settled,
  system: false,
  createdAt: longAgo,
  updatedAt: longAgo,
  storedAt: longAgo,
  ...fields
})

const next = (credential: Credential.Credential, fields: Partial<Credential.Credential> = {}) => ({
  ...credential,
  generation: credential.generation + 1,
  variant: oauth2(),
  ...fields
})

const create = (credential: Credential.Credential) => Change.Create({ credential, unlessForgottenSince: Option.none() })

const newAttempt = (grant: Store.Grant, fields: Partial<Store.Attempt> = {}): Store.Attempt => ({
  id: randomUUID(),
  userId: newUser(),
  provider: provider("github"),
  grant,
  processId: "process 1",
  startedAt: longAgo,
  deadline: time("2024-05-06T07:09:09.999Z"),
  probeOf: Option.none(),
  ...fields
})

const newGrant = (): Store.Grant => randomBytes(32).toString("base64url")

/** Everything of a credential in the open: `Redacted` values compare as equal whatever they hold. */
const reveal = (credential: Credential.Credential) => ({
  ...credential,
  variant: Schema.encodeSync(Credential.Variant)(credential.variant),
  extra: Redacted.value(credential.extra),
  renewal: { ...credential.renewal, retryAt: Option.map(credential.renewal.retryAt, DateTime.formatIso) },
  createdAt: DateTime.formatIso(credential.createdAt),
  updatedAt: DateTime.formatIso(credential.updatedAt),
  storedAt: DateTime.formatIso(credential.storedAt)
})

const commit = (...changes: ReadonlyArray<Store.Change>) =>
  Effect.flatMap(Store.Store, (store) => store.commit(changes))

const read = (credential: Pick<Credential.Credential, "userId" | "id">) =>
  Effect.flatMap(Store.Store, (store) => store.get(credential.userId, credential.id))

const isStored = (credential: Credential.Credential) =>
  Effect.map(read(credential), (stored) => assert.deepStrictEqual(reveal(stored), reveal(credential)))

const isMissing = (credential: Pick<Credential.Credential, "userId" | "id">) =>
  Effect.map(Effect.flip(read(credential)), (error) => assert.strictEqual(error._tag, "CredentialNotFound"))

const conflicts = <R>(on: Conflict["on"], committed: Effect.Effect<void, unknown, R>) =>
  Effect.map(Effect.flip(committed), (error) => {
    assert.instanceOf(error, Conflict)
    assert.strictEqual(error.on, on)
  })

const noFilter: Store.Filter = {}

const listed = (userId: Credential.UserId, filter: Store.Filter = noFilter) =>
  Effect.map(
    Effect.flatMap(Store.Store, (store) => store.list(userId, filter, { limit: 200, after: Option.none() })),
    (page) => page.items.map((item) => item.id)
  )

/** All pages of a list, `limit` at a time. */
const paged = (userId: Credential.UserId, limit: number, filter: Store.Filter = noFilter) =>
  Effect.gen(function* () {
    const store = yield* Store.Store
    const pages: Array<ReadonlyArray<Credential.Metadata>> = []
    let after: Option.Option<Store.Cursor> = Option.none()
    do {
      const page: Store.Page = yield* store.list(userId, filter, { limit, after })
      pages.push(page.items)
      after = page.next
    } while (Option.isSome(after))
    return pages
  })

/** Puts a row there that this store's ring does not open. */
const createUndecryptable = (credential: Credential.Credential, grant: Option.Option<Store.Grant> = Option.none()) =>
  Effect.gen(function* () {
    const driver = yield* StoreDriver
    const row = yield* SealedRow.sealCredential(otherCipher, credential, grant)
    yield* driver.commit([RowChange.Create({ row, unlessForgottenSince: null })])
  })

const rowOf = (credential: Credential.Credential) =>
  Effect.flatMap(StoreDriver, (driver) => Effect.map(driver.find(credential.userId, credential.id), Option.getOrThrow))

/** The secret in every spelling in which bytes could be stored. */
const spellings = (secret: string) => {
  const bytes = Buffer.from(secret, "utf8")
  return [secret, bytes.toString("hex"), bytes.toString("base64").replace(/=+$/, ""), bytes.toString("base64url")]
}

const secretsOf = (credential: Credential.Credential): ReadonlyArray<string> => {
  const { variant } = credential
  const extra = Object.values(Redacted.value(credential.extra)).filter((value) => typeof value === "string")
  switch (variant.type) {
    case "oauth2":
      return [
        Redacted.value(variant.accessToken),
        ...(variant.refreshToken === undefined ? [] : [Redacted.value(variant.refreshToken)]),
        ...extra
      ]
    case "api_key":
      return [Redacted.value(variant.apiKey), ...extra]
    case "user_password":
      return [Redacted.value(variant.password), ...extra]
    case "host_scoped":
      return [...Object.values(variant.headers).map(Redacted.value), ...extra]
  }
}

/** What every engine does as a `Store`. */
export const suite = <E>(name: string, driver: Layer.Layer<StoreDriver, E>) => {
  const layer = Store.layer(StoreDriver).pipe(Layer.provideMerge(driver), Layer.provideMerge(Cipher.layer(ring)))

  withLayer(layer, { timeout: "60 seconds" })(`Store: ${name}`, (it) => {
    it.effect("a credential of every kind is read back as it was stored", () =>
      Effect.gen(function* () {
        const userId = newUser()
        const variants: ReadonlyArray<Credential.Variant> = [
          oauth2({ username: "mona", refreshTokenExpiresAt: time("2025-01-01T00:00:00.001Z") }),
          { type: "oauth2", accessToken: Redacted.make("only this"), scopes: [] },
          { ...apiKey(), expiresAt: time("2030-01-01T00:00:00Z") },
          { type: "user_password", username: "mona", password: Redacted.make("pässwörd \u0000 🔒") },
          { type: "host_scoped", host: "*.example.com:8443", headers: { "X-Key": Redacted.make("one") } }
        ]
        for (const variant of variants) {
          const credential = newCredential(userId, {
            variant,
            renewal: {
              reauth: Option.some({ reason: "response_lost", attemptId: Option.some(randomUUID()) }),
              reportedGeneration: Option.some(1),
              reportStreak: 2,
              failures: 3,
              retryAt: Option.some(time("2024-05-06T07:08:10.001Z")),
              lastFailure: Option.some("throttled"),
              reauthSoonSaid: true
            }
          })
          yield* commit(create(credential))
          yield* isStored(credential)
        }
        const plain = newCredential(userId, { title: Option.none(), extra: Redacted.make({}) })
        yield* commit(create(plain))
        yield* isStored(plain)
      })
    )

    it.effect("an id that the user has is not created again, and the first stays", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        yield* commit(create(credential))
        yield* conflicts("exists", commit(create({ ...credential, variant: apiKey() })))
        yield* isStored(credential)
      })
    )

    it.effect("two users may have the same id, and neither sees the other's", () =>
      Effect.gen(function* () {
        const one = newCredential(newUser())
        const other = newCredential(newUser(), { id: one.id, variant: apiKey() })
        yield* commit(create(one))
        yield* isMissing(other)
        yield* commit(create(other))
        yield* isStored(one)
        yield* isStored(other)
        yield* commit(Change.Remove(one))
        yield* isMissing(one)
        yield* isStored(other)
      })
    )

    it.effect("what was begun before its user was deleted is not created; what was begun after is", () =>
      Effect.gen(function* () {
        const userId = newUser()
        const since = (iso: string) => Option.some(time(iso))
        const begun = (at: string) =>
          Change.Create({ credential: newCredential(userId), unlessForgottenSince: since(at) })
        yield* commit(begun("2024-01-01T00:00:00Z"))
        yield* commit(Change.Forget({ userId, at: time("2024-02-01T00:00:00Z") }))
        yield* conflicts("forgotten", commit(begun("2024-01-31T23:59:59.999Z")))
        yield* conflicts("forgotten", commit(begun("2024-02-01T00:00:00Z")))
        yield* commit(begun("2024-02-01T00:00:00.001Z"))
        yield* commit(create(newCredential(userId)))
        yield* commit(
          Change.Create({ credential: newCredential(newUser()), unlessForgottenSince: since("2024-01-01T00:00:00Z") })
        )
        assert.lengthOf(yield* listed(userId), 3)
      })
    )

    it.effect("a user who is deleted again is forgotten as of the later time, in whichever order that is written", () =>
      Effect.gen(function* () {
        const userId = newUser()
        yield* commit(Change.Forget({ userId, at: time("2024-03-01T00:00:00Z") }))
        yield* commit(Change.Forget({ userId, at: time("2024-02-01T00:00:00Z") }))
        yield* conflicts(
          "forgotten",
          commit(
            Change.Create({
              credential: newCredential(userId),
              unlessForgottenSince: Option.some(time("2024-02-15T00:00:00Z"))
            })
          )
        )
      })
    )

    it.effect("a replacement stores the next generation whole, and keeps when the credential was made", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        yield* commit(create(credential))
        const later = time("2024-06-01T00:00:00Z")
        const replaced = next(credential, {
          provider: provider("gitlab"),
          title: Option.none(),
          createdAt: later,
          updatedAt: later,
          storedAt: later,
          renewal: { ...Credential.settled, failures: 1 }
        })
        yield* commit(Change.Replace({ credential: replaced }))
        yield* isStored({ ...replaced, createdAt: credential.createdAt })
      })
    )

    it.effect("only the generation after the stored one replaces it", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        const other = newCredential(newUser())
        yield* commit(create(credential), create(other))
        for (const generation of [0, 1, 3]) {
          yield* conflicts("generation", commit(Change.Replace({ credential: { ...credential, generation } })))
        }
        yield* conflicts("generation", commit(Change.Replace({ credential: next(newCredential(newUser())) })))
        yield* conflicts("generation", commit(Change.Replace({ credential: next({ ...other, id: credential.id }) })))
        yield* isStored(credential)
        yield* isStored(other)
      })
    )

    it.effect("a note changes the state of renewal and nothing else", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        yield* commit(create(credential))
        const renewal: Credential.RenewalState = {
          reauth: Option.some({ reason: "grant_revoked", attemptId: Option.none() }),
          reportedGeneration: Option.some(1),
          reportStreak: 4,
          failures: 5,
          retryAt: Option.some(time("2024-07-01T00:00:00.5Z")),
          lastFailure: Option.some("unreachable"),
          reauthSoonSaid: true
        }
        const note = (noted: Credential.RenewalState) => Change.Note({ credential, renewal: noted })
        yield* commit(note(renewal))
        yield* isStored({ ...credential, renewal })
        yield* commit(note(Credential.settled))
        yield* isStored(credential)
      })
    )

    it.effect("a note leaves what it does not name", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        yield* commit(create(credential))
        const note = (renewal: Partial<Credential.RenewalState>) => commit(Change.Note({ credential, renewal }))
        const noted = { failures: 3, lastFailure: Option.some("timeout" as const), retryAt: Option.some(longAgo) }
        yield* note(noted)
        yield* note({ reportedGeneration: Option.some(1) })
        yield* note({})
        const renewal = { ...Credential.settled, ...noted, reportedGeneration: Option.some(1) }
        yield* isStored({ ...credential, renewal })
        yield* note({ retryAt: Option.none() })
        yield* isStored({ ...credential, renewal: { ...renewal, retryAt: Option.none() } })
      })
    )

    it.effect("what is only expected is not changed, and stops the commit when it is not so", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        const other = newCredential(newUser())
        yield* commit(create(credential))
        yield* commit(Change.Expect(credential))
        yield* commit(Change.Expect(credential), create(other))
        yield* isStored(credential)
        yield* isStored(other)
      })
    )

    it.effect("a note, an expectation or a removal for another generation, or for nothing, is a conflict", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        yield* commit(create(credential))
        const renewal = { ...Credential.settled, failures: 9 }
        for (const wrong of [
          { ...credential, generation: 2 },
          { ...credential, generation: 0 },
          { ...credential, userId: newUser() },
          { ...credential, id: newId() }
        ]) {
          yield* conflicts("generation", commit(Change.Note({ credential: wrong, renewal })))
          yield* conflicts("generation", commit(Change.Note({ credential: wrong, renewal: {} })))
          yield* conflicts("generation", commit(Change.Expect(wrong)))
          yield* conflicts("generation", commit(Change.Remove(wrong)))
        }
        yield* isStored(credential)
      })
    )

    it.effect("what is removed is gone, from lists too, and its id can be used again", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        yield* commit(create(credential))
        yield* commit(Change.Remove(credential))
        yield* isMissing(credential)
        assert.deepStrictEqual(yield* listed(credential.userId), [])
        yield* conflicts("generation", commit(Change.Remove(credential)))
        yield* conflicts("generation", commit(Change.Replace({ credential: next(credential) })))
        yield* commit(create(credential))
        yield* isStored(credential)
      })
    )

    it.effect("a grant has one open attempt, until that is closed", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const grant = newGrant()
        const first = newAttempt(grant)
        const second = newAttempt(grant, { probeOf: Option.some(first.id) })
        assert.deepStrictEqual(yield* store.openAttempt(grant), Option.none())
        yield* commit(Change.OpenAttempt({ attempt: first }))
        assert.deepStrictEqual(yield* store.openAttempt(grant), Option.some(first))
        yield* conflicts("attempt", commit(Change.OpenAttempt({ attempt: second })))
        yield* conflicts("attempt", commit(Change.OpenAttempt({ attempt: first })))
        yield* commit(Change.OpenAttempt({ attempt: newAttempt(newGrant()) }))
        assert.deepStrictEqual(yield* store.outcome(first.id), Option.some("open"))
        assert.deepStrictEqual(yield* store.outcome(second.id), Option.none())
        yield* commit(Change.CloseAttempt({ id: first.id, outcome: "failed" }))
        assert.deepStrictEqual(yield* store.outcome(first.id), Option.some("failed"))
        assert.deepStrictEqual(yield* store.openAttempt(grant), Option.none())
        yield* commit(Change.OpenAttempt({ attempt: second }))
        assert.deepStrictEqual(yield* store.openAttempt(grant), Option.some(second))
      })
    )

    it.effect("an attempt is closed once, whatever its outcome, which is remembered", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        for (const outcome of ["saved", "superseded", "refused", "failed", "lost", "probed"] as const) {
          const attempt = newAttempt(newGrant())
          yield* commit(Change.OpenAttempt({ attempt }))
          yield* commit(Change.CloseAttempt({ id: attempt.id, outcome }))
          assert.deepStrictEqual(yield* store.outcome(attempt.id), Option.some(outcome))
          yield* conflicts("attempt", commit(Change.CloseAttempt({ id: attempt.id, outcome })))
          yield* conflicts("attempt", commit(Change.ExpireAttempt({ id: attempt.id, at: longAgo })))
        }
        yield* conflicts("attempt", commit(Change.CloseAttempt({ id: randomUUID(), outcome: "saved" })))
        yield* conflicts("attempt", commit(Change.ExpireAttempt({ id: randomUUID(), at: longAgo })))
      })
    )

    it.effect("an expired attempt stays open, with its deadline moved", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const attempt = newAttempt(newGrant())
        yield* commit(Change.OpenAttempt({ attempt }))
        const at = time("2024-05-06T07:08:30.007Z")
        yield* commit(Change.ExpireAttempt({ id: attempt.id, at }))
        assert.deepStrictEqual(yield* store.openAttempt(attempt.grant), Option.some({ ...attempt, deadline: at }))
      })
    )

    it.effect("an attempt is closed and the one that probes it opened in one commit", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const lost = newAttempt(newGrant())
        const probe = newAttempt(lost.grant, { probeOf: Option.some(lost.id) })
        yield* commit(Change.OpenAttempt({ attempt: lost }))
        yield* commit(Change.CloseAttempt({ id: lost.id, outcome: "probed" }), Change.OpenAttempt({ attempt: probe }))
        assert.deepStrictEqual(yield* store.openAttempt(lost.grant), Option.some(probe))
      })
    )

    it.effect("all open attempts are listed, and no closed one", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const [one, other, closed] = [newAttempt(newGrant()), newAttempt(newGrant()), newAttempt(newGrant())]
        yield* commit(...[one, other, closed].map((attempt) => Change.OpenAttempt({ attempt })))
        yield* commit(Change.CloseAttempt({ id: closed.id, outcome: "saved" }))
        const open = yield* store.openAttempts
        const found = open.filter(({ id }) => [one.id, other.id, closed.id].includes(id))
        assert.sameDeepMembers([...found], [one, other])
      })
    )

    it.effect("revocations are answered when due, oldest first, with the secret that they revoke", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const now = yield* store.now
        const revocation = (secondsFromNow: number): Store.Revocation => ({
          id: randomUUID(),
          credential: newCredential(newUser(), { title: Option.none(), generation: 7 }),
          dueAt: DateTime.add(now, { seconds: secondsFromNow }),
          tries: 0
        })
        const [later, early, late] = [revocation(3600), revocation(-20), revocation(-10)]
        const ours = new Set([later.id, early.id, late.id])
        const due = Effect.map(store.revocations(10_000), (all) => all.filter(({ id }) => ours.has(id)))
        yield* commit(...[later, late, early].map((each) => Change.Enqueue({ revocation: each })))

        const found = yield* due
        assert.deepStrictEqual(
          found.map(({ id }) => id),
          [early.id, late.id]
        )
        const [first] = found
        assert.isDefined(first)
        if (first !== undefined) {
          assert.deepStrictEqual(reveal(first.credential), reveal(early.credential))
          assert.deepStrictEqual(first.dueAt, early.dueAt)
          assert.strictEqual(first.tries, 0)
        }

        yield* commit(Change.Postpone({ id: early.id, dueAt: DateTime.add(now, { seconds: -5 }) }))
        assert.deepStrictEqual(
          (yield* due).map(({ id, tries }) => [id, tries]),
          [
            [late.id, 0],
            [early.id, 1]
          ]
        )
        yield* commit(Change.Dequeue({ id: late.id }), Change.Dequeue({ id: early.id }))
        assert.deepStrictEqual(yield* due, [])
        yield* commit(Change.Dequeue({ id: late.id }), Change.Postpone({ id: early.id, dueAt: now }))
        assert.deepStrictEqual(yield* due, [])
      })
    )

    it.effect("a revocation is claimed by one of those who saw it due, and due again when the claim is over", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const now = yield* store.now
        const seen = DateTime.add(now, { seconds: -10 })
        const revocation = { id: randomUUID(), credential: newCredential(newUser()), dueAt: seen, tries: 3 }
        const isDue = Effect.map(store.revocations(10_000), (all) => all.find(({ id }) => id === revocation.id))
        yield* commit(Change.Enqueue({ revocation }))
        const claim = (dueAt: DateTime.Utc, until: DateTime.Utc) =>
          commit(Change.Claim({ id: revocation.id, dueAt, until }))
        const rivals = yield* Effect.all(
          Array.from({ length: 16 }, () => Effect.either(claim(seen, DateTime.add(now, { hours: 1 })))),
          { concurrency: "unbounded" }
        )
        assert.lengthOf(rivals.filter(Either.isRight), 1)
        assert.isUndefined(yield* isDue)
        yield* conflicts("revocation", claim(seen, DateTime.add(now, { hours: 1 })))
        const past = DateTime.add(now, { seconds: -5 })
        yield* claim(DateTime.add(now, { hours: 1 }), past)
        assert.deepInclude(yield* isDue, { dueAt: past, tries: 3 })
        yield* commit(Change.Dequeue({ id: revocation.id }))
        yield* conflicts("revocation", claim(past, now))
      })
    )

    it.effect("no more revocations are answered than asked for", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const now = yield* store.now
        const all = Array.from({ length: 3 }, () =>
          Change.Enqueue({
            revocation: { id: randomUUID(), credential: newCredential(newUser()), dueAt: now, tries: 0 }
          })
        )
        yield* commit(...all)
        assert.lengthOf(yield* store.revocations(2), 2)
        yield* commit(...all.map(({ revocation }) => Change.Dequeue({ id: revocation.id })))
      })
    )

    it.effect("a revocation that does not open is left out, the others are answered", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const driver = yield* StoreDriver
        const now = yield* store.now
        const revocation = () => ({ id: randomUUID(), credential: newCredential(newUser()), dueAt: now, tries: 0 })
        const [fine, foreign] = [revocation(), revocation()]
        const row = yield* SealedRow.sealRevocation(otherCipher, foreign)
        yield* driver.commit([RowChange.Enqueue({ row })])
        yield* commit(Change.Enqueue({ revocation: fine }))
        const found = (yield* store.revocations(10_000)).map(({ id }) => id)
        assert.include(found, fine.id)
        assert.notInclude(found, foreign.id)
        yield* commit(Change.Dequeue({ id: fine.id }), Change.Dequeue({ id: foreign.id }))
      })
    )

    it.effect("a claim is given the oldest of a provider's that are due, and no other claim is until it is over", () =>
      Effect.gen(function* () {
        const driver = yield* StoreDriver
        const userId = newUser()
        const ours = provider(`ours-${randomUUID()}`)
        const minute = (minutes: number) => DateTime.toDateUtc(DateTime.add(longAgo, { minutes }))
        const put = Effect.fnUntraced(function* (sweepAt: Date | null, fields: Partial<Credential.Credential> = {}) {
          const credential = newCredential(userId, { provider: ours, ...fields })
          const row = yield* SealedRow.sealCredential(otherCipher, credential, Option.none())
          yield* driver.commit([RowChange.Create({ row: { ...row, sweepAt }, unlessForgottenSince: null })])
          return credential.id
        })
        const claim = (by: number, limit: number) =>
          Effect.map(driver.claimDue({ provider: ours, by: minute(by), until: minute(by + 5), limit }), (rows) =>
            rows.map(({ id }) => id).sort()
          )
        const [third, first, second] = [yield* put(minute(3)), yield* put(minute(1)), yield* put(minute(2))]
        yield* put(minute(20))
        yield* put(null)
        yield* put(minute(0), { provider: provider(`others-${randomUUID()}`) })

        assert.deepStrictEqual(yield* claim(0, 10), [])
        assert.deepStrictEqual(yield* claim(3, 2), [first, second].sort())
        assert.deepStrictEqual(yield* claim(3, 2), [third])
        assert.deepStrictEqual(yield* claim(3, 2), [])
        assert.deepStrictEqual(yield* claim(7, 10), [])
        assert.deepStrictEqual(yield* claim(8, 10), [first, second, third].sort())
        const claimed = Option.getOrThrow(yield* driver.find(userId, first))
        assert.deepStrictEqual([claimed.sweepAt, claimed.generation], [minute(13), 1])
      })
    )

    it.effect("of 16 that claim at once no two are given the same, and together they are given all", () =>
      Effect.gen(function* () {
        const driver = yield* StoreDriver
        const ours = provider(`ours-${randomUUID()}`)
        const all = Array.from({ length: 40 }, () => newCredential(newUser(), { provider: ours }))
        yield* commit(...all.map(create))
        const by = DateTime.toDateUtc(DateTime.add(longAgo, { hours: 1 }))
        const until = DateTime.toDateUtc(DateTime.add(longAgo, { hours: 2 }))
        const claims = yield* Effect.replicateEffect(driver.claimDue({ provider: ours, by, until, limit: 5 }), 16, {
          concurrency: "unbounded"
        })
        const given = claims.flat().map(({ id }) => id)
        assert.strictEqual(new Set(given).size, given.length)
        // one that found the rows of another locked went without them: they are there for the next
        const rest = yield* driver.claimDue({ provider: ours, by, until, limit: 40 })
        assert.sameMembers(
          [...given, ...rest.map(({ id }) => id)],
          all.map(({ id }) => id)
        )
        assert.isTrue(claims.every((claim) => claim.length <= 5))
      })
    )

    it.effect(
      "each change says anew when the sweeper is to look: by the tokens, by a report, after a failure, never",
      () =>
        Effect.gen(function* () {
          const credential = newCredential(newUser())
          const sweepAt = Effect.map(rowOf(credential), (row) => row.sweepAt)
          const isAt = (expected: DateTime.Utc | null) =>
            Effect.map(sweepAt, (found) =>
              assert.deepStrictEqual(found, expected === null ? null : DateTime.toDateUtc(expected))
            )
          const byTokens = (stored: Credential.Credential) =>
            Credential.isOAuth2(stored) ? Option.getOrThrow(RenewalPolicy.sweepAt(stored)) : assert.fail()
          const note = (renewal: Partial<Credential.RenewalState>) => commit(Change.Note({ credential, renewal }))

          yield* commit(create(credential))
          yield* isAt(byTokens(credential))
          yield* note({ reportedGeneration: Option.some(1) })
          yield* isAt(longAgo)
          const retryAt = DateTime.add(longAgo, { hours: 3 })
          yield* note({ failures: 1, retryAt: Option.some(retryAt), lastFailure: Option.some("timeout") })
          yield* isAt(retryAt)
          const later = DateTime.add(longAgo, { days: 2 })
          yield* commit(Change.PutOff({ credential, until: later }))
          yield* isAt(later)
          yield* note({})
          yield* isAt(byTokens(credential))
          yield* note({ reauth: Option.some({ reason: "grant_revoked", attemptId: Option.none() }) })
          yield* isAt(null)

          const renewed = next(credential, { variant: oauth2({ lifetimeSeconds: 1800 }) })
          yield* commit(Change.Replace({ credential: renewed }))
          yield* isAt(byTokens(renewed))
          yield* conflicts("generation", commit(Change.PutOff({ credential, until: later })))
          yield* commit(Change.Replace({ credential: next(renewed, { variant: apiKey() }) }))
          yield* isAt(null)
        })
    )

    it.effect("a claim answers credentials that open, oldest first; what does not open is put off for a day", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const ours = provider(`ours-${randomUUID()}`)
        const userId = newUser()
        const of = (minutes: number) =>
          newCredential(userId, {
            provider: ours,
            variant: oauth2({ accessTokenExpiresAt: DateTime.add(longAgo, { minutes }), lifetimeSeconds: minutes * 60 })
          })
        const [late, early, damaged] = [of(200), of(100), of(50)]
        yield* commit(create(late), create(early))
        yield* createUndecryptable(damaged, Option.some(newGrant()))
        yield* TestClock.setTime(DateTime.add(longAgo, { hours: 4 }).epochMillis)
        const now = yield* DateTime.now
        const claim = Effect.map(store.claimDue(ours, { limit: 10, until: DateTime.add(now, { minutes: 5 }) }), (all) =>
          all.map(({ id }) => id)
        )
        assert.deepStrictEqual(yield* claim, [early.id, late.id])
        assert.deepStrictEqual(yield* claim, [])
        assert.deepStrictEqual((yield* rowOf(damaged)).sweepAt, DateTime.toDateUtc(DateTime.add(now, { days: 1 })))
      })
    )

    it.effect("a change that does not fit undoes all before it and stops all after it", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const now = yield* store.now
        const userId = newUser()
        const kept = newCredential(userId)
        const removed = newCredential(userId)
        const held = newAttempt(newGrant())
        yield* commit(create(kept), create(removed), Change.OpenAttempt({ attempt: held }))
        yield* commit(Change.Forget({ userId, at: longAgo }))

        const failing: ReadonlyArray<readonly [Conflict["on"], Store.Change]> = [
          ["exists", create({ ...kept, variant: apiKey() })],
          ["generation", Change.Replace({ credential: next(kept, { generation: 5 }) })],
          ["generation", Change.Note({ credential: { ...kept, generation: 5 }, renewal: Credential.settled })],
          ["generation", Change.Expect({ ...kept, generation: 5 })],
          ["generation", Change.Remove({ ...kept, generation: 5 })],
          ["attempt", Change.OpenAttempt({ attempt: newAttempt(held.grant) })],
          ["attempt", Change.CloseAttempt({ id: randomUUID(), outcome: "saved" })],
          ["attempt", Change.ExpireAttempt({ id: randomUUID(), at: now })],
          [
            "forgotten",
            Change.Create({ credential: newCredential(userId), unlessForgottenSince: Option.some(longAgo) })
          ]
        ]
        for (const [on, change] of failing) {
          const created = newCredential(userId)
          const after = newCredential(userId)
          const attempt = newAttempt(newGrant())
          const revocation = { id: randomUUID(), credential: removed, dueAt: longAgo, tries: 0 }
          const forgotten = newUser()
          yield* conflicts(
            on,
            commit(
              create(created),
              Change.Replace({ credential: next(kept) }),
              Change.Remove(removed),
              Change.OpenAttempt({ attempt }),
              Change.ExpireAttempt({ id: held.id, at: now }),
              Change.Enqueue({ revocation }),
              Change.Forget({ userId: forgotten, at: now }),
              change,
              create(after)
            )
          )
          yield* isMissing(created)
          yield* isMissing(after)
          yield* isStored(kept)
          yield* isStored(removed)
          assert.deepStrictEqual(yield* store.outcome(attempt.id), Option.none())
          assert.deepStrictEqual(yield* store.openAttempt(held.grant), Option.some(held))
          assert.notInclude(
            (yield* store.revocations(10_000)).map(({ id }) => id),
            revocation.id
          )
          yield* commit(
            Change.Create({ credential: newCredential(forgotten), unlessForgottenSince: Option.some(longAgo) })
          )
        }
      })
    )

    it.effect("changes of one commit see those before them", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        const second = next(credential)
        yield* commit(create(credential), Change.Replace({ credential: second }))
        yield* isStored(second)
        yield* commit(Change.Remove(second), create(credential))
        yield* isStored(credential)
        yield* conflicts("generation", commit(Change.Remove(credential), Change.Remove(credential)))
        yield* isStored(credential)
      })
    )

    it.effect("a commit of nothing succeeds", () => commit())

    it.effect("a commit whose caller is interrupted is whole or nothing", () =>
      Effect.gen(function* () {
        for (let round = 0; round < 20; round++) {
          const userId = newUser()
          const pair = [newCredential(userId), newCredential(userId)]
          const committing = yield* Effect.fork(commit(...pair.map(create)))
          yield* Effect.replicateEffect(Effect.yieldNow(), round, { discard: true })
          yield* Fiber.interrupt(committing)
          assert.include([0, 2], (yield* listed(userId)).length)
        }
      })
    )

    it.effect("of 32 replacements at once exactly one wins, and it is the one that is stored", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        yield* commit(create(credential))
        const rivals = Array.from({ length: 32 }, () => next(credential))
        const results = yield* Effect.forEach(
          rivals,
          (rival) =>
            Effect.either(
              commit(
                Change.Replace({ credential: rival }),
                Change.OpenAttempt({ attempt: newAttempt(newGrant(), { userId: rival.userId }) })
              )
            ),
          { concurrency: "unbounded" }
        )
        const winners = rivals.filter((_, index) => results[index]?._tag === "Right")
        assert.lengthOf(winners, 1)
        const [winner] = winners
        if (winner !== undefined) yield* isStored(winner)
        const open = yield* Effect.flatMap(Store.Store, (store) => store.openAttempts)
        assert.lengthOf(
          open.filter(({ userId }) => userId === credential.userId),
          1
        )
      })
    )

    it.effect("of 32 attempts for a grant at once exactly one is opened", () =>
      Effect.gen(function* () {
        const grant = newGrant()
        const results = yield* Effect.forEach(
          Array.from({ length: 32 }, () => newAttempt(grant)),
          (attempt) => Effect.either(commit(Change.OpenAttempt({ attempt }))),
          { concurrency: "unbounded" }
        )
        assert.lengthOf(results.filter(Either.isRight), 1)
        assert.isTrue(
          results.filter(Either.isLeft).every(({ left }) => left._tag === "Conflict" && left.on === "attempt")
        )
      })
    )

    it.effect("of 32 that create one id at once exactly one does", () =>
      Effect.gen(function* () {
        const credential = newCredential(newUser())
        const results = yield* Effect.forEach(
          Array.from({ length: 32 }, () => ({ ...credential, variant: oauth2() })),
          (rival) => Effect.either(commit(create(rival))),
          { concurrency: "unbounded" }
        )
        assert.lengthOf(results.filter(Either.isRight), 1)
        assert.isTrue(
          results.filter(Either.isLeft).every(({ left }) => left._tag === "Conflict" && left.on === "exists")
        )
      })
    )

    it.effect("of 32 that close an attempt at once exactly one does", () =>
      Effect.gen(function* () {
        const attempt = newAttempt(newGrant())
        yield* commit(Change.OpenAttempt({ attempt }))
        const results = yield* Effect.forEach(
          Array.from({ length: 32 }),
          () => Effect.either(commit(Change.CloseAttempt({ id: attempt.id, outcome: "saved" }))),
          { concurrency: "unbounded" }
        )
        assert.lengthOf(results.filter(Either.isRight), 1)
      })
    )

    it.effect("commits that touch the same rows in opposite orders all go through", () =>
      Effect.gen(function* () {
        const userId = newUser()
        const [one, other] = [newCredential(userId), newCredential(userId)]
        const [attempt, another] = [newAttempt(newGrant()), newAttempt(newGrant())]
        yield* commit(create(one), create(other))
        yield* commit(Change.OpenAttempt({ attempt }), Change.OpenAttempt({ attempt: another }))
        const touches = [
          Change.Note({ credential: one, renewal: { ...Credential.settled, failures: 1 } }),
          Change.ExpireAttempt({ id: attempt.id, at: longAgo }),
          Change.Note({ credential: other, renewal: { ...Credential.settled, failures: 1 } }),
          Change.ExpireAttempt({ id: another.id, at: longAgo })
        ]
        yield* Effect.forEach(
          Array.from({ length: 32 }),
          (_, index) => commit(...(index % 2 === 0 ? touches : touches.toReversed())),
          { concurrency: "unbounded", discard: true }
        )
        yield* isStored({ ...one, renewal: { ...Credential.settled, failures: 1 } })
      })
    )

    it.effect("nothing comes back after its user is deleted, however the two cross", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const unlessForgottenSince = Option.some(longAgo)
        const creation = (userId: Credential.UserId) =>
          Effect.either(commit(Change.Create({ credential: newCredential(userId), unlessForgottenSince })))
        const deletion = Effect.fnUntraced(function* (userId: Credential.UserId) {
          yield* commit(Change.Forget({ userId, at: longAgo }))
          const { credentials } = yield* store.all(userId)
          yield* commit(...credentials.map((credential) => Change.Remove(credential)))
        })
        for (let round = 0; round < 30; round++) {
          const userId = newUser()
          yield* Effect.all([creation(userId), creation(userId), deletion(userId), creation(userId)], {
            concurrency: "unbounded",
            discard: true
          })
          assert.deepStrictEqual(yield* listed(userId), [])
        }
      })
    )

    it.effect("a list is in the order of creation, then of ids", () =>
      Effect.gen(function* () {
        const userId = newUser()
        const at = (iso: string, id: string) =>
          newCredential(userId, { createdAt: time(iso), id: Credential.CredentialId.to.make(id) })
        const ordered = [
          at("2023-12-31T23:59:59.999Z", "f0000000-0000-4000-8000-000000000000"),
          at("2024-01-01T00:00:00.000Z", "00000000-0000-4000-8000-00000000000a"),
          at("2024-01-01T00:00:00.000Z", "00000000-0000-4000-8000-00000000000b"),
          at("2024-01-01T00:00:00.000Z", "9fffffff-0000-4000-8000-000000000000"),
          at("2024-01-01T00:00:00.000Z", "a0000000-0000-4000-8000-000000000000"),
          at("2024-01-01T00:00:00.001Z", "00000000-0000-4000-8000-000000000001")
        ]
        yield* commit(...ordered.toReversed().map(create))
        const ids = ordered.map(({ id }) => id)
        assert.deepStrictEqual(yield* listed(userId), ids)
        for (const limit of [1, 2, 3, 4, 5, 6, 7]) {
          const pages = yield* paged(userId, limit)
          assert.deepStrictEqual(
            pages.flat().map(({ id }) => id),
            ids
          )
          assert.lengthOf(pages, Math.ceil(ids.length / limit))
        }
        assert.deepStrictEqual(yield* listed(newUser()), [])
      })
    )

    it.effect("a cursor goes on after its place even when its row is gone", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const userId = newUser()
        const all = Array.from({ length: 4 }, () => newCredential(userId)).sort((one, other) =>
          one.id < other.id ? -1 : 1
        )
        yield* commit(...all.map(create))
        const first = yield* store.list(userId, noFilter, { limit: 2, after: Option.none() })
        const [, second] = all
        if (second !== undefined) yield* commit(Change.Remove(second))
        const rest = yield* store.list(userId, noFilter, { limit: 2, after: first.next })
        assert.deepStrictEqual(
          rest.items.map(({ id }) => id),
          all.slice(2).map(({ id }) => id)
        )
        assert.deepStrictEqual(rest.next, Option.none())
      })
    )

    it.effect("filters by provider, type and status, alone and together, page by page", () =>
      Effect.gen(function* () {
        const userId = newUser()
        const github = newCredential(userId)
        const expired = newCredential(userId, {
          renewal: { ...Credential.settled, reauth: Option.some({ reason: "grant_revoked", attemptId: Option.none() }) }
        })
        const key = newCredential(userId, { variant: apiKey() })
        const openai = newCredential(userId, { provider: provider("openai"), variant: apiKey() })
        const damaged = newCredential(userId, { provider: provider("openai") })
        yield* commit(create(github), create(expired), create(key), create(openai))
        yield* createUndecryptable(damaged)

        const expected: ReadonlyArray<readonly [Store.Filter, ReadonlyArray<Credential.Credential>]> = [
          [{}, [github, expired, key, openai, damaged]],
          [{ provider: provider("github") }, [github, expired, key]],
          [{ provider: provider("openai") }, [openai, damaged]],
          [{ provider: provider("nobody") }, []],
          [{ type: "oauth2" }, [github, expired, damaged]],
          [{ type: "api_key" }, [key, openai]],
          [{ type: "host_scoped" }, []],
          [{ provider: provider("github"), type: "api_key" }, [key]],
          [{ status: "active" }, [github, key, openai]],
          [{ status: "needs_reauth" }, [expired]],
          [{ status: "undecryptable" }, [damaged]],
          [{ status: "undecryptable", type: "api_key" }, []],
          [{ status: "active", provider: provider("openai") }, [openai]]
        ]
        for (const [filter, credentials] of expected) {
          const ids = credentials.map(({ id }) => id)
          assert.sameMembers([...(yield* listed(userId, filter))], ids, JSON.stringify(filter))
          const pages = yield* paged(userId, 1, filter)
          assert.sameMembers(
            pages.flat().map(({ id }) => id),
            ids
          )
        }
      })
    )

    it.effect("a status is found behind more than a page of others", () =>
      Effect.gen(function* () {
        const userId = newUser()
        const second = time("2024-05-06T07:08:10Z")
        yield* commit(...Array.from({ length: 230 }, () => create(newCredential(userId, { variant: apiKey() }))))
        const rare = Array.from({ length: 2 }, () => newCredential(userId, { createdAt: second }))
        yield* Effect.forEach(rare, (credential) => createUndecryptable(credential))
        assert.sameMembers(
          [...(yield* listed(userId, { status: "undecryptable" }))],
          rare.map(({ id }) => id)
        )
        const store = yield* Store.Store
        const { credentials, undecryptable } = yield* store.all(userId)
        assert.lengthOf(credentials, 230)
        assert.lengthOf(undecryptable, 2)
      })
    )

    it.effect("a row that does not open says so, in every view, and hides no other", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const userId = newUser()
        const fine = newCredential(userId)
        const damaged = newCredential(userId)
        yield* commit(create(fine))
        yield* createUndecryptable(damaged, Option.some(newGrant()))

        const error = yield* Effect.flip(read(damaged))
        assert.strictEqual(error._tag, "Undecryptable")
        if (error._tag === "Undecryptable") {
          assert.deepStrictEqual([error.credentialId, error.keyId], [damaged.id, "elsewhere"])
        }
        const metadata = yield* store.metadata(userId, damaged.id)
        assert.strictEqual(metadata.status, "undecryptable")
        assert.strictEqual(metadata.title, Option.getOrThrow(damaged.title))
        assert.strictEqual((yield* store.metadata(userId, fine.id)).status, "active")
        const all = yield* store.all(userId)
        assert.deepStrictEqual(
          all.credentials.map(({ id }) => id),
          [fine.id]
        )
        assert.deepStrictEqual(
          all.undecryptable.map(({ id, status }) => [id, status]),
          [[damaged.id, "undecryptable"]]
        )
        // it can still be replaced, and removed
        yield* commit(Change.Replace({ credential: next(damaged) }))
        assert.strictEqual((yield* store.metadata(userId, damaged.id)).status, "active")
      })
    )

    it.effect("system credentials are found and listed for every user, in their place, and stored nowhere", () =>
      Effect.gen(function* () {
        const driver = yield* StoreDriver
        const userId = newUser()
        const since = time("2024-02-01T00:00:00Z")
        const lent = { id: newId(), provider: provider("openai"), title: "ours", variant: apiKey() }
        const store = yield* Store.make(driver).pipe(
          Effect.provideService(SystemCredentials, { since, credentials: [lent] })
        )
        const before = newCredential(userId, { createdAt: time("2024-01-01T00:00:00Z") })
        const after = newCredential(userId, { createdAt: time("2024-03-01T00:00:00Z") })
        yield* commit(create(before), create(after))

        for (const anybody of [userId, newUser()]) {
          const found = yield* store.get(anybody, lent.id)
          assert.isTrue(found.system)
          assert.strictEqual(found.userId, anybody)
          assert.deepStrictEqual(secretsOf(found), secretsOf({ ...found, variant: lent.variant }))
          assert.isTrue((yield* store.metadata(anybody, lent.id)).system)
          assert.deepStrictEqual(yield* driver.find(anybody, lent.id), Option.none())
        }
        const list = (filter: Store.Filter, limit: number, from: Option.Option<Store.Cursor> = Option.none()) =>
          store.list(userId, filter, { limit, after: from })
        const ids = (page: Store.Page) => page.items.map(({ id }) => id)
        assert.deepStrictEqual(ids(yield* list({}, 10)), [before.id, lent.id, after.id])
        assert.deepStrictEqual(ids(yield* list({ provider: lent.provider }, 10)), [lent.id])
        assert.deepStrictEqual(ids(yield* list({ type: "oauth2" }, 10)), [before.id, after.id])
        assert.deepStrictEqual(ids(yield* list({ status: "needs_reauth" }, 10)), [])
        const one = yield* list({}, 1)
        const two = yield* list({}, 1, one.next)
        const three = yield* list({}, 1, two.next)
        assert.deepStrictEqual([one, two, three].flatMap(ids), [before.id, lent.id, after.id])
        assert.deepStrictEqual(three.next, Option.none())
        const all = yield* store.all(userId)
        assert.deepStrictEqual(
          all.credentials.map(({ id }) => id),
          [before.id, after.id, lent.id]
        )
        assert.deepStrictEqual(yield* listed(userId), [before.id, after.id])
      })
    )

    it.effect("credentials share a grant when user, provider, client and refresh token are the same", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const userId = newUser()
        const refreshToken = Redacted.make("shared")
        const variant = oauth2({ refreshToken })
        const one = newCredential(userId, { variant })
        const other = newCredential(userId, { variant: oauth2({ refreshToken }) })
        const apart = [
          newCredential(userId),
          newCredential(userId, { variant, provider: provider("gitlab") }),
          newCredential(userId, { variant, extra: Redacted.make({ mcp_client_id: "another" }) }),
          newCredential(newUser(), { variant })
        ]
        yield* commit(...[one, other, ...apart].map(create))
        const grant = Option.getOrThrow(store.grantOf(one))
        assert.deepStrictEqual(store.grantOf(other), Option.some(grant))
        for (const credential of apart) assert.notDeepEqual(store.grantOf(credential), Option.some(grant))
        assert.notInclude(grant, "shared")
        assert.deepStrictEqual(store.grantOf(newCredential(userId, { variant: apiKey() })), Option.none())

        const sharing = Effect.map(store.sharing(userId, grant), (all) => all.map(({ id }) => id))
        assert.deepStrictEqual(yield* sharing, [one.id, other.id].sort())
        assert.deepStrictEqual(yield* store.sharing(newUser(), grant), [])

        yield* createUndecryptable(newCredential(userId, { variant }), Option.some(grant))
        assert.deepStrictEqual(yield* sharing, [one.id, other.id].sort())

        const renewed = next(one)
        yield* commit(Change.Replace({ credential: renewed }))
        assert.deepStrictEqual(yield* sharing, [other.id])
        const moved = yield* store.sharing(userId, Option.getOrThrow(store.grantOf(renewed)))
        assert.deepStrictEqual(
          moved.map(({ id }) => id),
          [one.id]
        )
      })
    )

    it.effect("stores over one engine fingerprint alike; with another ring the store does not start", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const driver = yield* StoreDriver
        const credential = newCredential(newUser())
        const second = yield* Store.make(driver)
        assert.deepStrictEqual(second.grantOf(credential), store.grantOf(credential))
        const error = yield* Effect.flip(Store.make(driver).pipe(Effect.provideService(Cipher.Cipher, otherCipher)))
        assert.deepInclude(error, { _tag: "KeyRingMismatch", keyIds: ["contract"] })
      })
    )

    it.effect("a setting keeps its first value, also when many write it at once", () =>
      Effect.gen(function* () {
        const driver = yield* StoreDriver
        const setting = `setting ${randomUUID()}`
        const values = yield* Effect.forEach(
          Array.from({ length: 16 }, () => ({ name: setting, keyId: "contract", sealed: randomBytes(8) })),
          (row) => Effect.map(driver.setting(row), ({ sealed }) => Buffer.from(sealed).toString("hex")),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(values).size, 1)
      })
    )

    it.effect("any byte of a stored secret changed, and the row does not open", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const credential = newCredential(newUser())
        yield* commit(create(credential))
        const row = yield* rowOf(credential)
        yield* SealedRow.openCredential(cipher, row)
        for (let index = 0; index < row.sealed.length; index++) {
          const sealed = Buffer.from(row.sealed)
          sealed.writeUInt8(sealed.readUInt8(index) ^ 0x01, index)
          yield* Effect.flip(SealedRow.openCredential(cipher, { ...row, sealed }))
        }
      })
    )

    it.effect("a secret moved to another user, id, generation, provider or kind does not open", () =>
      Effect.gen(function* () {
        const driver = yield* StoreDriver
        const userId = newUser()
        const first = newCredential(userId)
        const sibling = newCredential(userId)
        const stranger = newCredential(newUser(), { id: first.id })
        yield* commit(create(first), create(sibling), create(stranger))
        const old = yield* rowOf(first)
        yield* commit(Change.Replace({ credential: next(first) }))

        const put = (target: CredentialRow, from: CredentialRow) =>
          driver.commit([
            RowChange.Remove(target),
            RowChange.Create({ row: { ...target, keyId: from.keyId, sealed: from.sealed }, unlessForgottenSince: null })
          ])
        const refused = (credential: Credential.Credential) =>
          Effect.map(Effect.flip(read(credential)), (error) => assert.strictEqual(error._tag, "Undecryptable"))

        const [current, siblings, strangers] = [yield* rowOf(first), yield* rowOf(sibling), yield* rowOf(stranger)]
        for (const foreign of [old, siblings, strangers]) {
          yield* put(current, foreign)
          yield* refused(first)
        }
        yield* put({ ...current, provider: "gitlab" }, current)
        yield* refused(first)
        yield* put({ ...current, type: "api_key" }, current)
        yield* refused(first)
        yield* put(current, current)
        yield* read(first)
      })
    )

    it.effect("no secret is in any row as it is stored", () =>
      Effect.gen(function* () {
        const driver = yield* StoreDriver
        const userId = newUser()
        const credentials = [
          newCredential(userId),
          newCredential(userId, { variant: apiKey() }),
          newCredential(userId, {
            variant: { type: "user_password", username: "mona", password: Redacted.make(`password-${randomUUID()}`) }
          }),
          newCredential(userId, {
            variant: {
              type: "host_scoped",
              host: "example.com",
              headers: { "X-Key": Redacted.make(`header-${randomUUID()}`) }
            }
          })
        ]
        const [first] = credentials
        yield* commit(
          ...credentials.map(create),
          ...(first === undefined
            ? []
            : [
                Change.Enqueue({ revocation: { id: randomUUID(), credential: first, dueAt: longAgo, tries: 0 } }),
                Change.OpenAttempt({
                  attempt: newAttempt(Option.getOrThrow((yield* Store.Store).grantOf(first)), { userId })
                })
              ])
        )
        const rows: ReadonlyArray<object> = [
          ...(yield* driver.list({ userId, provider: null, type: null, after: null, limit: 100 })),
          ...(yield* driver.revocations(DateTime.toDateUtc(longAgo), 10_000)),
          ...(yield* driver.openAttempts)
        ]
        const columns = rows
          .flatMap((row) => Object.values(row) as ReadonlyArray<unknown>)
          .map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : String(value)))
        assert.isAbove(columns.length, 100)
        for (const secret of credentials.flatMap(secretsOf)) {
          for (const spelling of spellings(secret)) {
            assert.isFalse(
              columns.some((column) => column.includes(spelling)),
              spelling
            )
          }
        }
      })
    )

    it.effect("walks through the grants that can be renewed, each once, page by page", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const userId = newUser()
        const [one, other, dead, bare] = [
          newCredential(userId),
          newCredential(userId),
          newCredential(userId),
          newCredential(userId, { variant: apiKey() })
        ]
        const twin = newCredential(userId, { variant: one.variant, extra: one.extra })
        yield* commit(...[one, other, dead, bare, twin].map(create))
        const reauth = Option.some({ reason: "grant_revoked" as const, attemptId: Option.none() })
        yield* commit(Change.Note({ credential: dead, renewal: { reauth } }))
        const found: Array<Store.Grant> = []
        let after = Option.none<Store.Grant>()
        do {
          const page = yield* store.grants(after, 2)
          for (const grant of page) {
            if (grant.userId !== userId) continue
            assert.strictEqual(grant.provider, one.provider)
            found.push(grant.grant)
          }
          after = Option.filter(Option.fromNullable(page.at(-1)?.grant), () => page.length === 2)
        } while (Option.isSome(after))
        assert.deepStrictEqual(
          found.sort(),
          [one, other].map((credential) => Option.getOrThrow(store.grantOf(credential))).sort()
        )
      })
    )

    it.effect("tells which keys its rows are sealed with", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        const damaged = newCredential(newUser())
        yield* createUndecryptable(damaged)
        const keyIds = yield* store.keyIds
        assert.include(keyIds, "contract")
        assert.include(keyIds, "elsewhere")
        assert.strictEqual(new Set(keyIds).size, keyIds.length)
      })
    )

    it.effect("answers a ping, and its time does not go back", () =>
      Effect.gen(function* () {
        const store = yield* Store.Store
        yield* store.ping
        const before = yield* store.now
        const after = yield* store.now
        assert.isTrue(DateTime.greaterThanOrEqualTo(after, before))
      })
    )
  })
}
