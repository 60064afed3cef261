/**
 * `npm run simulate`: plays schedules.
 *
 * - `--seed N`: the one of this seed, and everything that happened
 * - `--schedules N [--from N]`: so many, in all cores; the seeds of those that went wrong, and how the first one ended
 * - `--teeth [text]`: takes each protection (whose name has that text, or is `=text`) away, until that is seen
 * - `--teeth --quick`: those only that are missed soon
 * - `--json`: the result as one line of JSON
 */
import { parseArgs } from "node:util"
import * as Scenario from "./Scenario.ts"
import { play } from "./Schedule.ts"
import { quickTeeth, teeth, type Tooth } from "./Teeth.ts"
import * as Threads from "./Threads.ts"
import type { Line } from "./World.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string" },
    schedules: { type: "string" },
    from: { type: "string", default: "1" },
    teeth: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false }
  }
})

const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** So much of a timeline is shown where nobody asked for all of it. */
const lastLines = 40

const from = Number(values.from)
const schedules = Number(values.schedules ?? (values.teeth && !values.quick ? 10_000 : 1_000))
const seconds = (since: number) => ((performance.now() - since) / 1000).toFixed(1)

const show = (lines: ReadonlyArray<Line>): void => {
  for (const { at, what, who } of lines) say(`${at.toFixed(1).padStart(10)} ms  ${who.padEnd(9)}${what}`)
}

const one = (seed: number): void => {
  const { counts, lines, violations } = play(seed, true)
  say(`seed ${seed}: ${JSON.stringify(Scenario.draw(seed), undefined, 2)}`)
  show(lines)
  say(JSON.stringify(counts))
  say(violations.length === 0 ? "Nothing went wrong." : violations.join("\n"))
  if (violations.length > 0) process.exitCode = 1
}

const many = async (): Promise<void> => {
  const since = performance.now()
  const seeds = Array.from({ length: schedules }, (_, at) => from + at)
  const summary = await Threads.play({ seeds })
  if (values.json) return say(JSON.stringify(summary))
  for (const { seed, what } of summary.violations) say(`--seed ${seed}: ${what}`)
  const [first] = summary.violations
  if (first !== undefined) {
    say(`How the first of them ended; all of it: npm run simulate -- --seed ${first.seed}`)
    show(play(first.seed, true).lines.slice(-lastLines))
  }
  const { counts, played, violations } = summary
  const rate = Math.round(played / Number(seconds(since)))
  const { system, user } = process.cpuUsage()
  const each = ((system + user) / 1000 / played).toFixed(1)
  say(
    `${played} schedules in ${seconds(since)} s (${rate} a second, ${each} ms of CPU each): ${violations.length} went wrong`
  )
  say(JSON.stringify(counts))
  if (violations.length > 0) process.exitCode = 1
}

/** The seeds of some kinds of schedule, in turn. */
const seedsOf = ({ kinds }: Tooth, most: number): ReadonlyArray<number> => {
  const seeds: Array<number> = []
  for (let seed = from; seeds.length < most; seed++) if (kinds.includes(Scenario.kindOf(seed))) seeds.push(seed)
  return seeds
}

const bite = async (): Promise<void> => {
  const [text = ""] = positionals
  const results: Array<{
    readonly name: string
    readonly played: number
    readonly seed?: number
    readonly what?: string
  }> = []
  const isMeant = (name: string) => (text.startsWith("=") ? name === text.slice(1) : name.includes(text))
  for (const tooth of (values.quick ? quickTeeth : teeth).filter(({ name }) => isMeant(name))) {
    const since = performance.now()
    const { played, violations } = await Threads.play({
      seeds: seedsOf(tooth, schedules),
      tooth,
      stopsAtViolation: true,
      // another thread would take longer to begin than these take
      ...(values.quick && { threads: 1 })
    })
    const [first] = violations
    results.push({ name: tooth.name, played, ...first })
    if (values.json) continue
    const after = `${String(played).padStart(6)} schedules, ${seconds(since).padStart(6)} s`
    say(`${first === undefined ? "NOT MISSED" : "missed"}  ${after}  ${tooth.name}`)
    if (first !== undefined) say(`    --seed ${first.seed}: ${first.what.slice(0, 160)}`)
  }
  if (values.json) say(JSON.stringify(results))
  if (results.some(({ seed }) => seed === undefined)) process.exitCode = 1
}

if (values.seed !== undefined) one(Number(values.seed))
else if (values.teeth) await bite()
else await many()
