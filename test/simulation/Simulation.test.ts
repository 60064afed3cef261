/** A short form of what `npm run simulate` plays at length. */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { constants, setPriority } from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { beforeAll } from "vitest"
import { quickTeeth, teeth } from "./Teeth.ts"
import type { Summary } from "./Threads.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** A minute on two quiet cores; other tests are in the way. */
const patience = 900_000

const execute = async (file: string, ...parameters: ReadonlyArray<string>): Promise<string> => {
  const run = promisify(execFile)(process.execPath, [Path.join(root, file), ...parameters], {
    cwd: root,
    maxBuffer: 2 ** 26
  })
  // it waits for nothing, and lets those tests go first that do
  if (run.child.pid !== undefined) setPriority(run.child.pid, constants.priority.PRIORITY_BELOW_NORMAL)
  // what went wrong is in the output, and told by the exit code too
  const { stdout } = await run.catch((error: { readonly stdout?: string }) => ({ stdout: error.stdout ?? "" }))
  return stdout
}

const simulate = (...parameters: ReadonlyArray<string>) =>
  execute("node_modules/.cache/simulation/test/simulation/main.js", ...parameters)

// compiles it, once
beforeAll(() => execute("test/simulation/run.mjs", "--schedules", "1"), patience)

describe("in simulated schedules of several processes and everything that fails", () => {
  it(
    "no refresh token is spent twice or lost, no holder overlaps another one, and nobody is forgotten",
    async () => {
      const summary: Summary = JSON.parse(await simulate("--schedules", "10000", "--json"))
      assert.deepStrictEqual(summary.violations, [])
      assert.strictEqual(summary.played, 10_000)
      // there was something to go wrong
      for (const [what, least] of Object.entries({ spends: 18_000, kills: 1_200, pauses: 600, operations: 120_000 })) {
        assert.isAbove(summary.counts[what] ?? 0, least, what)
      }
    },
    patience
  )

  it(
    "the same seed gives the same schedule, to the last line",
    async () => {
      const [one, other] = await Promise.all([simulate("--seed", "7"), simulate("--seed", "7")])
      assert.include(one, "Nothing went wrong.")
      assert.strictEqual(one, other)
    },
    patience
  )
})

describe("without one of the protections", () => {
  it("there are more than twelve to be taken away, and most of them are missed soon", () => {
    assert.isAtLeast(teeth.length, 12)
    assert.isAtLeast(quickTeeth.length, 10)
  })

  it(
    "it is seen that it is missing, of those that are missed soon",
    async () => {
      const results: ReadonlyArray<{ readonly name: string; readonly seed?: number }> = JSON.parse(
        await simulate("--teeth", "--quick", "--json")
      )
      assert.deepStrictEqual(
        results.map(({ name }) => name),
        quickTeeth.map(({ name }) => name)
      )
      assert.deepStrictEqual(
        results.filter(({ seed }) => seed === undefined),
        []
      )
    },
    patience
  )
})
