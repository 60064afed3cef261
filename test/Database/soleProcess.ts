/**
 * A process that wants to be the only one on a database: it says `ready` once it is, or why it is not, and `lost` when it
 * is it no more.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SoleProcess from "../../src/Database/SoleProcess.ts"

const [url = ""] = process.argv.slice(2)
const say = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

await SoleProcess.acquire({ url: Redacted.make(url) }).pipe(
  Effect.tap(() => say("ready")),
  Effect.flatMap(({ lost }) => lost),
  Effect.catchTag("SoleProcessLost", () => say("lost")),
  Effect.catchAll((error) => say(`${error._tag} ${error.message}`)),
  Effect.scoped,
  Effect.runPromise
)
