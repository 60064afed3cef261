/**
 * The numbers that the service is held to, and what measures each: the long form, and a short one that `npm test` has too.
 */

export interface Step {
  /** An npm script, or files for vitest. */
  readonly script?: string
  readonly files?: ReadonlyArray<string>
  readonly parameters?: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
}

/** What a script's line of JSON says. */
export interface Verdict {
  readonly isMet: boolean
  readonly values: Readonly<Record<string, string | number>>
}

export interface Row {
  readonly name: string
  readonly goal: string
  readonly long: Step
  readonly quick: Step
  /** What takes longer hangs. */
  readonly minutes: number
  /** Takes all cores and is timed, so that nothing runs beside it; or mostly waits, so that it runs beside others. */
  readonly company?: "alone" | "beside"
  /** For scripts: vitest says by itself whether it passed. */
  readonly judge?: (result: unknown, seconds: number) => Verdict
}

const fuzz = (name: string, goal: string, files: ReadonlyArray<string>, inputs: number, minutes: number): Row => ({
  name,
  goal,
  minutes,
  long: { files, env: { FUZZ_INPUTS: String(inputs) }, parameters: ["--testTimeout=3600000"] },
  quick: { files }
})

const same = (name: string, goal: string, step: Step): Row => ({ name, goal, minutes: 10, long: step, quick: step })

const rotation = { files: ["test/cli/RotateKeys.test.ts"], parameters: ["-t", "under load"] }
const stampede = { files: ["test/integration/servers.test.ts"], parameters: ["-t", "4 × "] }
const kills = { files: ["test/integration/kills.test.ts"] }
const pauses = { files: ["test/integration/pauses.test.ts"] }
const soak = { files: ["test/reliability/Soak.test.ts"] }

interface Schedules {
  readonly played: number
  readonly violations: ReadonlyArray<unknown>
}

const mostSeconds = 600

const schedules = (result: unknown, seconds: number) => {
  const { played, violations } = result as Schedules
  return {
    isMet: played > 0 && violations.length === 0 && seconds <= mostSeconds,
    values: { schedules: played, violations: violations.length }
  }
}

interface Tooth {
  readonly name: string
  readonly played: number
  /** Of the schedule that missed the protection; none when none did. */
  readonly seed?: number
}

/** So many protections are taken away, one at a time. */
const leastTeeth = 12

const teeth = (result: unknown) => {
  const all = result as ReadonlyArray<Tooth>
  const idle = all.filter(({ seed }) => seed === undefined)
  const most = Math.max(...all.map(({ played }) => played))
  return {
    isMet: all.length >= leastTeeth && idle.length === 0 && most <= 10_000,
    values: {
      protections: all.length,
      caught: all.length - idle.length,
      "most schedules until caught": most,
      ...(idle.length > 0 && { "not caught": idle.map(({ name }) => name).join("; ") })
    }
  }
}

export const rows: ReadonlyArray<Row> = [
  {
    name: "schedules",
    goal: "100,000 simulated schedules in at most 10 minutes: 0 violations",
    minutes: 30,
    company: "alone",
    long: { script: "simulate", parameters: ["--schedules", "100000", "--json"] },
    quick: { script: "simulate", parameters: ["--schedules", "2000", "--json"] },
    judge: schedules
  },
  {
    name: "teeth",
    goal: "12 protections taken away one by one: each is missed within 10,000 schedules",
    minutes: 60,
    company: "alone",
    long: { script: "simulate", parameters: ["--teeth", "--schedules", "10000", "--json"] },
    quick: { script: "simulate", parameters: ["--teeth", "--schedules", "10000", "--json"] },
    judge: teeth
  },
  {
    name: "kills",
    goal: "500 SIGKILLs, at least 200 between answer and save: 0 tokens lost where the provider has a grace, else each a recorded response_lost; 0 double spends",
    minutes: 90,
    long: { ...kills, env: { KILLS: "500" } },
    quick: kills
  },
  {
    name: "pauses",
    goal: "100 SIGSTOPs past the lease: 0 newer generations overwritten",
    minutes: 30,
    long: { ...pauses, env: { PAUSES: "100" } },
    quick: pauses
  },
  {
    name: "stampede",
    goal: "1,000 gets × 4 processes × 100 rounds: 100 spends, 0 failures",
    minutes: 30,
    long: { ...stampede, env: { READS: "1000", ROUNDS: "100" } },
    quick: stampede
  },
  fuzz("routes", "10,000 inputs a route: 0 answers of 500, crashes, hangs", ["test/fuzz/Routes.test.ts"], 10_000, 120),
  fuzz("token answers", "5,000: typed, no token lost", ["test/fuzz/TokenAnswers.test.ts"], 5_000, 30),
  fuzz("discovery", "2,000 documents: typed, bounded calls", ["test/fuzz/Discovery.test.ts"], 2_000, 30),
  fuzz(
    "lock scripts",
    "2,000 sequences over a real Redis: no script fails, fences rise",
    ["test/fuzz/LockScripts.integration.test.ts"],
    2_000,
    30
  ),
  same("ssrf", "300 URLs, 50 chains of redirects and rebinding: 0 connections", {
    files: ["test/Outbound/Ssrf.test.ts"]
  }),
  same("canaries", "40 secrets × 5 encodings over every output: 0 hits", {
    files: ["test/integration/canaries.test.ts"]
  }),
  same("ciphertext", "every byte changed, 1,000 rows swapped: all refused", {
    files: ["test/fuzz/SealedBytes.test.ts"]
  }),
  {
    name: "rotation",
    goal: "50,000 rows under load: 0 failed reads",
    minutes: 20,
    long: { ...rotation, env: { ROTATION_ROWS: "50000" } },
    quick: rotation
  },
  {
    name: "soak",
    goal: "30 minutes at 1 % faults: memory grows by less than 5 %, 0 orphan locks",
    minutes: 60,
    company: "beside",
    long: { ...soak, env: { SOAK_SECONDS: "1800" } },
    quick: soak
  }
]
