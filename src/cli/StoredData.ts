/**
 * The data of a server, for subcommands that work on it beside the server or in its place.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { DirectoryInUse } from "../Database/DirectoryLock.ts"
import * as Engine from "../Engine.ts"
import * as Settings from "../Settings.ts"

/**
 * It cannot be done like this.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotPossible extends Data.TaggedError("NotPossible")<{ readonly advice: string }> {
  override get message() {
    return this.advice
  }
}

/**
 * The settings of a server that was started before: nothing is made that is not there.
 *
 * @since 0.1.0
 */
export const settings = Effect.tap(Settings.loadExisting, ({ dataDirectory, databaseUrl }) =>
  Option.isSome(databaseUrl) || existsSync(join(dataDirectory, "database"))
    ? Effect.void
    : new NotPossible({
        advice: `DATA_DIR: ${dataDirectory} holds no database: set it, or DATABASE_URL, as the server has it.`
      })
)

/**
 * What the server stores sealed. `besideServer` is the advice when the embedded database is a running server's.
 *
 * @since 0.1.0
 */
export const layer = (given: Settings.Settings, besideServer: string) =>
  Engine.sealed(given).pipe(
    Layer.provide(Engine.database(given)),
    Layer.catchAll((error) =>
      Layer.fail(
        error instanceof DirectoryInUse
          ? new NotPossible({ advice: `A server works in ${error.directory}. ${besideServer}` })
          : error
      )
    )
  )
