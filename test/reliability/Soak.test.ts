/**
 * Two servers over one Postgres and one Redis work for a long time at a provider that fails once in a hundred times: their
 * memory stays what it is, no lock is left behind, and no refresh token comes back.
 *
 * `SOAK_SECONDS=1800` is the long form.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { measured } from "../Measured.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import * as Service from "../servers/Service.ts"

const { Fault } = ScriptedProvider

const seconds = Number(process.env["SOAK_SECONDS"] ?? 15)
/** What is warmed up by then is not counted; a shorter soak says nothing of memory. */
const warmUpSeconds = 120

const users = Array.from({ length: 40 }, (_, index) => `user-${index}`)
const workers = 8

/** Each is the fate of one token request in a hundred. */
const faults = [
  Fault.down(503),
  Fault.resetBefore,
  Fault.resetAfter,
  Fault.truncated,
  Fault.html(502),
  Fault.throttled(1),
  Fault.slow({ after: "2 seconds" })
]

/** Collects garbage when it is told to, and writes down how much is left: what a heap grows by itself is not lost. */
const probe = `
import { writeFileSync } from "node:fs"
process.on("SIGUSR2", () => {
  globalThis.gc()
  const { external, heapUsed } = process.memoryUsage()
  writeFileSync(process.env.PROBE, String(heapUsed + external))
})`

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
        const heap = Effect.forEach(services, (service, index) =>
          Effect.gen(function* () {
            const file = probes[index] ?? assert.fail()
            Fs.rmSync(file, { force: true })
            yield* service.kill("SIGUSR2")
            return yield* Cluster.eventually(
              Effect.sync(() => {
                const bytes = Number(Fs.readFileSync(file, "utf8"))
                assert.isAbove(bytes, 0)
                return bytes
              })
            )
          })
        )
        const [first] = services
        if (first === undefined) return
        const ids = yield* Effect.forEach(users, (user) => {
          const { accessToken, refreshToken } = provider.issue()
          const accessTokenExpiresAt = Cluster.inSeconds(5)
          const body = { type: "oauth2", provider: "fake", accessToken, refreshToken, accessTokenExpiresAt }
          return Effect.map(first.client.createCredential(user, body), (answer) =>
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
        const until = began + seconds * 1000

        const work = Effect.fnUntraced(function* (worker: number) {
          const chance = random(worker + 1)
          const pick = <A>(all: ReadonlyArray<A>) => all[Math.floor(chance() * all.length)] ?? assert.fail()
          while ((yield* Clock.currentTimeMillis) < until) {
            const at = Math.floor(chance() * users.length)
            const [user = "", id = ""] = [users[at], ids[at]]
            const { client } = pick(services)
            const what = chance()
            operations++
            if (provider.refreshes >= scripted * 100) {
              scripted++
              provider.next(pick(faults))
            }
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
          }
        })
        const growth = Effect.gen(function* () {
          if (seconds <= warmUpSeconds * 2) return undefined
          yield* Effect.sleep(`${warmUpSeconds} seconds`)
          const before = yield* heap
          yield* Effect.sleep(`${seconds - warmUpSeconds - 5} seconds`)
          const after = yield* heap
          return Math.max(...after.map((bytes, index) => bytes / (before[index] ?? bytes) - 1))
        })
        const [grown] = yield* Effect.all(
          [
            growth,
            Effect.forEach(
              Array.from({ length: workers }, (_, worker) => worker),
              work,
              { concurrency: workers }
            )
          ],
          { concurrency: 2 }
        )

        // what was not given back is over by its own time; then nobody holds, and nobody waits
        yield* Effect.sleep("12 seconds")
        const leases = yield* cluster.query("select count(*)::int as count from leases where expires_at > now()")
        const orphans = (yield* Cluster.holdMillis(cluster.redis)) > 0 ? 1 : 0
        const open = (yield* cluster.attempts).filter(({ outcome }) => outcome === null).length
        const answered = Object.fromEntries([...outcomes].toSorted(([one], [other]) => (one < other ? -1 : 1)))
        yield* measured("soak", {
          seconds,
          operations,
          refreshes: provider.refreshes,
          faults: scripted,
          reuses: provider.reuses,
          "orphan locks": orphans + Number(leases[0]?.["count"] ?? 0),
          "open attempts": open,
          "memory growth": grown === undefined ? "not measured" : `${(grown * 100).toFixed(1)} %`,
          ...answered
        })
        assert.deepStrictEqual([orphans, leases[0]?.["count"], open, provider.reuses], [0, 0, 0, 0])
        for (const outcome of outcomes.keys()) {
          assert.include(["200", "201", "204", "423 LockTimeout", "502 ProviderError", "410 LeaseLost"], outcome)
        }
        if (grown !== undefined) assert.isBelow(grown, 0.05)
      }),
    (seconds + 120) * 1000
  )
})
