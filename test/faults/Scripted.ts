/** The service at a provider without a network, and a credential that expired. Time passes when the test says so. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import { credentialKey, LockService } from "../../src/LockService.ts"
import { OAuthFlow } from "../../src/OAuthFlow.ts"
import { Receipts } from "../../src/Receipts.ts"
import { Store } from "../../src/Store.ts"
import * as ScriptedHandler from "../ScriptedHandler.ts"
import { oauth2, userId } from "../ScriptedHandler.ts"

const flow = { publicUrl: "https://us.test", redirectUri: "https://us.test/oauth/callback", returnUrls: [] }

/** The service, and a credential whose access token expired a minute ago. */
export const make = Effect.fnUntraced(function* (options: Parameters<typeof ScriptedHandler.world>[0] = {}) {
  const { layer, provider } = ScriptedHandler.world({ flow, ...options })
  const context = yield* Layer.build(layer)
  const manager = Context.get(context, CredentialsManager)
  const store = Context.get(context, Store)
  const { id } = yield* manager.create(userId, yield* oauth2())
  return {
    provider,
    manager,
    store,
    id,
    logins: Context.get(context, OAuthFlow),
    receipts: Context.get(context, Receipts),
    stored: Effect.map(store.get(userId, id), (credential) => ({
      generation: credential.generation,
      accessToken: credential.variant.type === "oauth2" ? Redacted.value(credential.variant.accessToken) : ""
    })),
    isUnlocked: Effect.map(Context.get(context, LockService).inspect(credentialKey(userId, id)), (seen) =>
      assert.deepStrictEqual(seen, { holders: [], waiting: 0 })
    )
  }
})

/** What the user connects in its place: good for an hour. */
export const theirs = Effect.map(DateTime.now, (now) => ({
  variant: {
    type: "oauth2" as const,
    accessToken: Redacted.make("theirs"),
    refreshToken: Redacted.make("theirs-too"),
    accessTokenExpiresAt: DateTime.add(now, { hours: 1 })
  }
}))

export type World = Effect.Effect.Success<ReturnType<typeof make>>
