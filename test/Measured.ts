/**
 * What a test has measured, for `npm run reliability`, which names a file to write it down in. Without that file it is
 * nothing.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"

export type Values = Readonly<Record<string, string | number>>

/** Adds a line under the name of a row of the table. */
export const measured = (row: string, values: Values): Effect.Effect<void> =>
  Effect.sync(() => {
    const file = process.env["MEASUREMENTS"]
    if (file !== undefined) Fs.appendFileSync(file, `${JSON.stringify({ row, values })}\n`)
  })
