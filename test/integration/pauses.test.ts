/**
 * Processes stand still (`SIGSTOP`) past the time of their lease, and go on: the next holder has it by then, and whoever
 * stood still finds out before it does anything, cannot undo what came after, and loses no answer that it holds.
 *
 * `PAUSES=100` is the long form: so many of them, at many moments.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { measured } from "../Measured.ts"
import { type Client, ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import type * as Service from "../servers/Service.ts"

const user = "ada"

/** How long after the end of a lease the next holder may have it, beside what a busy machine adds. */
const overshoot = 50 + 200

const program = fileURLToPath(new URL("borrower.ts", import.meta.url))

/** Runs `borrower.ts` with the settings of the servers; it ends with the scope. */
const borrower = (env: Readonly<Record<string, string | undefined>>, id: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, ["--import", "tsx", program, user, id], {
          env: { PATH: process.env["PATH"], ...env },
          stdio: ["ignore", "pipe", "inherit"]
        })
      ),
      (child) =>
        Effect.promise(async () => {
          if (child.exitCode !== null || child.signalCode !== null) return
          const closed = once(child, "close")
          child.kill("SIGKILL")
          await closed
        })
    ),
    (child) => {
      const lines: Array<string> = []
      createInterface({ input: child.stdout }).on("line", (line) => lines.push(line))
      return {
        signal: (name: NodeJS.Signals) => Effect.sync(() => void child.kill(name)),
        lines: (beginning: string) => lines.filter((line) => line.startsWith(beginning)),
        said: (beginning: string) =>
          Cluster.eventually(
            Effect.suspend(() => Effect.fromNullable(lines.find((line) => line.startsWith(beginning)))),
            "30 seconds"
          )
      }
    }
  )

const fresh = () => ({ accessTokenExpiresAt: Cluster.inSeconds(3600) })

/**
 * A program holds a lease and stands still; the next holder comes when the lease is over, and changes the credential. The
 * program goes on, is told that its lease is lost, and changes nothing.
 */
const lent = Effect.fnUntraced(function* (cluster: Cluster.Cluster, other: Client) {
  const { accessToken, refreshToken } = cluster.provider.issue()
  const { id } = yield* ok(
    other.createCredential(user, { type: "oauth2", provider: "fake", accessToken, refreshToken, ...fresh() })
  )
  const stopped = yield* borrower(cluster.env, id)
  const [, fence] = (yield* stopped.said("held")).split(" ")
  yield* stopped.said("effect")
  yield* stopped.signal("SIGSTOP")
  const left = yield* Cluster.holdMillis(cluster.redis)
  const [took, next] = yield* Cluster.timed(ok(other.acquire(user, id, { waitSeconds: 30 })))
  assert.isAbove(next.fencingToken, Number(fence))
  const body = { type: "oauth2", provider: "fake", title: "newer" }
  const changed = yield* ok(other.put(user, id, body, { query: { leaseId: next.leaseId } }))
  const continued = Date.now()
  yield* stopped.signal("SIGCONT")
  yield* stopped.said("release")
  assert.deepStrictEqual(
    ["refresh", "replace", "renew", "release"].flatMap((what) => stopped.lines(what)),
    ["refresh LeaseLost", "replace LeaseLost", "renew LeaseLost", "release LeaseLost"]
  )
  const late = stopped.lines("effect").filter((line) => Number(line.split(" ")[1]) >= continued)
  assert.deepStrictEqual(late, [])
  assert.deepInclude(yield* ok(other.get(user, id)), { title: "newer", generation: changed.generation })
  yield* ok(other.releaseLease(next.leaseId))
  return { left, took }
}, Effect.scoped)

class Two extends Context.Tag("test/TwoServers")<Two, Cluster.Cluster>() {}

