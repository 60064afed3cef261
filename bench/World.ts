/** What all parts of one run share: Postgres, Redis, a provider, how long to take. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { Redis as Client } from "ioredis"
import { randomBytes } from "node:crypto"
import { providerId } from "../src/Credential.ts"
import type { NewCredential } from "../src/Credential.ts"
import * as Postgres from "../test/servers/Postgres.ts"
import * as Redis from "../test/servers/Redis.ts"
import * as ScriptedProvider from "../test/servers/ScriptedProvider.ts"
import * as Service from "../test/servers/Service.ts"
import * as DateTime from "effect/DateTime"
import * as migrations from "../src/migrations.ts"
import * as Server from "../src/Database/Server.ts"
import * as Layer from "effect/Layer"
import type * as Library from "./Library.ts"

export interface World {
  readonly quick: boolean
  /** The repository. */
  readonly root: string
  readonly postgres: Postgres.Postgres
  readonly redis: Redis.Redis
  readonly provider: ScriptedProvider.ScriptedProvider["Type"]
  readonly redisVersion: Effect.Effect<string>
  /** The library over a new database with its tables. */
  readonly library: Effect.Effect<Library.Options>
}

const encryptionKey = randomBytes(32).toString("base64")

export const make = (options: Pick<World, "quick" | "root">) =>
  Effect.gen(function* () {
    const [postgres, redis] = yield* Effect.all([Postgres.server, Redis.start], { concurrency: 2 })
    const provider = yield* ScriptedProvider.make()
    const directory = yield* Service.temporaryDirectory
    const library = Effect.gen(function* () {
      const databaseUrl = postgres.url(yield* postgres.createDatabase)
      yield* Effect.void.pipe(
        Effect.provide(
          Layer.provide(migrations.layer, Server.layer({ url: Redacted.make(databaseUrl), patience: "10 minutes" }))
        ),
        Effect.orDie
      )
      return {
        databaseUrl,
        encryptionKey,
        directory,
        provider: {
          definition: provider.definition("fake"),
          clientId: provider.clientId,
          clientSecret: provider.clientSecret ?? ""
        }
      }
    })
    const redisVersion = Effect.promise(async () => {
      const client = new Client(Redacted.value(redis.url))
      const version = /redis_version:(\S+)/.exec(await client.info("server"))?.[1] ?? "unknown"
      client.disconnect()
      return version
    })
    return { ...options, postgres, redis, redisVersion, provider, library }
  })

/** Tokens of the provider's as a credential that expires in so many seconds. */
export const credential = (
  { provider }: Pick<World, "provider">,
  expiresInSeconds: number,
  lifetimeSeconds = 3600
): NewCredential => {
  const { accessToken, refreshToken, scopes } = provider.issue()
  return {
    provider: providerId("fake"),
    variant: {
      type: "oauth2",
      accessToken: Redacted.make(accessToken),
      refreshToken: Redacted.make(refreshToken),
      accessTokenExpiresAt: DateTime.unsafeMake(Date.now() + expiresInSeconds * 1000),
      lifetimeSeconds,
      scopes
    }
  }
}
