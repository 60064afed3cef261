/**
 * What must happen when something fails: the table of faults, each row taken apart into the ways in which it comes about. The
 * tests of this folder are written as cases of these ways, once for the three operations that lead to a usable token;
 * `Faults.test.ts` reads them all and says what is missing.
 */
import { describe, it, layer } from "@effect/vitest"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

interface Row {
  readonly fault: string
  readonly must: string
  /** `each`: whichever operation it befalls. `none`: it befalls something else. */
  readonly befalls: "each" | "none"
  readonly ways: ReadonlyArray<string>
}

export const rows = [
  {
    fault: "50 parallel callbacks with one state",
    must: "one exchange",
    befalls: "none",
    ways: ["50 callbacks at two servers"]
  },
  {
    fault: "a login that is cut short",
    must: "no half row; nothing stored; revoked where the process lives, else audited",
    befalls: "none",
    ways: ["killed after the code exchange", "the user is deleted", "the credential is deleted"]
  },
  {
    fault: "N gets in 4 processes of an expired token",
    must: "one spend, all answered",
    befalls: "each",
    ways: ["4 processes at once"]
  },
  {
    fault: "killed before the send, or between answer and save",
    must: "old token tried again after the deadline; a loss is recorded, or none where the provider has a grace",
    befalls: "each",
    ways: ["killed before the send", "killed between answer and save", "killed where there is a grace"]
  },
  {
    fault: "client disconnects, times out, is interrupted anywhere",
    must: "exchange and save complete",
    befalls: "each",
    ways: ["disconnects", "times out", "interrupted anywhere"]
  },
  {
    fault: "SIGTERM mid-exchange",
    must: "drained within a bound, leases released",
    befalls: "each",
    ways: ["SIGTERM"]
  },
  {
    fault: "SIGSTOP past the lease",
    must: "overwrites nothing newer, starts no call, finds out before its next side effect; an answer it holds is kept",
    befalls: "each",
    ways: ["stopped before the send", "stopped with the answer in hand", "stopped while the user replaces it"]
  },
  {
    fault: "renewal of a lease fails; holder dies",
    must: "`lost` fires, release says so; freed at the TTL, fence rises",
    befalls: "each",
    ways: ["the lease cannot be renewed", "the holder dies"]
  },
  {
    fault: "user reconnects or updates during a refresh",
    must: "the user's wins, the late receipt kept",
    befalls: "each",
    ways: ["updates", "reconnects"]
  },
  {
    fault: "deleted during refresh or lease",
    must: "no resurrection",
    befalls: "each",
    ways: ["deleted during its refresh", "gone before the answer is stored", "deleted while it is lent"]
  },
  {
    fault: "Redis down, restarted, flushed, failed over",
    must: "closed (`LockUnavailable`) or safe by the store's compare-and-set; never unlocked; fence never falls",
    befalls: "each",
    ways: ["Redis down", "Redis restarted", "Redis flushed", "Redis failed over"]
  },
  {
    fault: "Postgres down before the intent, after the answer",
    must: "no exchange; spool, retry, promote",
    befalls: "each",
    ways: ["Postgres down before the intent", "Postgres down after the answer"]
  },
  {
    fault: "COMMIT's answer lost; 40001, 40P01",
    must: "read back the attempt; retry the transaction, never the exchange",
    befalls: "each",
    ways: [
      "the attempt's COMMIT, reset",
      "the attempt's COMMIT, silence",
      "the save's COMMIT, reset",
      "the save's COMMIT, silence",
      "40001",
      "40P01"
    ]
  },
  {
    fault: "provider slow, and answers amiss",
    must: "typed, classified, nothing overwritten, no hot loop",
    befalls: "each",
    ways: [
      "slow",
      "too slow",
      "reset before it spends",
      "reset after it spent",
      "429",
      "5xx",
      "HTML",
      "HTML with 200",
      "truncated",
      "empty",
      "200 with an error",
      "200 with ok: false",
      "a nested token",
      "a nested token, as its data says",
      "no refresh_token",
      "no expires_in",
      "expires_in negative",
      "expires_in 0",
      "expires_in 1e18",
      'expires_in "3600"',
      "expires_in NaN"
    ]
  },
  {
    fault: "invalid_grant: row changed / transient / permanent",
    must: "adopt / one confirmation / needs_reauth, zero further calls",
    befalls: "each",
    ways: ["the row has changed", "in passing", "for good", "for good, in a 200"]
  },
  {
    fault: "a credential that always fails, 1,000 gets",
    must: "one call per back-off, waiters share the failure",
    befalls: "each",
    ways: ["1,000 at once", "one after the other"]
  },
  {
    fault: "one hot tenant, 99 quiet",
    must: "the quiet ones' p99 unmoved",
    befalls: "each",
    ways: ["a hot tenant in one process", "a hot tenant at two servers"]
  },
  {
    fault: "clock skew ± 1 h",
    must: "leases by the engine's clock, waits by the monotonic one",
    befalls: "each",
    ways: ["an hour ahead", "an hour behind"]
  },
  {
    fault: "key id missing / bytes wrong / row swapped / backup restored",
    must: "start refused / `undecryptable`, per row / AEAD failure / held back until each is probed",
    befalls: "each",
    ways: ["bytes wrong", "row swapped", "backup restored"]
  },
  { fault: "key id missing", must: "start refused", befalls: "none", ways: ["key id missing"] }
] as const satisfies ReadonlyArray<Row>