layer(Layer.scoped(Two, Effect.orDie(Cluster.make({ servers: 2 }))), {
  excludeTestServices: true,
  timeout: "2 minutes"
})("beside two servers:", (it) => {
  describe("a program that stands still while it holds a lease", () => {
    it.scoped(
      "is followed at its end, finds out before its next side effect, and can neither renew, release nor change anything",
      () =>
        Effect.gen(function* () {
          const cluster = yield* Two
          const { left, took } = yield* lent(cluster, cluster.at(0))
          assert.isAbove(left, 0)
          assert.isAbove(took, left - overshoot)
          yield* Effect.logInfo(`the next holder has it ${Math.round(took - left)} ms after the end of the lease`)
          assert.isBelow(took, left + overshoot)
          yield* measured("pauses", { SIGSTOPs: 1, "newer generations overwritten": 0 })
        }),
      90_000
    )
  })

  describe("a server that stands still", () => {
    it.scoped(
      "with the provider's answer in hand keeps it: the others wait, and get the new token once it goes on",
      () =>
        Effect.gen(function* () {
          const cluster = yield* Two
          const { provider } = cluster
          const [first] = cluster.services
          if (first === undefined) return
          const { id } = yield* cluster.create(user)
          const asking = provider.ledger.length
          const attempts = (yield* cluster.attempts).length
          provider.next({ onProcessed: first.kill("SIGSTOP") })
          const asked = yield* Effect.fork(ok(cluster.at(0).secret(user, id, { waitSeconds: 60 })))
          yield* provider.awaitLedger((ledger) => ledger[asking]?.sent === "answered")
          // past the time of its lock, and not yet past that of its attempt
          const refusal = yield* refused(cluster.at(1).secret(user, id, { waitSeconds: 13 }))
          assert.strictEqual(refusal.body._tag, "LockTimeout")
          const waiting = yield* Effect.fork(ok(cluster.at(1).secret(user, id, { waitSeconds: 60 })))
          yield* first.kill("SIGCONT")
          const [own, other] = [yield* Fiber.join(asked), yield* Fiber.join(waiting)]
          assert.strictEqual(own.accessToken, other.accessToken)
          assert.isTrue(provider.isLive(own.accessToken ?? ""))
          assert.lengthOf(provider.ledger, asking + 1)
          assert.deepStrictEqual(
            (yield* cluster.attempts).slice(attempts).map(({ outcome }) => outcome),
            ["saved"]
          )
        }),
      90_000
    )

    it.scoped(
      "with the provider's answer in hand does not overwrite what the user replaced meanwhile",
      () =>
        Effect.gen(function* () {
          const cluster = yield* Two
          const { provider } = cluster
          const [first] = cluster.services
          if (first === undefined) return
          const { id } = yield* cluster.create(user)
          const asking = provider.ledger.length
          const attempts = (yield* cluster.attempts).length
          provider.next({ onProcessed: first.kill("SIGSTOP") })
          const asked = yield* Effect.fork(Effect.either(cluster.at(0).secret(user, id, { waitSeconds: 60 })))
          yield* provider.awaitLedger((ledger) => ledger[asking]?.sent === "answered")
          const { accessToken, refreshToken } = provider.issue()
          const replaced = yield* ok(
            cluster.at(1).put(user, id, { type: "oauth2", provider: "fake", accessToken, refreshToken, ...fresh() })
          )
          yield* first.kill("SIGCONT")
          yield* Fiber.await(asked)
          for (const index of [0, 1]) {
            const secret = yield* ok(cluster.at(index).secret(user, id))
            assert.deepInclude(secret, { accessToken, generation: replaced.generation })
          }
          const outcome = Effect.filterOrFail(
            cluster.attempts,
            (all) => all[attempts]?.outcome === "superseded",
            () => "not yet"
          )
          yield* Cluster.eventually(outcome)
          assert.lengthOf(provider.ledger, asking + 1)
          yield* measured("pauses", { SIGSTOPs: 1, "newer generations overwritten": 0 })
        }),
      90_000
    )

    it.scoped(
      "keeps nobody from a lease that it granted and that is over: the next holder has it in time",
      () =>
        Effect.gen(function* () {
          const cluster = yield* Two
          const [first] = cluster.services
          if (first === undefined) return
          const { id } = yield* cluster.create(user, fresh())
          const lease = yield* ok(cluster.at(0).acquire(user, id, { ttlSeconds: 2 }))
          yield* first.kill("SIGSTOP")
          const left = yield* Cluster.holdMillis(cluster.redis)
          const [took, next] = yield* Cluster.timed(ok(cluster.at(1).acquire(user, id, { waitSeconds: 20 })))
          yield* Effect.logInfo(`the next holder has it ${Math.round(took - left)} ms after the end of the lease`)
          assert.isBelow(took, left + overshoot)
          yield* first.kill("SIGCONT")
          for (const index of [0, 1]) {
            assert.strictEqual((yield* refused(cluster.at(index).renewLease(lease.leaseId))).body._tag, "LeaseLost")
            assert.strictEqual((yield* refused(cluster.at(index).releaseLease(lease.leaseId))).body._tag, "LeaseLost")
          }
          assert.isAbove(next.fencingToken, lease.fencingToken)
          yield* ok(cluster.at(0).releaseLease(next.leaseId))
        }),
      90_000
    )
  })
})

const pauses = Number(process.env["PAUSES"] ?? 0)
const servers = 5
/** What a lease of Redis lasts, and a little more. */
const pastTheLease = "11 seconds"

