import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { randomUUID } from "node:crypto"
import * as Database from "../../src/Database.ts"
import * as Server from "../../src/Database/Server.ts"
import * as Statement from "../../src/Database/Statement.ts"
import * as LoopbackServer from "../servers/LoopbackServer.ts"
import * as Postgres from "../servers/Postgres.ts"

const make = (url: string, options: Omit<Server.Options, "url"> = {}) =>
  Server.make({ url: Redacted.make(url), ...options })

const refused = (url: string) => Effect.scoped(Effect.flip(make(url)))

/** The session that a statement runs in. */
const pidOf = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ readonly pid: number }>`select pg_backend_pid() as pid`, ([row]) => row?.pid)

const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const begun = performance.now()
    return Effect.map(effect, (value) => [value, performance.now() - begun] as const)
  })

const tagOf = <A>(effect: Effect.Effect<A, { readonly _tag: string }>) =>
  Effect.match(effect, { onSuccess: () => "done", onFailure: ({ _tag }) => _tag })

const waiting = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql`select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`,
    (rows) => rows.length
  )

describe("the first connection", () => {
  it.scopedLive("is refused in words that say what to do, and hold neither user nor password", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.server
      const [user, password] = [`user-${randomUUID()}`, `password-${randomUUID()}`]
      yield* server.run(`create role "${user}" login password '${password}'`)
      const as = (url: string) => url.replace("postgres@", `${user}:${password}@`)
      const latin = `latin_${randomUUID().slice(0, 8)}`
      yield* server.run(`create database ${latin} encoding 'LATIN1' template template0`)
      const closed = yield* LoopbackServer.freePort
      const web = yield* LoopbackServer.listen
      yield* Effect.sync(() => web.server.on("connection", () => {}))

      const cases: ReadonlyArray<readonly [string, Server.DatabaseUnreachable["reason"], string]> = [
        ["http://localhost/", "address", "postgres://user:password@host:5432/database"],
        [as(`postgres://postgres@127.0.0.1:${closed}/x`), "silent", "ECONNREFUSED"],
        [as("postgres://postgres@nowhere.invalid/x"), "silent", "nowhere.invalid:5432/x"],
        [server.url().replace("postgres@", `nobody-${user}:${password}@`), "login", "28000"],
        [as(server.url("missing")), "database", "createdb"],
        [as(`${server.url()}?sslmode=require`), "encryption", "sslmode=disable"],
        [as(`${server.url()}?sslmode=require&sslrootcert=/nowhere.pem`), "certificateFile", "ENOENT"],
        [as(server.url(latin)), "encoding", "UTF8"],
        // of Postgres 15 on, only the owner makes tables in "public"
        [as(server.url()), "permission", "grant create"],
        [`${server.url()}?options=-c%20default_transaction_read_only%3Don`, "standby", "primary"]
      ]
      for (const [url, reason, words] of cases) {
        const error = yield* refused(url)
        assert.strictEqual(error.reason, reason, error.message)
        assert.include(error.message, words)
        for (const secret of [user, password])
          assert.notInclude(`${error.message} ${JSON.stringify(error)} ${String(error.stack)}`, secret)
      }
    })
  )

  it.scopedLive("is given up after five seconds when nobody answers", () =>
    Effect.gen(function* () {
      const { proxy, url } = yield* Postgres.behindProxy(yield* Postgres.database)
      yield* proxy.pause
      const [error, millis] = yield* elapsed(refused(url))
      assert.strictEqual(error.reason, "silent")
      assert.isTrue(error.isPassing)
      assert.isBelow(millis, 6_500)
    })
  )
})

