/**
 * Two servers over one Postgres and one Redis work for a long time at a provider that fails once in a hundred times: their
 * memory stays what it is, no lock is left behind, and no refresh token comes back.
 *
 * `SOAK_SECONDS=1800` is the long form. Each worker pauses between two calls, so that a small machine is not the limit; but
 * not while servers warm up, before the time that counts.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as RedisClient from "../../src/Redis.ts"
import { measured } from "../Measured.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as Redis from "../servers/Redis.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import * as Service from "../servers/Service.ts"

const { Fault } = ScriptedProvider

const seconds = Number(process.env["SOAK_SECONDS"] ?? 15)
const isLong = process.env["SOAK_SECONDS"] !== undefined
/** Until what is used often is compiled, and what is remembered up to a bound has come to it. */
const warmUpSeconds = isLong ? 600 : 0
/** How often memory is looked at after that. */
const lookSeconds = 300
/** Nothing is left in doubt in the last of it, so that all is settled: the deadline of an attempt is 65 seconds. */
const settleSeconds = 80

const pauseMillis = 60

const users = Array.from({ length: 40 }, (_, index) => `user-${index}`)
const workers = 8

/** Each is the fate of one token request in a hundred. */
const clear = [Fault.down(503), Fault.html(502), Fault.throttled(1), Fault.slow({ after: "2 seconds" })]
const faults = [...clear, Fault.resetBefore, Fault.resetAfter, Fault.truncated]

/** Collects garbage when it is told to, and writes down how much is left: what a heap grows by itself is not lost. */
const probe = `
import { renameSync, writeFileSync } from "node:fs"
process.on("SIGUSR2", () => {
  globalThis.gc()
  const { external, heapUsed, rss } = process.memoryUsage()
  writeFileSync(process.env.PROBE + ".new", JSON.stringify({ used: heapUsed + external, resident: rss }))
  renameSync(process.env.PROBE + ".new", process.env.PROBE)
})`

interface Memory {
  /** What is left after garbage was collected. */
  readonly used: number
  readonly resident: number
}

const megabytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1)

/** So rare are answers of another kind than was asked for: a machine that stalls passes the limits of some. */
const rarely = 0.001

/** How much the one that grew most did. */
const growth = (before: ReadonlyArray<Memory>, after: ReadonlyArray<Memory>, of: keyof Memory) =>
  Math.max(...after.map((memory, index) => memory[of] / (before[index] ?? memory)[of] - 1))

const percent = (ratio: number) => `${(ratio * 100).toFixed(1)} %`

/** Whoever holds, passes beside a holder, or waits in Redis now. */
const holds = Effect.fnUntraced(
  function* ({ url }: Redis.Redis) {
    const { command } = yield* RedisClient.make({ url })
    const [seconds = 0] = (yield* command("TIME")) as ReadonlyArray<string>
    const now = Number(seconds) * 1000
    const found: Array<string> = []
    for (const key of (yield* command("KEYS", "lk:*")) as ReadonlyArray<string>) {
      if (key.endsWith(":s")) {
        const [, deadline = 0] = /^\S+ \d+ (\d+) /.exec(String(yield* command("GET", key))) ?? []
        if (Number(deadline) > now) found.push(key)
      } else if (key.endsWith(":g") && (yield* command("PTTL", key)) !== -2) found.push(key)
      else if (/:[qr]$/.test(key) && Number(yield* command("ZCOUNT", key, now, "+inf")) > 0) found.push(key)
    }
    return found
  },
  Effect.scoped,
  Effect.orDie
)

