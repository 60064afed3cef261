/**
 * Builds `dist` once for a whole run of vitest, so that tests can start the server that users start. A `globalSetup`.
 */
import { execFile } from "node:child_process"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Compiles what changed; a type error fails the run with the compiler's own words. */
export const setup = async (): Promise<void> => {
  const tsc = Path.join(Path.dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc")
  const output = await promisify(execFile)(process.execPath, [tsc, "-b", "tsconfig.build.json"], { cwd: root }).then(
    () => undefined,
    (error: { readonly stdout?: string }) => error.stdout ?? String(error)
  )
  if (output !== undefined) throw new Error(`The server does not build, so no test can start it:\n${output}`)
}
