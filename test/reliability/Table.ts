/**
 * The table, and the page that holds it: a row that was measured again takes the place of its last, the others stay as they
 * were.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { type Measurement, root, shown } from "./Measurement.ts"
import { type Row, rows } from "./Rows.ts"

const page = Path.join(root, "docs/reliability.md")

const lineOf = (cells: ReadonlyArray<string>) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`

export const head = [
  lineOf(["what", "goal", "measured", "met", "seconds", "where", "command"]),
  lineOf(["---", "---", "---", "---", "---:", "---", "---"])
].join("\n")

export const line = ({ isMet, measured, row, seconds, step, where }: Measurement): string =>
  lineOf([
    row.name,
    row.goal,
    measured,
    isMet ? "yes" : "**no**",
    seconds.toLocaleString("en-US"),
    where,
    `\`${shown(step)}\``
  ])

const notMeasured = ({ goal, long, name }: Row) =>
  lineOf([name, goal, "not measured", "**no**", "", "", `\`${shown(long)}\``])

/** Puts what was measured into the page. */
export const keep = (measurements: ReadonlyArray<Measurement>): void => {
  const text = Fs.readFileSync(page, "utf8")
  const from = text.indexOf("| what | goal |")
  if (from < 0) throw new Error(`${page} has no table that begins with "| what | goal |".`)
  const end = text.indexOf("\n\n", from)
  const to = end < 0 ? text.length : end
  const before = text.slice(from, to).trimEnd().split("\n")
  const lines = rows.map((row) => {
    const now = measurements.find((measurement) => measurement.row.name === row.name)
    return now === undefined ? (before.find((old) => old.startsWith(`| ${row.name} |`)) ?? notMeasured(row)) : line(now)
  })
  Fs.writeFileSync(page, `${text.slice(0, from)}${[head, ...lines].join("\n")}${text.slice(to)}`)
}
