import { assert, layer as withLayer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import * as Cipher from "../../src/Cipher.ts"

const plain = Buffer.from("a refresh token, and what belongs to it", "utf8")
const subject = ["credential", "user", "id", 1] as const

const opened = (cipher: Cipher.Cipher["Type"], sealed: Cipher.Sealed, by: Cipher.Subject = subject) =>
  Effect.map(cipher.open(sealed, by), (bytes) => Buffer.from(bytes).toString("utf8"))

const refused = (attempt: Effect.Effect<unknown, Cipher.DoesNotOpen>) =>
  Effect.map(Effect.flip(attempt), (error) => assert.strictEqual(error._tag, "DoesNotOpen"))

const key = (id: string): Cipher.Key => ({ id, bytes: Redacted.make(randomBytes(32)) })

/** What every cipher does. */
export const suite = <E>(name: string, layer: Layer.Layer<Cipher.Cipher, E>) =>
  withLayer(layer)(`Cipher: ${name}`, (it) => {
    it.effect("what was sealed opens for the same subject", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        for (const size of [0, 1, 15, 16, 17, 70_000]) {
          const bytes = randomBytes(size)
          const sealed = yield* cipher.seal(bytes, subject)
          assert.deepStrictEqual(Buffer.from(yield* cipher.open(sealed, subject)), bytes)
        }
      })
    )

    it.effect("the first key of the ring seals, and its id is told", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        assert.strictEqual((yield* cipher.seal(plain, subject)).keyId, cipher.keyIds[0])
      })
    )

    it.effect("the same text sealed twice has no bytes in common that could be compared", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const one = Buffer.from((yield* cipher.seal(plain, subject)).bytes)
        const other = Buffer.from((yield* cipher.seal(plain, subject)).bytes)
        assert.strictEqual(one.length, other.length)
        for (let start = 1; start + 8 <= one.length; start++) {
          assert.isFalse(other.includes(one.subarray(start, start + 8)), `bytes ${start} and after repeat`)
        }
      })
    )

    it.effect("the text is not in the sealed bytes", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const bytes = Buffer.from((yield* cipher.seal(plain, subject)).bytes)
        assert.isFalse(bytes.includes(plain))
        assert.isFalse(bytes.includes(plain.subarray(0, 8)))
      })
    )

    it.effect("any byte changed, and nothing opens", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const sealed = yield* cipher.seal(plain, subject)
        for (let index = 0; index < sealed.bytes.length; index++) {
          for (const bit of [0x01, 0x80, 0xff]) {
            const bytes = Buffer.from(sealed.bytes)
            bytes.writeUInt8(bytes.readUInt8(index) ^ bit, index)
            yield* refused(cipher.open({ ...sealed, bytes }, subject))
          }
        }
      })
    )

    it.effect("cut or lengthened anywhere, and nothing opens", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const sealed = yield* cipher.seal(plain, subject)
        for (let length = 0; length < sealed.bytes.length; length++) {
          yield* refused(cipher.open({ ...sealed, bytes: sealed.bytes.subarray(0, length) }, subject))
        }
        yield* refused(cipher.open({ ...sealed, bytes: Buffer.concat([sealed.bytes, Buffer.of(0)]) }, subject))
      })
    )

    it.effect("another subject opens nothing, however alike it looks", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const sealed = yield* cipher.seal(plain, subject)
        for (const other of [
          ["credential", "user", "id", 2],
          ["credential", "user", "id", "1"],
          ["credential", "user", "i", "d1"],
          ["credential", "userid", 1],
          ["credential", "other", "id", 1],
          ["revocation", "user", "id", 1],
          ["credential", "user", "id"],
          []
        ]) {
          yield* refused(cipher.open(sealed, other))
        }
      })
    )

    it.effect("the contents of one version do not open under the wrapped key of another", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const one = yield* cipher.seal(plain, subject)
        const other = yield* cipher.seal(plain, subject)
        const wrapped = 1 + 12 + 16 + 32
        const bytes = Buffer.concat([one.bytes.subarray(0, wrapped), other.bytes.subarray(wrapped)])
        yield* refused(cipher.open({ ...one, bytes }, subject))
      })
    )

    it.effect("a key that is not in the ring opens nothing, and the refusal names it", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const sealed = yield* Cipher.make([key("elsewhere")]).seal(plain, subject)
        const error = yield* Effect.flip(cipher.open(sealed, subject))
        assert.strictEqual(error.keyId, "elsewhere")
      })
    )

    it.effect("another key's bytes under a known id do not open", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const sealed = yield* Cipher.make([key("elsewhere")]).seal(plain, subject)
        yield* refused(cipher.open({ ...sealed, keyId: cipher.keyIds[0] ?? "" }, subject))
      })
    )

    it.effect("wrapped anew, the contents stay byte for byte and open", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        const sealed = yield* cipher.seal(plain, subject)
        const rewrapped = yield* cipher.rewrap(sealed, subject)
        const wrapped = 1 + 12 + 16 + 32
        assert.notDeepEqual(rewrapped.bytes.subarray(0, wrapped), sealed.bytes.subarray(0, wrapped))
        assert.deepStrictEqual(
          Buffer.from(rewrapped.bytes.subarray(wrapped)),
          Buffer.from(sealed.bytes.subarray(wrapped))
        )
        assert.strictEqual(yield* opened(cipher, rewrapped), plain.toString("utf8"))
      })
    )

    it.effect("nothing is wrapped anew for another subject", () =>
      Effect.gen(function* () {
        const cipher = yield* Cipher.Cipher
        yield* refused(cipher.rewrap(yield* cipher.seal(plain, subject), ["credential", "user", "id", 2]))
      })
    )
  })
