/**
 * Callers that go away, users that act meanwhile, refusals, and failures that last, in this process: each for each operation.
 * Time passes when the test says so.
 */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import { type CredentialId, UserId } from "../../src/Credential.ts"
import { CredentialsManager, type RenewalError } from "../../src/CredentialsManager.ts"
import { credentialKey, LockService } from "../../src/LockService.ts"
import { OAuthFlow } from "../../src/OAuthFlow.ts"
import { OutboundFailure } from "../../src/Outbound.ts"
import { Receipts } from "../../src/Receipts.ts"
import * as Restoration from "../../src/Restoration.ts"
import { Change, Store } from "../../src/Store.ts"
import type { Driver } from "../../src/Store/Driver.ts"
import * as ScriptedHandler from "../ScriptedHandler.ts"
import { accessToken, adjust, answer, oauth2, providerId, settle, userId } from "../ScriptedHandler.ts"
import * as Faults from "./Faults.ts"
import { perform } from "./Operations.ts"

const flow = { publicUrl: "https://us.test", redirectUri: "https://us.test/oauth/callback", returnUrls: [] }

/** The service, and a credential whose access token expired a minute ago. */
const make = Effect.fnUntraced(function* (options: Parameters<typeof ScriptedHandler.world>[0] = {}) {
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
const theirs = Effect.map(DateTime.now, (now) => ({
  variant: {
    type: "oauth2" as const,
    accessToken: Redacted.make("theirs"),
    refreshToken: Redacted.make("theirs-too"),
    accessTokenExpiresAt: DateTime.add(now, { hours: 1 })
  }
}))

const refusal = answer(400, { error: "invalid_grant" })

const timesOut = Faults.each(
  "times out",
  "the exchange and the save go on, and the next caller has the token",
  (operation) =>
    Effect.gen(function* () {
      const { id, isUnlocked, manager, provider, stored } = yield* make()
      provider.next((spend) => Effect.delay(Effect.sync(spend), "10 seconds"))
      const asked = yield* Effect.fork(Effect.flip(perform(operation, manager, userId, id, { wait: "1 second" })))
      yield* adjust("1 second")
      assert.strictEqual((yield* Fiber.join(asked))._tag, "LockTimeout")
      yield* isUnlocked
      yield* adjust("9 seconds")
      assert.deepStrictEqual(yield* stored, { generation: 2, accessToken: "access-1" })
      yield* perform("acquire", manager, userId, id, { wait: "0 seconds" })
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
    })
)

const stepMillis = 10

/** An engine of which each step takes a while, so that there are moments between them. */
const slowly = (driver: Driver) => {
  let isSlow = false
  const step = (self: Effect.Effect<unknown, unknown>) =>
    Effect.suspend(() => (isSlow ? Effect.delay(self, stepMillis) : self))
  const slow = Object.fromEntries(
    Object.entries(driver).map(([name, value]: readonly [string, unknown]) => [
      name,
      typeof value === "function"
        ? (...given: ReadonlyArray<unknown>) => step(value(...given))
        : Effect.isEffect(value)
          ? step(value as Effect.Effect<unknown>)
          : value
    ])
  ) as unknown as Driver
  return { driver: slow, setSlow: (value: boolean) => void (isSlow = value) }
}

/** So many moments, one after the other: what begins in one can end in a later one. */
const moments = (count: number) =>
  Effect.repeatN(Effect.zipRight(TestClock.adjust(stepMillis / 2), Effect.yieldNow()), count - 1)

const interrupted = Faults.each(
  "interrupted anywhere",
  "before it is sent nothing is spent, after it the answer is stored; no lock is left",
  (operation) =>
    Effect.gen(function* () {
      const seen = { unsent: 0, sent: 0, done: 0 }
      for (let moment = 1; seen.done < 1 && moment < 100; moment += 2) {
        const engine = yield* ScriptedHandler.engine
        const { driver, setSlow } = slowly(engine.driver)
        const { id, isUnlocked, manager, provider, stored } = yield* make({ engine: { ...engine, driver } })
        provider.always((spend) => Effect.delay(Effect.delay(Effect.sync(spend), 3 * stepMillis), 3 * stepMillis))
        setSlow(true)
        const caller = yield* Effect.fork(perform(operation, manager, userId, id))
        yield* moments(moment)
        const isDone = Option.isSome(yield* Fiber.poll(caller))
        const isSent = provider.spent.length > 0
        seen[isDone ? "done" : isSent ? "sent" : "unsent"]++
        const interruption = yield* Effect.fork(Fiber.interrupt(caller))
        yield* moments(40)
        yield* Fiber.join(interruption)
        setSlow(false)
        // a flight belongs to nobody: it goes on once it was started
        const { generation } = yield* stored
        assert.strictEqual(generation, provider.spent.length + 1)
        if (isSent) assert.strictEqual(generation, 2)
        yield* isUnlocked
        const next = yield* Effect.fork(perform("acquire", manager, userId, id))
        yield* moments(20)
        assert.strictEqual((yield* Fiber.join(next)).accessToken, "access-1")
        assert.deepStrictEqual([provider.spent, provider.reuses()], [["refresh-0"], 0])
      }
      assert.isAtLeast(seen.unsent, 3)
      assert.isAtLeast(seen.sent, 3)
    })
)

const replacing = {
  updates: ({ id, manager }: Effect.Effect.Success<ReturnType<typeof make>>) =>
    Effect.flatMap(theirs, (replacement) => manager.update(userId, id, replacement)),
  reconnects: ({ id, logins }: Effect.Effect.Success<ReturnType<typeof make>>) =>
    Effect.gen(function* () {
      const { state } = yield* logins.authorize(userId, providerId, { credentialId: id })
      return yield* logins.callback({ state, code: Redacted.make("code") }, { userId, provider: providerId })
    })
}

const replaced = (["updates", "reconnects"] as const).flatMap((way) =>
  Faults.each(way, "theirs is stored and served to who waits, and the answer that came late is kept", (operation) =>
    Effect.gen(function* () {
      const world = yield* make()
      const { id, manager, provider, receipts, store, stored } = world
      provider.next((spend) => Effect.delay(Effect.sync(spend), "5 seconds"))
      const asked = yield* Effect.fork(perform(operation, manager, userId, id))
      yield* settle
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      yield* replacing[way](world)
      const own = yield* stored
      assert.strictEqual(own.generation, 2)
      yield* adjust("5 seconds")
      const served = yield* Fiber.join(asked)
      assert.strictEqual(served.generation, 2)
      if (operation !== "refresh") assert.strictEqual(served.accessToken, own.accessToken)
      yield* adjust("10 minutes")
      assert.deepStrictEqual(yield* stored, own)
      assert.lengthOf(yield* receipts.all, 1)
      assert.deepStrictEqual(yield* store.openAttempts, [])
      assert.deepStrictEqual([provider.spent, provider.reuses()], [["refresh-0"], 0])
    })
  )
)

const isGone = ({ id, manager }: Effect.Effect.Success<ReturnType<typeof make>>) =>
  Effect.gen(function* () {
    for (const operation of Faults.operations) {
      const error = yield* Effect.flip(perform(operation, manager, userId, id))
      assert.strictEqual(error._tag, "CredentialNotFound")
    }
    const { items } = yield* manager.list(userId, {}, { limit: 50, after: Option.none() })
    assert.deepStrictEqual(items, [])
  })

const deletedMeanwhile = Faults.each(
  "deleted during its refresh",
  "the refresh ends first, what it brought is revoked, and nothing comes back",
  (operation) =>
    Effect.gen(function* () {
      const world = yield* make()
      const { id, manager, provider, store } = world
      provider.next((spend) => Effect.delay(Effect.sync(spend), "5 seconds"))
      const asked = yield* Effect.fork(Effect.either(perform(operation, manager, userId, id)))
      yield* settle
      const deleting = yield* Effect.fork(manager.delete(userId, id))
      yield* adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(deleting), { deleted: true, revoked: true })
      assert.deepStrictEqual(provider.revoked, ["refresh-1"])
      yield* Fiber.join(asked)
      yield* adjust("10 minutes")
      yield* isGone(world)
      assert.deepStrictEqual(yield* store.openAttempts, [])
      assert.deepStrictEqual([provider.spent, provider.reuses()], [["refresh-0"], 0])
    })
)

const goneMeanwhile = Faults.each(
  "gone before the answer is stored",
  "whoever waits is told so, the answer is kept, and nothing comes back",
  (operation) =>
    Effect.gen(function* () {
      const world = yield* make()
      const { id, manager, provider, receipts, store } = world
      provider.next((spend) => Effect.delay(Effect.sync(spend), "5 seconds"))
      const asked = yield* Effect.fork(Effect.flip(perform(operation, manager, userId, id)))
      yield* settle
      yield* store.commit([Change.Remove({ userId, id, generation: 1 })])
      yield* adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(asked))._tag, "CredentialNotFound")
      yield* adjust("10 minutes")
      yield* isGone(world)
      assert.lengthOf(yield* receipts.all, 1)
      assert.deepStrictEqual(yield* store.openAttempts, [])
      assert.deepStrictEqual([provider.spent, provider.reuses()], [["refresh-0"], 0])
    })
)

