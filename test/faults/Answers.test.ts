/** A provider that is slow, breaks off, or answers amiss, over HTTP: each way, for each operation. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import type { ProviderError } from "../../src/CredentialsError.ts"
import type * as ProviderFault from "../../src/testing/ScriptedProvider/Fault.ts"
import { Fault } from "../servers/ScriptedProvider.ts"
import * as Faults from "./Faults.ts"
import { perform } from "./Operations.ts"
import * as World from "./World.ts"

const several = Array.from({ length: 12 })

/** A refresh that brought nothing: how it is named, and whether the refresh token is spent all the same. */
const fails = (
  way: Faults.Way,
  fault: ProviderFault.Fault,
  expected: {
    readonly reason: ProviderError["reason"]
    readonly isSpent?: boolean
    /** The definition of the provider, where it says how it errs. */
    readonly definition?: Readonly<Record<string, unknown>>
    /** The time that passes before it is told. */
    readonly after?: "61 seconds"
  }
) =>
  Faults.each(
    way,
    `is ${expected.reason}, changes nothing, is not asked for at once again, and ${
      expected.isSpent === true ? "after one question the loss is recorded" : "then brings the token"
    }`,
    (operation) =>
      Effect.gen(function* () {
        const world = yield* World.make(expected.definition)
        const { manager, provider } = world
        const { id, issued } = yield* world.connected
        provider.next(fault)
        const asked = yield* Effect.fork(
          Effect.flip(perform(operation, manager, World.user, id, { wait: "2 minutes" }))
        )
        if (expected.after !== undefined) {
          yield* World.refreshing(world)
          yield* TestClock.adjust(expected.after)
        }
        const error = yield* Fiber.join(asked)
        assert.deepInclude(error, { _tag: "ProviderError", reason: expected.reason })
        const { accessToken, refreshToken } = issued
        assert.deepStrictEqual(yield* world.stored(id), { generation: 1, accessToken, refreshToken })
        yield* world.assertUnlocked(id)

        // readers and acquirers that come now are told the same, without the provider
        for (const [index] of several.entries()) {
          const other = Faults.operations[index % 2 === 0 ? 0 : 2] ?? "get"
          assert.deepInclude(yield* Effect.flip(perform(other, manager, World.user, id, { wait: "5 seconds" })), {
            _tag: "ProviderError",
            reason: expected.reason
          })
        }
        assert.strictEqual(provider.refreshes, 1)
        assert.strictEqual((yield* world.stored(id)).generation, 1)

        yield* TestClock.adjust("3 minutes")
        const last = perform(operation, manager, World.user, id, { wait: "2 minutes" })
        if (expected.isSpent === true) {
          assert.deepInclude(yield* Effect.flip(last), { _tag: "NeedsReauth", reason: "response_lost" })
          yield* Effect.flip(last)
          assert.deepInclude(yield* manager.metadata(World.user, id), { status: "needs_reauth", generation: 1 })
          assert.deepStrictEqual([provider.spends, provider.reuses, provider.refreshes], [1, 1, 2])
        } else {
          assert.strictEqual((yield* last).generation, 2)
          assert.isTrue(provider.isLive((yield* world.stored(id)).accessToken))
          assert.deepStrictEqual([provider.spends, provider.reuses, provider.refreshes], [1, 0, 2])
        }
        assert.deepStrictEqual(yield* world.store.openAttempts, [])
      })
  )

