/** Runs `contender.ts` in a process of its own, which ends with the scope at the latest. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const contender = fileURLToPath(new URL("contender.ts", import.meta.url))

export interface OtherProcess {
  /** What it has said so far. */
  readonly lines: ReadonlyArray<string>
  /** The first line that begins so, as soon as there is one. */
  readonly said: (beginning: string) => Effect.Effect<string>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
}

export interface Options {
  readonly url: Redacted.Redacted
  readonly key: string
  readonly role: "many" | "hold" | "take"
  readonly ttl: number
  readonly contenders?: number
  readonly rounds?: number
}

export const start = ({ contenders = 1, key, role, rounds = 1, ttl, url }: Options) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(
          process.execPath,
          ["--import", "tsx", contender, Redacted.value(url), key, role, ...[ttl, contenders, rounds].map(String)],
          { stdio: ["ignore", "pipe", "inherit"] }
        )
      ),
      (child) => Effect.promise(() => ended(child))
    ),
    (child): OtherProcess => {
      const lines: Array<string> = []
      const reader = createInterface({ input: child.stdout })
      reader.on("line", (line) => lines.push(line))
      return {
        lines,
        said: (beginning) =>
          Effect.async<string>((resume) => {
            const check = () => {
              const found = lines.find((line) => line.startsWith(beginning))
              if (found === undefined) return
              reader.off("line", check)
              resume(Effect.succeed(found))
            }
            reader.on("line", check)
            reader.once("close", () => resume(Effect.dieMessage(`The process ended without saying ${beginning}.`)))
            check()
          }),
        signal: (signal) => Effect.sync(() => child.kill(signal))
      }
    }
  )

const ended = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, "close")
  child.kill("SIGKILL")
  await closed
}
