/**
 * A provider without a network: a `HandlerRegistry` whose one handler keeps a ledger of what was spent and answers as
 * scripted, so that renewals run under `TestClock`.
 */
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as AuditLog from "../src/AuditLog.ts"
import * as AuthorizationStore from "../src/AuthorizationStore.ts"
import * as Cipher from "../src/Cipher.ts"
import { CredentialId, type NewCredential, ProviderId, UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { StoreUnavailable } from "../src/CredentialsError.ts"
import { HandlerRegistry } from "../src/HandlerRegistry.ts"
import type { Handler } from "../src/HandlerRegistry/Handler.ts"
import * as LeaseStore from "../src/LeaseStore.ts"
import * as LockService from "../src/LockService.ts"
import type { Answer, OutboundFailure } from "../src/Outbound.ts"
import { Provider } from "../src/Provider.ts"
import * as ProviderCatalogue from "../src/ProviderCatalogue.ts"
import * as Receipts from "../src/Receipts.ts"
import * as Service from "../src/Service.ts"
import * as Store from "../src/Store.ts"
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
  const layer = Layer.merge(
    Layer.succeed(HandlerRegistry, {
      forLogin: () => Effect.succeed(handler),
      of: () => Effect.succeed(handler),
      isConfigured: () => true
    }),
    ProviderCatalogue.layer([provider])
  )
  return { scripted, layer, handler }
}

/** How the store is reached: every call of it is listed, and it can be out of reach, before it does anything or after. */
export interface Reach {
  down: "never" | "before" | "after"
  readonly calls: Array<string>
}

const makeReach = () => {
  const reach: Reach = { down: "never", calls: [] }
  const layer = Layer.effect(
    Store.Store,
    Effect.map(Store.Store, (store) => {
      const fail = Effect.fail(new StoreUnavailable({ retryAfterSeconds: 1 }))
      const through = <A, E>(name: string, self: Effect.Effect<A, E>) =>
        Effect.suspend((): Effect.Effect<A, E | StoreUnavailable> => {
          reach.calls.push(name)
          if (reach.down === "before") return fail
          return reach.down === "after" ? Effect.zipRight(self, fail) : self
        })
      return Store.Store.of({
        ...store,
        get: (user, id) => through("get", store.get(user, id)),
        metadata: (user, id) => through("metadata", store.metadata(user, id)),
        all: (user) => through("all", store.all(user)),
        sharing: (user, grant) => through("sharing", store.sharing(user, grant)),
        openAttempt: (grant) => through("openAttempt", store.openAttempt(grant)),
        // after a commit without an answer the store is there again
        isOpen: (id) => (reach.down === "before" ? fail : store.isOpen(id)),
        commit: (changes) => through("commit", store.commit(changes))
      })
    })
  ).pipe(Layer.provide(Store.layerMemory))
  return { reach, layer }
}

/** Everything in memory, over a scripted handler. */
export const world = (options: Service.Options & { readonly provider?: Partial<typeof Provider.Encoded> } = {}) => {
  const { handler, layer: handlers, scripted } = make(options.provider)
  const { layer: store, reach } = makeReach()
  const sealed = Layer.mergeAll(store, AuthorizationStore.layerMemory, Receipts.layerMemory).pipe(
    Layer.provideMerge(Cipher.layerMemory)
  )
  const ports = Layer.mergeAll(sealed, handlers, LeaseStore.layerMemory, LockService.layerMemory, AuditLog.layerMemory)
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