describe("a session", () => {
  it.scopedLive(
    "is read committed, waits for the disk, and has its deadlines, whatever the database's defaults are",
    () =>
      Effect.gen(function* () {
        const server = yield* Postgres.server
        const name = yield* server.createDatabase
        yield* server.run(`alter database ${name} set default_transaction_isolation = 'serializable'`)
        yield* server.run(`alter database ${name} set synchronous_commit = off`)
        yield* server.run(`alter database ${name} set DateStyle = 'German'`)
        const sql = yield* make(server.url(name), { patience: "3 seconds" })
        const [found] = yield* sql`
        select current_setting('transaction_isolation') as isolation, current_setting('synchronous_commit') as commits,
          current_setting('statement_timeout') as statement, current_setting('application_name') as name,
          '2024-05-06 07:08:09.123Z'::timestamptz as time`
        assert.deepStrictEqual(found, {
          isolation: "read committed",
          commits: "on",
          statement: "3s",
          name: "effect-credentials",
          time: new Date("2024-05-06T07:08:09.123Z")
        })
      })
  )

  it.scopedLive("is used again after a success, also of a transaction that was rolled back", () =>
    Effect.gen(function* () {
      const sql = yield* make(yield* Postgres.database, { poolSize: 1 })
      const pid = yield* pidOf(sql)
      yield* sql`select 1 where 1 = ${1}`
      yield* sql.withTransaction(sql`create table t (id int primary key)`)
      yield* Effect.flip(sql.withTransaction(Effect.zipRight(sql`insert into t values (1)`, sql`select 1 / 0`)))
      assert.strictEqual(yield* pidOf(sql), pid)
    })
  )

  it.scopedLive("is left when a statement in it was interrupted, and the next caller gets what they asked for", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      const [sql, other] = [yield* make(url, { poolSize: 1 }), yield* make(url)]
      const pid = yield* pidOf(sql)
      const sleeping = yield* Effect.fork(sql`select pg_sleep(2)`)
      while ((yield* waiting(other)) === 0) yield* Effect.sleep("10 millis")
      const [, millis] = yield* elapsed(Fiber.interrupt(sleeping))
      assert.isBelow(millis, 500)
      assert.notStrictEqual(yield* pidOf(sql), pid)
    })
  )

  it.scopedLive("a statement that takes too long is ended by the server, and its session left", () =>
    Effect.gen(function* () {
      const sql = yield* make(yield* Postgres.database, { poolSize: 1, patience: "300 millis" })
      const [error, millis] = yield* elapsed(Effect.flip(sql`select pg_sleep(10)`))
      assert.strictEqual(Database.sqlState(error), "57014")
      assert.isTrue(Database.isUnavailable(error))
      assert.isBelow(millis, 1_000)
      yield* sql`select 1`
    })
  )

  it.scopedLive("that fell silent is left a second after the deadline, in transactions too, and new ones serve", () =>
    Effect.gen(function* () {
      const { proxy, url } = yield* Postgres.behindProxy(yield* Postgres.database)
      const sql = yield* make(url, { poolSize: 4, patience: "500 millis" })
      yield* sql`create table t (id int primary key)`
      yield* proxy.pause
      const read = Statement.read(sql`select 1`)
      const transaction = Statement.write(sql.withTransaction(sql`insert into t values (1)`))
      const [tags, millis] = yield* elapsed(
        Effect.all([read, transaction, read].map(tagOf), { concurrency: "unbounded" })
      )
      assert.isBelow(millis, 3_500)
      assert.deepStrictEqual(tags, ["StoreUnavailable", "StoreUnavailable", "StoreUnavailable"])
      yield* proxy.resume
      yield* proxy.cut
      assert.deepStrictEqual(yield* Statement.read(sql`select 1 as one`), [{ one: 1 }])
    })
  )

  it.scopedLive("that fell silent is left after the deadline, also when it had rested for longer before", () =>
    Effect.gen(function* () {
      const { proxy, url } = yield* Postgres.behindProxy(yield* Postgres.database)
      const sql = yield* make(url, { poolSize: 1, patience: "500 millis" })
      yield* sql`select 1`
      yield* Effect.sleep("3500 millis")
      yield* proxy.pause
      const [error, millis] = yield* elapsed(Effect.flip(Statement.read(sql`select 1`)))
      assert.strictEqual(error._tag, "StoreUnavailable")
      assert.isBelow(millis, 4_000)
    })
  )

  it.scopedLive("nobody waits for one for more than three seconds", () =>
    Effect.gen(function* () {
      const sql = yield* make(yield* Postgres.database, { poolSize: 1 })
      const holder = yield* Effect.fork(Effect.scoped(Effect.zipRight(sql.reserve, Effect.never)))
      yield* Effect.sleep("50 millis")
      const [error, millis] = yield* elapsed(Effect.flip(Statement.read(sql`select 1`)))
      assert.strictEqual(error._tag, "StoreUnavailable")
      assert.isBelow(millis, 3_500)
      yield* Fiber.interrupt(holder)
      yield* sql`select 1`
    })
  )

  it.scopedLive("who waits for one waits on, in order, as long as others end their turns", () =>
    Effect.gen(function* () {
      const sql = yield* make(yield* Postgres.database, { poolSize: 1 })
      const turns: Array<number> = []
      const all = Array.from({ length: 10 }, (_, turn) =>
        Effect.tap(sql`select pg_sleep(0.5)`, () => void turns.push(turn))
      )
      const [, millis] = yield* elapsed(Effect.all(all, { concurrency: "unbounded" }))
      assert.deepStrictEqual(
        turns,
        all.map((_, turn) => turn)
      )
      assert.isAbove(millis, 4_500)
    })
  )
})

