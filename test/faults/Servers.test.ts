/** Real servers that are asked at once, told to stop, and left by their callers; and rows that do not open. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { randomBytes, randomUUID } from "node:crypto"
import * as Browser from "../servers/Browser.ts"
import { ok, refused } from "../servers/Client.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import * as Faults from "./Faults.ts"
import { atOnce, request } from "./Operations.ts"

const { Fault } = ScriptedProvider

const user = "ada"
const redirectUri = "http://127.0.0.1:1/oauth/callback"

class Four extends Context.Tag("test/FourServers")<Four, Cluster.Cluster>() {}

const servers = Layer.scoped(Four, Effect.orDie(Cluster.make({ servers: 4, env: { OAUTH_REDIRECT_URI: redirectUri } })))

const inParallel = <A, E, R>(count: number, make: (index: number) => Effect.Effect<A, E, R>) =>
  Effect.all(
    Array.from({ length: count }, (_, index) => make(index)),
    { concurrency: "unbounded" }
  )

const fresh = () => ({ accessTokenExpiresAt: Cluster.inSeconds(3600) })

/** What is asked of the provider from here on. */
const counting = ({ provider }: Cluster.Cluster) => {
  const before = provider.ledger.length
  const since = () => provider.ledger.slice(before)
  const count = (outcome: ScriptedProvider.Outcome) => since().filter((entry) => entry.outcome === outcome).length
  return { since, count, until: (times: number) => provider.awaitLedger((all) => all.length >= before + times) }
}

const asked = Faults.each("4 processes at once", "it is renewed once, and all have the new token", (operation) =>
  Effect.gen(function* () {
    const cluster = yield* Four
    const { id } = yield* cluster.create(user)
    const seen = counting(cluster)
    const answers = yield* inParallel(40, (index) => ok(request(operation, cluster.at(index), user, id)))
    const { accessToken } = yield* ok(cluster.at(0).secret(user, id))
    assert.isTrue(cluster.provider.isLive(accessToken ?? ""))
    for (const answer of answers) {
      assert.strictEqual(answer.generation, 2)
      if (operation !== "refresh") assert.strictEqual(answer.accessToken, accessToken)
    }
    assert.deepStrictEqual([seen.since().length, seen.count("rotated")], [1, 1])
  })
)

/** A login up to the point where the browser comes back with a code. */
const loggedIn = (cluster: Cluster.Cluster, by: string, credentialId?: string) =>
  Effect.gen(function* () {
    const { authorizationUrl } = yield* ok(
      cluster.at(0).authorize(by, "fake", credentialId === undefined ? {} : { credentialId })
    )
    const page = yield* Browser.make().follow(authorizationUrl, { stopAt: (url) => url.href.startsWith(redirectUri) })
    const { searchParams } = new URL(page.url)
    const value = (name: string) => searchParams.get(name) ?? ""
    return { code: value("code"), state: value("state"), iss: value("iss") }
  })

const audited = (cluster: Cluster.Cluster, by: string, kind: string) =>
  Cluster.eventually(
    Effect.filterOrFail(
      cluster.query("select 1 from audit_events where user_id = $1 and kind = $2", [by, kind]),
      (rows) => rows.length > 0,
      () => "not yet"
    )
  )

const stored = (cluster: Cluster.Cluster, by: string) =>
  Effect.map(ok(cluster.at(1).list(by)), ({ items }) => items.length)

const callbacks = Faults.itself(
  "50 callbacks at two servers",
  "one code is exchanged, one credential stored",
  Effect.gen(function* () {
    const cluster = yield* Four
    const by = randomUUID()
    const login = yield* loggedIn(cluster, by)
    const before = cluster.provider.exchanges
    const answers = yield* inParallel(50, (index) => cluster.at(index % 2).callback(by, "fake", login))
    assert.strictEqual(answers.filter((answer) => answer.ok).length, 1)
    assert.strictEqual(answers.filter((answer) => !answer.ok && answer.body._tag === "AuthorizationExpired").length, 49)
    assert.strictEqual(cluster.provider.exchanges, before + 1)
    assert.strictEqual(yield* stored(cluster, by), 1)
  })
)

const loginKilled = Faults.itself(
  "killed after the code exchange",
  "nothing is stored, not by half; that a login was begun is on record, and its state is used",
  Effect.gen(function* () {
    const cluster = yield* Four
    const by = randomUUID()
    const victim = yield* cluster.start()
    const login = yield* loggedIn(cluster, by)
    cluster.provider.next(Fault.on("authorization_code", { onProcessed: victim.kill("SIGKILL") }))
    yield* Effect.flip(victim.client.callback(by, "fake", login))
    yield* victim.exited
    assert.strictEqual(yield* stored(cluster, by), 0)
    const again = yield* refused(cluster.at(1).callback(by, "fake", login))
    assert.strictEqual(again.body._tag, "AuthorizationExpired")
    assert.deepStrictEqual(yield* cluster.query("select 1 from authorizations where user_id = $1", [by]), [])
    assert.deepStrictEqual(yield* cluster.query("select 1 from credentials where user_id = $1", [by]), [])
    yield* audited(cluster, by, "login_begun")
    assert.strictEqual(
      (yield* cluster.query("select 1 from audit_events where kind = 'login_finished' and user_id = $1", [by])).length,
      0
    )
  })
)

