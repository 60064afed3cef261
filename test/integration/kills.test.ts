/**
 * Servers are killed (`kill -9`) while they renew: at moments from before the attempt is written down to after the tokens
 * are saved, most of them between the provider's answer and the save. Others live on and take over what was left, and the
 * ledgers of two providers say what that cost: one answers a spent token again for a while, the other ends the grant.
 *
 * `KILLS` is how many: 4, unless said; `KILLS=500` is the long form. After `KILLS_MINUTES` there are no more, and what was
 * done is judged all the same.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { measured } from "../Measured.ts"
import type { Answer, Secret } from "../servers/Client.ts"
import { ok } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import type * as Service from "../servers/Service.ts"

const user = "ada"

const isLong = process.env["KILLS"] !== undefined
const kills = Number(process.env["KILLS"] ?? 4)
const mostMinutes = Number(process.env["KILLS_MINUTES"] ?? 75)
/** Killed one beside the other; two more live on. */
const victims = isLong ? 8 : 1
/** So many renewals are under way at each kill, by turns at either provider. */
const atOnce = 4

/** Of five kills four are aimed at what is between the answer and the save. */
const isAimed = (kill: number) => kill % 5 < 4

/** Spreads kills over a stretch of time, few or many. */
const spread = (kill: number) => (kill * 0.618_034) % 1

/** Calls again what a busy machine did not answer in time, as its answer says. */
const patiently = <A, E>(call: Effect.Effect<Answer<A>, E>): Effect.Effect<Answer<A>, E> =>
  call.pipe(
    Effect.delay("500 millis"),
    Effect.repeat({ times: 60, while: (answer) => !answer.ok && answer.status === 503 }),
    (again) => Effect.flatMap(call, (answer) => (answer.ok || answer.status !== 503 ? Effect.succeed(answer) : again))
  )

type Name = "strict" | "graced"

interface Renewal {
  readonly id: string
  readonly provider: Name
  readonly refreshToken: string
}

/** How far a renewal had come when its server died. */
type Stage =
  | "nothing written"
  | "written, not sent"
  | "sent, not spent"
  | "spent, not answered"
  | "answered, not saved"
  | "saved"

interface Trial extends Renewal {
  readonly kill: number
  readonly stage: Stage
}

