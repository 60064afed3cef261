/**
 * Everything that is measured, in one run: `npm run bench` writes `docs/benchmarks.md` and the chart beside it. With
 * `--quick` a look at whether all of it works, below a minute, which is written where nobody takes it for the report.
 */
import * as Effect from "effect/Effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Postgres from "../test/servers/Postgres.ts"
import * as Chart from "./Chart.ts"
import * as Get from "./Get.ts"
import * as Http from "./Http.ts"
import * as Locks from "./Locks.ts"
import * as Machine from "./Machine.ts"
import * as Report from "./Report.ts"
import * as Scale from "./Scale.ts"
import * as Stampede from "./Stampede.ts"
import * as Start from "./Start.ts"
import * as World from "./World.ts"

type Part = (world: World.World) => Promise<ReadonlyArray<Report.Section> | Report.Section>

const parts: Readonly<Record<string, Part>> = {
  get: Get.measure,
  http: Http.measure,
  stampede: Stampede.measure,
  scale: Scale.measure,
  start: Start.measure,
  locks: Locks.measure
}

const [root = "", ...parameters] = process.argv.slice(2)
const quick = parameters.includes("--quick")
const named = parameters.filter((parameter) => !parameter.startsWith("--"))
const unknown = [
  ...named.filter((name) => !Object.hasOwn(parts, name)),
  ...parameters.filter((parameter) => parameter.startsWith("--") && parameter !== "--quick")
]
if (unknown.length > 0) {
  process.stderr.write(
    `npm run bench -- [--quick] [${Object.keys(parts).join("|")}]…: what is ${unknown.join(", ")}?\n`
  )
  process.exit(2)
}
const chosen = named.length === 0 ? Object.keys(parts) : named
const say = (line: string) => void process.stderr.write(`${line}\n`)

const program = Effect.gen(function* () {
  const since = performance.now()
  const before = Machine.load()
  const world = yield* World.make({ quick, root })
  const [versions] = yield* Postgres.query(world.postgres.url(), "select current_setting('server_version') as postgres")
  const sections: Array<Report.Section> = []
  for (const [name, part] of Object.entries(parts)) {
    if (!chosen.includes(name)) continue
    const started = performance.now()
    const measured = [yield* Effect.promise(() => part(world))].flat()
    sections.push(...measured)
    for (const row of measured.flatMap(({ rows }) => rows)) {
      say(
        `  ${row.work}: ${Report.figure(row)}${row.goal ? ` (${Report.goalOf(row.goal)})` : ""}  ${row.here} | ${row.base}`
      )
    }
    say(`${name}: ${Math.round((performance.now() - started) / 1000)} s`)
  }
  const command = ["npm run bench", ...(parameters.length > 0 ? ["--", ...parameters] : [])].join(" ")
  const text = Report.markdown({
    command,
    chart: "benchmarks.svg",
    sections,
    facts: [
      ...Machine.facts(root),
      ["engines", `PostgreSQL ${String(versions?.["postgres"])} (fsync off), Redis ${yield* world.redisVersion}`],
      ["load before, after", `${before}; ${Machine.load()} (1, 5, 15 minutes)`],
      ["measured", `${new Date().toISOString().slice(0, 16)}Z, in ${Math.round((performance.now() - since) / 1000)} s`]
    ]
  })
  const whole = !quick && named.length === 0
  const folder = whole ? join(root, "docs") : join(root, "node_modules/.cache/bench/report")
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "benchmarks.md"), text)
  writeFileSync(join(folder, "benchmarks.svg"), Chart.svg(sections.flatMap(({ rows }) => rows)))
  say(`written to ${join(folder, "benchmarks.md")}`)
  if (!whole) process.stdout.write(text)
})

await Effect.runPromise(Effect.scoped(program))
process.exit(0)
