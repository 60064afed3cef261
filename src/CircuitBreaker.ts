/**
 * Leaves a provider's endpoint alone while it is down: after several credentials in a row failed there, nothing is sent
 * but one try now and then, whoever asks, until one is answered. An outage then costs a few calls instead of some for every
 * credential, and puts a few refresh tokens in doubt instead of all.
 *
 * Processes share what they know. An endpoint is a provider and an origin, so that a tenant whose own host is down is in
 * nobody else's way.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { randomUUID } from "node:crypto"
import * as Circuit from "./CircuitBreaker/Circuit.ts"
import { type CircuitRow, type Circuits, type Endpoint, makeMemory } from "./CircuitBreaker/Circuits.ts"
import type { FailureReason } from "./Credential.ts"
import { NeedsReauth, ProviderError, type StoreUnavailable } from "./CredentialsError.ts"
import type { Provider } from "./Provider.ts"

/**
 * Where a provider's refresh tokens are spent.
 *
 * @since 0.1.0
 * @category constructors
 */
export const endpointOf = (provider: Provider): Endpoint => ({
  provider: provider.id,
  origin: new URL(provider.refreshUrl ?? provider.tokenUrl).origin
})

/**
 * How an endpoint stands, for people to see. `open`: left alone until then; `half_open`: the next call is a try, or one is
 * under way.
 *
 * @since 0.1.0
 * @category models
 */
export interface EndpointState extends Endpoint {
  readonly state: "closed" | "open" | "half_open"
  readonly until: Option.Option<DateTime.Utc>
  /** What the last call failed with; none when nothing is known against the endpoint. */
  readonly reason: Option.Option<FailureReason>
}

/**
 * A call that spends a refresh token.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  /** With its variables filled in. */
  readonly provider: Provider
  /** Whose token: failures of one grant alone never open a circuit. */
  readonly grant: string
  /** Somebody asked for it by hand: tried although the pause is not over, but at most once a second. */
  readonly onDemand: boolean
}

/**
 * @since 0.1.0
 * @category ports
 */
