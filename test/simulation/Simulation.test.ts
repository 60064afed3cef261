/** A short form of what `npm run simulate` plays at length. */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { teeth } from "./Teeth.ts"
import type { Summary } from "./Threads.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Seconds on two quiet cores; other tests are in the way. */
const patience = 900_000

const simulate = async (...parameters: ReadonlyArray<string>): Promise<string> => {
  const run = promisify(execFile)(process.execPath, [Path.join(root, "test/simulation/run.mjs"), ...parameters], {
    cwd: root,
    maxBuffer: 2 ** 26
  })
  // what went wrong is in the output, and told by the exit code too
  const { stdout } = await run.catch((error: { readonly stdout?: string }) => ({ stdout: error.stdout ?? "" }))
  return stdout
}

describe("in simulated schedules of several processes and everything that fails", () => {
  it(
    "no refresh token is spent twice or lost, no holder overlaps another one, and nobody is forgotten",
    async () => {
      const summary: Summary = JSON.parse(await simulate("--schedules", "2000", "--json"))
      assert.deepStrictEqual(summary.violations, [])
      assert.strictEqual(summary.played, 2_000)
      // there was something to go wrong
      for (const [what, least] of Object.entries({ spends: 3_000, kills: 200, pauses: 100, operations: 20_000 })) {
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
  const quick = teeth.filter(({ within }) => within !== undefined && within <= 60)

  it("there are more than twelve to be taken away, and most of them are missed soon", () => {
    assert.isAtLeast(teeth.length, 12)
    assert.isAtLeast(quick.length, 10)
  })

  for (const { name, within = 0 } of quick) {
    it(
      `it is seen that it is missing: ${name}`,
      async () => {
        const output = await simulate("--teeth", "--json", "--schedules", String(4 * within + 100), `=${name}`)
        const [result]: ReadonlyArray<{ readonly seed?: number }> = JSON.parse(output)
        assert.isDefined(result?.seed)
      },
      patience
    )
  }
})
