import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { CredentialId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import * as Restoration from "../src/Restoration.ts"
import { Store } from "../src/Store.ts"
import { accessToken, adjust, answer, given, userId, world } from "./ScriptedHandler.ts"

const restored = (options?: Parameters<typeof world>[0]) => {
  const { layer, provider } = world(options)
  return { provider, layer: Layer.provideMerge(Restoration.layer, layer) }
}

const holdBack = Effect.flatMap(Restoration.Restoration, (restoration) => restoration.holdBack)

const get = (id: CredentialId) => Effect.flatMap(CredentialsManager, (manager) => manager.get(userId, id))

describe("a grant that is held back", () => {
  it.effect("is not renewed while its access token lives, and then by presenting its refresh token once", () => {
    const { layer, provider } = restored()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: 600 })
      assert.deepStrictEqual(yield* holdBack, { held: 1, before: 0, exempt: 0 })
      // due by its margin, and all the same
      yield* adjust("595 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      assert.deepStrictEqual(provider.spent, [])
      yield* adjust("6 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-1")
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      // from here on it is a grant like all others
      assert.deepStrictEqual(yield* Effect.flatMap(Store, (store) => store.openAttempts), [])
    }).pipe(Effect.provide(layer))
  })

  it.effect("and refused, is recorded as lost under its attempt, and not asked for again", () => {
    const { layer, provider } = restored({ provider: { reuseGraceSeconds: 3_600 } })
    return Effect.gen(function* () {
      const id = yield* given()
      yield* holdBack
      const [attempt] = yield* Effect.flatMap(Store, (store) => store.openAttempts)
      assert.isDefined(attempt)
      provider.always(() => Effect.succeed(answer(400, { error: "invalid_grant" })))
      assert.deepInclude(yield* Effect.flip(get(id)), {
        _tag: "NeedsReauth",
        reason: "response_lost",
        attemptId: attempt.id
      })
      yield* adjust("1 hour")
      yield* Effect.flip(get(id))
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("is not presented within a grace that was counted from the restoration", () => {
    const { layer, provider } = restored({ provider: { reuseGraceSeconds: 3_600 } })
    return Effect.gen(function* () {
      yield* adjust("365 days")
      const id = yield* given({ expiresIn: 600 })
      yield* holdBack
      yield* adjust("595 seconds")
      assert.strictEqual(accessToken(yield* get(id)), "access-0")
      assert.deepStrictEqual(provider.spent, [])
    }).pipe(Effect.provide(layer))
  })
})

it.effect("holding back again changes nothing; credentials of one grant are one; others are not touched", () => {
  const { layer } = restored()
  return Effect.gen(function* () {
    yield* given({ refreshToken: "shared" })
    yield* given({ refreshToken: "shared" })
    for (let index = 0; index < 600; index++) yield* given({ refreshToken: `refresh token ${index}` })
    yield* given({ refreshToken: null })
    assert.deepStrictEqual(yield* holdBack, { held: 601, before: 0, exempt: 0 })
    assert.deepStrictEqual(yield* holdBack, { held: 0, before: 601, exempt: 0 })
  }).pipe(Effect.provide(layer))
})

it.effect("a provider that keeps its refresh tokens is asked as always", () => {
  const { layer, provider } = restored({ provider: { rotatesRefreshToken: false } })
  return Effect.gen(function* () {
    const id = yield* given()
    assert.deepStrictEqual(yield* holdBack, { held: 0, before: 0, exempt: 1 })
    assert.strictEqual(accessToken(yield* get(id)), "access-1")
    assert.deepStrictEqual(provider.spent, ["refresh-0"])
  }).pipe(Effect.provide(layer))
})
