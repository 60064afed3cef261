import { assert, layer as withLayer } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import { randomUUID } from "node:crypto"
import type { Scope } from "../../src/ApiKeys.ts"
import { ApiKeys } from "../../src/ApiKeys.ts"
import { UserId } from "../../src/Credential.ts"

/** The bootstrap key that the layers under test are given. */
export const bootstrap = Redacted.make("the operator's own bootstrap key")

const every: ReadonlyArray<Scope> = ["read", "secret", "lease", "write", "connect", "admin"]

const create = (options: { readonly scopes?: ReadonlyArray<Scope>; readonly userId?: UserId } = {}) =>
  Effect.flatMap(ApiKeys, (keys) =>
    keys.create({
      name: `key "${randomUUID()}"`,
      scopes: options.scopes ?? ["read"],
      userId: Option.fromNullable(options.userId)
    })
  )

const verify = (text: string) => Effect.flatMap(ApiKeys, (keys) => keys.verify(Redacted.make(text)))

/** What every engine does as `ApiKeys`. Its layer has `bootstrap`. */
export const suite = <E>(name: string, layer: Layer.Layer<ApiKeys, E>) =>
  withLayer(layer, { timeout: "60 seconds" })(`ApiKeys: ${name}`, (it) => {
    it.effect("a key is verified as what it was made", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const userId = UserId.make(`user ${randomUUID()}`)
        for (const options of [
          {},
          { scopes: every },
          { scopes: [] },
          { userId },
          { scopes: ["lease"], userId }
        ] as const) {
          const { apiKey, key } = yield* create(options)
          assert.deepStrictEqual(apiKey.createdAt, yield* DateTime.now)
          assert.deepStrictEqual(yield* keys.verify(key), Option.some(apiKey))
        }
      })
    )

    it.effect("a key is 256 random bits behind its id", () =>
      Effect.gen(function* () {
        const { apiKey, key } = yield* create()
        const text = Redacted.value(key)
        assert.match(text, /^ec_[0-9a-f]{32}_[A-Za-z0-9_-]{43}$/)
        assert.include(text, apiKey.keyId.replaceAll("-", ""))
        assert.notStrictEqual(text.slice(36), Redacted.value((yield* create()).key).slice(36))
      })
    )

    it.effect("whatever is wrong with a key, the answer is the same: none", () =>
      Effect.gen(function* () {
        const text = Redacted.value((yield* create()).key)
        const other = Redacted.value((yield* create()).key)
        const flipped = (index: number) =>
          text.slice(0, index) + (text[index] === "0" ? "1" : "0") + text.slice(index + 1)
        for (const wrong of [
          "",
          "ec_",
          "bootstrap",
          text.slice(0, -1),
          `${text}A`,
          ` ${text}`,
          `${text}\n`,
          text.toUpperCase(),
          text.slice(0, 36) + other.slice(36),
          other.slice(0, 36) + text.slice(36),
          text.slice(0, 36) + "A".repeat(43),
          `ec_${"0".repeat(32)}_${"A".repeat(43)}`,
          `${Redacted.value(bootstrap)} `,
          Redacted.value(bootstrap).slice(1),
          "x".repeat(100_000),
          ...Array.from({ length: 32 }, (_, index) => flipped(3 + index)),
          ...Array.from({ length: 43 }, (_, index) => flipped(36 + index))
        ]) {
          assert.deepStrictEqual(yield* verify(wrong), Option.none(), wrong.slice(0, 100))
        }
      })
    )

    it.effect("the bootstrap key is admin, is in no list, and cannot be removed", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const verified = yield* keys.verify(bootstrap)
        assert.deepStrictEqual(
          Option.map(verified, ({ keyId, scopes, userId }) => ({ keyId, scopes, userId })),
          Option.some({ keyId: "bootstrap", scopes: ["admin"] as const, userId: Option.none() })
        )
        assert.isFalse((yield* keys.list).some(({ keyId }) => keyId === "bootstrap"))
        assert.isFalse(yield* keys.remove("bootstrap"))
        assert.isTrue(Option.isSome(yield* keys.verify(bootstrap)))
      })
    )

    it.effect("a removed key is nobody's at once; removing it again says that there was none", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const { apiKey, key } = yield* create()
        const { apiKey: kept, key: keptKey } = yield* create()
        assert.isTrue(yield* keys.remove(apiKey.keyId))
        assert.isFalse(yield* keys.remove(apiKey.keyId))
        assert.isFalse(yield* keys.remove(randomUUID()))
        assert.deepStrictEqual(yield* keys.verify(key), Option.none())
        assert.deepStrictEqual(yield* keys.verify(keptKey), Option.some(kept))
      })
    )

    it.effect("keys are listed without their text, in the order of making, then of ids", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        yield* TestClock.adjust("1 millis")
        const together = yield* Effect.replicateEffect(create({ scopes: every }), 5)
        yield* TestClock.adjust("1 millis")
        const last = yield* create()
        const expected = [
          ...together.map(({ apiKey }) => apiKey).sort((one, other) => (one.keyId < other.keyId ? -1 : 1)),
          last.apiKey
        ]
        const listed = yield* keys.list
        assert.deepStrictEqual(listed.slice(-expected.length), expected)
        const text = JSON.stringify(listed)
        for (const { key } of together) assert.notInclude(text, Redacted.value(key).slice(36))
      })
    )
  })
