/**
 * The gates of the locks, measured beside their peers in one run on one Redis: `node bench/locks/run.mjs`. Rates are
 * relative to the bare loop (`SET NX PX`, compare and delete) of the same run, measured in turns, the medians of several.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { Mutex as LocalMutex } from "async-mutex"
import { Redis as Client } from "ioredis"
import { type ChildProcess, spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import * as LockService from "../../src/LockService.ts"
import * as Proxy from "../../test/servers/Proxy.ts"
import * as Server from "../../test/servers/Redis.ts"
import * as Contender from "./Contender.ts"

const nothing = () => Promise.resolve()

const median = (values: ReadonlyArray<number>): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

const millisOf = async (run: () => Promise<unknown>): Promise<number> => {
  const since = performance.now()
  await run()
  return performance.now() - since
}

type Measured = Readonly<Record<Contender.Name, number>>

interface Row {
  readonly work: string
  readonly gate: string
  readonly values: Partial<Record<string, string>>
}

const rows: Array<Row> = []
const quick = process.argv.includes("--quick")

/** Measures everybody in turns, so that what else the machine does hits all alike. */
const inTurns = async (
  turns: number,
  names: ReadonlyArray<Contender.Name>,
  run: (name: Contender.Name) => Promise<number>
): Promise<Partial<Measured>> => {
  const all = new Map<Contender.Name, Array<number>>(names.map((name) => [name, []]))
  for (let turn = 0; turn < turns; turn++) {
    for (const name of names) all.get(name)?.push(await run(name))
  }
  return Object.fromEntries([...all].map(([name, values]) => [name, median(values)]))
}

const add = (
  work: string,
  gate: string,
  measured: Partial<Measured>,
  show: (value: number, base: number) => string
): void => {
  const base = measured.bare ?? 0
  const values = Object.fromEntries(Object.entries(measured).map(([name, value]) => [name, show(value, base)]))
  rows.push({ work, gate, values })
  process.stderr.write(`${work}: ${JSON.stringify(values)}\n`)
}

/** Both are durations of the same work. */
const rate = (value: number, base: number) => (base / value).toFixed(2)
const total = (value: number, base: number) => `${(value / base).toFixed(3)} (${value.toFixed(0)} ms)`

const pipelined = async (url: string, turns: number): Promise<void> => {
  const contenders = new Map(Contender.names.map((name) => [name, Contender.make(name, url)]))
  const of = (name: Contender.Name): Contender.Contender => contenders.get(name) ?? Contender.make(name, url)
  for (const name of Contender.names) for (let i = 0; i < 300; i++) await of(name).holdAndGo(randomUUID(), nothing)

  const loop = (name: Contender.Name, how: "hold" | "holdAndGo", times: number) =>
    millisOf(async () => {
      const key = randomUUID()
      for (let i = 0; i < times; i++) await of(name)[how](key, nothing)
    })
  add(
    "uncontended acquire + release, awaited (rate)",
    "≥ 0.85",
    await inTurns(turns, Contender.names, (name) => loop(name, "hold", 1000)),
    rate
  )
  add(
    "uncontended, release not awaited (rate)",
    "–",
    await inTurns(turns, Contender.names, (name) => loop(name, "holdAndGo", 1000)),
    rate
  )
  const keys = Array.from({ length: 1000 }, () => randomUUID())
  add(
    "100 tasks over 1,000 keys (rate)",
    "≥ 0.75",
    await inTurns(turns, Contender.names, (name) =>
      millisOf(() =>
        Promise.all(
          Array.from({ length: 100 }, async (_, task) => {
            for (let i = 0; i < 30; i++) await of(name).hold(keys[(task * 31 + i * 97) % 1000] ?? "", nothing)
          })
        )
      )
    ),
    rate
  )
  const redis = new Client(url, { protocol: 2 })
  const scripts = async () =>
    [...(await redis.info("commandstats")).matchAll(/^cmdstat_(?:eval|evalsha):calls=(\d+)/gm)].reduce(
      (sum, [, calls]) => sum + Number(calls),
      0
    )
  let perGrant = 0
  add(
    "64 contenders, one key, one process, 0 ms hold (total)",
    "≤ 0.15",
    await inTurns(Math.min(turns, 3), Contender.names, async (name) => {
      const key = randomUUID()
      const before = await scripts()
      const rounds = 5
      const took = await millisOf(() =>
        Promise.all(
          Array.from({ length: 64 }, async () => {
            for (let round = 0; round < rounds; round++) await of(name).holdAndGo(key, nothing)
          })
        )
      )
      if (name === "effect-credentials") perGrant = ((await scripts()) - before) / (64 * rounds)
      return took
    }),
    total
  )
  rows.push({
    work: "… Redis commands a grant",
    gate: "≤ 0.05",
    values: { "effect-credentials": perGrant.toFixed(3) }
  })
  await redis.quit()
  for (const contender of contenders.values()) await contender.close()
}

