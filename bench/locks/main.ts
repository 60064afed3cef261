/**
 * The gates of the locks, measured beside their peers in one run on one Redis: `npm run bench:locks`, with `-- --quick` for
 * fewer turns of the same. Rates and totals are relative to the bare loop (`SET NX PX`, compare and delete) of the same run,
 * measured in turns, the medians of several, after as long a time for everybody that does not count: the compiler is to have
 * seen it all.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { Mutex as LocalMutex } from "async-mutex"
import { Redis as Client } from "ioredis"
import { type ChildProcess, spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { loadavg } from "node:os"
import { createInterface } from "node:readline"
import { setTimeout } from "node:timers/promises"
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

interface Gate {
  readonly text: string
  readonly holds: (value: number, base: number) => boolean
}

const atLeast = (least: number): Gate => ({
  text: `≥ ${least}`,
  holds: (value, base) => base / value >= least
})

const atMost = (most: number): Gate => ({ text: `≤ ${most}`, holds: (value) => value <= most })

/** So much of what the bare loop takes. */
const atMostOfBase = (most: number): Gate => ({ text: `≤ ${most}`, holds: (value, base) => value / base <= most })

interface Row {
  readonly work: string
  readonly gate: Gate["text"] | undefined
  readonly passes: boolean | undefined
  readonly values: Partial<Record<string, string>>
}

const rows: Array<Row> = []
const quick = process.argv.includes("--quick")
/** For so long, in milliseconds, everybody does each work before it is measured. */
const unmeasured = 1000

/** Measures everybody in turns, so that what else the machine does hits all alike. */
const inTurns = async (
  turns: number,
  names: ReadonlyArray<Contender.Name>,
  run: (name: Contender.Name) => Promise<number>,
  unmeasured = 0
): Promise<Partial<Measured>> => {
  for (const name of names) {
    const since = performance.now()
    while (performance.now() - since < unmeasured) await run(name)
  }
  const all = new Map<Contender.Name, Array<number>>(names.map((name) => [name, []]))
  for (let turn = 0; turn < turns; turn++) {
    for (const name of names) all.get(name)?.push(await run(name))
  }
  return Object.fromEntries([...all].map(([name, values]) => [name, median(values)]))
}

const add = (
  work: string,
  gate: Gate | undefined,
  measured: Partial<Measured>,
  show: (value: number, base: number) => string
): void => {
  const base = measured.bare ?? 0
  const values = Object.fromEntries(Object.entries(measured).map(([name, value]) => [name, show(value, base)]))
  rows.push({ work, gate: gate?.text, passes: gate?.holds(measured["effect-credentials"] ?? Number.NaN, base), values })
  process.stderr.write(`${work}: ${JSON.stringify(values)}\n`)
}

/** Both are durations of the same work. */
const rate = (value: number, base: number) => (base / value).toFixed(2)
const total = (value: number, base: number) => `${(value / base).toFixed(3)} (${value.toFixed(0)} ms)`

/** Each way of locking for as long as `use` runs. */
const withAll = async (
  url: string,
  use: (run: (name: Contender.Name, work: Contender.Work) => Promise<number>) => Promise<void>
): Promise<void> => {
  const contenders = new Map(Contender.names.map((name) => [name, Contender.make(name, url)]))
  const run = async (name: Contender.Name, work: Contender.Work) => (await contenders.get(name)?.run(work)) ?? 0
  await use(run)
  for (const contender of contenders.values()) await contender.close()
}

const uncontended = (url: string, turns: number): Promise<void> =>
  withAll(url, async (run) => {
    const loop = async (how: Contender.Work["how"], name: Contender.Name) => {
      const key = randomUUID()
      return millisOf(() => run(name, { tasks: 1, times: 1000, how, key: () => key }))
    }
    add(
      "uncontended acquire + release, awaited (rate)",
      atLeast(0.85),
      await inTurns(turns, Contender.names, (name) => loop("taken", name), unmeasured),
      rate
    )
    add(
      "… in a scope, release sent (rate)",
      undefined,
      await inTurns(turns, Contender.names, (name) => loop("scoped", name), unmeasured),
      rate
    )
    const keys = Array.from({ length: 1000 }, () => randomUUID())
    for (const how of ["taken", "scoped"] as const) {
      add(
        how === "taken" ? "100 tasks over 1,000 keys, awaited (rate)" : "… in a scope, release sent (rate)",
        atLeast(0.75),
        await inTurns(
          turns,
          Contender.names,
          (name) =>
            millisOf(() =>
              run(name, { tasks: 100, times: 30, how, key: (task, time) => keys[(task * 31 + time * 97) % 1000] ?? "" })
            ),
          unmeasured
        ),
        rate
      )
    }
  })

