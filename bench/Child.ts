/** A process of its own that takes lines and answers with lines. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export interface Child {
  readonly pid: number
  /** Writes a line, and waits for the next one that comes back. */
  readonly ask: (line: string) => Promise<string>
  readonly end: () => Promise<void>
}

/** Starts a module of this folder; ready when it has said its first line, which is handed on. */
export const start = async (module: string, parameters: unknown): Promise<Child & { readonly greeting: string }> => {
  const file = fileURLToPath(new URL(module, import.meta.url))
  const child = spawn(process.execPath, [file, JSON.stringify(parameters)], { stdio: ["pipe", "pipe", "inherit"] })
  const kill = () => child.kill("SIGKILL")
  process.once("exit", kill)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { done, value } = await lines.next()
    if (done === true) throw new Error(`${module} ended`)
    return value
  }
  const greeting = await next()
  return {
    greeting,
    pid: child.pid ?? 0,
    ask: (line) => {
      child.stdin.write(`${line}\n`)
      return next()
    },
    end: async () => {
      process.off("exit", kill)
      if (child.exitCode !== null) return
      child.kill("SIGTERM")
      await once(child, "exit")
    }
  }
}

/** The child's side: each line is answered with one. */
export const answer = async (to: (line: string) => Promise<string>): Promise<void> => {
  for await (const line of createInterface({ input: process.stdin })) process.stdout.write(`${await to(line)}\n`)
}
