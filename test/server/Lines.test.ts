import { assert, describe, it } from "@effect/vitest"
import { setImmediate } from "node:timers/promises"
import * as Lines from "../../src/server/Lines.ts"

describe("lines", () => {
  it("of one turn are written together, in their order, when it ends", async () => {
    const written: Array<string> = []
    const lines = Lines.make((text) => written.push(text))
    lines.write("one\n")
    lines.write("two\n")
    assert.deepStrictEqual(written, [])
    await setImmediate()
    assert.deepStrictEqual(written, ["one\ntwo\n"])
    lines.write("three\n")
    await setImmediate()
    assert.deepStrictEqual(written, ["one\ntwo\n", "three\n"])
  })

  it("that are left at the end of the process are written then, and once", async () => {
    const written: Array<string> = []
    const lines = Lines.make((text) => written.push(text))
    lines.write("last\n")
    lines.flush()
    assert.deepStrictEqual(written, ["last\n"])
    await setImmediate()
    lines.flush()
    assert.deepStrictEqual(written, ["last\n"])
  })
})
