/**
 * `npm run reliability`: measures every number that the service is held to, prints the table, and keeps it in
 * `docs/reliability.md`.
 *
 * - `--quick`: the short forms, some minutes; else the long ones, about two hours. The short ones are not kept
 * - `--only <row>`: one row; may be repeated
 * - `--list`: the rows, and what measures each
 */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { parseArgs } from "node:util"
import { machine, type Measurement, measure, root, shown } from "./Measurement.ts"
import { type Row, rows } from "./Rows.ts"
import * as Table from "./Table.ts"

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

const names = rows.map(({ name }) => name)
const unknown = (options.only ?? []).filter((name) => !names.includes(name))
if (unknown.length > 0) throw new Error(`There is no ${unknown.join(", ")}. The rows are: ${names.join(", ")}.`)
const chosen = options.only === undefined ? rows : rows.filter(({ name }) => options.only?.includes(name))

// what runs ends with this process
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130))

const stepOf = (row: Row) => (options.quick ? row.quick : row.long)

const measureAll = async () => {
  // once, and not by each of those that run side by side
  execFileSync("npm", ["run", "--silent", "build"], { cwd: root, stdio: ["ignore", "inherit", "inherit"] })
  const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-credentials-reliability-"))
  const results: Array<Measurement> = []
  const inTurn = async (some: ReadonlyArray<Row>) => {
    for (const row of some) {
      tell(`${row.name}: ${shown(stepOf(row))}`)
      const result = await measure(row, stepOf(row), directory)
      results.push(result)
      for (const complaint of result.complaints) tell(complaint)
      tell(`${row.name}: ${result.isMet ? "met" : "NOT MET"} after ${result.seconds} s: ${result.measured}\n`)
      if (!options.quick) Table.keep([result])
    }
  }
  const ofCompany = (company: Row["company"]) => chosen.filter((row) => row.company === company)
  await inTurn(ofCompany("alone"))
  await Promise.all([inTurn(ofCompany(undefined)), inTurn(ofCompany("beside"))])
  Fs.rmSync(directory, { recursive: true, force: true })
  return chosen.flatMap((row) => results.filter((result) => result.row === row))
}

if (options.list) {
  for (const row of chosen) print(`${row.name}: ${row.goal}\n  ${shown(stepOf(row))}`)
} else {
  const results = await measureAll()
  print(`${machine}; the ${options.quick ? "short" : "long"} forms\n\n${Table.head}`)
  for (const result of results) print(Table.line(result))
  print(`\n${results.filter(({ isMet }) => isMet).length} of ${results.length} are met.`)
  if (results.some(({ isMet }) => !isMet)) process.exitCode = 1
}
