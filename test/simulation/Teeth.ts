/**
 * Protections of `src`, each of which can be taken out of a copy of the compiled code as it is loaded: a fragment of one line
 * that stands in a file once, and what takes its place. Nothing of this is in what is built or published.
 */
import type { Kind } from "./Scenario.ts"

export interface Edit {
  /** Below `src`, as compiled. */
  readonly file: string
  readonly find: string
  readonly put: string
}

export interface Tooth {
  readonly name: string
  readonly edits: ReadonlyArray<Edit>
  /** The schedules that are likely to miss it. */
  readonly kinds: readonly [Kind, ...ReadonlyArray<Kind>]
  /** So many schedules of these kinds it took to miss it, when it was last looked; absent: it was not missed. */
  readonly within?: number
}

const scripts = "LockService/Redis/Scripts.js"

export const teeth: ReadonlyArray<Tooth> = [
  {
    name: "what is stored is read again under the lock",
    edits: [
      {
        file: "Renewal.js",
        find: "const due = yield* decide(flight, credentials);",
        put: "const due = called;"
      }
    ],
    kinds: ["calm", "contention"],
    within: 506
  },
  {
    name: "a spending is written down before",
    edits: [{ file: "Attempts.js", find: "yield* begin(attempt, spending);", put: "" }],
    kinds: ["calm"],
    within: 2
  },
  {
    name: "of attempts for a grant one is open",
    edits: [{ file: "Store/Memory.js", find: "openFor(change.row.grant) !== undefined || ", put: "" }],
    kinds: ["redis", "everything", "pauses"],
    within: 446
  },
  {
    name: "an unproven note is read back",
    edits: [
      {
        file: "Attempts.js",
        find: `Effect.filterOrFail(Option.contains("open"), () => error)`,
        put: "Effect.asVoid"
      }
    ],
    kinds: ["store"],
    within: 41
  },
  {
    name: "a generation is stored over the one before",
    edits: [
      {
        file: "Store/Memory.js",
        find: "if (row?.generation !== generation)",
        put: "if (row === undefined)"
      }
    ],
    kinds: ["redis"],
    within: 59
  },
  {
    name: "an answer that the store does not take is kept",
    edits: [
      {
        file: "Attempts.js",
        find: "const spooled = yield* kept(receipt);",
        put: "const spooled = true;"
      }
    ],
    kinds: ["store"],
    within: 18
  },
  {
    name: "an answer that comes too late is kept",
    edits: [
      {
        file: "Attempts.js",
        find: "yield* Effect.catchAll(receipts.keep(receipt), (error) => Effect.logError(error.message));",
        put: ""
      }
    ],
    kinds: ["calm", "contention", "store"],
    within: 53
  },
  {
    name: "an unclear end leaves the attempt open",
    edits: [
      {
        file: "Attempts.js",
        find: "over ? [Change.ExpireAttempt({ id: attempt.id, at })] : []",
        put: `[close(attempt, "failed")]`
      }
    ],
    kinds: ["provider"],
    within: 16
  },
  {
    name: "another one's attempt is left alone until its deadline, and while that one lives",
    edits: [
      { file: "Renewal.js", find: "if (left > 0) {", put: "if (false) {" },
      { file: "Renewal.js", find: "if (isOwn || !(yield* processes.isAlive(attempt.processId)))", put: "if (true)" }
    ],
    kinds: ["redis", "everything"],
    within: 78
  },
  {
    name: "an answer that names no refresh token keeps the old one",
    edits: [
      {
        file: "TokenSet.js",
        find: "Option.getOrElse(tokens.refreshToken, () => before.refreshToken)",
        put: "Option.getOrUndefined(tokens.refreshToken)"
      }
    ],
    kinds: ["provider"],
    within: 3
  },
  {
    name: "a renewal waits for those who hold what it ends",
    edits: [
      {
        file: "Renewal.js",
        find: "const leases = protects ? yield* protect(flight, before) : [];",
        put: "const leases = [];"
      }
    ],
    kinds: ["calm"],
    within: 14
  },
  {
    name: "credentials are locked before their grant",
    edits: [
      {
        file: "Renewal.js",
        find: "const leases = protects ? yield* protect(flight, before) : [];",
        put: `const early = yield* locks.acquire(refreshKey(flight.grant), { priority: "writer", wait: "2 minutes" }); const leases = protects ? yield* protect(flight, before) : [];`
      },
      {
        file: "Renewal.js",
        find: `const alone = yield* locks.acquire(refreshKey(flight.grant), { priority: "writer", wait: "2 minutes" });`,
        put: "const alone = early;"
      }
    ],
    kinds: ["contention"],
    within: 665
  },
  {
    name: "callers join a flight and own none",
    edits: [
      {
        file: "Renewal.js",
        find: "Effect.interruptible, Effect.forkDaemon, Effect.map((started)",
        put: "Effect.interruptible, Effect.fork, Effect.map((started)"
      }
    ],
    kinds: ["calm", "contention"],
    within: 11
  },
  {
    name: "exchange and save are not interruptible",
    edits: [
      {
        file: "Attempts.js",
        find: "attemptId: attempt.id }));\n    }, Effect.uninterruptible);",
        put: "attemptId: attempt.id }));\n    });"
      }
    ],
    kinds: ["crashes"],
    within: 54
  },
  {
    name: "release looks who holds",
    edits: [
      { file: scripts, find: "if value == before then", put: "if value then" },
      {
        file: scripts,
        find: "local function leave(owner, block, used)\n  if holder == owner then",
        put: "local function leave(owner, block, used)\n  if holder then"
      }
    ],
    kinds: ["contention", "redis", "pauses"],
    within: 74
  },
  {
    name: "who holds is in the way",
    edits: [
      {
        file: scripts,
        find: "if holder and holder ~= beside then wait",
        put: "if false then wait"
      }
    ],
    kinds: ["contention"],
    within: 7
  },
  {
    name: "fences begin at the time",
    edits: [
      { file: scripts, find: "math.max(last() + 1, micros, above + 1)", put: "math.max(last() + 1, above + 1)" },
      { file: scripts, find: "if time[1] * 1000000 + time[2] >= least then", put: "if false then" }
    ],
    kinds: ["redis"],
    within: 5
  },
  {
    name: "fences are reserved for those who follow",
    edits: [
      {
        file: scripts,
        find: "if holder then count = n + block - first else first, count = n, block end",
        put: "first, count = n, 1"
      },
      {
        file: scripts,
        find: "if time[1] * 1000000 + time[2] >= least then",
        put: "if false then"
      }
    ],
    kinds: ["contention"],
    within: 75
  },
  {
    // the script gives nothing of the past to who says what came last: both go
    name: "fence rule 1: a grant of the past is neither given nor taken",
    edits: [
      { file: "LockService/Redis/Requests.js", find: "fence <= request.above || ", put: "" },
      { file: scripts, find: "math.max(last() + 1, micros, above + 1)", put: "last() + 1" },
      { file: scripts, find: "if time[1] * 1000000 + time[2] >= least then", put: "if false then" }
    ],
    kinds: ["redis"],
    within: 5
  },
  {
    // where it comes from Redis, and where it is handed out
    name: "rule 1: a grant that is over is dropped",
    edits: [
      { file: "LockService/Redis/Requests.js", find: " || deadline <= now()", put: "" },
      {
        file: "LockService/KeyActor.js",
        find: "if (this.#share !== undefined && this.#share.cover.deadline <= now)",
        put: "if (this.#share === null)"
      }
    ],
    kinds: ["redis", "pauses", "everything"],
    within: 9
  },
  {
    name: "deadline rule 2: a pushed lease counts from before its grant",
    edits: [
      {
        file: "LockService/Redis/Requests.js",
        find: "sentAt + (Number(time) - serverTime) + Number(lasts)",
        put: "this.#session.now() + Number(lasts)"
      }
    ],
    kinds: ["pauses"],
    within: 68
  },
  {
    name: "rule 3: a lease is looked at before each side effect",
    edits: [
      {
        file: "LockService/Lease.js",
        find: `if (holder.state === "held" && holder.end > this.#now())`,
        put: `if (holder.state === "held")`
      }
    ],
    kinds: ["pauses"],
    within: 138
  },
  {
    name: "rule 4: who waits asks again",
    edits: [
      {
        file: "LockService/Redis/Requests.js",
        find: "pending.stopTimer = after(Math.min(left, waiterLease / 3), () => this.#send(pending));",
        put: ""
      }
    ],
    kinds: ["redis"],
    within: 24
  },
  {
    name: "a pushed grant lasts as long as a claim",
    edits: [
      {
        file: scripts,
        find: "local fence = grant(owner, mode, guest, claim, block, above)",
        put: "local fence = grant(owner, mode, guest, 600000, block, above)"
      }
    ],
    kinds: ["crashes", "redis"],
    within: 57
  },
  {
    name: "who leaves is taken out of the line",
    edits: [
      {
        file: "LockService/Wait.js",
        find: "            this.#line.leave(this);\n",
        put: "            ;\n"
      }
    ],
    kinds: ["contention", "calm"],
    within: 3
  },
  {
    name: "what is withdrawn ends in redis",
    edits: [
      {
        file: "LockService/Redis/Requests.js",
        find: "this.#endings.add(pending.owner, pending.keys);",
        put: ""
      }
    ],
    kinds: ["contention", "redis"],
    within: 17
  },
  {
    name: "an interruption gives back what was granted",
    edits: [{ file: "LockService/Wait.js", find: "this.#line.giveBack(this.#holder);", put: ";" }],
    kinds: ["contention", "calm"],
    within: 23
  },
  {
    // a deletion that does not wait is stopped by the comparison of generations: both go
    name: "a deletion waits for a renewal",
    edits: [
      { file: "Deletion.js", find: "if (Option.isSome(grant))", put: "if (false)" },
      {
        file: "Store/Memory.js",
        find: "const stored = at(row.userId, row.id, row.generation - 1);",
        put: "const stored = users.get(row.userId)?.get(row.id) ?? row;"
      }
    ],
    kinds: ["store", "everything"],
    within: 182
  },
  {
    name: "a confirmation is sent under the lease only",
    edits: [{ file: "Attempts.js", find: "yield* stillMine;\n                answer", put: "answer" }],
    kinds: ["pauses"],
    within: 260
  }
]

/** Those that are missed so soon that every test run can afford it. */
export const quickTeeth = teeth.filter(({ within = Number.POSITIVE_INFINITY }) => within <= 25)
