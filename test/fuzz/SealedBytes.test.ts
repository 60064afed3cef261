/**
 * What is stored sealed opens as what it was, in its place, or not at all: every byte of every kind of row is changed, and
 * rows are given each other's bytes.
 */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomBytes, randomUUID } from "node:crypto"
import * as AuthorizationStore from "../../src/AuthorizationStore.ts"
import * as Cipher from "../../src/Cipher.ts"
import * as Credential from "../../src/Credential.ts"
import * as Receipts from "../../src/Receipts.ts"
import * as Store from "../../src/Store.ts"
import * as Memory from "../../src/Store/Memory.ts"
import { measured } from "../Measured.ts"

const user = Credential.UserId.make("user")
const provider = Credential.providerId("acme")
const newId = () => Credential.CredentialId.to.make(randomUUID())

const cipher = Cipher.make([{ id: "ring", bytes: Redacted.make(randomBytes(32)) }])
const ring = Layer.succeed(Cipher.Cipher, cipher)

/** Each byte with one bit, its highest, and all of them changed. */
const flips = function* (bytes: Uint8Array) {
  for (let at = 0; at < bytes.length; at++) {
    for (const bits of [0x01, 0x80, 0xff]) {
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(at) ^ bits, at)
      yield changed
    }
  }
}

const credential = (now: DateTime.Utc): Credential.Credential => ({
  userId: user,
  id: newId(),
  provider,
  title: Option.some("title"),
  generation: 1,
  variant: {
    type: "oauth2",
    accessToken: Redacted.make(randomBytes(24).toString("base64url")),
    refreshToken: Redacted.make(randomBytes(24).toString("base64url")),
    scopes: ["a", "b"]
  },
  extra: Redacted.make({ subject: "alice" }),
  renewal: Credential.settled,
  system: false,
  createdAt: now,
  updatedAt: now,
  storedAt: now
})

/** A store, and the rows beneath it. */
const stored = (count: number) =>
  Effect.gen(function* () {
    const driver = yield* Memory.make
    const store = yield* Effect.provide(Store.make(driver), ring)
    const now = yield* DateTime.now
    const credentials = Array.from({ length: count }, () => credential(now))
    yield* store.commit(
      credentials.map((each) => Store.Change.Create({ credential: each, unlessForgottenSince: Option.none() }))
    )
    const rows = yield* driver.sealed.credentials.page("ring", Option.none(), count)
    assert.lengthOf(rows, count)
    return { driver, store, rows }
  })