const farAway = async (port: number, turns: number): Promise<void> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const proxy = yield* Proxy.listen({ host: "127.0.0.1", port })
        // half of it each way; a timer's millisecond is a little longer
        yield* proxy.delay(0.5)
        const url = `redis://127.0.0.1:${proxy.port}`
        yield* Effect.promise(async () => {
          const contenders = new Map(Contender.names.map((name) => [name, Contender.make(name, url)]))
          add(
            "uncontended over a slow network, release not awaited (rate)",
            "≥ 1.7",
            await inTurns(turns, Contender.names, (name) =>
              millisOf(async () => {
                for (let i = 0; i < 200; i++) await contenders.get(name)?.holdAndGo(randomUUID(), nothing)
              })
            ),
            rate
          )
          for (const contender of contenders.values()) await contender.close()
        })
      })
    )
  )

interface Worker {
  readonly child: ChildProcess
  readonly said: (beginning: string) => Promise<string>
}

const spawnWorker = (...parameters: ReadonlyArray<string | number>): Worker => {
  const file = fileURLToPath(new URL("worker.js", import.meta.url))
  const child = spawn(process.execPath, [file, ...parameters.map(String)], {
    stdio: ["pipe", "pipe", "inherit"]
  })
  const lines: Array<string> = []
  const reader = createInterface({ input: child.stdout })
  reader.on("line", (line) => lines.push(line))
  return {
    child,
    said: (beginning) =>
      new Promise((resolve) => {
        const check = () => {
          const found = lines.find((line) => line.startsWith(beginning))
          if (found !== undefined) resolve(found)
        }
        reader.on("line", check)
        check()
      })
  }
}

/** How long all took together, and the longest wait of one. */
const processes = async (url: string, name: Contender.Name, count: number, rounds: number, holdMillis: number) => {
  const key = randomUUID()
  const workers = Array.from({ length: count }, () => spawnWorker(url, name, key, 16, rounds, holdMillis))
  await Promise.all(workers.map(({ said }) => said("ready")))
  let longest = 0
  const took = await millisOf(async () => {
    for (const { child } of workers) child.stdin?.write("go\n")
    const said = await Promise.all(workers.map(({ said }) => said("done")))
    longest = Math.max(...said.map((line) => Number(line.split(" ")[1])))
  })
  return { took, longest }
}

/** In one process nobody asks Redis: beside a mutex that knows neither fences nor shares. */
const local = async (): Promise<void> => {
  const mutex = new LocalMutex()
  const times = 20_000
  const theirs = await millisOf(async () => {
    for (let i = 0; i < times; i++) await mutex.runExclusive(nothing)
  })
  const mine = await millisOf(() =>
    Effect.runPromise(
      Effect.flatMap(LockService.LockService, (locks) =>
        Effect.repeatN(Effect.scoped(locks.acquire("key")), times - 1)
      ).pipe(Effect.provide(LockService.layerMemory))
    )
  )
  rows.push({
    work: "memory layer, uncontended, µs each (async-mutex beside it)",
    gate: "–",
    values: {
      "effect-credentials": ((1000 * mine) / times).toFixed(1),
      "async-mutex": ((1000 * theirs) / times).toFixed(1)
    }
  })
}

const print = (): void => {
  const columns = [...Contender.names, "async-mutex"]
  const lines = [
    ["work", "gate", ...columns],
    ["---", "---", ...columns.map(() => "---")],
    ...rows.map(({ gate, values, work }) => [work, gate, ...columns.map((name) => values[name] ?? "")])
  ]
  process.stdout.write(`${lines.map((line) => `| ${line.join(" | ")} |`).join("\n")}\n`)
}

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const server = yield* Server.start
      const url = Redacted.value(server.url)
      const turns = quick ? 3 : 9
      yield* Effect.promise(async () => {
        await pipelined(url, turns)
        await farAway(server.port, Math.min(turns, 3))
        const some = quick ? (["effect-credentials", "bare"] as const) : Contender.names
        add(
          "4 processes × 16 contenders, one key (total)",
          "≤ 0.20",
          await inTurns(quick ? 1 : 3, some, async (name) => (await processes(url, name, 4, 20, 0)).took),
          total
        )
        add(
          "longest wait, 2 × 16 contenders, 5 ms hold (ms)",
          "≤ 250 ms",
          await inTurns(1, some, async (name) => (await processes(url, name, 2, 5, 5)).longest),
          (value) => value.toFixed(0)
        )
        await local()
      })
    })
  )
)
print()
process.exit(0)
