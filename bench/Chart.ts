/** How far each figure is from its goal, as a picture: right of the line is better than was asked for. */
import { figure, type Goal, goalOf, isMet, type Row } from "./Report.ts"

const width = 960
const labels = 470
const rowHeight = 26
const top = 56
const widest = 8

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** 1 at the goal, 2 where it is half as much again as asked for, or half. */
const factor = (value: number, goal: Goal): number =>
  "atLeast" in goal ? value / goal.atLeast : goal.atMost / Math.max(value, goal.atMost / widest)

/** Between an eighth and eight times the goal, each doubling as wide as the next. */
const position = (times: number): number => {
  const part = Math.log2(Math.min(widest, Math.max(1 / widest, times))) / Math.log2(widest)
  return labels + ((part + 1) / 2) * (width - labels - 90)
}

export const svg = (rows: ReadonlyArray<Row>): string => {
  const withGoal = rows.flatMap((row) => (row.goal === undefined ? [] : [{ ...row, goal: row.goal }]))
  const height = top + withGoal.length * rowHeight + 16
  const goalAt = position(1)
  const bars = withGoal.map((row, index) => {
    const y = top + index * rowHeight
    const at = position(factor(row.value, row.goal))
    const color = isMet(row.value, row.goal) ? "#2a7d4f" : "#b3432b"
    return `<text x="${labels - 12}" y="${y + 14}" text-anchor="end">${escaped(row.work)}</text>
<rect x="${Math.min(at, goalAt).toFixed(1)}" y="${y + 3}" width="${Math.max(2, Math.abs(at - goalAt)).toFixed(1)}" height="14" fill="${color}"/>
<text x="${(Math.max(at, goalAt) + 6).toFixed(1)}" y="${y + 14}" fill="${color}">${escaped(figure(row))} (${escaped(goalOf(row.goal))})</text>`
  })
  const ticks = [1 / 4, 1 / 2, 1, 2, 4].map(
    (times) =>
      `<line x1="${position(times).toFixed(1)}" y1="${top - 8}" x2="${position(times).toFixed(1)}" y2="${height - 12}" stroke="${times === 1 ? "#444" : "#ddd"}"/>
<text x="${position(times).toFixed(1)}" y="${top - 14}" text-anchor="middle" fill="#666">${times === 1 ? "goal" : times < 1 ? `1/${1 / times} of it` : `${times}× better`}</text>`
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="12" y="20" font-size="14" font-weight="600">Each figure beside its goal</text>
${ticks.join("\n")}
${bars.join("\n")}
</svg>
`
}
