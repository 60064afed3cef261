/** Measurements taken in turns, so that what else the machine does hits all alike, and what is said of them. */

export const sorted = (values: ReadonlyArray<number>): ReadonlyArray<number> => values.toSorted((a, b) => a - b)

/** The value below which this part of all values lies. */
export const quantile = (values: ReadonlyArray<number>, part: number): number =>
  sorted(values)[Math.min(values.length - 1, Math.floor(values.length * part))] ?? Number.NaN

export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)

/** Each in every turn, in an order that turns as well; the results of each in order of time. */
export const take = async <Name extends string, A>(
  turns: number,
  measured: Readonly<Record<Name, () => Promise<A>>>
): Promise<Readonly<Record<Name, ReadonlyArray<A>>>> => {
  const names = Object.keys(measured) as Array<Name>
  const results = Object.fromEntries(names.map((name) => [name, [] as Array<A>])) as Record<Name, Array<A>>
  for (let turn = 0; turn < turns; turn++) {
    for (let index = 0; index < names.length; index++) {
      const name = names[(index + turn) % names.length] as Name
      results[name].push(await measured[name]())
    }
  }
  return results
}

export const millisOf = async (run: () => Promise<unknown>): Promise<number> => {
  const since = performance.now()
  await run()
  return performance.now() - since
}