const loginDeleted = (["the user is deleted", "the credential is deleted"] as const).flatMap((way) =>
  Faults.itself(
    way,
    "nothing is stored, and the tokens are given back",
    Effect.gen(function* () {
      const cluster = yield* Four
      const by = randomUUID()
      const credential = way === "the credential is deleted" ? yield* cluster.create(by, fresh()) : undefined
      const login = yield* loggedIn(cluster, by, credential?.id)
      const seen = counting(cluster)
      cluster.provider.next({ ...Fault.on("authorization_code", { delayAfter: "1 second" }) })
      const finishing = yield* Effect.fork(refused(cluster.at(0).callback(by, "fake", login)))
      yield* seen.until(1)
      yield* credential === undefined
        ? ok(cluster.at(1).deleteUser(by))
        : ok(cluster.at(1).delete(by, credential.id, { revoke: false }))
      const { body } = yield* Fiber.join(finishing)
      assert.strictEqual(body._tag, credential === undefined ? "AuthorizationExpired" : "CredentialNotFound")
      assert.strictEqual(yield* stored(cluster, by), 0)
      const token = seen.since().find(({ outcome }) => outcome === "issued")?.issued?.refreshToken ?? ""
      yield* Cluster.eventually(
        Effect.filterOrFail(
          Effect.sync(() => cluster.provider.isRefreshable(token)),
          (lives) => !lives,
          () => "not yet"
        )
      )
      yield* audited(cluster, by, "login_abandoned")
    })
  )
)

const generationOf = (cluster: Cluster.Cluster, id: string) =>
  Effect.map(ok(cluster.at(1).get(user, id)), ({ generation }) => generation)

const disconnects = Faults.together(
  "disconnects",
  "the exchange and the save complete, and no lock is left",
  Effect.gen(function* () {
    const cluster = yield* Four
    const seen = counting(cluster)
    cluster.provider.next(...Faults.operations.map(() => Fault.slow({ after: "1 second" })))
    const callers = yield* atOnce((operation) =>
      Effect.gen(function* () {
        const { id } = yield* cluster.create(user)
        return { id, caller: yield* Effect.fork(request(operation, cluster.at(0), user, id)) }
      })
    )
    yield* seen.until(3)
    // each cuts its connection
    yield* Fiber.interruptAll(callers.map(({ caller }) => caller))
    for (const { id } of callers) {
      yield* Cluster.eventually(
        Effect.filterOrFail(
          generationOf(cluster, id),
          (generation) => generation === 2,
          () => "not yet"
        )
      )
      const { accessToken } = yield* ok(request("acquire", cluster.at(1), user, id, { waitSeconds: 2 }))
      assert.isTrue(cluster.provider.isLive(accessToken ?? ""))
    }
    assert.deepStrictEqual([seen.since().length, seen.count("rotated")], [3, 3])
  })
)

const stopped = Faults.together(
  "SIGTERM",
  "the exchange ends and is stored within a bound, its callers are answered, and the others have its locks at once",
  Effect.gen(function* () {
    const cluster = yield* Four
    const victim = yield* cluster.start()
    const seen = counting(cluster)
    cluster.provider.next(...Array.from({ length: 4 }, () => Fault.slow({ after: "1500 millis" })))
    // one more whose exchange ends a living token, so that it holds the credential's lock
    const living = yield* cluster.create(user, fresh())
    const forced = yield* Effect.fork(ok(victim.client.secret(user, living.id, { refresh: "force" })))
    const callers = yield* atOnce((operation) =>
      Effect.gen(function* () {
        const { id } = yield* cluster.create(user)
        return {
          id,
          operation,
          caller: yield* Effect.fork(ok(request(operation, victim.client, user, id, { givesBackAt: cluster.at(3) })))
        }
      })
    )
    yield* seen.until(4)
    const others = yield* Effect.forEach(callers, ({ id, operation }) =>
      Effect.fork(ok(request(operation, cluster.at(1), user, id)))
    )
    const [took, exit] = yield* Cluster.timed(victim.stop("20 seconds"))
    assert.deepStrictEqual(exit, { code: 0, signal: null })
    assert.isBelow(took, 10_000)
    for (const fiber of [...callers.map(({ caller }) => caller), ...others]) {
      assert.strictEqual((yield* Fiber.join(fiber)).generation, 2)
    }
    assert.strictEqual((yield* Fiber.join(forced)).generation, 2)
    for (const { id } of [living, ...callers]) {
      const { accessToken } = yield* ok(request("acquire", cluster.at(2), user, id, { waitSeconds: 2 }))
      assert.isTrue(cluster.provider.isLive(accessToken ?? ""))
    }
    assert.deepStrictEqual([seen.since().length, seen.count("rotated")], [4, 4])
  })
)

