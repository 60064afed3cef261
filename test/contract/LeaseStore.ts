import { assert, layer as withLayer } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomBytes, randomUUID } from "node:crypto"
import { CredentialId, UserId } from "../../src/Credential.ts"
import type { LeaseRecord } from "../../src/LeaseStore.ts"
import { LeaseStore } from "../../src/LeaseStore.ts"

const at = (iso: string) => DateTime.unsafeMake(iso)

const newRecord = (fields: Partial<LeaseRecord> = {}): LeaseRecord => ({
  idHash: randomBytes(32).toString("base64url"),
  userId: UserId.make(`user ${randomUUID()}`),
  credentialId: CredentialId.to.make(randomUUID()),
  owner: randomUUID(),
  mode: "exclusive",
  fencingToken: 1,
  expiresAt: at("2024-05-06T07:08:09.123Z"),
  ...fields
})

const byHash = (records: ReadonlyArray<LeaseRecord>) =>
  records.toSorted((one, other) => (one.idHash < other.idHash ? -1 : 1))

/** What every engine does as a `LeaseStore`. */
export const suite = <E>(name: string, layer: Layer.Layer<LeaseStore, E>) =>
  withLayer(layer, { timeout: "60 seconds" })(`LeaseStore: ${name}`, (it) => {
    it.effect("a lease is found as it was put, with a fencing token of any size that a number holds", () =>
      Effect.gen(function* () {
        const store = yield* LeaseStore
        for (const record of [
          newRecord(),
          newRecord({ mode: "shared" }),
          newRecord({ fencingToken: 1_716_000_000_000_001 }),
          newRecord({ fencingToken: Number.MAX_SAFE_INTEGER })
        ]) {
          yield* store.put(record)
          assert.deepStrictEqual(yield* store.find(record.idHash), Option.some(record))
        }
        assert.deepStrictEqual(yield* store.find(newRecord().idHash), Option.none())
      })
    )

    it.effect("put again, a lease has its new end, and is still one", () =>
      Effect.gen(function* () {
        const store = yield* LeaseStore
        const record = newRecord()
        const renewed = { ...record, expiresAt: DateTime.add(record.expiresAt, { minutes: 1 }) }
        yield* store.put(record)
        yield* store.put(renewed)
        assert.deepStrictEqual(yield* store.find(record.idHash), Option.some(renewed))
        assert.deepStrictEqual(yield* store.ofUser(record.userId), [renewed])
      })
    )

    it.effect("a lease that is removed is gone, and removing it again is nothing", () =>
      Effect.gen(function* () {
        const store = yield* LeaseStore
        const [record, other] = [newRecord(), newRecord()]
        yield* store.put(record)
        yield* store.put(other)
        yield* store.remove(record.idHash)
        yield* store.remove(record.idHash)
        assert.deepStrictEqual(yield* store.find(record.idHash), Option.none())
        assert.deepStrictEqual(yield* store.find(other.idHash), Option.some(other))
      })
    )

    it.effect("all are answered, expired ones among them; a user's are that user's alone", () =>
      Effect.gen(function* () {
        const store = yield* LeaseStore
        const { userId } = newRecord()
        const ours = [newRecord({ userId }), newRecord({ userId, expiresAt: at("1970-01-02T00:00:00Z") })]
        const foreign = newRecord()
        yield* Effect.forEach([...ours, foreign], store.put)
        assert.deepStrictEqual(byHash(yield* store.ofUser(userId)), byHash(ours))
        const hashes = new Set([...ours, foreign].map(({ idHash }) => idHash))
        const all = (yield* store.all).filter(({ idHash }) => hashes.has(idHash))
        assert.deepStrictEqual(byHash(all), byHash([...ours, foreign]))
      })
    )

    it.effect("what expired by a time is dropped, what lasts longer stays", () =>
      Effect.gen(function* () {
        const store = yield* LeaseStore
        const end = at("2001-01-01T00:00:00.500Z")
        const [before, then, after] = [-1, 0, 1].map((millis) =>
          newRecord({ expiresAt: DateTime.add(end, { millis }) })
        )
        assert.isDefined(before)
        assert.isDefined(then)
        assert.isDefined(after)
        if (before === undefined || then === undefined || after === undefined) return
        yield* Effect.forEach([before, then, after], store.put)
        yield* store.prune(end)
        assert.deepStrictEqual(yield* store.find(before.idHash), Option.none())
        assert.deepStrictEqual(yield* store.find(then.idHash), Option.none())
        assert.deepStrictEqual(yield* store.find(after.idHash), Option.some(after))
      })
    )

    it.effect("of 32 that put one lease at once the last stays whole", () =>
      Effect.gen(function* () {
        const store = yield* LeaseStore
        const record = newRecord()
        const rivals = Array.from({ length: 32 }, (_, index) => ({ ...record, fencingToken: index }))
        yield* Effect.forEach(rivals, store.put, { concurrency: "unbounded", discard: true })
        const all = yield* store.ofUser(record.userId)
        assert.lengthOf(all, 1)
        assert.deepInclude(rivals, all[0])
      })
    )
  })
