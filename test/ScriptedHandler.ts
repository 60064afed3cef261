/**
 * A provider without a network: a `HandlerRegistry` whose one handler keeps a ledger of what was spent and answers as
 * scripted, so that renewals run under `TestClock`.
 */
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
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
import { HandlerRegistry } from "../src/HandlerRegistry.ts"
import type { Handler } from "../src/HandlerRegistry/Handler.ts"
import * as LeaseStore from "../src/LeaseStore.ts"
import * as LockService from "../src/LockService.ts"
import type { Answer, OutboundFailure } from "../src/Outbound.ts"
import * as Processes from "../src/Processes.ts"
import { Provider } from "../src/Provider.ts"
import * as Outbound from "../src/Outbound.ts"
import * as ProviderCatalogue from "../src/ProviderCatalogue.ts"
import * as Receipts from "../src/Receipts.ts"
import * as Service from "../src/Service.ts"
import * as Store from "../src/Store.ts"
import type { Driver } from "../src/Store/Driver.ts"
import * as Memory from "../src/Store/Memory.ts"
import { readTokens } from "../src/TokenEndpoint.ts"

export const userId = UserId.make("user-1")
export const providerId = ProviderId.to.make("acme")

export const answer = (status: number, body: unknown, headers: Record<string, string> = {}): Answer => ({
  status,
  headers,
  body: Redacted.make(Buffer.from(typeof body === "string" ? body : JSON.stringify(body)))
})

type Script = (spend: () => Answer, token: string) => Effect.Effect<Answer, OutboundFailure>

export interface ScriptedHandler {
  /** Every refresh token that was presented, in order. */
  readonly spent: Array<string>
  /** Every code that was presented. */
  readonly exchanged: Array<string>
  readonly revoked: Array<string>
  /** How many presented refresh tokens had been spent before. */
  readonly reuses: () => number
  /** Each befalls one coming refresh or exchange. */
  readonly next: (...scripts: ReadonlyArray<Script>) => void
  readonly always: (script: Script | undefined) => void
  /** What a token answer holds beside the tokens. */
  readonly fields: Record<string, unknown>
}

export const make = (definition: Partial<typeof Provider.Encoded> = {}) => {
  const provider = Schema.decodeUnknownSync(Provider)({
    id: "acme",
    authorizationUrl: "https://acme.test/authorize",
    tokenUrl: "https://acme.test/token",
    revocationUrl: "https://acme.test/revoke",
    ...definition
  })
  const spent: Array<string> = []
  const exchanged: Array<string> = []
  const revoked: Array<string> = []
  const queue: Array<Script> = []
  const fields: Record<string, unknown> = { token_type: "bearer", expires_in: 3600 }
  let standing: Script | undefined
  let count = 0
  const used = new Set<string>()
  let reuses = 0

  const spend = (token: string) => () => {
    if (provider.rotatesRefreshToken && used.has(token)) {
      reuses++
      return answer(400, { error: "invalid_grant" })
    }
    used.add(token)
    count++
    return answer(200, {
      access_token: `access-${count}`,
      ...(provider.rotatesRefreshToken && { refresh_token: `refresh-${count}` }),
      ...fields
    })
  }

  const handler: Handler = {
    provider,
    authorizationUrl: ({ codeChallenge, state }) =>
      Redacted.make(`https://acme.test/authorize?state=${Redacted.value(state)}&code_challenge=${codeChallenge}`),
    exchange: ({ code }) =>
      Effect.suspend(() => {
        const token = Redacted.value(code)
        exchanged.push(token)
        const script = queue.shift() ?? standing
        return script === undefined ? Effect.sync(spend(token)) : script(spend(token), token)
      }),
    refresh: (redacted) =>
      Effect.suspend(() => {
        const token = Redacted.value(redacted)
        spent.push(token)
        const script = queue.shift() ?? standing
        return script === undefined ? Effect.sync(spend(token)) : script(spend(token), token)
      }),
    read: (given) => Effect.map(DateTime.now, (now) => readTokens(provider, given, now.epochMillis)),
    revoke: (token) =>
      Effect.sync(() => {
        revoked.push(Redacted.value(token))
        return Either.right(undefined)
      })
  }
  const scripted: ScriptedHandler = {
    spent,
    exchanged,
    revoked,
    reuses: () => reuses,
    next: (...scripts) => void queue.push(...scripts),
    always: (script) => void (standing = script),
    fields
  }
  const layer = Layer.mergeAll(
    Layer.succeed(HandlerRegistry, {
      forLogin: () => Effect.succeed(handler),
      of: () => Effect.succeed(handler),
      isConfigured: ({ id }) => id === provider.id
    }),
    ProviderCatalogue.layer([provider]),
    Outbound.layer({ allowLoopback: false })
  )
  return { scripted, layer, handler }
}

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