describe("when sessions end", () => {
  it.scopedLive("reads go on in others: by an administrator, by the network", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.server
      const name = yield* server.createDatabase
      const { proxy, url } = yield* Postgres.behindProxy(server.url(name))
      const sql = yield* make(url, { poolSize: 4 })
      let reads = 0
      const reading = yield* Effect.fork(
        Effect.all(
          Array.from({ length: 4 }, () =>
            Effect.forever(Statement.read(Effect.tap(sql`select 1`, () => void reads++)))
          ),
          { concurrency: "unbounded" }
        )
      )
      const goesOn = Effect.suspend(() => {
        const enough = reads + 20
        return Effect.repeat(Effect.sleep("10 millis"), { until: () => reads >= enough, times: 500 }).pipe(
          Effect.tap(() => assert.isAtLeast(reads, enough))
        )
      })
      for (let round = 0; round < 20; round++) {
        yield* goesOn
        yield* round % 2 === 0 ? server.killBackends(name) : proxy.cut
      }
      yield* goesOn
      // a failed read would have ended it
      assert.isTrue((yield* Fiber.poll(reading))._tag === "None")
      yield* Fiber.interrupt(reading)
    })
  )

  it.scopedLive("a write is never done again by itself", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.server
      const name = yield* server.createDatabase
      const sql = yield* make(server.url(name), { poolSize: 1 })
      yield* sql`create table t (id int generated always as identity, at int)`
      let runs = 0
      const write = Statement.write(
        Effect.suspend(() => {
          runs++
          return sql.withTransaction(
            Effect.zipRight(sql`insert into t (at) values (1)`, sql`select pg_terminate_backend(pg_backend_pid())`)
          )
        })
      )
      assert.strictEqual((yield* Effect.flip(write))._tag, "StoreUnavailable")
      assert.strictEqual(runs, 1)
      assert.deepStrictEqual(yield* Statement.read(sql`select * from t`), [])
    })
  )

  it.scopedLive(
    "a server that is stopped, or crashes, and is started again serves again, and all that it acknowledged is there",
    () =>
      Effect.gen(function* () {
        const server = yield* Postgres.server
        const sql = yield* make(server.url(yield* server.createDatabase), { poolSize: 4 })
        yield* sql`create table t (id int primary key)`
        for (const [id, how] of (["fast", "crash"] as const).entries()) {
          yield* Statement.write(sql`insert into t values (${id})`)
          yield* server.stop(how)
          assert.strictEqual((yield* Effect.flip(Statement.read(sql`select 1`)))._tag, "StoreUnavailable")
          yield* server.start
          const rows = yield* Statement.read(sql<{ readonly id: number }>`select id from t order by id`)
          assert.deepStrictEqual(
            rows.map((row) => row.id),
            Array.from({ length: id + 1 }, (_, index) => index)
          )
        }
      })
  )
})
