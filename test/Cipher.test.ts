import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import * as Cipher from "../src/Cipher.ts"
import { suite } from "./contract/Cipher.ts"

const key = (id: string): Cipher.Key => ({ id, bytes: Redacted.make(randomBytes(32)) })

suite("memory", Cipher.layerMemory)
suite("a ring of two", Cipher.layer([key("new"), key("old")]))

const subject = ["setting", "of a test"]
const plain = Buffer.from("plain")

it.effect("after a rotation the old key opens, the new one seals, and a rewrap moves from one to the other", () =>
  Effect.gen(function* () {
    const [old, fresh] = [key("old"), key("new")]
    const sealed = yield* Cipher.make([old]).seal(plain, subject)
    const both = Cipher.make([fresh, old])
    assert.deepStrictEqual(Buffer.from(yield* both.open(sealed, subject)), plain)
    const rewrapped = yield* both.rewrap(sealed, subject)
    assert.strictEqual(rewrapped.keyId, "new")
    assert.deepStrictEqual(Buffer.from(yield* Cipher.make([fresh]).open(rewrapped, subject)), plain)
    yield* Effect.flip(Cipher.make([old]).open(rewrapped, subject))
  })
)
