/** What a schedule is about, drawn from its seed: how many processes, what fails and how often, and how time goes wrong. */
import type { Faults as RedisFaults } from "./RedisNetwork.ts"
import type { Faults as StoreFaults } from "./Database.ts"
import type { Faults as ProviderFaults, Quirks } from "./Provider.ts"
import { Chance } from "./Chance.ts"

/** What befalls a process or a server, once. */
export interface Mishap {
  /** The step of the process at which it happens: the first of these, or any. */
  readonly at: string | undefined
  /** The how manieth such step. */
  readonly count: number
  readonly what:
    | "dies"
    | "dies after"
    | "shuts down"
    | "stands still"
    | "redis flushes"
    | "redis goes down"
    | "loses redis"
    | "store goes down"
    | "provider goes down"
  readonly millis: number
}

export interface Place {
  readonly drift: number
  readonly skew: number
  readonly mishaps: ReadonlyArray<Mishap>
  /** After its end another process starts; with the same disk, or an empty one. */
  readonly restart: { readonly after: number; readonly keepsDisk: boolean } | undefined
}

export interface Scenario {
  readonly kind: Kind
  /** There is one process, whose locks are its own. */
  readonly isAlone: boolean
  readonly places: ReadonlyArray<Place>
  readonly credentials: number
  readonly sharesGrant: boolean
  readonly quirks: Quirks
  readonly lifetimeSeconds: number
  readonly redis: RedisFaults
  readonly store: StoreFaults
  readonly provider: ProviderFaults
  readonly redisSkew: number
  readonly spoolFailing: number
  readonly secondCopy: boolean
  readonly sweeps: boolean
  readonly operations: number
  /** How long users are at work. */
  readonly length: number
  /** How much one holder may overlap another one, in milliseconds: what clocks that disagree come to. */
  readonly tolerance: number
}

/** Each kind stresses something else; a seed is of the kind of its remainder. */
export const kinds = ["calm", "crashes", "pauses", "redis", "store", "provider", "contention", "everything"] as const
export type Kind = (typeof kinds)[number]

export const kindOf = (seed: number): Kind => kinds[seed % kinds.length] ?? "everything"

const steps = [
  [4, undefined],
  [3, "provider refresh"],
  [4, "provider answer"],
  [3, "store Replace"],
  [2, "OpenAttempt"],
  [2, "redis script"],
  [2, "redis answer"],
  [1, "spool write"],
  [1, "store outcome"]
] as const

export const draw = (seed: number): Scenario => {
  const chance = new Chance(seed)
  const kind = kindOf(seed)
  const all = kind === "everything"
  const faulty = <F extends Record<string, number>>(isFaulty: boolean, faults: F): F =>
    Object.fromEntries(
      Object.entries(faults).map(([name, most]) => [
        name,
        isFaulty && chance.happens(0.6) ? chance.between(0, most) : 0
      ])
    ) as F

  const mishap = (whats: readonly [Mishap["what"], ...ReadonlyArray<Mishap["what"]>]): Mishap => {
    const at = chance.weighted(steps)
    const what = chance.pick(whats)
    const isLong = chance.happens(0.5)
    return {
      at,
      count: at === undefined ? 1 + chance.below(120) : 1 + chance.below(3),
      what,
      millis: isLong ? chance.between(5_000, 40_000) : chance.between(50, 5_000)
    }
  }
  const mishaps = (): ReadonlyArray<Mishap> => {
    const some = (most: number, ...whats: readonly [Mishap["what"], ...ReadonlyArray<Mishap["what"]>]) =>
      Array.from({ length: chance.below(most + 1) }, () => mishap(whats))
    switch (kind) {
      case "crashes":
        return some(2, "dies", "dies after", "shuts down")
      case "pauses":
        return some(2, "stands still")
      case "redis":
        return some(2, "redis flushes", "redis goes down", "loses redis")
      case "store":
        return some(2, "store goes down")
      case "provider":
        return some(2, "provider goes down")
      case "everything":
        return some(
          3,
          "dies",
          "dies after",
          "shuts down",
          "stands still",
          "redis flushes",
          "loses redis",
          "store goes down",
          "redis goes down"
        )
      default:
        return []
    }
  }

  const drift = (all || kind === "pauses") && chance.happens(0.3) ? chance.between(0, 0.04) : 0
  const skewed = (all || kind === "provider") && chance.happens(0.3)
  const isAlone = kind === "calm" && chance.happens(0.25)
  const processes = isAlone ? 1 : 2 + chance.below(kind === "contention" ? 3 : 2)
  const places = Array.from({ length: processes }, () => ({
    drift: drift === 0 ? 0 : chance.between(-drift, drift),
    skew: skewed ? chance.between(-3_600_000, 3_600_000) : 0,
    mishaps: mishaps(),
    restart: chance.happens(0.6) ? { after: chance.between(200, 10_000), keepsDisk: chance.happens(0.7) } : undefined
  }))
  const credentials = 1 + chance.below(2)
  // in a crowd, who stands still is overtaken
  const isCrowded = kind === "contention" || (kind === "pauses" && chance.happens(0.4))
  const mayPass = chance.happens(kind === "pauses" ? 0.3 : 0.15)
  const isStoreFaulty = all || kind === "store" || (kind === "crashes" && chance.happens(0.4))
  return {
    kind,
    isAlone,
    places,
    credentials,
    sharesGrant: credentials > 1 && chance.happens(0.5),
    quirks: {
      rotates: chance.happens(0.85),
      endsAccessToken: chance.happens(0.6),
      reuseGraceSeconds: chance.happens(0.2) ? 10 : undefined,
      mayPass,
      revokes: chance.pick(["token", "grant"])
    },
    lifetimeSeconds: chance.pick([15, 40, 90]),
    redis: faulty(all || kind === "redis", {
      lostAnswers: 0.1,
      lostMessages: 0.3,
      doubledMessages: 0.3,
      late: 0.08
    }),
    store:
      // a lock that is forgotten matters where what it protects takes time
      kind === "redis"
        ? { refused: 0, lostAnswers: 0, overtaken: 0, late: chance.happens(0.5) ? chance.between(0, 0.3) : 0 }
        : faulty(isStoreFaulty, { refused: 0.1, lostAnswers: 0.15, overtaken: 0.08, late: 0.15 }),
    provider: {
      ...faulty(all || kind === "provider", {
        unsent: 0.1,
        cutBefore: 0.15,
        cutAfter: 0.25,
        late: 0.15,
        truncated: 0.1,
        serverError: 0.2,
        throttled: 0.1,
        inPassing: 0.2,
        withoutRefreshToken: 0.2
      }),
      ...(kind === "pauses" && { inPassing: 0.4 })
    },
    redisSkew: chance.between(-60_000, 60_000),
    spoolFailing: isStoreFaulty && chance.happens(0.2) ? chance.between(0, 0.3) : 0,
    secondCopy: chance.happens(0.4),
    sweeps: chance.happens(0.3),
    operations: isCrowded ? 10 + chance.below(12) : 4 + chance.below(9),
    length: isCrowded ? chance.between(500, 8_000) : chance.between(2_000, 45_000),
    tolerance: drift === 0 ? 0 : 600
  }
}
