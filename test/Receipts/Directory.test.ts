import { assert, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomBytes, randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cipher from "../../src/Cipher.ts"
import { providerId, UserId } from "../../src/Credential.ts"
import * as Receipts from "../../src/Receipts.ts"
import * as Directory from "../../src/Receipts/Directory.ts"

const [k1, k2] = ["k1", "k2"].map((id) => ({ id, bytes: Redacted.make<Uint8Array>(randomBytes(32)) }))

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "receipts-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
)

const under = (directory: string, ...keys: ReadonlyArray<Cipher.Key | undefined>) => {
  const [first, ...others] = keys.filter((key) => key !== undefined)
  assert.isDefined(first)
  return Effect.provide(Receipts.Receipts, Directory.layer({ directory })).pipe(
    Effect.provide(Cipher.layer([first, ...others]))
  )
}

const aReceipt = (): Receipts.Receipt => {
  const time = DateTime.unsafeMake("2024-05-06T07:08:09.123Z")
  return {
    attempt: {
      id: randomUUID(),
      userId: UserId.make("user"),
      provider: providerId("github"),
      grant: "grant",
      processId: "process",
      startedAt: time,
      deadline: time,
      probeOf: Option.none()
    },
    answer: { status: 200, headers: {}, body: Redacted.make<Uint8Array>(Buffer.from("the answer")) },
    receivedAt: time
  }
}

it.scopedLive("a rotation of keys leaves each file whole, private, and readable with the new key alone", () =>
  Effect.gen(function* () {
    const directory = yield* temporary
    const before = yield* under(directory, k1)
    const receipts = Array.from({ length: 5 }, aReceipt)
    for (const receipt of receipts) yield* before.keep(receipt)
    Fs.writeFileSync(join(directory, "damaged.receipt"), "no receipt")
    const { rewrapping } = yield* under(directory, k2, k1)
    assert.deepStrictEqual(yield* rewrapping.left, [{ keyId: "k1", count: 5 }])
    const first = yield* rewrapping.batch("k1", Option.none(), 3)
    assert.strictEqual(first.rewrapped, 3)
    const second = yield* rewrapping.batch("k1", first.next, 3)
    assert.deepStrictEqual(second, { rewrapped: 2, closed: [], next: Option.none() })
    assert.deepStrictEqual(yield* rewrapping.left, [])

    const after = yield* under(directory, k2)
    for (const { attempt } of receipts) assert.isTrue(Option.isSome(yield* after.find(attempt.id)))
    const files = Fs.readdirSync(directory)
    assert.lengthOf(files, 6)
    for (const file of files.filter((name) => name !== "damaged.receipt")) {
      assert.strictEqual(Fs.statSync(join(directory, file)).mode & 0o777, 0o600)
    }
  })
)

it.scopedLive("a receipt that is removed or written anew before its new bytes come is not brought back", () =>
  Effect.gen(function* () {
    const directory = yield* temporary
    const before = yield* under(directory, k1)
    const [removed, kept] = [aReceipt(), aReceipt()]
    yield* before.keep(removed)
    yield* before.keep(kept)
    const spool = yield* Directory.make({ directory })
    const read = (id: string) => Effect.map(spool.read(id), Option.getOrThrow)
    const [first, second] = [yield* read(removed.attempt.id), yield* read(kept.attempt.id)]
    yield* before.drop(removed.attempt.id)
    yield* before.keep(kept)
    assert.isFalse(yield* spool.replace(removed.attempt.id, first, Buffer.from("anew")))
    assert.isFalse(yield* spool.replace(kept.attempt.id, second, Buffer.from("anew")))
    assert.isTrue(yield* spool.replace(kept.attempt.id, yield* read(kept.attempt.id), Buffer.from("anew")))
    assert.deepStrictEqual(Fs.readdirSync(directory), [`${kept.attempt.id}.receipt`])
  })
)
