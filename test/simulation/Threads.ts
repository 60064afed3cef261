/** Plays many schedules, in as many threads as there are cores. */
import { once } from "node:events"
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import type { Tooth } from "./Teeth.ts"

export interface Work {
  readonly seeds: ReadonlyArray<number>
  readonly stopsAtViolation: boolean
}

export interface Summary {
  readonly played: number
  readonly counts: Readonly<Record<string, number>>
  readonly violations: ReadonlyArray<{ readonly seed: number; readonly what: string }>
}

export interface Options {
  /** In the order in which they are played. */
  readonly seeds: ReadonlyArray<number>
  readonly tooth?: Tooth | undefined
  readonly stopsAtViolation?: boolean
  readonly threads?: number
  /** Told now and then. */
  readonly progress?: (summary: Summary) => void
}

const portion = 50

export const play = async (options: Options): Promise<Summary> => {
  const { seeds, stopsAtViolation = false } = options
  const counts: Record<string, number> = {}
  const violations: Array<Summary["violations"][number]> = []
  let played = 0
  let next = 0
  let isOver = false

  const summary = (): Summary => ({ played, counts, violations })

  const thread = async (): Promise<void> => {
    const worker = new Worker(new URL("./Worker.js", import.meta.url), {
      workerData: { edits: options.tooth?.edits ?? [] },
      resourceLimits: { maxYoungGenerationSizeMb: 192 }
    })
    try {
      while (!isOver && next < seeds.length) {
        const portionOf = seeds.slice(next, next + portion)
        next += portion
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
        worker.postMessage({ seeds: portionOf, stopsAtViolation } satisfies Work)
        const [result] = (await once(worker, "message")) as [Summary]
        played += result.played
        for (const [name, count] of Object.entries(result.counts)) counts[name] = (counts[name] ?? 0) + count
        violations.push(...result.violations)
        if (stopsAtViolation && violations.length > 0) isOver = true
        options.progress?.(summary())
      }
    } finally {
      await worker.terminate()
    }
  }

  const threads = Math.max(1, Math.min(options.threads ?? availableParallelism(), Math.ceil(seeds.length / portion)))
  await Promise.all(Array.from({ length: threads }, thread))
  violations.sort((one, other) => one.seed - other.seed)
  return summary()
}
