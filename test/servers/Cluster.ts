/**
 * Several real servers over one Postgres and one Redis of their own, and a provider with a ledger. Between the servers and
 * both engines there may be proxies, which can do what networks do. All of it ends with the scope.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as RedisClient from "../../src/Redis.ts"
import type * as Client from "./Client.ts"
import { ok } from "./Client.ts"
import * as Postgres from "./Postgres.ts"
import * as Proxy from "./Proxy.ts"
import * as Redis from "./Redis.ts"
import * as ScriptedProvider from "./ScriptedProvider.ts"
import * as Service from "./Service.ts"

export interface Options {
  /** How many start with the cluster, all at once. Default: 2. */
  readonly servers?: number
  readonly provider?: ScriptedProvider.Options
  /** More fields of the provider's entry in `PROVIDERS_FILE`. */
  readonly definition?: Readonly<Record<string, unknown>>
  /** More entries of `PROVIDERS_FILE`. */
  readonly more?: ReadonlyArray<Readonly<Record<string, unknown>>>
  /** `false`: no Redis, so that one server is all there may be. */
  readonly redis?: boolean
  /** Whether the servers reach the engines through the proxies. Default: false, which is faster. */
  readonly proxied?: boolean
  readonly env?: Service.Options["env"]
}

/** One tuple of the table `attempts`. */
export interface AttemptRow {
  readonly id: string
  readonly user_id: string
  readonly process_id: string
  readonly probe_of: string | null
  readonly outcome: string | null
}

export interface Cluster {
  readonly provider: ScriptedProvider.ScriptedProvider["Type"]
  readonly postgres: Postgres.Postgres
  readonly redis: Redis.Redis
  readonly toPostgres: Proxy.Proxy
  readonly toRedis: Proxy.Proxy
  /** What every server is started with. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Those that started with the cluster. */
  readonly services: ReadonlyArray<Service.Service>
  /** The client of one of them; counted around, so that `at(n)` is some server for every `n`. */
  readonly at: (index: number) => Client.Client
  /** One more, which shares everything with the others. */
  readonly start: (options?: Service.Options) => Effect.Effect<Service.Service, Service.ServiceError, Scope.Scope>
  /** Stores a credential whose access token expired a minute ago, unless the fields say otherwise. */
  readonly create: (
    userId: string,
    fields?: Readonly<Record<string, unknown>>
  ) => Effect.Effect<Client.Metadata, Client.ConnectionError>
  /** What the database says, by itself and not through a server. */
  readonly query: (
    text: string,
    values?: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<Record<string, unknown>>>
  readonly attempts: Effect.Effect<ReadonlyArray<AttemptRow>>
}

/** ISO 8601, so many seconds from now. */
export const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString()

export const make = (options: Options = {}): Effect.Effect<Cluster, Service.ServiceError, Scope.Scope> =>
  Effect.gen(function* () {
    const provider = yield* ScriptedProvider.make(options.provider)
    const [postgres, redis] = yield* Effect.all([Postgres.server, Redis.start], { concurrency: 2 })
    const database = yield* postgres.createDatabase
    const toPostgres = yield* Proxy.listen({ host: "127.0.0.1", port: postgres.port })
    const toRedis = yield* Proxy.listen({ host: "127.0.0.1", port: redis.port })
    const databaseUrl = new URL(postgres.url(database))
    const redisUrl = new URL(`redis://127.0.0.1:${redis.port}`)
    if (options.proxied === true) {
      databaseUrl.port = String(toPostgres.port)
      redisUrl.port = String(toRedis.port)
    }
    const adminApiKey = Crypto.randomBytes(32).toString("base64url")
    const dataDir = yield* Service.temporaryDirectory
    const env = {
      ...provider.environment("fake"),
      DATABASE_URL: databaseUrl.href,
      ENCRYPTION_KEYS: `k1:${Crypto.randomBytes(32).toString("base64")}`,
      LOG_FORMAT: "json",
      ...(options.redis === false ? {} : { REDIS_URL: redisUrl.href }),
      ...options.env
    }
    const start: Cluster["start"] = (given = {}) =>
      Service.start({
        adminApiKey,
        dataDir,
        providers: [provider.definition("fake", options.definition), ...(options.more ?? [])],
        ...given,
        env: { ...env, ...given.env }
      })
    const services = yield* Effect.all(
      Array.from({ length: options.servers ?? 2 }, () => start()),
      { concurrency: "unbounded" }
    )
    const at: Cluster["at"] = (index) => {
      const service = services[index % services.length]
      if (service === undefined) throw new Error("the cluster has no server")
      return service.client
    }
    const query: Cluster["query"] = (text, values) => Postgres.query(postgres.url(database), text, values)
    return {
      provider,
      postgres,
      redis,
      toPostgres,
      toRedis,
      env: { ...env, ADMIN_API_KEY: adminApiKey, DATA_DIR: dataDir },
      services,
      at,
      start,
      create: (userId, fields = {}) => {
        const { accessToken, refreshToken } = provider.issue()
        return ok(
          at(0).createCredential(userId, {
            type: "oauth2",
            provider: "fake",
            accessToken,
            refreshToken,
            accessTokenExpiresAt: inSeconds(-60),
            ...fields
          })
        )
      },
      query,
      attempts: Effect.map(
        query("select id, user_id, process_id, probe_of, outcome from attempts order by started_at, id"),
        (rows) => rows as unknown as ReadonlyArray<AttemptRow>
      )
    }
  })

/** How long it takes, in milliseconds, and what comes of it. */
export const timed = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<readonly [millis: number, A], E, R> =>
  Effect.map(Effect.timed(self), ([took, value]) => [Duration.toMillis(took), value] as const)

/** Tries until it succeeds, each 20 milliseconds; dies of the last failure after `within`. */
export const eventually = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  within: Duration.DurationInput = "10 seconds"
): Effect.Effect<A, never, R> =>
  Effect.suspend(() => {
    const until = Date.now() + Duration.toMillis(within)
    const again: Effect.Effect<A, never, R> = Effect.catchAllCause(self, (cause) =>
      Date.now() > until ? Effect.failCause(cause as never) : Effect.zipRight(Effect.sleep("20 millis"), again)
    )
    return again
  })

