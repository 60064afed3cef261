/**
 * `npm run reliability`: measures every number that the service is held to, and prints the table.
 *
 * - `--quick`: the short forms, some minutes; else the long ones, about two hours
 * - `--only <row>`: one row; may be repeated
 * - `--list`: the rows, and what measures each
 */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { Values } from "../Measured.ts"
import { type Row, rows, type Step } from "./Rows.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    only: { type: "string", multiple: true }
  }
})

const print = (text: string) => process.stdout.write(`${text}\n`)
/** What is not of the table. */
const tell = (text: string) => process.stderr.write(`${text}\n`)

const commandOf = ({ files, parameters = [], script }: Step): ReadonlyArray<string> =>
  script === undefined
    ? [..."npx vitest run --maxWorkers=1 --reporter=json".split(" "), ...(files ?? []), ...parameters]
    : ["npm", "run", "--silent", script, "--", ...parameters]

const shown = (step: Step) =>
  [
    ...Object.entries(step.env ?? {}).map(([name, value]) => `${name}=${value}`),
    ...commandOf(step)
      .filter((word) => word !== "--reporter=json" && word !== "--silent")
      .map((word) => (word.includes(" ") ? JSON.stringify(word) : word))
  ].join(" ")

interface Ended {
  readonly ok: boolean
  readonly output: string
  readonly seconds: number
}

const run = (step: Step, measurements: string): Promise<Ended> =>
  new Promise((resolve) => {
    const [command = "", ...parameters] = commandOf(step)
    const since = performance.now()
    const child = spawn(command, parameters, {
      cwd: root,
      env: { ...process.env, ...step.env, MEASUREMENTS: measurements },
      stdio: ["ignore", "pipe", "inherit"]
    })
    let output = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text))
    child.once("error", (error) => resolve({ ok: false, output: String(error), seconds: 0 }))
    child.once("close", (code) =>
      resolve({ ok: code === 0, output, seconds: Math.round((performance.now() - since) / 1000) })
    )
  })

interface Summary {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly testResults: ReadonlyArray<{
    readonly message: string
    readonly assertionResults: ReadonlyArray<{
      readonly status: string
      readonly fullName: string
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

const lastJson = (text: string): unknown => {
  for (const line of text.split("\n").toReversed()) {
    try {
      if (line.startsWith("{")) return JSON.parse(line)
    } catch {}
  }
  return undefined
}

/** Numbers of one name are added up, but for those that are the same in every test of a row. */
const merged = (lines: ReadonlyArray<Values>): Values => {
  const sums = new Map<string, string | number>()
  const constant = new Set(["encodings"])
  for (const values of lines) {
    for (const [name, value] of Object.entries(values)) {
      const before = sums.get(name)
      const adds = typeof before === "number" && typeof value === "number" && !constant.has(name)
      sums.set(name, adds ? before + value : value)
    }
  }
  return Object.fromEntries(sums)
}

const said = (values: object) =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : String(value)}`)
    .join(", ")

const measure = async (row: Row, directory: string) => {
  const step = options.quick ? row.quick : row.long
  const scripts = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8")) as {
    readonly scripts: Readonly<Record<string, string>>
  }
  if (step.script !== undefined && scripts.scripts[step.script] === undefined) {
    return { row, step, ok: false, seconds: 0, measured: `not measured: there is no npm run ${step.script}` }
  }
  const file = Path.join(directory, `${row.name.replaceAll(" ", "-")}.jsonl`)
  Fs.writeFileSync(file, "")
  const { ok, output, seconds } = await run(step, file)
  const lines = Fs.readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as { readonly values: Values }).values)
  const result = lastJson(output)
  if (step.script !== undefined) return { row, step, ok, seconds, measured: said((result ?? {}) as object) }
  const summary = result as Summary | undefined
  for (const { assertionResults, message } of ok ? [] : (summary?.testResults ?? [])) {
    if (message !== "") tell(message)
    for (const { failureMessages, fullName, status } of assertionResults) {
      if (status === "failed") tell(`${fullName}\n${failureMessages.join("\n").slice(0, 4_000)}`)
    }
  }
  const tests = summary === undefined ? {} : { tests: summary.numPassedTests, "failed tests": summary.numFailedTests }
  return { row, step, ok, seconds, measured: said({ ...merged(lines), ...tests }) }
}

const chosen = options.only === undefined ? rows : rows.filter(({ name }) => options.only?.includes(name))
if (chosen.length === 0) throw new Error(`The rows are: ${rows.map(({ name }) => name).join(", ")}.`)

if (options.list) {
  for (const { goal, long, name } of chosen) print(`${name}: ${goal}\n  ${shown(long)}`)
} else {
  const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-credentials-reliability-"))
  const results: Array<Awaited<ReturnType<typeof measure>>> = []
  for (const row of chosen) {
    tell(`${row.name}: ${shown(options.quick ? row.quick : row.long)}`)
    const result = await measure(row, directory)
    results.push(result)
    tell(`${result.ok ? "ok" : "NOT OK"} after ${result.seconds} s: ${result.measured}\n`)
  }
  Fs.rmSync(directory, { recursive: true, force: true })
  const [processor] = Os.cpus()
  print(
    `${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${Os.cpus().length} × ${processor?.model ?? "?"}, load ${Os.loadavg()[0]?.toFixed(1)}, ${options.quick ? "short" : "long"} forms\n`
  )
  print("| what | goal | measured | seconds | command |\n|---|---|---|---|---|")
  for (const { measured, ok, row, seconds, step } of results) {
    print(`| ${row.name} | ${row.goal} | ${ok ? "" : "**not met**: "}${measured} | ${seconds} | \`${shown(step)}\` |`)
  }
  if (results.some(({ ok }) => !ok)) process.exitCode = 1
}
