/** Compiles and runs the measurements: what a compiler on the fly adds to each function would be measured too. */
import { spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const run = (...parameters) => {
  const { status } = spawnSync(process.execPath, parameters, { cwd: root, stdio: "inherit" })
  if (status !== 0) process.exit(status ?? 1)
}

run("node_modules/typescript/bin/tsc", "-p", "bench/locks")
writeFileSync(`${root}/node_modules/.cache/bench/package.json`, JSON.stringify({ type: "module" }))
run("node_modules/.cache/bench/bench/locks/main.js", ...process.argv.slice(2))
