import { TransactionConnection } from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as PointReads from "../../src/Database/PointReads.ts"

/** A table whose statements end when they are told to; each tells what it was asked for. */
const table = Effect.gen(function* () {
  const rows = new Map([
    ["a", 1],
    ["b", 2],
    ["c", 3]
  ])
  const statements: Array<{ readonly keys: ReadonlyArray<string>; readonly end: Deferred.Deferred<void, string> }> = []
  const find = yield* PointReads.make({
    nameOf: (key: string) => key,
    read: (keys) =>
      Effect.gen(function* () {
        const end = yield* Deferred.make<void, string>()
        statements.push({ keys, end })
        yield* Deferred.await(end)
        return new Map([...rows].filter(([key]) => keys.includes(key)))
      })
  })
  const ask = (...keys: ReadonlyArray<string>) => Effect.forEach(keys, (key) => Effect.fork(Effect.either(find(key))))
  /** As many as may be under way, one after the other. */
  const busy = Effect.gen(function* () {
    const one = yield* ask("a")
    yield* settle
    const other = yield* ask("a")
    yield* settle
    return [...one, ...other]
  })
  const end = (index: number) => Effect.zipRight(Deferred.succeed(statements[index]?.end as never, undefined), settle)
  return { rows, statements, find, ask, busy, end, asked: () => statements.map(({ keys }) => keys) }
})

const settle = Effect.repeatN(Effect.yieldNow(), 50)

const answers = <A, E>(fibers: ReadonlyArray<Fiber.Fiber<A, E>>) =>
  Effect.map(Fiber.join(Fiber.all(fibers)), (all) => all)

describe("reads of single rows", () => {
  it.effect("that are asked for in one step are put together, those of one row as one", () =>
    Effect.gen(function* () {
      const { ask, asked, end } = yield* table
      const fibers = yield* ask("a", "b", "a")
      yield* settle
      assert.deepStrictEqual(asked(), [["a", "b"]])
      yield* end(0)
      const found = (yield* answers(fibers)).map((answer) => Option.getOrNull(Option.flatten(Option.getRight(answer))))
      assert.deepStrictEqual(found, [1, 2, 1])
    })
  )

  it.effect("that come while statements are under way are put together, those of one row as one", () =>
    Effect.gen(function* () {
      const { ask, asked, busy, end } = yield* table
      const first = yield* busy
      const fibers = [...first, ...(yield* ask("b", "a", "c", "b", "nothing"))]
      yield* settle
      assert.deepStrictEqual(asked(), [["a"], ["a"]])
      yield* end(0)
      assert.deepStrictEqual(asked(), [["a"], ["a"], ["b", "a", "c", "nothing"]])
      yield* end(1)
      yield* end(2)
      const found = (yield* answers(fibers)).map((answer) => Option.getOrNull(Option.flatten(Option.getRight(answer))))
      assert.deepStrictEqual(found, [1, 1, 2, 1, 3, 2, null])
      assert.lengthOf(asked(), 3)
    })
  )

  it.effect("are never answered by a statement that was sent before they were asked for", () =>
    Effect.gen(function* () {
      const { ask, asked, busy, end, rows } = yield* table
      const before = yield* busy
      const after = yield* ask("a")
      yield* settle
      assert.deepStrictEqual(asked(), [["a"], ["a"]])
      yield* end(0)
      yield* end(1)
      rows.set("a", 10)
      yield* end(2)
      assert.deepStrictEqual(
        [...(yield* answers(before)), ...(yield* answers(after))].map((answer) =>
          Option.getOrNull(Option.flatten(Option.getRight(answer)))
        ),
        [1, 1, 10]
      )
    })
  )

  it.effect("are left to the others when one of them is interrupted, and not sent when all are", () =>
    Effect.gen(function* () {
      const { ask, asked, busy, end } = yield* table
      yield* busy
      const [one, other, gone] = yield* ask("b", "b", "c")
      yield* settle
      if (one !== undefined && gone !== undefined) yield* Fiber.interruptAll([one, gone])
      yield* end(0)
      assert.deepStrictEqual(asked(), [["a"], ["a"], ["b"]])
      yield* end(2)
      if (other !== undefined) assert.isTrue(Option.isSome(Option.getRight(yield* Fiber.join(other))))
    })
  )

  it.effect("fail with their statement, and with no other", () =>
    Effect.gen(function* () {
      const { ask, busy, end, statements } = yield* table
      const first = yield* busy
      const fibers = [...first, ...(yield* ask("b", "c"))]
      yield* settle
      yield* end(0)
      yield* Deferred.fail(statements[2]?.end as never, "out of reach")
      yield* end(1)
      const tags = (yield* answers(fibers)).map(({ _tag }) => _tag)
      assert.deepStrictEqual(tags, ["Right", "Right", "Left", "Left"])
      const next = yield* ask("a")
      yield* settle
      yield* end(3)
      assert.deepStrictEqual(
        (yield* answers(next)).map(({ _tag }) => _tag),
        ["Right"]
      )
    })
  )

  it.effect("of a transaction's are made alone, by its own fiber", () =>
    Effect.gen(function* () {
      const { asked, busy, find, ask } = yield* table
      yield* busy
      yield* ask("b", "c")
      yield* settle
      yield* Effect.fork(find("c").pipe(Effect.provideService(TransactionConnection, [undefined as never, 0])))
      yield* settle
      assert.deepStrictEqual(asked(), [["a"], ["a"], ["c"]])
    })
  )
})
