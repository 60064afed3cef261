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

export interface Row {
  readonly name: string
  readonly goal: string
  readonly long: Step
  readonly quick: Step
}

const fuzz = (name: string, goal: string, files: ReadonlyArray<string>, inputs: number): Row => ({
  name,
  goal,
  long: { files, env: { FUZZ_INPUTS: String(inputs) }, parameters: ["--testTimeout=3600000"] },
  quick: { files }
})

const same = (name: string, goal: string, step: Step): Row => ({ name, goal, long: step, quick: step })

const rotation = { files: ["test/cli/RotateKeys.test.ts"], parameters: ["-t", "under load"] }
const stampede = { files: ["test/integration/servers.test.ts"], parameters: ["-t", "is renewed once for"] }

export const rows: ReadonlyArray<Row> = [
  {
    name: "schedules",
    goal: "100,000 simulated schedules in 10 minutes, 0 violations",
    long: { script: "simulate", parameters: ["--schedules", "100000", "--json"] },
    quick: { script: "simulate", parameters: ["--schedules", "2000", "--json"] }
  },
  {
    name: "teeth",
    goal: "each protection that is taken away is missed within 10,000 schedules",
    long: { script: "simulate", parameters: ["--teeth", "--json"] },
    quick: { script: "simulate", parameters: ["--teeth", "--json"] }
  },
  {
    name: "kills",
    goal: "500 SIGKILLs while a renewal is under way: no token spent twice, each loss a recorded response_lost",
    long: { files: ["test/integration/kills.test.ts"], env: { KILLS: "500" } },
    quick: { files: ["test/integration/kills.test.ts"] }
  },
  same("pauses", "SIGSTOP past the lease: no newer generation overwritten", {
    files: ["test/integration/pauses.test.ts"]
  }),
  {
    name: "stampede",
    goal: "1,000 gets × 4 processes × 100 rounds: 100 spends, 0 failures",
    long: { ...stampede, env: { READS: "1000", ROUNDS: "100" } },
    quick: stampede
  },
  fuzz("routes", "10,000 inputs a route: 0 answers outside the contract", ["test/fuzz/Routes.test.ts"], 10_000),
  fuzz("token answers", "5,000: typed, no token lost", ["test/fuzz/TokenAnswers.test.ts"], 5_000),
  fuzz("discovery", "2,000 documents: typed, bounded calls", ["test/fuzz/Discovery.test.ts"], 2_000),
  fuzz(
    "lock scripts",
    "2,000 sequences over a real Redis: no script fails, fences rise",
    ["test/fuzz/LockScripts.integration.test.ts"],
    2_000
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
    long: { ...rotation, env: { ROTATION_ROWS: "50000" } },
    quick: rotation
  },
  {
    name: "soak",
    goal: "30 minutes at 1 % faults: memory grows by less than 5 %, 0 orphan locks",
    long: { files: ["test/reliability/Soak.test.ts"], env: { SOAK_SECONDS: "1800" } },
    quick: { files: ["test/reliability/Soak.test.ts"] }
  }
]
