/**
 * The use cases over a provider without a network and over engines that can be out of reach, under `TestClock`.
 */
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as AuditLog from "../src/AuditLog.ts"
import * as AuthorizationStore from "../src/AuthorizationStore.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as Circuits from "../src/CircuitBreaker/Circuits.ts"
import * as Cipher from "../src/Cipher.ts"
import { CredentialId, type NewCredential, ProviderId, UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { StoreUnavailable } from "../src/CredentialsError.ts"
import * as LeaseStore from "../src/LeaseStore.ts"
import * as LockService from "../src/LockService.ts"
import * as Processes from "../src/Processes.ts"
import { Provider } from "../src/Provider.ts"
import * as Receipts from "../src/Receipts.ts"
import * as Service from "../src/Service.ts"
import * as Store from "../src/Store.ts"
import type { Driver } from "../src/Store/Driver.ts"
import * as Memory from "../src/Store/Memory.ts"
import { make } from "../src/testing/ScriptedHandler.ts"

export { answer, make } from "../src/testing/ScriptedHandler.ts"

export const userId = UserId.make("user-1")
export const providerId = ProviderId.to.make("acme")

/**
 * How the engine is reached: every call of the store is listed, and it can be out of reach, before it does anything or
 * after; or the process stands still before each call (SIGSTOP) until it is reachable again. `at commit`: the next commit
 * is done and gets no answer, and from then on nothing is done.
 */
export interface Reach {
  down: "never" | "before" | "after" | "still" | "at commit"
  readonly calls: Array<string>
}

/** The rows, keys and locks that processes share. */
export interface Engine {
  readonly driver: Driver
  readonly heartbeats: Processes.Heartbeats
  readonly circuits: Circuits.Circuits
  readonly ports: Context.Context<
    | Cipher.Cipher
    | LockService.LockService
    | LeaseStore.LeaseStore
    | AuditLog.AuditLog
    | AuthorizationStore.AuthorizationStore
  >
}

export const engine: Effect.Effect<Engine, never, Scope.Scope> = Effect.gen(function* () {
  return {
    driver: yield* Memory.make,
    heartbeats: yield* Processes.makeMemory,
    circuits: yield* Circuits.makeMemory,
    ports: yield* Layer.build(
      Layer.mergeAll(
        Layer.provideMerge(AuthorizationStore.layerMemory, Cipher.layerMemory),
        LockService.layerMemory,
        LeaseStore.layerMemory,
        AuditLog.layerMemory
      )
    )
  }
})

const makeReach = () => {
  const reach: Reach = { down: "never", calls: [] }
  const fail = Effect.fail(new StoreUnavailable({ retryAfterSeconds: 1 }))
  const moves: Effect.Effect<void> = Effect.suspend(() =>
    reach.down === "still" ? Effect.zipRight(Effect.sleep("1 second"), moves) : Effect.void
  )
  const through = <A, E>(name: string, self: Effect.Effect<A, E>) =>
    Effect.zipRight(
      moves,
      Effect.suspend((): Effect.Effect<A, E | StoreUnavailable> => {
        reach.calls.push(name)
        if (reach.down === "before") return fail
        if (reach.down === "at commit" && name === "commit") {
          return Effect.zipRight(
            self,
            Effect.suspend(() => {
              reach.down = "before"
              return fail
            })
          )
        }
        return reach.down === "after" ? Effect.zipRight(self, fail) : self
      })
    )
  const whenReachable = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E | StoreUnavailable> =>
    Effect.zipRight(
      moves,
      Effect.suspend((): Effect.Effect<A, E | StoreUnavailable> => (reach.down === "before" ? fail : self))
    )
  const store = (known: Store.Store["Type"]) =>
    Store.Store.of({
      ...known,
      get: (user, id) => through("get", known.get(user, id)),
      metadata: (user, id) => through("metadata", known.metadata(user, id)),
      all: (user) => through("all", known.all(user)),
      sharing: (user, grant) => through("sharing", known.sharing(user, grant)),
      openAttempt: (grant) => through("openAttempt", known.openAttempt(grant)),
      // after a commit without an answer the store is there again
      outcome: (id) => whenReachable(known.outcome(id)),
      commit: (changes) => through("commit", known.commit(changes))
    })
  const heartbeats = (known: Processes.Heartbeats): Processes.Heartbeats => ({
    ...known,
    beat: (id) => whenReachable(known.beat(id)),
    end: (id) => Effect.suspend(() => (reach.down === "never" ? known.end(id) : fail))
  })
  return { reach, store, heartbeats }
}

/**
 * Everything in memory, over a scripted handler: by default the only process there is, or one of several on an engine, at
 * one provider, each with a spool of its own.
 */
export const world = (
  options: Service.Options & {
    readonly provider?: Partial<typeof Provider.Encoded>
    readonly engine?: Engine
    readonly at?: ReturnType<typeof make>
    readonly spool?: Receipts.Spool
  } = {}
) => {
  const { handler, layer: handlers, scripted } = options.at ?? make(options.provider)
  const { heartbeats, reach, store } = makeReach()
  const reached = (driver: Effect.Effect<Driver>) =>
    Layer.effect(Store.Store, Effect.map(Store.Store, store)).pipe(Layer.provide(Layer.orDie(Store.layer(driver))))
  const { engine } = options
  const shared =
    engine === undefined
      ? Layer.mergeAll(
          Layer.provideMerge(Layer.merge(reached(Memory.make), AuthorizationStore.layerMemory), Cipher.layerMemory),
          LeaseStore.layerMemory,
          LockService.layerMemory,
          AuditLog.layerMemory,
          Processes.layerSole,
          CircuitBreaker.layerMemory
        )
      : Layer.mergeAll(
          Layer.provideMerge(reached(Effect.succeed(engine.driver)), Layer.succeedContext(engine.ports)),
          Layer.orDie(Processes.layer(Effect.succeed(heartbeats(engine.heartbeats)))),
          CircuitBreaker.layer(Effect.succeed(engine.circuits))
        )
  const receipts = options.spool === undefined ? Receipts.layerMemory : Receipts.layer(Effect.succeed(options.spool))
  const ports = Layer.merge(Layer.provideMerge(receipts, shared), handlers)
  const layer = Layer.provideMerge(Service.layer({ sweeper: false, ...options }), ports)
  return { provider: scripted, handler, reach, layer }
}

/** An OAuth credential as its user would create it: by default expired a minute ago. */
export const oauth2 = (
  fields: {
    readonly id?: string
    readonly refreshToken?: string | null
    readonly expiresIn?: number | null
    readonly scopes?: ReadonlyArray<string>
  } = {}
): Effect.Effect<NewCredential> =>
  Effect.map(DateTime.now, (now) => ({
    ...(fields.id !== undefined && { id: CredentialId.to.make(fields.id) }),
    provider: providerId,
    variant: {
      type: "oauth2",
      accessToken: Redacted.make("access-0"),
      ...(fields.refreshToken !== null && { refreshToken: Redacted.make(fields.refreshToken ?? "refresh-0") }),
      ...(fields.expiresIn !== null && {
        accessTokenExpiresAt: DateTime.add(now, { seconds: fields.expiresIn ?? -60 })
      }),
      scopes: fields.scopes ?? []
    }
  }))

/** Stores such a credential. */
export const given = (fields?: Parameters<typeof oauth2>[0]) =>
  Effect.gen(function* () {
    const manager = yield* CredentialsManager
    const { id } = yield* manager.create(userId, yield* oauth2(fields))
    return id
  })

export const accessToken = (secret: { readonly accessToken?: Redacted.Redacted }) =>
  Option.getOrNull(Option.map(Option.fromNullable(secret.accessToken), Redacted.value))

/** Lets the other fibers run as far as they get without time passing. */
export const settle = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow(), { discard: true })

/** Lets time pass, and the other fibers run before and after. */
export const adjust = (duration: Duration.DurationInput) =>
  Effect.zipRight(settle, Effect.zipRight(TestClock.adjust(duration), settle))
