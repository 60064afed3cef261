/** Refusals, failures that last, a tenant that asks for all, and what was restored, in this process: each for each operation. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { type CredentialId, UserId } from "../../src/Credential.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import { OutboundFailure } from "../../src/Outbound.ts"
import * as Restoration from "../../src/Restoration.ts"
import { Store } from "../../src/Store.ts"
import * as ScriptedHandler from "../ScriptedHandler.ts"
import { adjust, answer, oauth2, settle, userId } from "../ScriptedHandler.ts"
import * as Faults from "./Faults.ts"
import { perform } from "./Operations.ts"
import { make, theirs } from "./Scripted.ts"

const refusal = answer(400, { error: "invalid_grant" })

const rowChanged = Faults.each(
  "the row has changed",
  "the new one is adopted, and nothing is sent any more",
  (operation) =>
    Effect.gen(function* () {
      const { id, manager, provider, store, stored } = yield* make()
      provider.next(() => Effect.delay(Effect.succeed(refusal), "5 seconds"))
      const asked = yield* Effect.fork(perform(operation, manager, userId, id))
      yield* settle
      yield* Effect.flatMap(theirs, (replacement) => manager.update(userId, id, replacement))
      yield* adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(asked)).generation, 2)
      assert.deepStrictEqual(yield* stored, { generation: 2, accessToken: "theirs" })
      assert.strictEqual((yield* manager.metadata(userId, id)).status, "active")
      yield* adjust("10 minutes")
      assert.strictEqual((yield* perform("acquire", manager, userId, id)).accessToken, "theirs")
      assert.deepStrictEqual(yield* store.openAttempts, [])
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
    })
)

const inPassing = Faults.each(
  "in passing",
  "it is asked once more, and then either has the token or knows for good",
  (operation) =>
    Effect.gen(function* () {
      const passing = yield* make({ provider: { invalidGrantMayPass: true } })
      passing.provider.next(() => Effect.succeed(refusal))
      const asked = yield* Effect.fork(perform(operation, passing.manager, userId, passing.id))
      yield* adjust("1 second")
      assert.strictEqual((yield* Fiber.join(asked)).generation, 2)
      assert.deepStrictEqual(passing.provider.spent, ["refresh-0", "refresh-0"])
      assert.strictEqual(passing.provider.reuses(), 0)

      const lasting = yield* make({ provider: { invalidGrantMayPass: true } })
      lasting.provider.always(() => Effect.succeed(refusal))
      const told = yield* Effect.fork(Effect.flip(perform(operation, lasting.manager, userId, lasting.id)))
      yield* adjust("1 second")
      assert.deepInclude(yield* Fiber.join(told), { _tag: "NeedsReauth", reason: "grant_revoked" })
      yield* adjust("10 minutes")
      yield* Effect.flip(perform(operation, lasting.manager, userId, lasting.id))
      assert.strictEqual(lasting.provider.spent.length, 2)
    })
)

const forGood = (way: Faults.Way, status: number) =>
  Faults.each(way, "a new login is asked for, the tokens stay, and nothing is sent any more", (operation) =>
    Effect.gen(function* () {
      const { id, isUnlocked, manager, provider, store, stored } = yield* make()
      provider.always(() => Effect.succeed(answer(status, { error: "invalid_grant" })))
      const expected = { _tag: "NeedsReauth", reason: "grant_revoked" } as const
      assert.deepInclude(yield* Effect.flip(perform(operation, manager, userId, id)), expected)
      for (let hour = 0; hour < 5; hour++) {
        for (const other of Faults.operations) {
          assert.deepInclude(yield* Effect.flip(perform(other, manager, userId, id)), expected)
        }
        yield* adjust("1 hour")
      }
      assert.deepStrictEqual(yield* stored, { generation: 1, accessToken: "access-0" })
      assert.deepInclude(yield* manager.metadata(userId, id), { status: "needs_reauth", statusReason: "grant_revoked" })
      assert.deepStrictEqual(yield* store.openAttempts, [])
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      yield* isUnlocked
    })
  )

const unsent = Effect.fail(new OutboundFailure({ sent: false, reason: "unreachable" }))

const thousand = Array.from({ length: 1_000 })

const atOnce = Faults.each("1,000 at once", "one call is made, and all share its failure", (operation) =>
  Effect.gen(function* () {
    const { id, isUnlocked, manager, provider } = yield* make()
    provider.always(() => Effect.zipRight(Effect.sleep("1 second"), unsent))
    const asked = yield* Effect.fork(
      Effect.all(
        thousand.map(() => Effect.flip(perform(operation, manager, userId, id, { wait: "2 minutes" }))),
        { concurrency: "unbounded" }
      )
    )
    yield* adjust("1 second")
    for (const error of yield* Fiber.join(asked)) {
      assert.deepInclude(error, { _tag: "ProviderError", reason: "unreachable" })
    }
    assert.strictEqual(provider.spent.length, 1)
    yield* isUnlocked
  })
)

const inTurn = Faults.each("one after the other", "one call is made in each back-off", (operation) =>
  Effect.gen(function* () {
    const { id, manager, provider } = yield* make()
    provider.always(() => Effect.succeed(answer(429, "", { "retry-after": "60" })))
    // ten in each six seconds, for ten minutes
    for (let round = 0; round < 100; round++) {
      const errors = yield* Effect.all(
        Array.from({ length: 10 }, () => Effect.flip(perform(operation, manager, userId, id, { wait: "5 seconds" }))),
        { concurrency: "unbounded" }
      )
      for (const error of errors) assert.deepInclude(error, { _tag: "ProviderError", reason: "throttled" })
      yield* TestClock.adjust("6 seconds")
    }
    assert.strictEqual(provider.spent.length, 10)

    // a failure that says no time: back-offs that double, which only a demand passes
    const doubling = yield* make()
    doubling.provider.always(() => unsent)
    const other = operation === "refresh" ? "get" : operation
    for (let second = 0; second < 600; second += 4) {
      yield* Effect.flip(perform(other, doubling.manager, userId, doubling.id, { wait: "5 seconds" }))
      yield* TestClock.adjust("4 seconds")
    }
    // 2, 4, 8 … 256 seconds
    assert.isAtLeast(doubling.provider.spent.length, 7)
    assert.isAtMost(doubling.provider.spent.length, 10)
  })
)

const hotTenant = Faults.each(
  "a hot tenant in one process",
  "the quiet ones wait for their own exchange alone, as they do without it",
  (operation) =>
    Effect.gen(function* () {
      const { manager, provider } = yield* make()
      provider.always((spend, token) =>
        Effect.delay(Effect.sync(spend), token.startsWith("hot") ? "50 seconds" : "200 millis")
      )
      const tenant = Effect.fnUntraced(function* (name: string, refreshToken: string) {
        const user = UserId.make(name)
        const { id } = yield* manager.create(user, yield* oauth2({ refreshToken }))
        return { user, id }
      })
      const ask = ({ id, user }: { readonly id: CredentialId; readonly user: UserId }) =>
        Effect.map(Effect.timed(perform(operation, manager, user, id, { wait: "2 minutes" })), ([took]) => took)
      /** No time passes until so many are at the provider. */
      const sent = (count: number) => Effect.repeat(settle, { until: () => provider.spent.length === count })
      const quiet = Effect.fnUntraced(function* (round: string) {
        const before = provider.spent.length
        const tenants = yield* Effect.forEach(Array.from({ length: 99 }), (_, n) =>
          tenant(`${round}-${n}`, `${round}-${n}`)
        )
        const asked = yield* Effect.fork(Effect.forEach(tenants, ask, { concurrency: "unbounded" }))
        yield* sent(before + 99)
        yield* TestClock.adjust("200 millis")
        return yield* Fiber.join(asked)
      })
      const alone = yield* quiet("alone")
      const hot = yield* Effect.forEach(Array.from({ length: 10 }), (_, n) => tenant("hot", `hot-${n}`))
      const load = yield* Effect.fork(
        Effect.forEach(Array.from({ length: 20 }, () => hot).flat(), ask, { concurrency: "unbounded" })
      )
      yield* sent(109)
      const beside = yield* quiet("beside")
      assert.isTrue(Option.isNone(yield* Fiber.poll(load)))
      assert.deepStrictEqual(beside, alone)
      yield* adjust("1 minute")
      yield* Fiber.join(load)
      assert.strictEqual(provider.reuses(), 0)
    })
)