const deletedWhileLent = Faults.each(
  "deleted while it is lent",
  "its holder is waited for, or deletes it by its lease; what it does then finds nothing",
  (operation) =>
    Effect.gen(function* () {
      const world = yield* make()
      const { id, manager, provider } = world
      yield* Effect.gen(function* () {
        const { lease } = yield* manager.acquire(userId, id)
        const other = yield* Effect.fork(Effect.flip(manager.delete(userId, id, { wait: "1 second" })))
        yield* adjust("1 second")
        assert.strictEqual((yield* Fiber.join(other))._tag, "LockTimeout")
        assert.strictEqual(accessToken(yield* manager.get(userId, id)), "access-1")
        yield* manager.delete(userId, id, { leaseId: lease.id })
        const options = { leaseId: lease.id, wait: "1 second", refresh: "force" } as const
        const mine: Effect.Effect<unknown, RenewalError> =
          operation === "get"
            ? manager.get(userId, id, options)
            : operation === "refresh"
              ? manager.refresh(userId, id, options)
              : Effect.scoped(manager.acquire(userId, id, { mode: "shared", wait: 0 }))
        const error = yield* Effect.flip(mine)
        // who asks for another lease is in the way of their own
        assert.strictEqual(error._tag, operation === "acquire" ? "LockTimeout" : "CredentialNotFound")
      }).pipe(Effect.scoped)
      yield* adjust("10 minutes")
      yield* isGone(world)
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      assert.deepStrictEqual(provider.revoked, ["refresh-1"])
    })
)

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
    // ten minutes
    for (const _ of thousand) {
      const error = yield* Effect.flip(perform(operation, manager, userId, id, { wait: "5 seconds" }))
      assert.deepInclude(error, { _tag: "ProviderError", reason: "throttled" })
      yield* TestClock.adjust("600 millis")
    }
    assert.strictEqual(provider.spent.length, 10)

    // a failure without a time of its own: back-offs that double, to which only a demand is no stranger
    const backOffs = yield* make()
    backOffs.provider.always(() => unsent)
    const other = operation === "refresh" ? "get" : operation
    for (const _ of thousand) {
      yield* Effect.flip(perform(other, backOffs.manager, userId, backOffs.id, { wait: "5 seconds" }))
      yield* TestClock.adjust("600 millis")
    }
    // 2, 4, 8 … 256 seconds
    assert.isAtLeast(backOffs.provider.spent.length, 7)
    assert.isAtMost(backOffs.provider.spent.length, 10)
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
      const quiet = Effect.fnUntraced(function* (round: string) {
        const tenants = yield* Effect.forEach(Array.from({ length: 99 }), (_, n) =>
          tenant(`${round}-${n}`, `${round}-${n}`)
        )
        const asked = yield* Effect.fork(Effect.forEach(tenants, ask, { concurrency: "unbounded" }))
        yield* adjust("1 second")
        return yield* Fiber.join(asked)
      })
      const alone = yield* quiet("alone")
      const hot = yield* Effect.forEach(Array.from({ length: 50 }), (_, n) => tenant("hot", `hot-${n}`))
      const load = yield* Effect.fork(
        Effect.forEach(Array.from({ length: 40 }, () => hot).flat(), ask, { concurrency: "unbounded" })
      )
      yield* settle
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
  ...backupRestored,
  ...timesOut,
  ...interrupted,
  ...replaced,
  ...deletedMeanwhile,
  ...goneMeanwhile,
  ...deletedWhileLent,
  ...rowChanged,
  ...inPassing,
  ...forGood("for good", 400),
  ...forGood("for good, in a 200", 200),
  ...atOnce,
  ...inTurn,
  ...hotTenant
])
