/**
 * What the server runs on, by its settings: the embedded database or Postgres, locks of this process or in Redis. Without
 * Redis this process must be the only one on its database, and is held to that.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { join } from "node:path"
import * as AuthorizationStore from "./AuthorizationStore/Sql.ts"
import * as Cipher from "./Cipher.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as SqlCircuitBreaker from "./CircuitBreaker/Sql.ts"
import * as Embedded from "./Database/Embedded.ts"
import * as Server from "./Database/Server.ts"
import * as SoleProcess from "./Database/SoleProcess.ts"
import * as LockService from "./LockService.ts"
import * as RedisLocks from "./LockService/Redis.ts"
import * as migrations from "./migrations.ts"
import * as Processes from "./Processes.ts"
import * as SqlProcesses from "./Processes/Sql.ts"
import * as Receipts from "./Receipts.ts"
import * as DirectorySpool from "./Receipts/Directory.ts"
import * as RedisSpool from "./Receipts/Redis.ts"
import * as SecondCopy from "./Receipts/SecondCopy.ts"
import * as Redis from "./Redis.ts"
import type { Settings } from "./Settings.ts"
import * as SqlStore from "./Store/Sql.ts"

/**
 * There are no locks to be had at REDIS_URL.
 *
 * @since 0.1.0
 * @category errors
 */
export class RedisUnreachable extends Data.TaggedError("RedisUnreachable")<{
  /** Without user and password. */
  readonly address: string
  readonly error: Redis.RedisError
}> {
  override get message() {
    const advice =
      this.error.code === "VERSION"
        ? "is older than 6.2: update it"
        : this.error.code === "NOAUTH" || this.error.code === "WRONGPASS" || this.error.code === "NOPERM"
          ? "refuses the user or the password: correct REDIS_URL, as redis://user:password@host:6379"
          : this.error.reason === "refused"
            ? `refuses to work (${this.error.code ?? "unknown"})`
            : "does not answer: start it, or correct the host and port in REDIS_URL"
    return `The Redis server ${this.address} ${advice}.`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Engine {
  readonly clock: "process" | "database"
  readonly context: Context.Context<
    SqlClient | LockService.LockService | Processes.Processes | CircuitBreaker.CircuitBreaker
  >
  /** What REDIS_URL leads to. */
  readonly redis: Option.Option<Layer.Layer<Redis.Redis>>
  /** Fails when another process may have taken this one's place; never succeeds. */
  readonly lost: Effect.Effect<never, SoleProcess.SoleProcessLost>
}

/** Whose clock counts: that of all who share the database, or the process's where there is one process. */
const clockOf = (settings: Settings) => (Option.isSome(settings.databaseUrl) ? "database" : "process")

const embedded = (settings: Settings) =>
  Layer.provideMerge(migrations.layer, Embedded.layer({ directory: join(settings.dataDirectory, "database") }))

const server = (url: Redacted.Redacted) =>
  Layer.merge(
    // a step over a large table takes its time
    Layer.provide(migrations.layer, Server.layer({ url, poolSize: 1, patience: "10 minutes" })),
    Server.layer({ url })
  )

/**
 * The database of the settings, with its tables as this version wants them.
 *
 * @since 0.1.0
 * @category layers
 */
export const database = (
  settings: Settings
): Layer.Layer<
  SqlClient,
  Layer.Layer.Error<ReturnType<typeof server>> | Layer.Layer.Error<ReturnType<typeof embedded>>
> => (Option.isSome(settings.databaseUrl) ? server(settings.databaseUrl.value) : embedded(settings))

const unreachable = (url: Redacted.Redacted) => (error: Redis.RedisError) =>
  new RedisUnreachable({ address: new URL(Redacted.value(url)).host, error })

const redisAt = (url: Redacted.Redacted) => Layer.mapError(Redis.layer({ url }), unreachable(url))

const spool = ({ dataDirectory }: Settings) => DirectorySpool.make({ directory: join(dataDirectory, "receipts") })

/** In the data directory, and where there is Redis in that too, for the other servers. */
const receipts = (settings: Settings, redis: Option.Option<Layer.Layer<Redis.Redis, RedisUnreachable>>) =>
  Option.match(redis, {
    onNone: () => Receipts.layer(spool(settings)),
    onSome: (reached): Layer.Layer<Receipts.Receipts, RedisUnreachable | Receipts.SpoolUnavailable, Cipher.Cipher> =>
      Layer.provide(Receipts.layer(Effect.zipWith(spool(settings), RedisSpool.make, SecondCopy.make)), reached)
  })

/**
 * What is kept sealed: in the database, in `DATA_DIR`, and in Redis, over a connection of its own unless one is given.
 *
 * @since 0.1.0
 * @category layers
 */
export const sealed = (
  settings: Settings,
  redis: Option.Option<Layer.Layer<Redis.Redis, RedisUnreachable>> = Option.map(settings.redisUrl, redisAt)
) =>
  Layer.mergeAll(
    SqlStore.layer({ clock: clockOf(settings) }),
    AuthorizationStore.layer,
    receipts(settings, redis)
  ).pipe(Layer.provide(Cipher.layer(settings.encryptionKeys)))

/**
 * Makes the engine, with the database's tables as this version wants them, for as long as the scope lives.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (settings: Settings) {
  const { databaseUrl, redisUrl } = settings
  // the embedded database sees to it by itself, with a lock on its directory
  const sole =
    Option.isSome(databaseUrl) && Option.isNone(redisUrl)
      ? yield* SoleProcess.acquire({ url: databaseUrl.value })
      : { lost: Effect.never }
  const tables = yield* Layer.build(database(settings))
  const [locks, redis] = yield* Option.match(redisUrl, {
    onNone: () => Effect.map(Layer.build(LockService.layerMemory), (context) => [context, Option.none()] as const),
    onSome: Effect.fnUntraced(function* (url) {
      const context = yield* Layer.build(
        Layer.provideMerge(Layer.mapError(RedisLocks.layer(), unreachable(url)), redisAt(url))
      )
      return [context, Option.some(Layer.succeedContext(context))] as const
    })
  })
  const clock = clockOf(settings)
  const processes = yield* Option.isSome(databaseUrl) && Option.isSome(redisUrl)
    ? Layer.build(
        Layer.provide(
          Layer.merge(SqlProcesses.layer({ clock }), SqlCircuitBreaker.layer({ clock })),
          Layer.succeedContext(tables)
        )
      )
    : Layer.build(Layer.merge(Processes.layerSole, CircuitBreaker.layerMemory))
  return {
    clock,
    context: Context.mergeAll(tables, locks, processes),
    redis,
    lost: sole.lost
  } satisfies Engine
})
