/** Very many who ask for one expired token at the same moment, beside what the provider itself takes to answer. */
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import { UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import * as Child from "./Child.ts"
import * as Library from "./Library.ts"
import type { Asked } from "./Reader.ts"
import * as Report from "./Report.ts"
import * as Turns from "./Turns.ts"
import * as World from "./World.ts"

/** As long as a provider on the internet takes. */
const providerMillis = 200

const stampedes = [
  { reads: 1, processes: 1 },
  { reads: 100, processes: 1 },
  { reads: 1000, processes: 1 },
  { reads: 1000, processes: 4 }
]

const user = UserId.make("ada")

export const measure = async (world: World.World): Promise<Report.Section> => {
  const { provider } = world
  const alone = await Effect.runPromise(world.library)
  const options = { ...alone, redisUrl: Redacted.value(world.redis.url) }
  const runtime = ManagedRuntime.make(Library.layer(alone))
  const manager = await runtime.runPromise(CredentialsManager)
  const readers = await Promise.all(Array.from({ length: 4 }, () => Child.start("Reader.js", options)))
  provider.always({ on: "refresh_token", delayBefore: providerMillis })

  /** A refresh by a client that does nothing else. */
  const direct = async () => {
    const { refreshToken } = provider.issue()
    const basic = Buffer.from(`${provider.clientId}:${provider.clientSecret}`).toString("base64")
    return Turns.millisOf(async () => {
      const response = await fetch(provider.tokenUrl, {
        method: "POST",
        headers: { authorization: `Basic ${basic}` },
        body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: refreshToken })
      })
      if (!response.ok) throw new Error(`the provider answered ${response.status}`)
      await response.json()
    })
  }

  /** The time of the slowest but one in a hundred, and how often the provider was asked. */
  const stampede = async ({ processes, reads }: (typeof stampedes)[number]) => {
    const { id } = await runtime.runPromise(manager.create(user, World.credential(world, -60)))
    const before = provider.refreshes
    const asked: Asked = { userId: user, id, reads: reads / processes, at: Date.now() + 50 }
    const answers = await Promise.all(readers.slice(0, processes).map(({ ask }) => ask(JSON.stringify(asked))))
    const all = answers.flatMap((line): ReadonlyArray<{ millis: number; generation: number }> => JSON.parse(line))
    if (all.length !== reads || all.some(({ generation }) => generation !== 2)) throw new Error("a wrong answer")
    return {
      p99: Turns.quantile(
        all.map(({ millis }) => millis),
        0.99
      ),
      asked: provider.refreshes - before
    }
  }

  try {
    const warmUps = world.quick ? 1 : 3
    const turns = world.quick ? 3 : 15
    const base: Array<number> = []
    const results = stampedes.map(() => [] as Array<{ p99: number; asked: number }>)
    for (let turn = 0; turn < warmUps + turns; turn++) {
      base.push(await direct())
      for (const [index, one] of stampedes.entries()) results[index]?.push(await stampede(one))
    }
    const provided = Turns.median(base.slice(warmUps))
    const rows = stampedes.map(({ processes, reads }, index): Report.Row => {
      const measured = (results[index] ?? []).slice(warmUps)
      const p99 = Turns.median(measured.map((result) => result.p99))
      const most = Math.max(...measured.map(({ asked }) => asked))
      return {
        work: `${reads === 1 ? "1 get" : `${reads} gets`} of an expired token, ${processes === 1 ? "1 process" : `${processes} processes`}, p99 past the provider (asked ${most === 1 ? "once" : `${most} times`})`,
        here: Report.millis(p99),
        base: Report.millis(provided),
        value: p99 - provided,
        unit: "ms",
        goal: { atMost: 10 }
      }
    })
    return {
      title: "A stampede",
      how: `All ask at the same moment, through the library over Postgres and Redis; the provider takes ${providerMillis} ms. Beside it a plain \`fetch\` of the same refresh. The other processes are idle while one is asked.`,
      rows
    }
  } finally {
    provider.always(undefined)
    for (const { end } of readers) await end()
    await runtime.dispose()
  }
}
