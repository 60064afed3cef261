/** Plays schedules in a thread of its own, with or without what a tooth is about. */
import { register } from "node:module"
import { parentPort, workerData } from "node:worker_threads"
import type { Summary, Work } from "./Threads.ts"
import type { Edit } from "./Teeth.ts"

Error.stackTraceLimit = 0

const { edits } = workerData as { readonly edits: ReadonlyArray<Edit> }
if (edits.length > 0) register("./Removal.js", import.meta.url, { data: edits })

const { play } = await import("./Schedule.js")

parentPort?.on("message", ({ seeds, stopsAtViolation }: Work) => {
  const counts: Record<string, number> = {}
  const violations: Array<Summary["violations"][number]> = []
  let played = 0
  for (const seed of seeds) {
    const outcome = play(seed)
    played++
    for (const [name, count] of Object.entries(outcome.counts)) counts[name] = (counts[name] ?? 0) + count
    const [first] = outcome.violations
    if (first === undefined) continue
    violations.push({ seed, what: first })
    if (stopsAtViolation) break
  }
  const summary: Summary = { played, counts, violations }
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
  parentPort?.postMessage(summary)
})
