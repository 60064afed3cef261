/** Compiles the simulation and what it simulates, and runs it: what a compiler on the fly adds would be paid a million times. */
import { spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const run = (...parameters) => {
  const { status } = spawnSync(process.execPath, parameters, { cwd: root, stdio: "inherit" })
  if (status !== 0) process.exit(status ?? 1)
}

run("node_modules/typescript/bin/tsc", "-p", "test/simulation")
writeFileSync(`${root}/node_modules/.cache/simulation/package.json`, JSON.stringify({ type: "module" }))
run("node_modules/.cache/simulation/test/simulation/main.js", ...process.argv.slice(2))
