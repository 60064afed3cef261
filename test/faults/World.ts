/**
 * The service in this process, in memory, at a real provider over HTTP that keeps a ledger. An hour passes when the test
 * says so; what goes over the network takes its own time.
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import { assert } from "@effect/vitest"
import * as Credential from "../../src/Credential.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import * as LockService from "../../src/LockService.ts"
import { Receipts } from "../../src/Receipts.ts"
import * as Service from "../../src/Service.ts"
import { Store } from "../../src/Store.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"

export const user = Credential.UserId.make("ada")

export const make = Effect.fnUntraced(function* (definition: Readonly<Record<string, unknown>> = {}) {
  yield* TestClock.setTime(Date.parse("2026-01-01T00:00:00Z"))
  const provider = yield* ScriptedProvider.make()
  const context = yield* Layer.build(
    Service.layerMemory({
      providers: [provider.provider("acme", definition)],
      clients: provider.clients,
      allowLoopback: true,
      sweeper: false
    })
  )
  const manager = Context.get(context, CredentialsManager)
  const store = Context.get(context, Store)
  const receipts = Context.get(context, Receipts)
  const locks = Context.get(context, LockService.LockService)

  /** Stores a login whose access token expired a minute ago. */
  const connected = Effect.gen(function* () {
    const issued = provider.issue()
    const now = yield* DateTime.now
    const { id } = yield* manager.create(user, {
      provider: Credential.providerId("acme"),
      variant: {
        type: "oauth2",
        accessToken: Redacted.make(issued.accessToken),
        refreshToken: Redacted.make(issued.refreshToken),
        accessTokenExpiresAt: DateTime.subtract(now, { minutes: 1 }),
        scopes: []
      }
    })
    return { id, issued }
  })

  /** What is stored, with its tokens in the open. */
  const stored = (id: Credential.CredentialId) =>
    Effect.map(store.get(user, id), ({ generation, variant }) => ({
      generation,
      accessToken: variant.type === "oauth2" ? Redacted.value(variant.accessToken) : "",
      refreshToken: variant.type === "oauth2" && variant.refreshToken ? Redacted.value(variant.refreshToken) : ""
    }))

  const assertUnlocked = (id: Credential.CredentialId) =>
    Effect.map(locks.inspect(LockService.credentialKey(user, id)), (seen) =>
      assert.deepStrictEqual(seen, { holders: [], waiting: 0 })
    )

  return { provider, manager, store, receipts, connected, stored, assertUnlocked }
})

export type World = Effect.Effect.Success<ReturnType<typeof make>>

/** Until so many refreshes have arrived. */
export const refreshing = ({ provider }: Pick<World, "provider">, times = 1) =>
  provider.awaitLedger((ledger) => ledger.filter(({ kind }) => kind === "refresh_token").length >= times)
