/** Builds the server and the measurements and runs them: what a compiler on the fly adds to each function would be measured too. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const built = join(root, "node_modules/.cache/bench")
const run = (...parameters) => {
  const { status } = spawnSync(process.execPath, parameters, { cwd: root, stdio: "inherit" })
  if (status !== 0) process.exit(status ?? 1)
}

run("node_modules/typescript/bin/tsc", "-b", "tsconfig.build.json")
run("-e", "import('./dist/Database/Cluster.js').then((cluster) => cluster.writeTemplate())")
mkdirSync(built, { recursive: true })
writeFileSync(join(built, "package.json"), JSON.stringify({ type: "module" }))
run("node_modules/typescript/bin/tsc", "-p", "bench")
// what is compiled looks for the server and for programs beside itself
for (const name of ["dist", "node_modules"]) {
  if (!existsSync(join(built, name))) symlinkSync(join(root, name), join(built, name))
}
run(join(built, "bench/main.js"), root, ...process.argv.slice(2))
