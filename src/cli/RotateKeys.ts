/**
 * `rotate-keys`: everything that is stored comes under the first key of the ring, while the servers go on.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as KeyRotation from "../KeyRotation.ts"
import * as Log from "../server/Log.ts"
import * as ProgressBar from "./ProgressBar.ts"
import * as RotationReport from "./RotationReport.ts"
import * as StoredData from "./StoredData.ts"

/**
 * All was gone through, and not everything is under the first key.
 *
 * @since 0.1.0
 * @category errors
 */
export class RowsLeft extends Data.TaggedError("RowsLeft")<{ readonly advice: string }> {
  override get message() {
    return this.advice
  }
}

const whole = (name: string, least: number, most: number) =>
  Options.integer(name).pipe(
    Options.withSchema(
      Schema.Int.pipe(
        Schema.between(least, most, { message: () => `--${name}: expected a whole number from ${least} to ${most}` })
      )
    )
  )

const options = {
  batchSize: whole("batch-size", 1, 5_000).pipe(
    Options.withDefault(500),
    Options.withDescription("How many rows a transaction changes at most, from 1 to 5000.")
  ),
  pause: whole("pause", 0, 60_000).pipe(
    Options.withDefault(0),
    Options.withDescription("Milliseconds to wait after each batch, to leave the database to others.")
  )
}

const besideServer =
  "It brings everything under its first key by itself, in the background, and says so in its log: start it with the new key in front. Or stop it, and run this again."

const write = (text: string) => void process.stderr.write(text)

const rotate = Effect.fn("rotate-keys")(function* (parameters: { readonly batchSize: number; readonly pause: number }) {
  const settings = yield* StoredData.settings
  const bar = yield* ProgressBar.make({ isTerminal: process.stderr.isTTY === true, write })
  const [first] = settings.encryptionKeys
  let [done, total] = [0, 0]

  const results = yield* Effect.flatMap(KeyRotation.KeyRotation, (rotation) =>
    rotation.run({
      ...parameters,
      onProgress: (progress) => {
        done = progress.rewrapped
        total = progress.total
        return total === 0 ? Effect.void : bar.show({ name: progress.name, done, total })
      }
    })
  ).pipe(
    Effect.onInterrupt(() => Effect.sync(() => bar.line(RotationReport.stopped(first.id, done, total)))),
    Effect.ensuring(bar.end),
    Effect.catchTags({
      StoreUnavailable: () => new StoredData.NotPossible({ advice: RotationReport.unreachable(done, total) }),
      SpoolUnavailable: (error) => new StoredData.NotPossible({ advice: error.message })
    }),
    Effect.provide(Layer.provide(KeyRotation.layer, StoredData.layer(settings, besideServer))),
    Effect.provide(Log.layer({ level: settings.logLevel, format: "pretty", write: bar.line }))
  )

  if (total > 0) process.stdout.write(RotationReport.totals(first.id, results))
  const advice = RotationReport.advice(settings.encryptionKeys, results)
  if (results.some(({ left }) => left.length > 0)) return yield* new RowsLeft({ advice })
  process.stdout.write(`${advice}\n`)
})

/**
 * @since 0.1.0
 */
export const command = Command.make("rotate-keys", options).pipe(
  Command.withDescription(
    "Brings everything that is stored under the first key of ENCRYPTION_KEYS, so that the others can be dropped. Servers go on meanwhile; stopped at any time, it goes on where it was when it is run again."
  ),
  Command.withHandler(rotate)
)
