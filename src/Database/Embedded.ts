/**
 * The embedded database: Postgres inside this process (PGlite), with its files in one directory and nothing to install.
 *
 * @since 0.1.0
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { PGlite, type postgresMod } from "@electric-sql/pglite"
import { NodeFS } from "@electric-sql/pglite/nodefs"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Pg from "pg"
import * as Cluster from "./Cluster.ts"
import * as DirectoryLock from "./DirectoryLock.ts"
import * as Housekeeping from "./Housekeeping.ts"
import * as PreparedStatements from "./PreparedStatements.ts"
import * as Wire from "./Wire.ts"

/**
 * The database files could not be made, or the database did not start on them. `cause` has the engine's own words.
 *
 * @since 0.1.0
 * @category errors
 */
export class EmbeddedDatabaseError extends Data.TaggedError("EmbeddedDatabaseError")<{
  readonly directory: string
  readonly cause: unknown
}> {
  override get message() {
    return `The embedded database in ${this.directory} does not start: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** On a local disk, made when missing (mode 0700); relative to the working directory. It belongs to one process at a time. */
  readonly directory: string
}

/**
 * A Postgres client over the database in the directory, which it owns until the scope ends. Fails at once with
 * `DirectoryInUse` when another process owns it, and with `EmbeddedDatabaseError` when it cannot be used.
 *
 * An acknowledged commit is on disk: it survives `kill -9` and loss of power. When the disk refuses a write that a
 * commit needs, the database stops answering (SQLSTATE 57P02) until the process is started again, which recovers every
 * acknowledged commit.
 *
 * There is one session, which callers get in turn, on the main thread: nothing else runs while a statement does, a
 * running statement cannot be cancelled (`statement_timeout` included), and inside a transaction one must not wait for
 * work that asks for a connection of its own. `PgClient.listen` and `COPY … FROM STDIN` are not possible; `sql.reserve`
 * and streams are, uninterruptibly: interrupted while they wait for their turn, they keep it (@effect/sql-pg 0.53).
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, DirectoryLock.DirectoryInUse | EmbeddedDatabaseError> =>
  Layer.scopedContext(make(options)).pipe(Layer.provide(Reactivity.layer))

const make = Effect.fn("Database.Embedded.make")(function* (options: Options) {
  const directory = Path.resolve(options.directory)
  yield* DirectoryLock.acquire(directory).pipe(
    Effect.catchTag("DirectoryUnusable", (cause) => new EmbeddedDatabaseError({ directory, cause }))
  )
  const engine = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => start(await Cluster.open(directory)),
      catch: (cause) => new EmbeddedDatabaseError({ directory, cause })
    }),
    (engine) => Effect.promise(() => engine.close())
  )
  const client = yield* PgClient.fromPool({ acquire: pool(engine) }).pipe(
    Effect.mapError((cause) => new EmbeddedDatabaseError({ directory, cause }))
  )
  yield* Effect.forkScoped(Housekeeping.run(client))
  return Context.make(PgClient.PgClient, client).pipe(Context.add(SqlClient.SqlClient, client))
})

const pool = (engine: Wire.Engine) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      // everything spelled out, because `pg` fills gaps from PGHOST, PGSSLMODE and their like
      const pool = new Pg.Pool({
        host: "localhost",
        port: 5432,
        user: "postgres",
        database: "postgres",
        password: "",
        ssl: false,
        options: "",
        stream: Wire.connector(engine),
        max: 1,
        idleTimeoutMillis: 0
      })
      pool.on("error", () => {})
      // without a process id to name, @effect/sql-pg does not try to cancel: it would wait for what it wants to cancel
      pool.on("connect", (client) => {
        Object.assign(client, { processID: undefined })
        PreparedStatements.keep(client)
      })
      return pool
    }),
    (pool) => Effect.promise(() => pool.end()).pipe(Effect.interruptible, Effect.timeoutOption("2 seconds"))
  )

interface Engine extends Wire.Engine {
  readonly close: () => Promise<void>
}

const start = async (folder: string): Promise<Engine> => {
  let lastWords = ""
  const postgres = await PGlite.create({
    fs: new DurableFiles(folder),
    startParams: [
      // "-F" turns fsync off
      ...PGlite.defaultStartParams.filter((parameter) => parameter !== "-F"),
      ...Object.entries(parameters).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    ],
    onStderr: (line) => {
      if (/(FATAL|PANIC): /.test(line)) lastWords = line
      return false
    }
  }).catch((cause: unknown) => {
    throw lastWords === "" ? cause : new Error(lastWords, { cause })
  })

  let crash: Wire.EngineGone | undefined
  stopAtCrash(postgres.Module)
  return {
    run: async (messages, answer) => {
      if (crash) throw crash
      try {
        await postgres.execProtocolRawStream(messages, {
          syncToFs: false,
          // the bytes are a view into the engine's memory
          onRawData: (bytes) => answer(bytes.slice())
        })
      } catch (cause) {
        crash = new Wire.EngineGone("57P02", `The embedded database has stopped: ${lastWords || String(cause)}`)
        throw crash
      }
    },
    // after a crash no checkpoint: it would declare good what may never have reached the disk
    close: async () => (crash ? postgres.Module.FS.quit() : postgres.close())
  }
}

/** A credential store is small: less memory and a quicker start than by Postgres' defaults, and the log on disk at each commit. */
const parameters = {
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
  // the only method that ends in the file system's fsync
  wal_sync_method: "fsync",
  wal_level: "minimal",
  max_wal_senders: 0,
  max_wal_size: "32MB",
  min_wal_size: "4MB",
  shared_buffers: "16MB",
  max_connections: 5,
  // messages hold parts of statements
  log_min_messages: "fatal",
  log_min_error_statement: "panic"
}

/** Files whose fsync is one: PGlite's own does nothing. */
class DurableFiles extends NodeFS {
  override async init(postgres: PGlite, options: Partial<postgresMod.PostgresMod>) {
    const { emscriptenOpts } = await super.init(postgres, options)
    const preRun = [...(emscriptenOpts.preRun ?? []), makeDurable]
    return { emscriptenOpts: { ...emscriptenOpts, preRun } }
  }
}

const makeDurable = (module: postgresMod.PostgresMod) => {
  const operations: { fsync?: (stream: { readonly nfd: number }) => number } = module.NODEFS.stream_ops
  operations.fsync = ({ nfd }) => {
    try {
      Fs.fsyncSync(nfd)
      return 0
    } catch (error) {
      return wasiErrno[(error as NodeJS.ErrnoException).code ?? ""] ?? EIO
    }
  }
}

const EIO = 29
/** Postgres forgives these two for folders, which some file systems do not flush. */
const wasiErrno: Record<string, number> = { EBADF: 8, EINVAL: 28 }

/**
 * PGlite takes every exception for an error of a statement and goes on. The status of those is 100; after any other the
 * engine is broken, and the only way out of PGlite's loop is its call of `stackRestore`.
 */
const stopAtCrash = (module: postgresMod.PostgresMod) => {
  const runOnce = module._PostgresMainLoopOnce
  module._PostgresMainLoopOnce = () => {
    try {
      runOnce()
    } catch (error) {
      if ((error as { readonly status?: number }).status !== 100) {
        module.stackRestore = () => {
          throw error
        }
      }
      throw error
    }
  }
}