/** An answer a little beside the standard: its tokens are stored, and good for a while. */
const serves = (
  way: Faults.Way,
  fault: ProviderFault.Fault,
  definition: Readonly<Record<string, unknown>> = {},
  keepsRefreshToken = false
) =>
  Faults.each(way, "its token is stored and served, by one call however many ask", (operation) =>
    Effect.gen(function* () {
      const world = yield* World.make(definition)
      const { manager, provider } = world
      const { id, issued } = yield* world.connected
      provider.next(fault)
      const first = yield* perform(operation, manager, World.user, id)
      assert.strictEqual(first.generation, 2)
      const stored = yield* world.stored(id)
      assert.isTrue(provider.isLive(stored.accessToken))
      if (first.accessToken !== undefined) assert.strictEqual(first.accessToken, stored.accessToken)
      if (keepsRefreshToken) assert.strictEqual(stored.refreshToken, issued.refreshToken)
      else assert.isTrue(provider.isRefreshable(stored.refreshToken))
      for (const [index] of several.entries()) {
        yield* perform(index % 2 === 0 ? "get" : "acquire", manager, World.user, id)
      }
      yield* manager.refresh(World.user, id, { ifGeneration: 1 })
      assert.deepStrictEqual([provider.refreshes, provider.spends, provider.reuses], [1, 1, 0])
      assert.deepInclude(yield* manager.metadata(World.user, id), { status: "active", generation: 2 })
      assert.deepStrictEqual(yield* world.receipts.all, [])
    })
  )

const slow = Faults.each(
  "slow",
  "those who waited less are told so, the answer is stored, and who waits has it",
  (operation) =>
    Effect.gen(function* () {
      const world = yield* World.make()
      const { manager, provider } = world
      const { id } = yield* world.connected
      provider.next(Fault.slow({ before: "20 seconds", after: "20 seconds" }))
      const [hasty, patient] = yield* Effect.all([
        Effect.fork(Effect.flip(perform(operation, manager, World.user, id, { wait: "5 seconds" }))),
        Effect.fork(perform(operation, manager, World.user, id, { wait: "2 minutes" }))
      ])
      yield* World.refreshing(world)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(hasty))._tag, "LockTimeout")
      yield* TestClock.adjust("15 seconds")
      yield* provider.awaitLedger(([first]) => first?.outcome === "rotated")
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* Fiber.join(patient)).generation, 2)
      assert.isTrue(provider.isLive((yield* world.stored(id)).accessToken))
      assert.deepStrictEqual([provider.refreshes, provider.spends, provider.reuses], [1, 1, 0])
      yield* world.assertUnlocked(id)
    })
)

const nested = Fault.nested("authed_user")

Faults.play([
  ...slow,
  ...fails("too slow", Fault.slow({ before: "10 minutes" }), { reason: "timeout", after: "61 seconds" }),
  ...fails("reset before it spends", Fault.resetBefore, { reason: "unreachable" }),
  ...fails("reset after it spent", Fault.resetAfter, { reason: "unreachable", isSpent: true }),
  ...fails("429", Fault.throttled(120), { reason: "throttled" }),
  ...[500, 502, 503, 504].flatMap((status) => fails("5xx", Fault.down(status), { reason: "unreachable" })),
  ...fails("HTML", Fault.html(502), { reason: "unreachable" }),
  ...fails("HTML with 200", Fault.html(200), { reason: "malformed_response" }),
  ...fails("truncated", Fault.truncated, { reason: "unreachable", isSpent: true }),
  ...fails("empty", Fault.empty, { reason: "malformed_response", isSpent: true }),
  ...fails("200 with an error", Fault.errorIn200("server_error"), { reason: "unreachable" }),
  ...fails("200 with ok: false", Fault.notOk("something"), { reason: "rejected" }),
  ...fails("a nested token", nested, { reason: "malformed_response", isSpent: true }),
  ...serves("a nested token, as its data says", nested, { tokenPath: "authed_user" }),
  ...serves("no refresh_token", Fault.without("refresh_token"), {}, true),
  ...serves("no expires_in", Fault.without("expires_in")),
  ...serves("expires_in negative", Fault.expiresIn(-1)),
  ...serves("expires_in 0", Fault.expiresIn(0)),
  ...serves("expires_in 1e18", Fault.expiresIn(1e18)),
  ...serves('expires_in "3600"', Fault.expiresIn("3600")),
  ...serves("expires_in NaN", Fault.expiresIn(Number.NaN))
])