describe("servers of several that are killed while they renew", () => {
  it.scopedLive(
    `${kills} times: no token is spent twice, none is lost where it may come back, and else every loss is recorded`,
    () =>
      Effect.gen(function* () {
        const graced = yield* ScriptedProvider.make({ reuseGraceSeconds: 7_200 })
        const cluster = yield* Cluster.make({
          servers: 0,
          proxied: true,
          more: [graced.definition("graced")],
          env: { ...graced.environment("graced"), LOG_LEVEL: "warning" }
        })
        const providers = { strict: cluster.provider, graced }
        const services = yield* Effect.replicateEffect(cluster.start({ readyWithin: "5 minutes" }), victims + 2, {
          concurrency: 4
        })
        const survivors = services.slice(victims).map(({ client }) => client)
        const survivor = (index: number) => survivors[index % 2] ?? assert.fail()
        // so that each step of a renewal takes some of the moments
        yield* cluster.toPostgres.delay(5)
        for (const provider of Object.values(providers)) {
          provider.always({ delayBefore: "10 millis", delayAfter: "10 millis" })
        }

        const make = Effect.fnUntraced(function* (index: number) {
          const name: Name = index % 2 === 0 ? "strict" : "graced"
          const { accessToken, refreshToken } = providers[name].issue()
          const { id } = yield* ok(
            patiently(
              survivor(index).createCredential(user, {
                type: "oauth2",
                provider: name === "strict" ? "fake" : name,
                accessToken,
                refreshToken,
                accessTokenExpiresAt: Cluster.inSeconds(-60)
              })
            )
          )
          return { id, provider: name, refreshToken } satisfies Renewal
        })
        const several = Effect.all(Array.from({ length: atOnce }, (_, index) => make(index)))
        const requestsOf = ({ provider, refreshToken }: Renewal) =>
          providers[provider].ledger.filter((entry) => entry.refreshToken === refreshToken)
        const answered = ({ provider, refreshToken }: Renewal) =>
          providers[provider].awaitLedger((ledger) =>
            ledger.some((entry) => entry.refreshToken === refreshToken && entry.sent === "answered")
          )

        /** Also makes a server that has just started do everything once. How long it took, and from the answer on. */
        const unharmed = Effect.fnUntraced(function* (victim: Service.Service) {
          const renewals = yield* several
          const took = yield* Effect.forEach(
            renewals,
            (renewal) =>
              Effect.gen(function* () {
                const began = Date.now()
                yield* ok(patiently(victim.client.secret(user, renewal.id)))
                const ended = Date.now()
                return [ended - began, ended - (requestsOf(renewal)[0]?.answeredAt ?? ended)] as const
              }),
            { concurrency: "unbounded" }
          )
          return { whole: Math.max(...took.map(([all]) => all)), saving: Math.min(...took.map(([, late]) => late)) }
        })

        const stageOf = Effect.fnUntraced(function* (kill: number, killedAt: number, renewals: ReadonlyArray<Renewal>) {
          const rows = yield* cluster.query(
            `select c.id, c.generation, a.id as attempt from credentials c
             left join attempts a on a.grant_fingerprint = c.grant_fingerprint where c.id = any($1)`,
            [renewals.map(({ id }) => id)]
          )
          return renewals.map((renewal): Trial => {
            const row = rows.find(({ id }) => id === renewal.id)
            const [request] = requestsOf(renewal)
            const isAnswered = request?.sent === "answered" && (request.answeredAt ?? killedAt) < killedAt
            const stage = (): Stage => {
              if (Number(row?.["generation"]) === 2) return "saved"
              if (row?.["attempt"] === null) return "nothing written"
              if (request === undefined) return "written, not sent"
              if (request.outcome !== "rotated") return "sent, not spent"
              return isAnswered ? "answered, not saved" : "spent, not answered"
            }
            return { ...renewal, kill, stage: stage() }
          })
        })

        const until = Date.now() + mostMinutes * 60_000

        const killOnce = Effect.fnUntraced(function* (victim: Service.Service, kill: number, isFirst: boolean) {
          // a start that finds a busy database fails, and is tried again, as by any supervisor
          if (!isFirst) yield* Effect.retry(victim.restart(), { times: 4 })
          const { saving, whole } = yield* unharmed(victim)
          const renewals = yield* several
          const ask = ({ id }: Renewal) => Effect.ignore(victim.client.secret(user, id))
          let killedAt = 0
          const killing = Effect.suspend(() => {
            killedAt = Date.now()
            return victim.kill("SIGKILL")
          })
          if (isAimed(kill)) {
            const aimed = renewals[kill % atOnce] ?? assert.fail()
            const killed = Effect.zipRight(
              // it never asks the provider when it had no time to write the attempt down
              Effect.timeoutOption(answered(aimed), "1 minute"),
              Effect.delay(killing, Math.floor(spread(kill) ** 2 * saving * 0.6))
            )
            yield* Effect.all([killed, ...renewals.map(ask)], { concurrency: "unbounded" })
          } else {
            // each has come another quarter of its way
            const last = Math.round(whole * ((atOnce - 1 + spread(kill)) / atOnce))
            const asked = renewals.map((renewal, index) =>
              Effect.delay(ask(renewal), Math.round((whole * (atOnce - 1 - index)) / atOnce))
            )
            yield* Effect.all([...asked, Effect.delay(killing, last)], { concurrency: "unbounded" })
          }
          yield* victim.exited
          // what the server had sent to the database is done by now
          yield* Effect.sleep("300 millis")
          return yield* stageOf(kill, killedAt, renewals)
        })

        const trials = (yield* Effect.forEach(
          services.slice(0, victims),
          (victim, first) =>
            Effect.forEach(
              Array.from({ length: Math.ceil((kills - first) / victims) }, (_, turn) => first + turn * victims),
              (kill) => (Date.now() < until ? killOnce(victim, kill, kill === first) : Effect.succeed([]))
            ),
          { concurrency: "unbounded" }
        )).flat(2)

        // the long form waits for the deadlines of the attempts; for the short one they are over sooner
        if (!isLong) yield* cluster.query("update attempts set deadline = now() where outcome is null")
        const outcomes = yield* Effect.forEach(
          trials,
          (trial, index) =>
            Effect.map(
              patiently(survivor(index).secret(user, trial.id, { waitSeconds: 200 })),
              (answer) => [trial, answer] as const
            ),
          { concurrency: 200 }
        )

        const attempts = yield* cluster.attempts
        const count: Record<string, number> = {}
        const between = new Set<number>()
        const judge = Effect.fnUntraced(function* (trial: Trial, answer: Answer<Secret>) {
          const says = `${trial.provider}: ${trial.stage}, then ${JSON.stringify(answer.body)}`
          const requests = requestsOf(trial)
          const of = (outcome: ScriptedProvider.Outcome) => requests.filter((entry) => entry.outcome === outcome).length
          assert.isAtMost(of("rotated"), 1, says)
          const metadata = yield* ok(patiently(survivor(0).get(user, trial.id)))
          if (answer.ok) {
            assert.isTrue(providers[trial.provider].isLive(answer.body.accessToken ?? ""), says)
            assert.deepInclude(metadata, { status: "active", generation: 2 }, says)
            assert.strictEqual(of("reused"), 0, says)
            assert.isAtMost(of("graced"), trial.provider === "graced" ? 1 : 0, says)
          } else {
            // a loss: of an answer that never reached a disk, asked about once, and named
            assert.strictEqual(trial.provider, "strict", says)
            assert.include(["sent, not spent", "spent, not answered", "answered, not saved"], trial.stage, says)
            assert.strictEqual(answer.status, 424, says)
            assert.strictEqual(answer.body.reason, "response_lost", says)
            assert.deepInclude(metadata, { status: "needs_reauth", statusReason: "response_lost" }, says)
            const lost = attempts.find(({ id }) => id === answer.body["attemptId"])
            assert.strictEqual(lost?.outcome, "probed", says)
            assert.strictEqual(attempts.find(({ probe_of }) => probe_of === lost?.id)?.outcome, "lost", says)
            assert.strictEqual(of("reused"), 1, says)
          }
          const outcome = answer.ok ? (of("graced") > 0 ? "served by the grace" : "served") : "response_lost"
          // where the token never came back, its answer had been saved, though a moment after it was looked for
          const stage = answer.ok && of("rotated") === 1 && of("graced") === 0 ? "saved" : trial.stage
          if (stage === "answered, not saved") between.add(trial.kill)
          const name = `${stage} → ${outcome}`
          count[name] = (count[name] ?? 0) + 1
          return answer.ok
        })
        const served = yield* Effect.forEach(outcomes, ([trial, answer]) => judge(trial, answer))
        const losses = served.filter((isServed) => !isServed).length
        assert.isEmpty(attempts.filter(({ outcome }) => outcome === null))
        assert.strictEqual(providers.strict.reuses, losses)
        assert.strictEqual(providers.graced.reuses, 0)
        const done = new Set(trials.map(({ kill }) => kill)).size
        yield* measured("kills", {
          SIGKILLs: done,
          "between answer and save": between.size,
          renewals: trials.length,
          "lost with a grace": 0,
          "response_lost without": losses,
          probes: providers.strict.reuses,
          "double spends": providers.strict.reuses - losses + providers.graced.reuses,
          ...Object.fromEntries(Object.entries(count).toSorted(([one], [other]) => (one < other ? -1 : 1)))
        })
        assert.strictEqual(done, kills)
        assert.isAtLeast(between.size, Math.floor(kills * 0.4))
      }),
    (mostMinutes + 12) * 60_000
  )
})
