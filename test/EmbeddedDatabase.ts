/** The embedded engine with its tables, in a folder of its own that goes with it. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Embedded from "../src/Database/Embedded.ts"
import * as migrations from "../src/migrations.ts"

const temporaryFolder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "effect-credentials-"))),
  (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
)

const engine = Layer.unwrapScoped(
  Effect.map(temporaryFolder, (folder) => Embedded.layer({ directory: join(folder, "database") }))
)

// on the real clock: what the engine does every few seconds is not to be done for each day that a test lets pass
export const layer: Layer.Layer<SqlClient.SqlClient | PgClient.PgClient> = Layer.scopedContext(
  Layer.provideMerge(migrations.layer, engine).pipe(Layer.orDie, Layer.build, Effect.withClock(Clock.make()))
)