describe("a row of bytes that were changed", () => {
  it.effect("does not open, whichever byte of a credential it was", () =>
    Effect.gen(function* () {
      const { driver, rows, store } = yield* stored(1)
      const [row = assert.fail()] = rows
      const id = Credential.CredentialId.to.make(row.id)
      let tried = 0
      let before = row
      for (const bytes of flips(row.sealed)) {
        yield* driver.sealed.credentials.reseal([{ row: before, sealed: { keyId: row.keyId, bytes } }])
        before = { ...row, sealed: bytes }
        assert.strictEqual((yield* Effect.flip(store.get(user, id)))._tag, "Undecryptable")
        assert.strictEqual((yield* store.metadata(user, id)).status, "undecryptable")
        tried++
      }
      yield* driver.sealed.credentials.reseal([{ row: before, sealed: { keyId: row.keyId, bytes: row.sealed } }])
      assert.strictEqual((yield* store.metadata(user, id)).status, "active")
      yield* measured("ciphertext", {
        "changes to a credential": tried,
        "bytes of a credential": row.sealed.length,
        opened: 0
      })
    })
  )

  it.effect("does not open, whichever byte of a login under way it was", () =>
    Effect.gen(function* () {
      const driver = yield* AuthorizationStore.makeMemory
      const store = yield* Effect.provide(AuthorizationStore.make(driver), ring)
      const now = yield* DateTime.now
      const state = Redacted.make("state")
      yield* store.put(state, {
        userId: user,
        provider,
        createdAt: now,
        expiresAt: DateTime.add(now, { minutes: 10 }),
        authorizationUrl: Redacted.make("https://acme.test/authorize"),
        redirectUri: "https://own.test/callback",
        codeVerifier: Redacted.make("verifier"),
        scopes: [],
        extra: Redacted.make({})
      })
      const [row = assert.fail()] = yield* driver.sealed.page("ring", Option.none(), 1)
      assert.isTrue(Option.isSome(yield* store.find(state)))
      let tried = 0
      for (const sealed of flips(row.sealed)) {
        yield* driver.put({ ...row, sealed })
        assert.isTrue(Option.isNone(yield* store.find(state)))
        tried++
      }
      yield* measured("ciphertext", { "changes to a login": tried, "bytes of a login": row.sealed.length, opened: 0 })
    })
  )

  it.effect("is a receipt as it was kept or none, whichever byte of its file it was", () =>
    Effect.gen(function* () {
      const spool = yield* Receipts.makeMemory
      const receipts = yield* Effect.provide(Receipts.make(spool), ring)
      const now = yield* DateTime.now
      const id = randomUUID()
      const body = Buffer.from(`{"access_token":"a","refresh_token":"r"}`)
      const attempt: Store.Attempt = {
        id,
        userId: user,
        provider,
        grant: "grant",
        processId: "process",
        startedAt: now,
        deadline: DateTime.add(now, { minutes: 1 }),
        probeOf: Option.none()
      }
      const answer = { status: 200, headers: {}, body: Redacted.make<Uint8Array>(body) }
      yield* receipts.keep({ attempt, answer, receivedAt: now })
      const file = Option.getOrThrow(yield* spool.read(id))
      const whole = yield* receipts.find(id)
      assert.isTrue(Option.isSome(whole))
      let refused = 0
      for (const bytes of flips(file)) {
        yield* spool.write(id, bytes)
        const found = yield* receipts.find(id)
        // the last character of base64 has bits that stand for nothing
        if (Option.isSome(found)) assert.deepStrictEqual(found, whole)
        else refused++
      }
      assert.isAtLeast(refused, file.length * 3 - 12)
      yield* measured("ciphertext", {
        "changes to a receipt": file.length * 3,
        "bytes of a receipt": file.length,
        "as it was all the same": file.length * 3 - refused
      })
    })
  )
})

describe("a row with another's bytes", () => {
  it.effect("does not open: of 1,000 credentials that were swapped none does, and each does in its place again", () =>
    Effect.gen(function* () {
      const count = 1_000
      const { driver, rows, store } = yield* stored(count)
      const put = (at: (index: number) => number, before: typeof rows) =>
        Effect.gen(function* () {
          const next = before.map((row, index) => ({ ...row, sealed: (rows[at(index)] ?? row).sealed }))
          const changes = before.map((row, index) => ({
            row,
            sealed: { keyId: row.keyId, bytes: (next[index] ?? row).sealed }
          }))
          assert.strictEqual(yield* driver.sealed.credentials.reseal(changes), count)
          return next
        })
      const refusals = Effect.map(
        Effect.forEach(rows, ({ id }) => Effect.isFailure(store.get(user, Credential.CredentialId.to.make(id)))),
        (all) => all.filter((refused) => refused).length
      )
      assert.strictEqual(yield* refusals, 0)
      const swapped = yield* put((index) => (index + 1) % count, rows)
      assert.strictEqual(yield* refusals, count)
      yield* put((index) => index, swapped)
      assert.strictEqual(yield* refusals, 0)
      yield* measured("ciphertext", { "rows swapped": count, opened: 0 })
    })
  )

  it.effect("does not open as an earlier version of itself under a later generation", () =>
    Effect.gen(function* () {
      const { driver, rows, store } = yield* stored(1)
      const [row = assert.fail()] = rows
      const id = Credential.CredentialId.to.make(row.id)
      const current = yield* store.get(user, id)
      yield* store.commit([Store.Change.Replace({ credential: { ...current, generation: 2 } })])
      const [later = assert.fail()] = yield* driver.sealed.credentials.page("ring", Option.none(), 1)
      yield* driver.sealed.credentials.reseal([{ row: later, sealed: { keyId: row.keyId, bytes: row.sealed } }])
      assert.strictEqual((yield* Effect.flip(store.get(user, id)))._tag, "Undecryptable")
    })
  )
})