/** The same on every run: which worker does what, when. */
const random = (seed: number) => {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

describe("two servers under load", () => {
  it.scopedLive(
    `for ${seconds} seconds, with one fault in a hundred: memory stays, no lock is left, no spent token comes back`,
    () =>
      Effect.gen(function* () {
        const directory = yield* Service.temporaryDirectory
        Fs.writeFileSync(Path.join(directory, "probe.mjs"), probe)
        const cluster = yield* Cluster.make({
          servers: 0,
          provider: { accessTokenSeconds: 5, reuseGraceSeconds: 600 }
        })
        const { provider } = cluster
        const probes = ["a", "b"].map((name) => Path.join(directory, name))
        const command = [process.execPath, "--expose-gc", "--import", Path.join(directory, "probe.mjs"), "dist/main.js"]
        const services = yield* Effect.forEach(probes, (file) =>
          cluster.start({ command, env: { PROBE: file, LOG_LEVEL: "warning" } })
        )
        const memory = Effect.forEach(services, (service, index) =>
          Effect.gen(function* () {
            const file = probes[index] ?? assert.fail()
            Fs.rmSync(file, { force: true })
            yield* service.kill("SIGUSR2")
            return yield* Cluster.eventually(
              Effect.sync(() => JSON.parse(Fs.readFileSync(file, "utf8")) as Memory),
              "1 minute"
            )
          })
        )
        /** The least of some moments: what a request holds for a moment is not kept. */
        const settled = Effect.map(Effect.replicateEffect(Effect.delay(memory, "2 seconds"), 3), (moments) =>
          services.map((_, index) => {
            const all = moments.flatMap((each) => each[index] ?? [])
            const least = (of: keyof Memory) => Math.min(...all.map((each) => each[of]))
            return { used: least("used"), resident: least("resident") }
          })
        )
        const [service] = services
        if (service === undefined) return
        const ids = yield* Effect.forEach(users, (user) => {
          const { accessToken, refreshToken } = provider.issue()
          const accessTokenExpiresAt = Cluster.inSeconds(5)
          const body = { type: "oauth2", provider: "fake", accessToken, refreshToken, accessTokenExpiresAt }
          return Effect.map(service.client.createCredential(user, body), (answer) =>
            answer.ok ? answer.body.id : assert.fail(JSON.stringify(answer.body))
          )
        })

        let operations = 0
        let scripted = 0
        const outcomes = new Map<string, number>()
        const note = (answer: { readonly ok: boolean; readonly status: number; readonly body: unknown }) => {
          const { _tag = "" } = answer.ok ? {} : (answer.body as { readonly _tag?: string })
          const name = `${answer.status} ${_tag}`.trim()
          outcomes.set(name, (outcomes.get(name) ?? 0) + 1)
        }
        const began = yield* Clock.currentTimeMillis
        const warm = began + warmUpSeconds * 1000
        const until = warm + seconds * 1000

        const work = Effect.fnUntraced(function* (worker: number) {
          const chance = random(worker + 1)
          const pick = <A>(all: ReadonlyArray<A>) => all[Math.floor(chance() * all.length)] ?? assert.fail()
          while ((yield* Clock.currentTimeMillis) < until) {
            const at = Math.floor(chance() * users.length)
            const [user = "", id = ""] = [users[at], ids[at]]
            const { client } = pick(services)
            const what = chance()
            operations++
            if (what < 0.7) note(yield* client.secret(user, id, { waitSeconds: 20 }))
            // who goes away while it waits
            else if (what < 0.75) yield* Effect.timeoutOption(client.acquire(user, id, { ttlSeconds: 2 }), "5 millis")
            // who never gives back
            else if (what < 0.78) note(yield* client.acquire(user, id, { ttlSeconds: 1, waitSeconds: 5 }))
            else {
              const mode = what < 0.9 ? "exclusive" : "shared"
              const answer = yield* client.acquire(user, id, { mode, ttlSeconds: 10, waitSeconds: 20 })
              note(answer)
              if (answer.ok) note(yield* client.releaseLease(answer.body.leaseId))
            }
            if ((yield* Clock.currentTimeMillis) > warm) yield* Effect.sleep(chance() * pauseMillis)
          }
        })
        const misfortune = Effect.gen(function* () {
          const chance = random(0)
          for (let now = began; now < until; now = yield* Clock.currentTimeMillis) {
            const possible = now < until - settleSeconds * 1000 ? faults : clear
            for (const due = provider.ledger.length / 100; scripted < due; scripted++) {
              provider.next(possible[Math.floor(chance() * possible.length)] ?? {})
            }
            yield* Effect.sleep("200 millis")
          }
        })
        const looks: Array<ReadonlyArray<Memory>> = []
        const looking = Effect.gen(function* () {
          if (!isLong) return
          yield* Effect.sleep(`${warmUpSeconds} seconds`)
          looks.push(yield* settled)
          for (let at = warm + lookSeconds * 1000; at <= until; at += lookSeconds * 1000) {
            yield* Effect.sleep(Math.max(0, at - 15_000 - (yield* Clock.currentTimeMillis)))
            looks.push(yield* settled)
          }
        })
        const all = Array.from({ length: workers }, (_, worker) => worker)
        const working = Effect.forEach(all, work, { concurrency: workers, discard: true })
        yield* Effect.all([looking, misfortune, working], { concurrency: 3 })

        // what was not given back is over by its own time; then nobody holds, and who stops leaves no lock
        yield* Effect.sleep("12 seconds")
        const leases = yield* cluster.query("select count(*)::int as count from leases where expires_at > now()")
        const exits = yield* Effect.all(
          services.map((service) => service.stop()),
          { concurrency: 2 }
        )
        const orphans = [...(yield* holds(cluster.redis)), ...(leases[0]?.["count"] === 0 ? [] : ["leases"])]
        const open = (yield* cluster.attempts).filter(({ outcome }) => outcome === null).length
        const answered = Object.fromEntries(
          [...outcomes]
            .toSorted(([one], [other]) => (one < other ? -1 : 1))
            .map(([outcome, times]) => [`answered ${outcome}`, times])
        )
        const [first, last] = [looks[0], looks.at(-1)]
        yield* measured("soak", {
          seconds,
          operations,
          refreshes: provider.refreshes,
          faults: scripted,
          reuses: provider.reuses,
          "orphan locks": orphans.length,
          "open attempts": open,
          ...(first !== undefined &&
            last !== undefined && {
              "memory growth": percent(growth(first, last, "used")),
              "MB used": looks.map((all) => all.map(({ used }) => megabytes(used)).join("+")).join(" "),
              "resident growth": percent(growth(first, last, "resident"))
            }),
          ...answered
        })
        assert.deepStrictEqual(
          exits.map(({ code }) => code),
          [0, 0]
        )
        assert.deepStrictEqual(orphans, [])
        assert.deepStrictEqual([open, provider.reuses], [0, 0])
        const said = services.flatMap(({ stderr, stdout }) => `${stdout}${stderr}`.split("\n"))
        const complaints = said.filter((line) => line !== "" && !line.includes("ProviderError")).slice(-20)
        const meant = new Set(["200", "201", "204", "423 LockTimeout", "502 ProviderError", "410 LeaseLost"])
        const others = [...outcomes].filter(([outcome]) => !meant.has(outcome))
        for (const [outcome, times] of others) {
          assert.match(
            outcome,
            /^(?:408 InvalidRequest|503 StoreUnavailable|503 LockUnavailable)$/,
            complaints.join("\n")
          )
          assert.isAtMost(times, Math.max(1, operations * rarely), outcome)
        }
        if (first !== undefined && last !== undefined) assert.isBelow(growth(first, last, "used"), 0.05)
      }),
    (warmUpSeconds + seconds + 180) * 1000
  )
})