const contended = (url: string, turns: number): Promise<void> =>
  withAll(url, async (run) => {
    const redis = new Client(url, { protocol: 2 })
    const scripts = async () =>
      [...(await redis.info("commandstats")).matchAll(/^cmdstat_(?:eval|evalsha):calls=(\d+)/gm)].reduce(
        (sum, [, calls]) => sum + Number(calls),
        0
      )
    const [tasks, times] = [64, 5]
    let perGrant = 0
    add(
      "64 contenders, one key, one process, 0 ms hold (total)",
      atMostOfBase(0.15),
      await inTurns(
        turns,
        Contender.names,
        async (name) => {
          const key = randomUUID()
          const before = await scripts()
          const took = await millisOf(() => run(name, { tasks, times, how: "scoped", key: () => key }))
          if (name === "effect-credentials") perGrant = ((await scripts()) - before) / (tasks * times)
          return took
        },
        unmeasured
      ),
      total
    )
    add("… Redis commands a grant", atMost(0.05), { "effect-credentials": perGrant }, (value) => value.toFixed(3))
    await redis.quit()
  })

const farAway = async (port: number, turns: number): Promise<void> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const proxy = yield* Proxy.listen({ host: "127.0.0.1", port })
        // half of it each way; a timer's millisecond is a little longer
        yield* proxy.delay(0.5)
        yield* Effect.promise(() =>
          withAll(`redis://127.0.0.1:${proxy.port}`, async (run) =>
            add(
              "uncontended at 1 ms round trip, release sent (rate)",
              atLeast(1.7),
              await inTurns(
                turns,
                Contender.names,
                (name) => millisOf(() => run(name, { tasks: 1, times: 200, how: "scoped", key: () => randomUUID() })),
                unmeasured
              ),
              rate
            )
          )
        )
      })
    )
  )

interface Worker {
  readonly child: ChildProcess
  readonly lines: Array<string>
  readonly said: (beginning: string) => Promise<string>
}

