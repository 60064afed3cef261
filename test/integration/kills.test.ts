/**
 * The server that renews is killed (`kill -9`) at every moment from before the attempt is written down to after the tokens
 * are saved. The others live on, take over what it left, and a provider's ledger says what that cost.
 *
 * `KILLS` is how many moments there are: 12, unless said; `KILLS=120` is the long form.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { measured } from "../Measured.ts"
import type { Answer, Secret } from "../servers/Client.ts"
import { ok } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import type { Entry } from "../servers/ScriptedProvider.ts"

const user = "ada"

const moments = Number(process.env["KILLS"] ?? 12)
/** So many renewals are under way at each kill, each at another moment. */
const atOnce = 6
const kills = Math.ceil(moments / atOnce)

interface Trial {
  readonly id: string
  readonly refreshToken: string
  /** How many milliseconds after the request the server was killed. */
  readonly after: number
  readonly killedAt: number
}

/** How far a renewal had come when its server died. */
type Stage = "nothing written" | "written, not sent" | "sent, not spent" | "spent, not saved" | "saved"

describe("a server of several that is killed while it renews", () => {
  it.scopedLive(
    `at ${moments} moments from before the attempt to after the save: no token is spent twice, and every loss is recorded`,
    () =>
      Effect.gen(function* () {
        const cluster = yield* Cluster.make({ servers: 3, proxied: true })
        const { provider } = cluster
        const [victim] = cluster.services
        if (victim === undefined) return
        // so that each step of a renewal takes some of the moments
        yield* cluster.toPostgres.delay(2)
        provider.always({ delayBefore: "10 millis", delayAfter: "10 millis" })

        const make = Effect.gen(function* () {
          const { accessToken, refreshToken } = provider.issue()
          const { id } = yield* ok(
            cluster.at(1).createCredential(user, {
              type: "oauth2",
              provider: "fake",
              accessToken,
              refreshToken,
              accessTokenExpiresAt: Cluster.inSeconds(-60)
            })
          )
          return { id, refreshToken }
        })
        const several = Effect.all(Array.from({ length: atOnce }, () => make))

        /** Also makes a server that has just started do everything once. */
        const unharmed = Effect.flatMap(several, (all) =>
          Effect.all(
            all.map(({ id }) => Cluster.timed(ok(cluster.at(0).secret(user, id)))),
            { concurrency: "unbounded" }
          )
        )
        yield* unharmed
        const longest = Math.max(...(yield* unharmed).map(([took]) => took))
        const step = Math.max(1, longest / (kills * atOnce))

        const killOnce = Effect.fnUntraced(function* (kill: number) {
          if (kill > 0) {
            yield* victim.restart()
            yield* unharmed
          }
          const credentials = yield* several
          const starts = credentials.map((credential, index) => ({
            ...credential,
            after: (kill + index * kills) * step
          }))
          const last = Math.max(...starts.map(({ after }) => after))
          const asked = starts.map(({ after, id }) =>
            Effect.delay(Effect.ignore(cluster.at(0).secret(user, id)), Math.round(last - after))
          )
          const killing = Effect.delay(victim.stop(0), Math.round(last))
          yield* Effect.all([...asked, killing], { concurrency: "unbounded" })
          const killedAt = Date.now()
          return starts.map((start): Trial => ({ ...start, killedAt }))
        })
        const trials = (yield* Effect.forEach(
          Array.from({ length: kills }, (_, kill) => kill),
          killOnce
        )).flat()

        const before = new Map((yield* cluster.attempts).map((attempt) => [attempt.id, attempt]))
        const grants = yield* cluster.query("select id, grant_fingerprint from credentials")
        const spendings = yield* cluster.query("select id, grant_fingerprint from attempts")
        const requestsOf = ({ refreshToken }: Trial): ReadonlyArray<Entry> =>
          provider.ledger.filter((entry) => entry.refreshToken === refreshToken)
        const attemptOf = ({ id }: Trial) => {
          const grant = grants.find((row) => row["id"] === id)?.["grant_fingerprint"]
          const spending = spendings.find((row) => row["grant_fingerprint"] === grant)
          return before.get(String(spending?.["id"]))
        }
        const stages = new Map(
          trials.map((trial): readonly [Trial, Stage] => {
            const [request] = requestsOf(trial)
            // what is saved has another refresh token, and so another grant
            if (request?.outcome === "rotated" && attemptOf(trial) === undefined) return [trial, "saved"]
            if (attemptOf(trial) === undefined) return [trial, "nothing written"]
            if (request === undefined) return [trial, "written, not sent"]
            return [trial, request.outcome === "rotated" ? "spent, not saved" : "sent, not spent"]
          })
        )

        // the others take over at once what needs no waiting, and the rest after the attempts' deadlines
        const outcomes = yield* Effect.all(
          trials.map((trial, index) =>
            Effect.map(
              cluster.at(1 + (index % 2)).secret(user, trial.id, { waitSeconds: 200 }),
              (answer) => [trial, answer] as const
            )
          ),
          { concurrency: "unbounded" }
        )

        const after = yield* cluster.attempts
        const count: Record<string, number> = {}
        const judge = Effect.fnUntraced(function* (trial: Trial, answer: Answer<Secret>) {
          const stage = stages.get(trial) ?? "saved"
          const says = `${stage}, killed ${trial.after.toFixed(1)} ms after the request: ${JSON.stringify(answer.body)}`
          const requests = requestsOf(trial)
          const first = requests.filter(({ outcome }) => outcome === "rotated")
          const again = requests.filter(({ outcome }) => outcome === "reused")
          assert.isAtMost(first.length, 1, says)
          assert.isAtMost(again.length, 1, says)
          const metadata = yield* ok(cluster.at(1).get(user, trial.id))
          if (answer.ok) {
            assert.isTrue(provider.isLive(answer.body.accessToken ?? ""), says)
            assert.strictEqual(metadata.status, "active", says)
            assert.isEmpty(again, says)
            assert.strictEqual(metadata.generation, 2, says)
          } else {
            // a loss: of an answer that never reached a disk, asked about once, and named
            assert.strictEqual(stage, "spent, not saved", says)
            assert.strictEqual(answer.status, 424, says)
            assert.strictEqual(answer.body.reason, "response_lost", says)
            assert.deepInclude(metadata, { status: "needs_reauth", statusReason: "response_lost" }, says)
            const lost = after.find(({ id }) => id === answer.body["attemptId"])
            assert.strictEqual(lost?.outcome, "probed", says)
            assert.strictEqual(after.find(({ probe_of }) => probe_of === lost?.id)?.outcome, "lost", says)
            assert.lengthOf(again, 1, says)
          }
          const name = `${stage} → ${answer.ok ? "served" : "response_lost"}`
          count[name] = (count[name] ?? 0) + 1
        })
        yield* Effect.forEach(outcomes, ([trial, answer]) => judge(trial, answer))
        assert.isEmpty(after.filter(({ outcome }) => outcome === null))
        yield* measured("kills", { kills: trials.length, ...count })
        yield* Effect.logInfo(`${trials.length} kills, ${step.toFixed(1)} ms apart`, count)
      }),
    170_000 + kills * 8_000
  )
})
