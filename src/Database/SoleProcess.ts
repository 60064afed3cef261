/**
 * What makes a process the only one that works with a database on a server, where its locks are in its memory alone: a
 * lock in a session of its own, which the server frees when that session ends, however its process died.
 *
 * @since 0.1.0
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Server from "./Server.ts"

/**
 * Another process is the only one. Waiting helps only if that one ends. `holder` is its session, as far as the server
 * tells: the process id of its backend, and where it comes from.
 *
 * @since 0.1.0
 * @category errors
 */
export class DatabaseInUse extends Data.TaggedError("DatabaseInUse")<{ readonly holder: string }> {
  override get message() {
    return `The database is in use by another process (${this.holder}): stop that one, name another database in DATABASE_URL, or set REDIS_URL, with which many processes can share this one.`
  }
}

/**
 * The server ended the session that holds the lock, or has not answered in it for four seconds: another process may have
 * the lock by now, or have it soon.
 *
 * @since 0.1.0
 * @category errors
 */
export class SoleProcessLost extends Data.TaggedError("SoleProcessLost")<{}> {
  override get message() {
    return "The session that makes this the only process on its database was lost: another one may have taken its place."
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SoleProcess {
  /** Never succeeds. Once it has failed this process must not begin anything: it acquires anew, or ends. */
  readonly lost: Effect.Effect<never, SoleProcessLost>
}

/**
 * Makes this process the only one on the database at the URL (in the schema that its tables are in), until the scope
 * ends. Fails with `DatabaseInUse` when another one still is after two seconds, in which the server frees the lock of one
 * that was killed just before.
 *
 * `lost` fails within a second of the end of the session, and within five of the last answer of a server that is cut
 * off. The server itself frees the lock of a machine that is cut off after twelve seconds, so that the old process
 * has stopped before a new one begins. A process that stood still for longer (a machine that was suspended) finds out
 * within a second of its awakening, and may begin something before that: what must never be done twice is protected by
 * the store's own conditions, not by this.
 *
 * The session must be with the server itself: a pooler that lends sessions by the transaction would keep the lock.
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquire = Effect.fn("Database.SoleProcess.acquire")(function* (options: {
  readonly url: Redacted.Redacted
}): Effect.fn.Return<SoleProcess, DatabaseInUse | Server.DatabaseUnreachable, Scope.Scope> {
  const sql = yield* Server.make({
    url: options.url,
    poolSize: 1,
    patience: "10 seconds",
    session: {
      // a machine that is gone without a word is noticed after twelve seconds: it has stopped its work by then
      tcp_keepalives_idle: 10,
      tcp_keepalives_interval: 2,
      tcp_keepalives_count: 3,
      tcp_user_timeout: 12_000
    }
  })
  const unreachable = () =>
    new Server.DatabaseUnreachable({ address: "of DATABASE_URL", reason: "silent", code: "closed" })
  const session = yield* Effect.mapError(sql.reserve, unreachable)
  const pid = yield* lock(session).pipe(
    Effect.retry({
      while: (error) => error._tag === "DatabaseInUse",
      schedule: Schedule.spaced("200 millis"),
      times: 10
    }),
    Effect.catchTag("SqlError", unreachable)
  )
  const lost = yield* Deferred.make<never, SoleProcessLost>()
  yield* Effect.forkScoped(Effect.flatMap(watch(session, pid), (error) => Deferred.fail(lost, error)))
  return { lost: Deferred.await(lost) }
})

/** "ecsp", and the schema: services in schemas of their own are not in each other's way. */
const key = `${0x65_63_73_70}, hashtext(current_schema())`

const query = <Row>(session: Connection, text: string) =>
  Effect.map(session.executeUnprepared(text, [], undefined), ([row]) => Option.fromNullable(row as Row | undefined))

const holders = `
  select format('backend %s%s', l.pid, ' from ' || host(a.client_addr)) as holder
  from pg_locks l left join pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'advisory' and l.granted and l.classid = ${0x65_63_73_70}
    and l.database = (select oid from pg_database where datname = current_database())
    and l.objid::bigint = hashtext(current_schema())::bigint & 4294967295`

/** Answers which session has it. */
const lock = (session: Connection): Effect.Effect<number, DatabaseInUse | SqlError> =>
  query<{ readonly pid: number | null }>(
    session,
    `select case when pg_try_advisory_lock(${key}) then pg_backend_pid() end as pid`
  ).pipe(
    Effect.flatMap((row) => {
      const pid = Option.getOrNull(row)?.pid
      if (typeof pid === "number") return Effect.succeed(pid)
      return Effect.flatMap(query<{ readonly holder: string }>(session, holders), (found) =>
        Effect.fail(
          new DatabaseInUse({ holder: Option.match(found, { onNone: () => "unknown", onSome: (row) => row.holder }) })
        )
      )
    })
  )

/** Ends when the session is not there any more. */
const watch = Effect.fnUntraced(function* (session: Connection, pid: number): Effect.fn.Return<SoleProcessLost> {
  const isHeld = query<{ readonly pid: number }>(session, "select pg_backend_pid() as pid").pipe(
    Effect.map((row) =>
      Option.contains(
        Option.map(row, ({ pid }) => pid),
        pid
      )
    ),
    Effect.orElseSucceed(() => false)
  )
  while (true) {
    const answer = yield* Effect.fork(isHeld)
    // second by second, because after a pause of this process the time is over before its socket was looked at
    let known = Option.none<boolean>()
    for (let seconds = 0; seconds < 4 && Option.isNone(known); seconds++) {
      known = yield* Effect.timeoutOption(Fiber.join(answer), "1 second")
    }
    if (!Option.contains(known, true)) return new SoleProcessLost()
    yield* Effect.sleep("1 second")
  }
}, Effect.withTracerEnabled(false))
