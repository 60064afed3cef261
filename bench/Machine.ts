/** Where and with what something was measured. */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import * as Os from "node:os"
import { join } from "node:path"

/** Of one, five and fifteen minutes. */
export const load = (): string =>
  Os.loadavg()
    .map((average) => average.toFixed(2))
    .join(", ")

/** Resident memory of a process, in MB. */
export const residentMegabytes = (pid: number): number =>
  Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)], { encoding: "utf8" })) / 1024

const revision = (root: string): string => {
  try {
    const git = (...parameters: ReadonlyArray<string>) =>
      execFileSync("git", parameters, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()
    return `${git("rev-parse", "--short", "HEAD")}${git("status", "--porcelain", "src") === "" ? "" : " and changes"}`
  } catch {
    return "unknown"
  }
}

const versionOf = (root: string, name: string): string => {
  const manifest: { readonly version: string } = JSON.parse(
    readFileSync(join(root, "node_modules", name, "package.json"), "utf8")
  )
  return `${name} ${manifest.version}`
}

export const facts = (root: string): ReadonlyArray<readonly [name: string, value: string]> => [
  [
    "machine",
    `${Os.cpus().length} × ${Os.cpus()[0]?.model.trim() ?? "unknown"}, ${Math.round(Os.totalmem() / 2 ** 30)} GB`
  ],
  ["system", `${Os.type()} ${Os.release()}, ${Os.arch()}`],
  ["Node", process.version],
  [
    "packages",
    ["effect", "@effect/platform", "@effect/sql-pg", "pg", "ioredis"].map((name) => versionOf(root, name)).join(", ")
  ],
  ["revision", revision(root)]
]