const spawnWorker = (...parameters: ReadonlyArray<string | number>): Worker => {
  const file = fileURLToPath(new URL("worker.js", import.meta.url))
  const child = spawn(process.execPath, [file, ...parameters.map(String)], { stdio: ["pipe", "pipe", "inherit"] })
  const lines: Array<string> = []
  const reader = createInterface({ input: child.stdout })
  reader.on("line", (line) => lines.push(line))
  return {
    child,
    lines,
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

/** Has the workers hold one key, so many times each contender: how long all took together, and the longest wait of one. */
const together = async (workers: ReadonlyArray<Worker>, times: number, holdMillis: number) => {
  const key = randomUUID()
  let longest = 0
  const took = await millisOf(async () => {
    for (const { child, lines } of workers) {
      lines.length = 0
      child.stdin?.write(`${key} ${times} ${holdMillis}\n`)
    }
    const said = await Promise.all(workers.map(({ said }) => said("done")))
    longest = Math.max(...said.map((line) => Number(line.split(" ")[1])))
  })
  return { took, longest }
}

/** The same processes for all turns: to start one, and to compile what it does, takes longer than what is measured. */
const acrossProcesses = async (url: string, turns: number): Promise<void> => {
  const names = Contender.names
  const all = new Map(names.map((name) => [name, Array.from({ length: 4 }, () => spawnWorker(url, name, "run"))]))
  const of = (name: Contender.Name) => all.get(name) ?? []
  await Promise.all([...all.values()].flat().map(({ said }) => said("ready")))
  add(
    "4 processes × 16 contenders, one key (total)",
    atMostOfBase(0.2),
    await inTurns(turns, names, async (name) => (await together(of(name), 20, 0)).took, unmeasured),
    total
  )
  add(
    "longest wait, 2 × 16 contenders, 5 ms hold (ms)",
    atMost(250),
    await inTurns(turns, names, async (name) => (await together(of(name).slice(0, 2), 5, 5)).longest),
    (value) => value.toFixed(0)
  )
  for (const { child } of [...all.values()].flat()) child.stdin?.end()
}

const shortTtl = 1000

/** By how much the next holder comes after the time of one that was killed. */
const killed = async (url: string, name: Contender.Name): Promise<number> => {
  const redis = new Client(url, { protocol: 2 })
  await redis.flushall()
  const key = randomUUID()
  const holder = spawnWorker(url, name, "hold", shortTtl, key)
  await holder.said("held")
  const next = Contender.make(name, url, shortTtl)
  const granted = next.run({ tasks: 1, times: 1, how: "scoped", key: () => key }).then(() => performance.now())
  await setTimeout(750)
  holder.child.kill("SIGKILL")
  await setTimeout(30)
  const [asked, left] = [performance.now(), await leftOf(redis, name, key)]
  const at = await granted
  await next.close()
  await redis.quit()
  return at - asked - left
}

/** How long the holder of a key has left by the clock of Redis, in milliseconds. */
const leftOf = async (redis: Client, name: Contender.Name, key: string): Promise<number> => {
  if (name !== "effect-credentials") return redis.pttl(name === "redis-semaphore" ? `mutex:${key}` : key)
  const [state = ""] = await redis.keys("lk:*:s")
  const [[seconds, micros], value] = await Promise.all([redis.time(), redis.get(state)])
  return Number(value?.split(" ")[2]) - Number(seconds) * 1000 - Number(micros) / 1000
}

/** Whether a holder that was stopped past its time did a side effect after the next one had it. */
const stopped = async (url: string): Promise<boolean> => {
  const key = randomUUID()
  const holder = spawnWorker(url, "effect-credentials", "hold", shortTtl, key)
  await holder.said("effect")
  const next = Contender.make("effect-credentials", url, shortTtl)
  const granted = next.run({ tasks: 1, times: 1, how: "scoped", key: () => key }).then(() => process.hrtime.bigint())
  await setTimeout(100)
  holder.child.kill("SIGSTOP")
  const at = await granted
  holder.child.kill("SIGCONT")
  await holder.said("lost")
  holder.child.kill("SIGKILL")
  await next.close()
  return holder.lines.every((line) => !line.startsWith("effect") || BigInt(line.split(" ")[1] ?? "0") < at)
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
    work: "in memory, in a scope, µs each",
    gate: undefined,
    passes: undefined,
    values: {
      "effect-credentials": ((1000 * mine) / times).toFixed(1),
      "async-mutex": ((1000 * theirs) / times).toFixed(1)
    }
  })
}

const print = (): void => {
  const columns = [...Contender.names, "async-mutex"]
  const verdict = (passes: boolean | undefined) => (passes === undefined ? "" : passes ? "pass" : "miss")
  const lines = [
    ["work", "gate", "", ...columns],
    ["---", "---", "---", ...columns.map(() => "---")],
    ...rows.map(({ gate, passes, values, work }) => [
      work,
      gate ?? "",
      verdict(passes),
      ...columns.map((name) => values[name] ?? "")
    ])
  ]
  process.stdout.write(`${lines.map((line) => `| ${line.join(" | ")} |`).join("\n")}\n`)
  process.stdout.write(
    `load of the machine: ${loadavg()
      .map((load) => load.toFixed(1))
      .join(" ")}\n`
  )
}

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const server = yield* Server.start
      const url = Redacted.value(server.url)
      const turns = quick ? 3 : 9
      yield* Effect.promise(async () => {
        await uncontended(url, turns)
        await contended(url, turns)
        await farAway(server.port, Math.min(turns, 3))
        await acrossProcesses(url, Math.min(turns, 5))
        const kills = new Map<string, Array<number>>()
        add(
          "holder killed: the next comes after its time (ms, median)",
          atMost(10),
          await inTurns(quick ? 1 : 5, Contender.names, async (name) => {
            const after = await killed(url, name)
            kills.set(name, [...(kills.get(name) ?? []), after])
            return after
          }),
          (value) => value.toFixed(1)
        )
        add(
          "… at most",
          atMost(10),
          Object.fromEntries([...kills].map(([name, all]) => [name, Math.max(...all)])),
          (value) => value.toFixed(1)
        )
        const stops = quick ? 1 : 5
        let blind = 0
        for (let stop = 0; stop < stops; stop++) if (!(await stopped(url))) blind++
        add(
          "holder stopped past its time: side effects before it finds out",
          atMost(0),
          { "effect-credentials": blind },
          (value) => `${value} of ${stops}`
        )
        await local()
      })
    })
  )
)
print()
process.exit(0)