export type Way = (typeof rows)[number]["ways"][number]

export const operations = ["get", "refresh", "acquire"] as const

export type Operation = (typeof operations)[number]

/** Some of these ways, befalling these operations in one test. */
export interface Case<R = Scope.Scope> {
  readonly ways: ReadonlyArray<Way>
  readonly operations: ReadonlyArray<Operation>
  readonly sees: string
  readonly run: Effect.Effect<unknown, unknown, R>
}

const waysOf = (ways: Way | ReadonlyArray<Way>) => (typeof ways === "string" ? [ways] : ways)

/** Written once, run for each operation. */
export const each = <R>(
  ways: Way | ReadonlyArray<Way>,
  sees: string,
  run: (operation: Operation) => Case<R>["run"]
): ReadonlyArray<Case<R>> =>
  operations.map((operation) => ({ ways: waysOf(ways), operations: [operation], sees, run: run(operation) }))

/** One fault that befalls all operations at once, each on a credential of its own. */
export const together = <R>(
  ways: Way | ReadonlyArray<Way>,
  sees: string,
  run: Case<R>["run"]
): ReadonlyArray<Case<R>> => [{ ways: waysOf(ways), operations, sees, run }]

/** What concerns none of the operations. */
export const itself = <R>(
  ways: Way | ReadonlyArray<Way>,
  sees: string,
  run: Case<R>["run"]
): ReadonlyArray<Case<R>> => [{ ways: waysOf(ways), operations: [], sees, run }]

export type Shown = Pick<Case, "ways" | "operations" | "sees">

const collected: Array<Shown> = []
let collecting = false

/** What files of tests show, without a test of theirs being run. */
export const collect = async (load: () => Promise<unknown>): Promise<ReadonlyArray<Shown>> => {
  collecting = true
  await load()
  collecting = false
  return collected.splice(0)
}

const rowOf = (way: Way | undefined): Row | undefined =>
  rows.find(({ ways }: Row) => way !== undefined && ways.includes(way))

const named = <R>(cases: ReadonlyArray<Case<R>>, test: (name: string, one: Case<R>) => void) => {
  if (collecting) return void collected.push(...cases)
  for (const fault of new Set(cases.map(({ ways }) => rowOf(ways[0])))) {
    describe(`${fault?.fault}: ${fault?.must}`, () => {
      for (const one of cases.filter(({ ways }) => rowOf(ways[0]) === fault)) {
        const on = one.operations.length === 0 ? "" : ` (${one.operations.join(", ")})`
        test(`${one.ways.join("; ")}${on}: ${one.sees}`, one)
      }
    })
  }
}

/** Tests in which an hour passes when they say so. */
export const play = (cases: ReadonlyArray<Case>) => named(cases, (name, { run }) => it.scoped(name, () => run))

/** Tests in real time over servers that they share. */
export const playOver = <R>(
  name: string,
  servers: Layer.Layer<R>,
  cases: ReadonlyArray<Case<R | Scope.Scope>>,
  millis: number
): void => {
  if (collecting) return named(cases, () => {})
  layer(servers, { excludeTestServices: true, timeout: "2 minutes" })(name, (shared) =>
    named(cases, (title, { run }) => shared.scoped(title, () => run, millis))
  )
}