export class CircuitBreaker extends Context.Tag("effect-credentials/CircuitBreaker")<
  CircuitBreaker,
  {
    /**
     * Fails with what the last call failed with while the endpoint is left alone: for who would rather not begin. From this
     * process's memory, if what is there is at most a second old.
     */
    readonly check: (call: Call) => Effect.Effect<void, ProviderError | StoreUnavailable>
    /**
     * Makes the call unless the endpoint is left alone, and learns from its end: `unreachable`, `timeout` and
     * `malformed_response` speak against the endpoint; every other answer, a refusal or `throttled` too, for it. At most
     * so many calls of this process to one endpoint are under way; the others wait, interruptibly.
     */
    readonly guard: <A, E, R>(
      call: Call,
      self: Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | ProviderError | StoreUnavailable, R>
    readonly stateOf: (endpoint: Endpoint) => Effect.Effect<EndpointState, StoreUnavailable>
    /** Of all endpoints that something is known against. */
    readonly states: Effect.Effect<ReadonlyArray<EndpointState>, StoreUnavailable>
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** So many grants that fail one after the other, within a minute from each to the next, open a circuit. Default 5. */
  readonly threshold?: number | undefined
  /** How long an endpoint is left alone at first; doubles each time that the try fails. Default 5 seconds. */
  readonly pause?: Duration.DurationInput | undefined
  /** Default one minute. */
  readonly longestPause?: Duration.DurationInput | undefined
  /** How many calls to one endpoint are under way in this process. Default 128. */
  readonly mostAtOnce?: number | undefined
}

/** What this process knows of an endpoint. */
interface Known {
  readonly calls: Effect.Semaphore
  row: Option.Option<CircuitRow>
  /** The engine's time less this process's. */
  ahead: number
  /** By this process's clock. */
  readAt: number
}

/** What this process knows serves for so long. */
const freshMillis = 1_000

/** Beyond so many endpoints what is known of those that work is forgotten. */
const mostKnown = 10_000

const speaksAgainst: ReadonlySet<FailureReason> = new Set(["unreachable", "timeout", "malformed_response"])

/**
 * What the end of a call says of the endpoint; nothing when nobody was asked.
 *
 * @since 0.1.0
 */
const verdictOf = (exit: Exit.Exit<unknown, unknown>): "works" | "nothing" | FailureReason => {
  if (Exit.isSuccess(exit)) return "works"
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  if (error instanceof ProviderError) return speaksAgainst.has(error.reason) ? error.reason : "works"
  return error instanceof NeedsReauth ? "works" : "nothing"
}

/**
 * A breaker over circuits that are kept anywhere.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (circuits: Circuits, options: Options = {}): CircuitBreaker["Type"] => {
  const policy: Circuit.Policy = {
    threshold: options.threshold ?? 5,
    pause: Duration.toMillis(options.pause ?? "5 seconds"),
    longestPause: Duration.toMillis(options.longestPause ?? "1 minute")
  }
  const mostAtOnce = options.mostAtOnce ?? 128
  const endpoints = new Map<string, Known>()

  const knownOf = (endpoint: Endpoint): Known => {
    const key = `${endpoint.provider} ${endpoint.origin}`
    const known = endpoints.get(key) ?? {
      calls: Effect.unsafeMakeSemaphore(mostAtOnce),
      row: Option.none(),
      ahead: 0,
      readAt: Number.NEGATIVE_INFINITY
    }
    if (!endpoints.has(key) && endpoints.size >= mostKnown) {
      for (const [other, { row }] of endpoints) if (Option.isNone(row)) endpoints.delete(other)
    }
    endpoints.set(key, known)
    return known
  }

  const read = Effect.fnUntraced(function* (endpoint: Endpoint, known: Known) {
    const { now, row } = yield* circuits.find(endpoint)
    const readAt = yield* Clock.currentTimeMillis
    Object.assign(known, { row, ahead: now - readAt, readAt })
    return now
  })

  /** The engine's time, with what is known by then. */
  const look = (endpoint: Endpoint, known: Known) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      now - known.readAt < freshMillis ? Effect.succeed(now + known.ahead) : read(endpoint, known)
    )

  const circuitOf = ({ row }: Known) => Option.getOrNull(Option.map(row, ({ circuit }) => circuit))

  /** Takes a step on what is stored, again as long as others do so meanwhile; the same circuit is no step. */
  const step = (
    endpoint: Endpoint,
    known: Known,
    next: (circuit: Circuit.Circuit | null, now: number) => Circuit.Circuit | null
  ): Effect.Effect<void, StoreUnavailable> =>
    Effect.gen(function* () {
      const now = yield* read(endpoint, known)
      const before = circuitOf(known)
      const circuit = next(before, now)
      if (circuit === before) return
      const version = Option.map(known.row, (row) => row.version)
      if (circuit === null) {
        if (Option.isSome(version)) yield* circuits.remove(endpoint, version.value)
        known.row = Option.none()
        return
      }
      const row = { ...endpoint, version: randomUUID(), circuit }
      if (yield* circuits.put(row, version)) known.row = Option.some(row)
      else yield* step(endpoint, known, next)
    })

  const refuse = (
    endpoint: Endpoint,
    { reason, until }: { readonly reason: FailureReason; readonly until: number },
    now: number
  ) =>
    new ProviderError({
      provider: endpoint.provider,
      reason,
      retryAfterSeconds: Math.max(1, Math.ceil((until - now) / 1000))
    })

  /** Whether the call is the one try. */
  const admit = Effect.fnUntraced(function* (endpoint: Endpoint, known: Known, onDemand: boolean) {
    const seen = yield* look(endpoint, known)
    let stand = Circuit.standOf(circuitOf(known), seen, onDemand)
    let at = seen
    if (stand._tag === "HalfOpen") {
      yield* step(endpoint, known, (circuit, now) => {
        at = now
        stand = Circuit.standOf(circuit, now, onDemand)
        return circuit !== null && stand._tag === "HalfOpen" ? Circuit.tried(circuit, now) : circuit
      })
    }
    if (stand._tag === "Open") return yield* refuse(endpoint, stand, at)
    return stand._tag === "HalfOpen"
  })

  const learn = Effect.fnUntraced(function* (
    endpoint: Endpoint,
    known: Known,
    call: Call,
    isTrial: boolean,
    exit: Exit.Exit<unknown, unknown>
  ) {
    const verdict = verdictOf(exit)
    const isKnown = Option.isSome(known.row)
    if (verdict === "works") return isKnown ? yield* step(endpoint, known, () => null) : undefined
    if (verdict === "nothing") {
      return isTrial ? yield* step(endpoint, known, (circuit) => circuit && Circuit.untried(circuit)) : undefined
    }
    // one of those that were under way when it opened
    if (!isTrial && isKnown && circuitOf(known)?.openUntil !== null) return undefined
    const spread = yield* Random.nextRange(0.8, 1.2)
    return yield* step(endpoint, known, (circuit, now) =>
      Circuit.failed(circuit, { grant: call.grant, reason: verdict, isTrial }, now, policy, spread)
    )
  })

  const stateOf = (endpoint: Endpoint, circuit: Circuit.Circuit | null, now: number): EndpointState => {
    const stand = Circuit.standOf(circuit, now, false)
    const isTried = circuit !== null && circuit.trialUntil !== null && now < circuit.trialUntil
    return {
      ...endpoint,
      state: stand._tag === "Closed" ? "closed" : stand._tag === "Open" && !isTried ? "open" : "half_open",
      until: stand._tag === "Open" && !isTried ? Option.some(DateTime.unsafeMake(stand.until)) : Option.none(),
      reason: Option.map(Option.fromNullable(circuit), ({ reason }) => reason)
    }
  }

  return CircuitBreaker.of({
    check: Effect.fnUntraced(function* ({ onDemand, provider }) {
      const endpoint = endpointOf(provider)
      const known = knownOf(endpoint)
      const now = yield* look(endpoint, known)
      const stand = Circuit.standOf(circuitOf(known), now, onDemand)
      if (stand._tag === "Open") return yield* refuse(endpoint, stand, now)
    }),
    guard: (call, self) =>
      Effect.suspend(() => {
        const endpoint = endpointOf(call.provider)
        const known = knownOf(endpoint)
        return known.calls.withPermits(1)(
          Effect.uninterruptibleMask((restore) =>
            Effect.flatMap(restore(admit(endpoint, known, call.onDemand)), (isTrial) =>
              Effect.onExit(restore(self), (exit) => Effect.ignore(learn(endpoint, known, call, isTrial, exit)))
            )
          )
        )
      }),
    stateOf: (endpoint) =>
      Effect.map(circuits.find(endpoint), ({ now, row }) =>
        stateOf(endpoint, Option.getOrNull(Option.map(row, ({ circuit }) => circuit)), now)
      ),
    states: Effect.map(circuits.all, ({ now, rows }) =>
      rows.map(({ circuit, origin, provider }) => stateOf({ provider, origin }, circuit, now))
    )
  })
}

/**
 * Drops at its start what is known of endpoints that nobody has called in vain for a day.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  circuits: Effect.Effect<Circuits, E, R>,
  options?: Options
): Layer.Layer<CircuitBreaker, E, R> =>
  Layer.effect(
    CircuitBreaker,
    Effect.map(
      Effect.tap(circuits, ({ prune }) => Effect.ignore(prune(Duration.days(1)))),
      (kept) => make(kept, options)
    )
  )

/**
 * What this process alone knows: for the only one on its store, where a restart learns anew.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<CircuitBreaker> = layer(makeMemory)
