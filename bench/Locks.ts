/** The gates of the locks, by the program that measures them beside other locks. */
import { execFile } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import type * as Report from "./Report.ts"
import type { World } from "./World.ts"

const goalOf = (gate: string): Report.Goal | undefined => {
  const [, kind, value] = /^([≥≤]) *([\d.]+)/.exec(gate) ?? []
  if (value === undefined) return undefined
  return kind === "≥" ? { atLeast: Number(value) } : { atMost: Number(value) }
}

const cellsOf = (line: string) =>
  line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim())

const unitOf = (work: string): Report.Row["unit"] =>
  /\(ms\b/.test(work) ? "ms" : /\((rate|total)\)/.test(work) ? "×" : ""

/** Each row of its table that has a gate. */
const rowsOf = (table: string): ReadonlyArray<Report.Row> => {
  const [head = "", , ...lines] = table.split("\n")
  const names = cellsOf(head)
  return lines.map(cellsOf).flatMap((cells): ReadonlyArray<Report.Row> => {
    const cell = (name: string) => cells[names.indexOf(name)] ?? ""
    const goal = goalOf(cell("gate"))
    const value = Number.parseFloat(cell("effect-credentials").replaceAll(",", ""))
    if (goal === undefined || Number.isNaN(value)) return []
    const work = cell("work")
    return [{ work: `locks: ${work}`, here: cell("effect-credentials"), base: "", value, unit: unitOf(work), goal }]
  })
}

export const measure = async ({ quick, root }: World): Promise<Report.Section> => {
  const program = join(root, "bench/locks/run.mjs")
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...(quick ? ["--quick"] : [])], {
    cwd: root,
    maxBuffer: 2 ** 24
  })
  const table = stdout
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .join("\n")
  return {
    title: "Locks",
    how: "Over Redis, beside other locks and a bare loop on the same server (`SET NX PX`, then compare and delete). A rate is a multiple of the bare loop's, a total is a part of its time.",
    rows: rowsOf(table),
    table
  }
}
