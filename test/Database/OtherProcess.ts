/** Runs `committer.ts` in a process of its own, which ends with the scope at the latest. */
import * as Effect from "effect/Effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const committer = fileURLToPath(new URL("committer.ts", import.meta.url))

export interface OtherProcess {
  /** What it has said so far. */
  readonly lines: ReadonlyArray<string>
  /** Waits until it has said so many lines, or has ended. */
  readonly said: (count: number) => Effect.Effect<void>
  /** `SIGKILL`; waits until it is gone. */
  readonly kill: Effect.Effect<void>
}

export const start = (directory: string, mode: "hold" | "commit") =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, ["--import", "tsx", committer, directory, mode], {
          stdio: ["ignore", "pipe", "inherit"]
        })
      ),
      kill
    ),
    (child): OtherProcess => {
      const lines: Array<string> = []
      const reader = createInterface({ input: child.stdout })
      reader.on("line", (line) => lines.push(line))
      const said = (count: number) =>
        Effect.async<void>((resume) => {
          const check = () => {
            if (lines.length < count) return
            reader.off("line", check)
            resume(Effect.void)
          }
          reader.on("line", check)
          reader.once("close", () => resume(Effect.void))
          check()
        })
      return { lines, said, kill: kill(child) }
    }
  )

const kill = (child: ChildProcess) =>
  Effect.promise(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const closed = once(child, "close")
    child.kill("SIGKILL")
    await closed
  })

/** A folder that goes with the scope. */
export const temporaryFolder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "effect-credentials-"))),
  (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
)