/** The answers that are spooled in a server's `DATA_DIR`. */
export const receiptsOf = (dataDir: string) =>
  Effect.promise(async () =>
    (await Fs.readdir(Path.join(dataDir, "receipts"))).filter((file) => file.endsWith(".receipt"))
  )

/** For how many milliseconds the exclusive hold that lasts longest goes on unless renewed; 0 when there is none. */
export const holdMillis = (redis: Redis.Redis) =>
  Effect.gen(function* () {
    const { command } = yield* RedisClient.make({ url: redis.url })
    const states = yield* command("KEYS", "lk:*:s")
    const held = yield* Effect.forEach(Array.isArray(states) ? states : [], (key) => command("GET", String(key)))
    // `<flags><fence> <count> <deadline> <owner>`
    const deadlines = held.map((state) => Number(/^\S+ \d+ (\d+) /.exec(String(state))?.[1] ?? 0))
    return Math.max(0, ...deadlines.map((deadline) => deadline - Date.now()))
  }).pipe(Effect.scoped, Effect.orDie)

/**
 * Counts what a Redis server has been asked since the last `reset`; its own questions do not count, nor does the sweep's
 * look for receipts.
 */
export const redisCommands = (redis: Redis.Redis) =>
  Effect.map(Effect.orDie(RedisClient.make({ url: redis.url })), ({ command }) => ({
    reset: Effect.orDie(command("CONFIG", "RESETSTAT")),
    count: Effect.map(Effect.orDie(command("INFO", "commandstats")), (text) => {
      const found = [...String(text).matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)]
      return Object.fromEntries(
        found.flatMap(([, name = "", calls]) => (/^(?:config|info|smembers)/.test(name) ? [] : [[name, Number(calls)]]))
      ) as Readonly<Record<string, number>>
    })
  }))