const sealing = (
  way: Faults.Way,
  sees: string,
  spoil: (cluster: Cluster.Cluster, id: string, other: string) => Effect.Effect<unknown>
) =>
  Faults.together(
    way,
    sees,
    Effect.gen(function* () {
      const cluster = yield* Four
      const seen = counting(cluster)
      const by = randomUUID()
      yield* atOnce((operation) =>
        Effect.gen(function* () {
          const [one, other] = [yield* cluster.create(by), yield* cluster.create(by)]
          const whole = yield* cluster.create(by, fresh())
          yield* spoil(cluster, one.id, other.id)
          for (const index of [0, 1]) {
            const answer = yield* refused(request(operation, cluster.at(index), by, one.id))
            assert.strictEqual(`${answer.status} ${answer.body._tag}`, "500 Undecryptable")
          }
          assert.strictEqual((yield* ok(cluster.at(2).get(by, one.id))).status, "undecryptable")
          const { generation } = yield* ok(request(operation, cluster.at(2), by, whole.id))
          assert.strictEqual(generation, operation === "refresh" ? 2 : 1)
        })
      )
      // that of the whole one
      assert.deepStrictEqual([seen.since().length, seen.count("rotated")], [1, 1])
    })
  )

const sealed = [
  ...sealing("bytes wrong", "that row is undecryptable, and no other", (cluster, id) =>
    cluster.query(
      "update credentials set sealed = set_byte(sealed, length(sealed) - 9, get_byte(sealed, length(sealed) - 9) # 1) where id = $1",
      [id]
    )
  ),
  ...sealing("row swapped", "neither opens in the other's place", (cluster, id, other) =>
    cluster.query(
      "update credentials as one set sealed = other.sealed from credentials as other where one.id in ($1, $2) and other.id in ($1, $2) and one.id <> other.id",
      [id, other]
    )
  )
]

const keyMissing = Faults.itself(
  "key id missing",
  "a server without it does not start, and says which it is",
  Effect.gen(function* () {
    const cluster = yield* Four
    yield* cluster.create(user)
    const error = yield* Effect.flip(
      cluster.start({ env: { ENCRYPTION_KEYS: `k2:${randomBytes(32).toString("base64")}` } })
    )
    assert.include(error.output, "ENCRYPTION_KEYS")
    assert.include(error.output, "k1")
    assert.notInclude(error.output, "    at ")
  })
)

const percentile = (times: ReadonlyArray<number>) =>
  [...times].sort((a, b) => a - b)[Math.ceil(times.length * 0.99) - 1] ?? 0

const hotTenant = Faults.together(
  "a hot tenant at two servers",
  "the quiet ones' p99 is what it is without it",
  Effect.gen(function* () {
    const cluster = yield* Four
    const of = (index: number) => Faults.operations[index % 3] ?? "get"
    const quiet = yield* Effect.forEach(
      Array.from({ length: 99 }, (_, index) => ({ by: `quiet-${index}`, operation: of(index), index })),
      (tenant) => Effect.map(cluster.create(tenant.by, fresh()), ({ id }) => ({ ...tenant, id })),
      { concurrency: 16 }
    )
    let generation = 0
    const round = Effect.suspend(() => {
      generation++
      return Effect.forEach(
        quiet,
        ({ by, id, index, operation }) =>
          // a refusal is a wait that goes on
          Cluster.timed(Cluster.eventually(ok(request(operation, cluster.at(index % 2), by, id, { generation })))),
        { concurrency: 4 }
      )
    }).pipe(Effect.map((all) => percentile(all.map(([took]) => took))))
    const alone = [yield* round]
    // many wait for one slow exchange, at the same two servers
    const seen = counting(cluster)
    const hot = yield* cluster.create("hot")
    cluster.provider.next(Fault.slow({ after: "50 seconds" }))
    const waiting = yield* Effect.fork(
      inParallel(90, (index) =>
        Effect.ignore(request(of(index), cluster.at(index % 2), "hot", hot.id, { waitSeconds: 55 }))
      )
    )
    yield* seen.until(1)
    const beside = [yield* round, yield* round]
    assert.isNull(waiting.unsafePoll())
    yield* Fiber.interrupt(waiting)
    alone.push(yield* round)
    yield* Effect.logInfo("p99 of the quiet ones, alone and beside", alone, beside)
    assert.isBelow(Math.min(...beside), 2 * Math.max(...alone) + 50)
  })
)

Faults.playOver(
  "four servers",
  servers,
  [
    ...asked,
    ...callbacks,
    ...loginKilled,
    ...loginDeleted,
    ...disconnects,
    ...stopped,
    ...sealed,
    ...hotTenant,
    ...keyMissing
  ],
  150_000
)
