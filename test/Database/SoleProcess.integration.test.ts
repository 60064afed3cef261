import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import * as Server from "../../src/Database/Server.ts"
import * as SoleProcess from "../../src/Database/SoleProcess.ts"
import * as Postgres from "../servers/Postgres.ts"

const acquire = (url: string) => SoleProcess.acquire({ url: Redacted.make(url) })

const refused = (url: string) => Effect.scoped(Effect.flip(acquire(url)))

const program = fileURLToPath(new URL("soleProcess.ts", import.meta.url))

const kill = (child: ChildProcess) =>
  Effect.promise(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const closed = once(child, "close")
    child.kill("SIGKILL")
    await closed
  })

/** Another process that wants the database: what it said first. */
const start = (url: string) =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, ["--import", "tsx", program, url], { stdio: ["ignore", "pipe", "inherit"] })
      ),
      kill
    )
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const next = Effect.promise(async () => String((await lines.next()).value))
    return { child, next, kill: kill(child) }
  })

const millisUntil = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const begun = performance.now()
    return Effect.as(effect, begun).pipe(Effect.map((at) => performance.now() - at))
  })

const isHeld = (sole: SoleProcess.SoleProcess) =>
  Effect.map(Effect.timeoutOption(Effect.flip(sole.lost), "20 millis"), Option.isNone)

// most of it is waiting
describe.concurrent("the only process on a database", () => {
  it.scopedLive("a second is refused, in words that say what to do and who it is", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      const sole = yield* acquire(url)
      const error = yield* refused(url)
      assert.strictEqual(error._tag, "DatabaseInUse")
      assert.match(error.message, /in use by another process \(backend \d+ from 127\.0\.0\.1\): stop that one/)
      assert.include(error.message, "REDIS_URL")
      assert.isTrue(yield* isHeld(sole))
    })
  )

  it.scopedLive("of ten at once one is it", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      const tags = yield* Effect.forEach(
        Array.from({ length: 10 }),
        () => Effect.match(acquire(url), { onSuccess: () => "is it", onFailure: ({ _tag }) => _tag }),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(tags.sort(), [...Array.from({ length: 9 }, () => "DatabaseInUse"), "is it"])
    })
  )

  it.scopedLive("each database has its own, and each schema in it", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.server
      const url = server.url(yield* server.createDatabase)
      yield* acquire(url)
      yield* acquire(server.url(yield* server.createDatabase))
      const sql = yield* Server.make({ url: Redacted.make(url) })
      yield* sql`create schema elsewhere`
      const elsewhere = `${url}?options=-c%20search_path%3Delsewhere`
      yield* acquire(elsewhere)
      assert.strictEqual((yield* refused(elsewhere))._tag, "DatabaseInUse")
    })
  )

  it.scopedLive("one that ends frees it at once", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      for (let round = 0; round < 3; round++) yield* Effect.scoped(acquire(url))
    })
  )

  it.scopedLive("a process that is killed (kill -9) frees it; one that stands still does not", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      const first = yield* start(url)
      assert.strictEqual(yield* first.next, "ready")
      first.child.kill("SIGSTOP")
      assert.strictEqual((yield* refused(url))._tag, "DatabaseInUse")
      first.child.kill("SIGCONT")
      const second = yield* start(url)
      assert.match(yield* second.next, /^DatabaseInUse /)
      yield* first.kill
      assert.isBelow(yield* millisUntil(Effect.scoped(acquire(url))), 2_000)
    })
  )

  it.scopedLive(
    "is told within two seconds when the server ends its session, and the next one may take its place",
    () =>
      Effect.gen(function* () {
        const server = yield* Postgres.server
        const name = yield* server.createDatabase
        const sole = yield* acquire(server.url(name))
        yield* Effect.sleep("1500 millis")
        assert.isTrue(yield* isHeld(sole))
        yield* server.killBackends(name)
        const next = yield* Effect.fork(acquire(server.url(name)))
        assert.isBelow(yield* millisUntil(Effect.flip(sole.lost)), 2_000)
        assert.strictEqual((yield* Effect.flip(sole.lost))._tag, "SoleProcessLost")
        yield* Fiber.join(next)
      })
  )

  it.scopedLive("is told within two seconds when the server goes down", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.server
      const sole = yield* acquire(server.url(yield* server.createDatabase))
      yield* server.stop("crash")
      assert.isBelow(yield* millisUntil(Effect.flip(sole.lost)), 2_000)
    })
  )

  it.scopedLive(
    "knows within six seconds that nobody answers, before the server frees the lock; a slow answer is one",
    () =>
      Effect.gen(function* () {
        const direct = yield* Postgres.database
        const { proxy, url } = yield* Postgres.behindProxy(direct)
        const sole = yield* acquire(url)
        yield* proxy.delay(1_000)
        yield* Effect.sleep("5 seconds")
        assert.isTrue(yield* isHeld(sole))
        yield* proxy.delay(0)
        yield* proxy.pause
        assert.isBelow(yield* millisUntil(Effect.flip(sole.lost)), 6_500)
        assert.strictEqual((yield* refused(direct))._tag, "DatabaseInUse")
      })
  )

  it.scopedLive("a process that was stopped for a while has not lost what is still its own", () =>
    Effect.gen(function* () {
      const url = yield* Postgres.database
      const other = yield* start(url)
      assert.strictEqual(yield* other.next, "ready")
      other.child.kill("SIGSTOP")
      yield* Effect.sleep("6 seconds")
      other.child.kill("SIGCONT")
      const said = yield* Effect.timeoutOption(Effect.disconnect(other.next), "3 seconds")
      assert.deepStrictEqual(said, Option.none())
      assert.strictEqual((yield* refused(url))._tag, "DatabaseInUse")
    })
  )

  it.scopedLive("a process whose place was taken while it was stopped says so as soon as it runs", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.server
      const name = yield* server.createDatabase
      const other = yield* start(server.url(name))
      assert.strictEqual(yield* other.next, "ready")
      other.child.kill("SIGSTOP")
      yield* server.killBackends(name)
      yield* acquire(server.url(name))
      other.child.kill("SIGCONT")
      assert.isBelow(yield* millisUntil(other.next), 2_000)
    })
  )
})
