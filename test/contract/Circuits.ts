import { assert, layer as withLayer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import type { Circuit } from "../../src/CircuitBreaker/Circuit.ts"
import type * as Kept from "../../src/CircuitBreaker/Circuits.ts"

/** The engine under test. */
export class Circuits extends Context.Tag("effect-credentials/test/Circuits")<Circuits, Kept.Circuits>() {}

const newEndpoint = () => ({ provider: "acme", origin: `https://${randomUUID()}.test` })

const at = Date.UTC(2024, 4, 6, 7, 8, 9, 123)

const newRow = (endpoint: Kept.Endpoint, fields: Partial<Circuit> = {}): Kept.CircuitRow => ({
  ...endpoint,
  version: randomUUID(),
  circuit: {
    failing: ["one", "two-Three_4"],
    reason: "unreachable",
    failedAt: at,
    openings: 2,
    openUntil: at + 5_001,
    trialUntil: null,
    ...fields
  }
})

/** What every engine does as the keeper of circuits. */
export const suite = <E>(name: string, layer: Layer.Layer<Circuits, E>) =>
  withLayer(layer, { timeout: "60 seconds" })(`Circuits: ${name}`, (it) => {
    const find = (endpoint: Kept.Endpoint) =>
      Effect.flatMap(Circuits, (circuits) => Effect.map(circuits.find(endpoint), ({ row }) => row))

    it.effect("a row is found as it was put, at its endpoint alone", () =>
      Effect.gen(function* () {
        const { put } = yield* Circuits
        const endpoint = newEndpoint()
        for (const fields of [
          {},
          { failing: [], openUntil: null },
          { reason: "timeout", trialUntil: at + 1 }
        ] as const) {
          const row = newRow({ ...endpoint, provider: randomUUID() }, fields)
          assert.isTrue(yield* put(row, Option.none()))
          assert.deepStrictEqual(yield* find(row), Option.some(row))
        }
        assert.deepStrictEqual(yield* find(endpoint), Option.none())
      })
    )

    it.effect("a row takes the place of the version that it names, and of no other", () =>
      Effect.gen(function* () {
        const { put } = yield* Circuits
        const endpoint = newEndpoint()
        const [first, second, third] = [newRow(endpoint), newRow(endpoint, { openings: 3 }), newRow(endpoint)]
        assert.isFalse(yield* put(first, Option.some(second.version)))
        assert.isTrue(yield* put(first, Option.none()))
        assert.isFalse(yield* put(second, Option.none()))
        assert.isFalse(yield* put(second, Option.some(third.version)))
        assert.deepStrictEqual(yield* find(endpoint), Option.some(first))
        assert.isTrue(yield* put(second, Option.some(first.version)))
        assert.isFalse(yield* put(third, Option.some(first.version)))
        assert.deepStrictEqual(yield* find(endpoint), Option.some(second))
      })
    )

    it.effect("a row is removed at its version, and not once it is another", () =>
      Effect.gen(function* () {
        const { put, remove } = yield* Circuits
        const row = newRow(newEndpoint())
        yield* put(row, Option.none())
        yield* remove(row, randomUUID())
        assert.isTrue(Option.isSome(yield* find(row)))
        yield* remove(row, row.version)
        yield* remove(row, row.version)
        assert.deepStrictEqual(yield* find(row), Option.none())
        assert.isTrue(yield* put(row, Option.none()))
      })
    )

    it.effect("all are answered, with a time that does not go back", () =>
      Effect.gen(function* () {
        const { all, find, put } = yield* Circuits
        const rows = [newRow(newEndpoint()), newRow(newEndpoint())]
        yield* Effect.forEach(rows, (row) => put(row, Option.none()))
        const { now, rows: found } = yield* all
        for (const row of rows) assert.deepInclude(found, row)
        assert.isAtLeast((yield* find(newEndpoint())).now, now)
      })
    )

    it.effect("those where no call failed for long are dropped, the others stay", () =>
      Effect.gen(function* () {
        const { find: look, prune, put } = yield* Circuits
        const { now } = yield* look(newEndpoint())
        const [old, young] = [
          newRow(newEndpoint(), { failedAt: now - 90_000_000 }),
          newRow(newEndpoint(), { failedAt: now - 80_000_000 })
        ]
        yield* Effect.forEach([old, young], (row) => put(row, Option.none()))
        yield* prune(Duration.days(1))
        assert.deepStrictEqual(yield* find(old), Option.none())
        assert.deepStrictEqual(yield* find(young), Option.some(young))
      })
    )

    it.effect("of 32 that take one place at once exactly one does", () =>
      Effect.gen(function* () {
        const { put } = yield* Circuits
        const endpoint = newEndpoint()
        const race = (before: Option.Option<string>) => {
          const rows = Array.from({ length: 32 }, () => newRow(endpoint))
          return Effect.map(
            Effect.forEach(rows, (row) => put(row, before), { concurrency: "unbounded" }),
            (won) => rows.filter((_, index) => won[index])
          )
        }
        const [first, ...others] = yield* race(Option.none())
        assert.deepStrictEqual(others, [])
        assert.deepStrictEqual(yield* find(endpoint), Option.fromNullable(first))
        const [next, ...rest] = yield* race(Option.fromNullable(first?.version))
        assert.deepStrictEqual(rest, [])
        assert.deepStrictEqual(yield* find(endpoint), Option.fromNullable(next))
      })
    )
  })
