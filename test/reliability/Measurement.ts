/** One row of the table, measured: runs what measures it, for as long as it may take, and reads what that wrote down. */
import { execFileSync, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import type { Values } from "../Measured.ts"
import type { Row, Step } from "./Rows.ts"

export interface Measurement {
  readonly row: Row
  readonly step: Step
  readonly isMet: boolean
  /** Figures with their names. */
  readonly measured: string
  readonly seconds: number
  /** When, with what, and beside how much else. */
  readonly where: string
  /** What is to be read when it is not met. */
  readonly complaints: ReadonlyArray<string>
}

export const root = fileURLToPath(new URL("../..", import.meta.url))

const commandOf = ({ files, parameters = [], script }: Step): ReadonlyArray<string> =>
  script === undefined
    ? [..."npx vitest run --maxWorkers=1 --reporter=json".split(" "), ...(files ?? []), ...parameters]
    : ["npm", "run", "--silent", script, "--", ...parameters]

/** As it can be pasted. */
export const shown = (step: Step): string =>
  [
    ...Object.entries(step.env ?? {}).map(([name, value]) => `${name}=${value}`),
    ...commandOf(step)
      .filter((word) => word !== "--reporter=json" && word !== "--silent")
      .map((word) => (word.includes(" ") ? JSON.stringify(word) : word))
  ].join(" ")

interface Ended {
  readonly how: "well" | "badly" | "not at all"
  readonly output: string
  readonly seconds: number
}

const run = (step: Step, file: string, minutes: number): Promise<Ended> =>
  new Promise((resolve) => {
    const [command = "", ...parameters] = commandOf(step)
    const since = performance.now()
    const child = spawn(command, parameters, {
      cwd: root,
      // a group of its own, which ends as a whole
      detached: true,
      env: { ...process.env, ...step.env, MEASUREMENTS: file },
      stdio: ["ignore", "pipe", "inherit"]
    })
    let output = ""
    let isLate = false
    const kill = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL")
      } catch {}
    }
    const limit = setTimeout(() => {
      isLate = true
      kill()
    }, minutes * 60_000)
    process.once("exit", kill)
    const end = (how: Ended["how"]) => {
      clearTimeout(limit)
      process.off("exit", kill)
      resolve({ how, output, seconds: Math.round((performance.now() - since) / 1000) })
    }
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text))
    child.once("error", (error) => {
      output += String(error)
      end("badly")
    })
    child.once("close", (code) => end(isLate ? "not at all" : code === 0 ? "well" : "badly"))
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
      if (/^[{[]/.test(line)) return JSON.parse(line)
    } catch {}
  }
  return undefined
}

/** The beginning says what was expected, the end what a process said last. */
const short = (text: string) => (text.length < 6_000 ? text : `${text.slice(0, 3_000)}\n…\n${text.slice(-3_000)}`)

const failuresOf = ({ testResults }: Summary) =>
  testResults.flatMap(({ assertionResults, message }) => [
    ...(message === "" ? [] : [message]),
    ...assertionResults
      .filter(({ status }) => status === "failed")
      .map(({ failureMessages, fullName }) => `${fullName}\n${short(failureMessages.join("\n"))}`)
  ])

/** What several tests of a row say: numbers are added up, but for the least of them. */
const merged = (lines: ReadonlyArray<Values>): Values => {
  const all = new Map<string, string | number>()
  for (const values of lines) {
    for (const [name, value] of Object.entries(values)) {
      const before = all.get(name)
      const join = name.startsWith("least ") ? Math.min : (one: number, other: number) => one + other
      all.set(name, typeof before === "number" && typeof value === "number" ? join(before, value) : value)
    }
  }
  return Object.fromEntries(all)
}

const said = (values: Values) =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${typeof value === "number" ? value.toLocaleString("en-US") : value}`)
    .join(", ")

const revision = (() => {
  try {
    const git = (...parameters: ReadonlyArray<string>) =>
      execFileSync("git", parameters, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()
    const changed = git("status", "--porcelain", "src", "test") !== ""
    return `${git("rev-parse", "--short", "HEAD")}${changed ? " and changes" : ""}`
  } catch {
    return "unknown revision"
  }
})()

export const machine = `${Os.cpus().length} × ${Os.cpus()[0]?.model.trim() ?? "unknown"}, ${Math.round(Os.totalmem() / 2 ** 30)} GB, Node ${process.version}`

const load = () => (Os.loadavg()[0] ?? 0).toFixed(1)

/** What `row` comes to; `directory` is where its tests may write down what they measured. */
export const measure = async (row: Row, step: Step, directory: string): Promise<Measurement> => {
  const file = Path.join(directory, `${row.name.replaceAll(" ", "-")}.jsonl`)
  Fs.writeFileSync(file, "")
  const before = load()
  const { how, output, seconds } = await run(step, file, row.minutes)
  const where = `${new Date().toISOString().slice(0, 10)}, ${revision}, ${Os.cpus().length} cores, load ${before} to ${load()}`
  const of = (isMet: boolean, values: Values, complaints: ReadonlyArray<string> = []): Measurement => ({
    row,
    step,
    isMet,
    seconds,
    where,
    complaints,
    measured: how === "not at all" ? `no end within ${row.minutes} minutes` : said(values)
  })
  const result = lastJson(output)
  if (row.judge !== undefined) {
    if (result === undefined) return of(false, {}, [output.slice(-4_000)])
    const { isMet, values } = row.judge(result, seconds)
    return of(isMet && how === "well", values, isMet ? [] : [output.slice(-4_000)])
  }
  const lines = Fs.readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as { readonly values: Values }).values)
  const summary = result as Summary | undefined
  const tests = {
    tests: summary?.numPassedTests ?? 0,
    ...(summary !== undefined && summary.numFailedTests > 0 && { "failed tests": summary.numFailedTests })
  }
  const isMet = how === "well" && tests.tests > 0
  const complaints = isMet ? [] : summary === undefined ? [output.slice(-4_000)] : failuresOf(summary)
  return of(isMet, { ...merged(lines), ...tests }, complaints)
}
