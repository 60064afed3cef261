import { assert, layer as withLayer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomBytes, randomUUID } from "node:crypto"
import type * as Receipts from "../../src/Receipts.ts"

/** The spool under test. */
export class Spool extends Context.Tag("effect-credentials/test/Spool")<Spool, Receipts.Spool>() {}

const same = (found: Option.Option<Uint8Array>, expected: Uint8Array) =>
  assert.isTrue(Option.exists(found, (bytes) => Buffer.compare(bytes, expected) === 0))

/** What every spool of receipts does. */
export const suite = <E>(name: string, layer: Layer.Layer<Spool, E>) =>
  withLayer(layer, { timeout: "60 seconds" })(`Spool: ${name}`, (it) => {
    it.effect("what is written is read back, byte by byte, and written again it is the later", () =>
      Effect.gen(function* () {
        const { read, write } = yield* Spool
        const id = randomUUID()
        for (const bytes of [randomBytes(3), randomBytes(70_000), Buffer.from([0, 255, 10, 13, 0])]) {
          yield* write(id, bytes)
          same(yield* read(id), bytes)
        }
        assert.deepStrictEqual(yield* read(randomUUID()), Option.none())
      })
    )

    it.effect("names are those of what is there, each once", () =>
      Effect.gen(function* () {
        const { names, remove, write } = yield* Spool
        const [kept, gone] = [randomUUID(), randomUUID()]
        for (const id of [kept, gone, kept]) yield* write(id, randomBytes(10))
        yield* remove(gone)
        const found = yield* names
        assert.lengthOf(
          found.filter((id) => id === kept),
          1
        )
        assert.notInclude(found, gone)
      })
    )

    it.effect("what is removed is gone, and removing it again is nothing", () =>
      Effect.gen(function* () {
        const { read, remove, write } = yield* Spool
        const id = randomUUID()
        yield* write(id, randomBytes(10))
        yield* remove(id)
        yield* remove(id)
        assert.deepStrictEqual(yield* read(id), Option.none())
      })
    )

    it.effect("only what is there as named is replaced", () =>
      Effect.gen(function* () {
        const { read, replace, write } = yield* Spool
        const id = randomUUID()
        const [before, after, other] = [randomBytes(10), randomBytes(10), randomBytes(10)]
        assert.isFalse(yield* replace(id, before, after))
        assert.deepStrictEqual(yield* read(id), Option.none())
        yield* write(id, before)
        assert.isFalse(yield* replace(id, other, after))
        same(yield* read(id), before)
        assert.isTrue(yield* replace(id, before, after))
        same(yield* read(id), after)
      })
    )

    it.effect("many at once do not mix", () =>
      Effect.gen(function* () {
        const { read, write } = yield* Spool
        const all = Array.from({ length: 32 }, () => ({ id: randomUUID(), bytes: randomBytes(500) }))
        yield* Effect.forEach(all, ({ bytes, id }) => write(id, bytes), { concurrency: "unbounded" })
        for (const { bytes, id } of all) same(yield* read(id), bytes)
      })
    )
  })
