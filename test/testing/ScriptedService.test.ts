import { assert, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Credential from "../../src/Credential.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import { OAuthFlow } from "../../src/OAuthFlow.ts"
import * as Service from "../../src/Service.ts"
import { ScriptedHandler, ScriptedProvider, ScriptedService } from "../../src/testing.ts"

const user = Credential.UserId.make("ada")

const expired = (provider: string, refreshToken: string) =>
  Effect.map(DateTime.now, (now) => ({
    provider: Credential.providerId(provider),
    variant: {
      type: "oauth2" as const,
      accessToken: Redacted.make("expired"),
      refreshToken: Redacted.make(refreshToken),
      accessTokenExpiresAt: DateTime.subtract(now, { minutes: 1 }),
      scopes: []
    }
  }))

it.scopedLive("the service is its provider's client: it renews there, and logs in", () =>
  Effect.gen(function* () {
    const manager = yield* CredentialsManager
    const provider = yield* ScriptedProvider.ScriptedProvider
    const { id } = yield* manager.create(user, yield* expired("fake", provider.issue().refreshToken))
    yield* manager.get(user, id)
    assert.strictEqual(provider.spends, 1)
    const { authorizationUrl } = yield* (yield* OAuthFlow).authorize(user, Credential.providerId("fake"), {})
    assert.isTrue(Redacted.value(authorizationUrl).startsWith(provider.authorizationUrl))
  }).pipe(Effect.provide(ScriptedService.layer({ id: "fake", provider: { accessTokenSeconds: 60 } })))
)

it.effect("a provider without a network does what its script says, once", () => {
  const { layer, scripted } = ScriptedHandler.make()
  const service = Service.layer({ sweeper: false }).pipe(
    Layer.provideMerge(Layer.merge(Service.layerMemoryEngine, layer))
  )
  return Effect.gen(function* () {
    const manager = yield* CredentialsManager
    const { id } = yield* manager.create(user, yield* expired("acme", "refresh-0"))
    scripted.next(() => Effect.succeed(ScriptedHandler.answer(503, "")))
    assert.strictEqual((yield* Effect.flip(manager.get(user, id)))._tag, "ProviderError")
    assert.deepStrictEqual([scripted.spent, scripted.reuses()], [["refresh-0"], 0])
  }).pipe(Effect.provide(service))
})
