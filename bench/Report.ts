/** What was measured, as Markdown. */

/** What is to be reached. */
export type Goal = { readonly atLeast: number } | { readonly atMost: number }

export interface Row {
  readonly work: string
  /** With its unit. */
  readonly here: string
  /** What stands beside it, with its unit; none where there is nothing to compare with. */
  readonly base: string
  /** A ratio, or a figure with a unit. */
  readonly value: number
  readonly unit: "×" | "ms" | "s" | "MB" | ""
  readonly goal?: Goal
}

export interface Section {
  readonly title: string
  /** What was done, beside what. */
  readonly how: string
  readonly rows: ReadonlyArray<Row>
  /** A table of its own in place of the rows', which then are the chart's alone. */
  readonly table?: string
}

export const number = (value: number): string => {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

export const perSecond = (value: number): string => `${Math.round(value).toLocaleString("en-US")}/s`

export const millis = (value: number): string => `${number(value)} ms`

export const figure = ({ unit, value }: Pick<Row, "unit" | "value">): string =>
  `${number(value)}${unit === "" || unit === "×" ? unit : ` ${unit}`}`

export const isMet = (value: number, goal: Goal): boolean =>
  "atLeast" in goal ? value >= goal.atLeast : value <= goal.atMost

export const goalOf = (goal: Goal): string => ("atLeast" in goal ? `≥ ${goal.atLeast}` : `≤ ${goal.atMost}`)

const line = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

const table = (rows: ReadonlyArray<Row>): string =>
  [
    line(["work", "here", "beside it", "measured", "goal"]),
    line(["---", "---:", "---:", "---:", "---"]),
    ...rows.map((row) =>
      line([
        row.work,
        row.here,
        row.base,
        figure(row),
        row.goal === undefined ? "" : `${goalOf(row.goal)}: ${isMet(row.value, row.goal) ? "met" : "**missed**"}`
      ])
    )
  ].join("\n")

export const markdown = (report: {
  readonly command: string
  readonly facts: ReadonlyArray<readonly [name: string, value: string]>
  readonly sections: ReadonlyArray<Section>
  readonly chart: string
}): string => {
  const goals = report.sections.flatMap(({ rows }) =>
    rows.flatMap((row) => (row.goal ? [isMet(row.value, row.goal)] : []))
  )
  return `# Benchmarks

Written by \`${report.command}\`, as it stands: each figure is of one run, beside a base that was measured in the same run by
turns; where there are several turns it is their median. Ratios can be compared with those of other machines, and the rest
cannot.

${goals.filter((met) => met).length} of ${goals.length} goals are met.

![Each figure beside its goal](${report.chart})

| | |
| --- | --- |
${report.facts.map(([name, value]) => line([name, value])).join("\n")}

${report.sections.map((section) => `## ${section.title}\n\n${section.how}\n\n${section.table ?? table(section.rows)}`).join("\n\n")}
`
}
