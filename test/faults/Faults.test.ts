/** The table of faults and the tests of this folder: nothing of the one is missing among the others. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Faults from "./Faults.ts"

const folder = new URL(".", import.meta.url)

/** What each file shows: read from the files themselves, so that a test that is taken out is missed. */
const shown = Effect.promise(() =>
  Faults.collect(async () => {
    const files = Fs.readdirSync(folder).filter((file) => file.endsWith(".test.ts") && file !== "Faults.test.ts")
    for (const file of files) await import(new URL(file, folder).pathname)
  })
)

describe("the table of faults", () => {
  it.effect("has a test of every way of every row, for each operation that it may befall", () =>
    Effect.gen(function* () {
      const cases = yield* shown
      const missing = Faults.rows.flatMap(({ befalls, fault, ways }) =>
        ways.flatMap((way) => {
          const tests = cases.filter((one) => one.ways.some((known) => known === way))
          const wanted = befalls === "none" ? [[]] : Faults.operations.map((operation) => [operation])
          return wanted
            .filter((operations) => !tests.some((test) => operations.every((one) => test.operations.includes(one))))
            .map((operations) => [fault, way, ...operations].join(", "))
        })
      )
      assert.deepStrictEqual(missing, [])
    })
  )

  it("names every way once", () => {
    const ways = Faults.rows.flatMap(({ ways }): ReadonlyArray<string> => ways)
    assert.strictEqual(new Set(ways).size, ways.length)
  })
})
