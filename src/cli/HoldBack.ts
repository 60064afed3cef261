/**
 * `hold-back`: after a backup was restored, and before servers renew what is in it.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ProviderCatalogue from "../ProviderCatalogue.ts"
import * as Restoration from "../Restoration.ts"
import * as Log from "../server/Log.ts"
import * as StoredData from "./StoredData.ts"

const write = (line: string) => void process.stderr.write(`${line}\n`)

const holdBack = Effect.gen(function* () {
  const settings = yield* StoredData.settings
  const restoration = Restoration.layer.pipe(
    Layer.provide(ProviderCatalogue.layer(settings.providers)),
    Layer.provide(StoredData.layer(settings, "Stop it, run this, and start it again."))
  )
  const { before, exempt, held } = yield* Effect.flatMap(Restoration.Restoration, (found) => found.holdBack).pipe(
    Effect.catchTag(
      "StoreUnavailable",
      () => new StoredData.NotPossible({ advice: "The database cannot be reached any more: run this again." })
    ),
    Effect.provide(restoration),
    Effect.provide(Log.layer({ level: settings.logLevel, format: "pretty", write }))
  )
  process.stdout.write(
    [
      `Held back: ${held} grants${before === 0 ? "" : `, and ${before} that were before`}.`,
      ...(exempt === 0 ? [] : [`Left alone: ${exempt} whose provider keeps its refresh tokens.`]),
      "Access tokens serve while they live; then each refresh token is presented once. Start the servers now.",
      ""
    ].join("\n")
  )
})

/**
 * @since 0.1.0
 */
export const command = Command.make("hold-back").pipe(
  Command.withDescription(
    "For a restored backup, before servers start on it: has each rotating refresh token presented once at most, and only when its access token no longer serves; a refusal is then recorded as response_lost."
  ),
  Command.withHandler(() => holdBack)
)