/** Spreads pauses over a stretch of time, few or many. */
const spread = (pause: number) => (pause * 0.618_034) % 1

/** Of five pauses one is a program's, one is of a server whose attempt is over, too, and three end before that. */
const kindOf = (pause: number) => (["replaced", "replaced", "replaced", "renewed", "lent"] as const)[pause % 5]

describe.runIf(pauses > 0)(`${pauses} times that a process stands still past its lease`, () => {
  it.scopedLive(
    "no newer generation is overwritten, whether a user or another process brought it",
    () =>
      Effect.gen(function* () {
        const graced = yield* ScriptedProvider.make({ reuseGraceSeconds: 7_200 })
        const cluster = yield* Cluster.make({
          servers: 0,
          more: [graced.definition("graced")],
          env: { ...graced.environment("graced"), LOG_LEVEL: "warning" }
        })
        const services = yield* Effect.replicateEffect(cluster.start({ readyWithin: "5 minutes" }), servers + 1, {
          concurrency: 2
        })
        const other = services[servers]?.client ?? assert.fail()
        const count = { replaced: 0, renewed: 0, lent: 0 }
        let overwritten = 0

        for (const provider of [cluster.provider, graced]) provider.always({ delayAfter: "10 millis" })

        /** A server stands still around the time of the provider's answer; then something newer comes, and it goes on. */
        const stand = Effect.fnUntraced(function* (
          service: Service.Service,
          pause: number,
          kind: "replaced" | "renewed"
        ) {
          const provider = kind === "replaced" ? cluster.provider : graced
          const { accessToken, refreshToken } = provider.issue()
          const body = { type: "oauth2", provider: kind === "replaced" ? "fake" : "graced" }
          const accessTokenExpiresAt = Cluster.inSeconds(-60)
          const { id } = yield* ok(
            other.createCredential(user, { ...body, accessToken, refreshToken, accessTokenExpiresAt })
          )
          const asked = yield* Effect.fork(Effect.exit(service.client.secret(user, id, { waitSeconds: 60 })))
          yield* provider.awaitLedger((ledger) =>
            ledger.some((entry) => entry.refreshToken === refreshToken && entry.outcome === "rotated")
          )
          if (kind === "replaced") yield* Effect.sleep(Math.floor(spread(pause) * 30))
          yield* service.kill("SIGSTOP")
          yield* Effect.sleep(pastTheLease)
          if (kind === "replaced") {
            const { accessToken, refreshToken } = provider.issue()
            yield* ok(
              other.put(user, id, { ...body, accessToken, refreshToken, ...fresh() }, { query: { waitSeconds: 30 } })
            )
          }
          const query = kind === "replaced" ? {} : { refresh: "force", waitSeconds: 200 }
          const newer = yield* ok(other.secret(user, id, query))
          yield* service.kill("SIGCONT")
          yield* Fiber.await(asked)
          yield* Effect.sleep("500 millis")
          for (const client of [service.client, other]) {
            const now = yield* ok(client.secret(user, id))
            if (now.generation !== newer.generation || now.accessToken !== newer.accessToken) overwritten++
          }
          assert.isTrue(provider.isLive(newer.accessToken ?? ""))
          count[kind]++
        })

        const all = Array.from({ length: pauses }, (_, pause) => pause)
        const programs = Effect.forEach(
          all.filter((pause) => kindOf(pause) === "lent"),
          () =>
            Effect.zipRight(
              lent(cluster, other),
              Effect.sync(() => count.lent++)
            )
        )
        const standing = all.filter((pause) => kindOf(pause) !== "lent")
        yield* Effect.all(
          [
            programs,
            ...services.slice(0, servers).map((service, at) =>
              Effect.forEach(
                standing.filter((_, index) => index % servers === at),
                (pause) => stand(service, pause, kindOf(pause) === "renewed" ? "renewed" : "replaced")
              )
            )
          ],
          { concurrency: "unbounded" }
        )
        const unsaved = (yield* cluster.attempts).filter(({ outcome }) => outcome === "superseded").length
        yield* measured("pauses", {
          SIGSTOPs: count.replaced + count.renewed + count.lent,
          "newer generations overwritten": overwritten,
          "of a server, replaced by the user": count.replaced,
          "of these with an answer unsaved": unsaved,
          "of a server, renewed by another": count.renewed,
          "of these by the grace": graced.graces,
          "of a program with a lease": count.lent,
          reuses: cluster.provider.reuses + graced.reuses
        })
        assert.strictEqual(overwritten, 0)
        assert.deepStrictEqual([cluster.provider.reuses, graced.reuses], [0, 0])
      }),
    120_000 + pauses * 15_000
  )
})
