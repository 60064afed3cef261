/** The library as a program composes it over Postgres: alone, or as one of several processes with Redis. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as AuditLog from "../src/AuditLog/Sql.ts"
import * as AuthorizationStore from "../src/AuthorizationStore/Sql.ts"
import * as Cipher from "../src/Cipher.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as SqlCircuitBreaker from "../src/CircuitBreaker/Sql.ts"
import * as Database from "../src/Database/Server.ts"
import * as HandlerRegistry from "../src/HandlerRegistry.ts"
import * as LeaseStore from "../src/LeaseStore/Sql.ts"
import * as LockService from "../src/LockService.ts"
import * as RedisLocks from "../src/LockService/Redis.ts"
import * as Outbound from "../src/Outbound.ts"
import * as Processes from "../src/Processes.ts"
import * as SqlProcesses from "../src/Processes/Sql.ts"
import { Provider } from "../src/Provider.ts"
import * as ProviderCatalogue from "../src/ProviderCatalogue.ts"
import * as Receipts from "../src/Receipts/Directory.ts"
import * as Redis from "../src/Redis.ts"
import * as Service from "../src/Service.ts"
import * as Store from "../src/Store/Sql.ts"
import type * as Sweeper from "../src/Sweeper.ts"

/** What several processes must agree upon; goes through JSON. */
export interface Options {
  readonly databaseUrl: string
  readonly redisUrl?: string
  /** 32 bytes in base64. */
  readonly encryptionKey: string
  /** Of the receipts. */
  readonly directory: string
  readonly provider: {
    readonly definition: Readonly<Record<string, unknown>>
    readonly clientId: string
    readonly clientSecret: string
  }
}

export const layer = (options: Options, sweeper: Sweeper.Options | false = false) => {
  const provider = Schema.decodeUnknownSync(Provider)(options.provider.definition)
  const key = { id: "k1", bytes: Redacted.make(new Uint8Array(Buffer.from(options.encryptionKey, "base64"))) }
  const database = Database.layer({ url: Redacted.make(options.databaseUrl) })
  const sealed = Layer.mergeAll(
    Store.layer({ clock: "database" }),
    AuthorizationStore.layer,
    Receipts.layer({ directory: options.directory })
  ).pipe(Layer.provide(Cipher.layer([key])))
  const providers = HandlerRegistry.layer({
    clients: ({ id }) =>
      id === provider.id
        ? Option.some({ id: options.provider.clientId, secret: Redacted.make(options.provider.clientSecret) })
        : Option.none()
  }).pipe(
    Layer.provideMerge(ProviderCatalogue.layer([provider])),
    Layer.provideMerge(Outbound.layer({ allowLoopback: true }))
  )
  const among =
    options.redisUrl === undefined
      ? Layer.mergeAll(LockService.layerMemory, Processes.layerSole, CircuitBreaker.layerMemory)
      : Layer.mergeAll(
          Layer.provide(RedisLocks.layer(), Redis.layer({ url: Redacted.make(options.redisUrl) })),
          SqlProcesses.layer({ clock: "database" }),
          SqlCircuitBreaker.layer({ clock: "database" })
        )
  const ports = Layer.mergeAll(sealed, LeaseStore.layer, AuditLog.layer, among, providers).pipe(Layer.provide(database))
  // as the server does where nobody traces
  return Service.layer({ sweeper }).pipe(Layer.provideMerge(ports), Layer.provideMerge(Layer.setTracerEnabled(false)))
}

/** Runs one effect in so many fibers, again and again for so long; how many runs a second there were. */
export const rate = <E, R>(run: Effect.Effect<unknown, E, R>, callers: number, forMillis: number) =>
  Effect.suspend(() => {
    const since = performance.now()
    let runs = 0
    const caller = Effect.whileLoop({
      while: () => performance.now() - since < forMillis,
      body: () => run,
      step: () => {
        runs++
      }
    })
    return Effect.map(
      Effect.all(
        Array.from({ length: callers }, () => caller),
        { concurrency: "unbounded", discard: true }
      ),
      () => (1000 * runs) / (performance.now() - since)
    )
  })