const backupRestored = Faults.each(
  "backup restored",
  "what an operator holds back is served while it lives, then presented once: a loss is named, and nothing asked for again",
  (operation) =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.parse("2026-01-01T00:00:00Z"))
      // a grace of the provider's counts from the spending, which nobody knows of
      const { layer, provider } = ScriptedHandler.world({ provider: { reuseGraceSeconds: 3_600 } })
      const context = yield* Layer.build(Layer.provideMerge(Restoration.layer, layer))
      const manager = Context.get(context, CredentialsManager)
      const store = Context.get(context, Store)
      const create = (refreshToken: string) =>
        Effect.flatMap(oauth2({ refreshToken, expiresIn: 600 }), (credential) => manager.create(userId, credential))
      const [kept, spent] = [yield* create("kept"), yield* create("spent")]
      assert.deepInclude(yield* Context.get(context, Restoration.Restoration).holdBack, { held: 2 })
      const held = new Map((yield* store.openAttempts).map((attempt) => [attempt.grant, attempt.id]))
      assert.strictEqual(held.size, 2)

      // what would be due by its margin is left alone
      yield* adjust("595 seconds")
      for (const { id } of [kept, spent]) {
        assert.strictEqual((yield* perform("get", manager, userId, id)).generation, 1)
        assert.strictEqual((yield* perform("acquire", manager, userId, id)).generation, 1)
      }
      assert.deepStrictEqual(provider.spent, [])

      yield* adjust("6 seconds")
      provider.always((spend, token) => Effect.sync(() => (token === "spent" ? refusal : spend())))
      assert.strictEqual((yield* perform(operation, manager, userId, kept.id)).generation, 2)
      const told = yield* Effect.flip(perform(operation, manager, userId, spent.id))
      assert.deepInclude(told, { _tag: "NeedsReauth", reason: "response_lost" })
      assert.include([...held.values()], told._tag === "NeedsReauth" ? told.attemptId : undefined)
      yield* adjust("1 hour")
      for (const other of Faults.operations) yield* Effect.flip(perform(other, manager, userId, spent.id))
      assert.deepStrictEqual(provider.spent, ["kept", "spent"])
      assert.deepStrictEqual(yield* store.openAttempts, [])
    })
)

Faults.play([
  ...rowChanged,
  ...inPassing,
  ...forGood("for good", 400),
  ...forGood("for good, in a 200", 200),
  ...atOnce,
  ...inTurn,
  ...hotTenant,
  ...backupRestored
])
