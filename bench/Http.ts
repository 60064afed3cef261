/** `GET …/secret` of the real server beside bare servers that do the same select; and what memory they take. */
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import { setTimeout } from "node:timers/promises"
import { ok } from "../test/servers/Client.ts"
import * as Service from "../test/servers/Service.ts"
import * as Child from "./Child.ts"
import type { Result, Target } from "./http/Load.ts"
import * as Machine from "./Machine.ts"
import * as Report from "./Report.ts"
import * as Turns from "./Turns.ts"
import type { World } from "./World.ts"

const connections = 32

const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString()

export const measure = (world: World): Promise<ReadonlyArray<Report.Section>> =>
  Effect.gen(function* () {
    const { databaseUrl, encryptionKey, provider } = yield* world.library
    const service = yield* Service.start({
      providers: [provider.definition],
      env: {
        ...world.provider.environment("fake"),
        DATABASE_URL: databaseUrl,
        ENCRYPTION_KEYS: `k1:${encryptionKey}`,
        LOG_FORMAT: "json"
      }
    })
    const paths = yield* Effect.forEach(Array.from({ length: connections }), () => {
      const { accessToken, refreshToken } = world.provider.issue()
      const body = { type: "oauth2", provider: "fake", accessToken, refreshToken, accessTokenExpiresAt: inAnHour() }
      return Effect.map(
        ok(service.client.createCredential("ada", body)),
        ({ id }) => `/v1/users/ada/credentials/${id}/secret`
      )
    })
    const made = yield* ok(service.client.createApiKey({ name: "bench", scopes: ["secret"] }))
    return yield* Effect.promise(async (): Promise<ReadonlyArray<Report.Section>> => {
      const key = randomBytes(32).toString("base64url")
      const [load, api, node] = await Promise.all([
        Child.start("http/Load.js", {}),
        Child.start("http/BareApi.js", { databaseUrl, key }),
        Child.start("http/BareNode.js", { databaseUrl, key })
      ])
      try {
        const millis = world.quick ? 700 : 3000
        const loadOn = (port: number, key: string) => async (): Promise<Result> => {
          const target: Target = { port, paths, key, connections, millis }
          return JSON.parse(await load.ask(JSON.stringify(target)))
        }
        const targets = {
          made: loadOn(service.port, made.key),
          admin: loadOn(service.port, service.adminApiKey),
          api: loadOn(Number(api.greeting), key),
          node: loadOn(Number(node.greeting), key)
        }
        const resident = () => [service.pid, api.pid, node.pid].map(Machine.residentMegabytes)
        await setTimeout(world.quick ? 500 : 5000)
        const idle = resident()
        await Turns.take(1, targets)
        const results = await Turns.take(world.quick ? 3 : 9, targets)
        const loaded = resident()
        const of = (name: keyof typeof targets, field: keyof Result) =>
          Turns.median(results[name].map((result) => result[field]))
        const row = (work: string, name: "made" | "admin", base: "api" | "node", goal?: Report.Goal): Report.Row => ({
          work,
          here: `${Report.perSecond(of(name, "perSecond"))}, p99 ${Report.millis(of(name, "p99"))}`,
          base: `${Report.perSecond(of(base, "perSecond"))}, p99 ${Report.millis(of(base, "p99"))}`,
          value: of(name, "perSecond") / of(base, "perSecond"),
          unit: "×",
          ...(goal !== undefined && { goal })
        })
        const memory = (work: string, [here = 0, apis = 0, nodes = 0]: ReadonlyArray<number>): Report.Row => ({
          work,
          here: `${Report.number(here)} MB`,
          base: `${Report.number(apis)} MB and ${Report.number(nodes)} MB`,
          value: here,
          unit: "MB"
        })
        const requests = [...results.made, ...results.admin].reduce((sum, result) => sum + result.requests, 0)
        return [
          {
            title: "Reading a fresh token over HTTP",
            how: `\`GET …/secret\` of \`node dist/main.js\` over Postgres, as it is started (each request logged), on ${connections} connections, each for a credential of its own; the load comes from a process of its own. Beside it servers that check a bearer, do the same select and answer as much JSON: one of the platform's HttpApi, one of \`node:http\` alone. The first key is in the settings; one that was made is looked up in the database at each request, so that removing it works at once.`,
            rows: [
              row("GET secret, beside a bare HttpApi", "admin", "api", { atLeast: 0.8 }),
              row("GET secret, beside bare node:http", "admin", "node", { atLeast: 0.5 }),
              row("GET secret with a key that was made, beside a bare HttpApi", "made", "api"),
              {
                work: "the bare HttpApi beside bare node:http",
                here: Report.perSecond(of("api", "perSecond")),
                base: Report.perSecond(of("node", "perSecond")),
                value: of("api", "perSecond") / of("node", "perSecond"),
                unit: "×"
              }
            ]
          },
          {
            title: "Memory",
            how: "Resident, of the same three processes: the server over Postgres; beside it the bare HttpApi and bare `node:http`.",
            rows: [
              memory("idle, after its start", idle),
              memory(`after ${requests.toLocaleString("en-US")} requests`, loaded)
            ]
          }
        ]
      } finally {
        for (const { end } of [load, api, node]) await end()
      }
    })
  }).pipe(Effect.scoped, Effect.runPromise)
