/** Several processes on one engine: what one leaves, the others take up, once. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { CredentialId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { LeaseLost } from "../src/CredentialsError.ts"
import * as LockService from "../src/LockService.ts"
import { OutboundFailure } from "../src/Outbound.ts"
import { Receipts } from "../src/Receipts.ts"
import type * as Service from "../src/Service.ts"
import { Change, Store } from "../src/Store.ts"
import * as ScriptedHandler from "./ScriptedHandler.ts"
import { accessToken, adjust, answer, given, userId, world } from "./ScriptedHandler.ts"

/** Several processes on one engine, at one provider. */
const processes = Effect.fnUntraced(function* (
  count: number,
  options: Service.Options = {},
  provider: Parameters<typeof ScriptedHandler.make>[0] = {}
) {
  const engine = yield* ScriptedHandler.engine
  const at = ScriptedHandler.make(provider)
  const all = yield* Effect.forEach(Array.from({ length: count }), () => process(engine, at, options))
  return { engine, at, provider: at.scripted, all }
})

const process = Effect.fnUntraced(function* (
  engine: ScriptedHandler.Engine,
  at: ReturnType<typeof ScriptedHandler.make>,
  options: Service.Options = {}
) {
  const { layer, reach } = world({ ...options, engine, at })
  const context = yield* Layer.build(layer)
  const manager = Context.get(context, CredentialsManager)
  return {
    reach,
    context,
    manager,
    receipts: Context.get(context, Receipts),
    get: (id: CredentialId, wait: "5 seconds" | "3 minutes" = "5 seconds") => manager.get(userId, id, { wait })
  }
})

/** Two of them, and a credential due. */
const two = Effect.gen(function* () {
  const { all, at, engine, provider } = yield* processes(2)
  const [one, other] = all
  if (one === undefined || other === undefined) return yield* Effect.dieMessage("there are two")
  const id = yield* Effect.provide(given(), one.context)
  return { at, engine, provider, one, other, id }
})

const lost = Effect.fail(new OutboundFailure({ sent: true, reason: "broken_off" }))

describe("processes on one engine", () => {
  it.scoped("back off together: what one was told, the others obey, on demand too", () =>
    Effect.gen(function* () {
      const { id, one, other, provider } = yield* two
      provider.next(() => Effect.succeed(answer(429, {}, { "retry-after": "90" })))
      const told = yield* Effect.flip(one.get(id))
      assert.deepInclude(told, { _tag: "ProviderError", reason: "throttled", retryAfterSeconds: 90 })
      yield* adjust("30 seconds")
      for (const process of [one, other]) {
        const error = yield* Effect.flip(process.get(id))
        assert.deepInclude(error, { _tag: "ProviderError", reason: "throttled", retryAfterSeconds: 60 })
        assert.strictEqual((yield* Effect.flip(process.manager.refresh(userId, id)))._tag, "ProviderError")
      }
      assert.strictEqual(provider.spent.length, 1)
      yield* adjust("60 seconds")
      assert.strictEqual(accessToken(yield* other.get(id)), "access-1")
      assert.strictEqual(accessToken(yield* one.get(id)), "access-1")
      assert.strictEqual(provider.spent.length, 2)
    })
  )

  it.scoped("that all read a due credential spend its refresh token once", () =>
    Effect.gen(function* () {
      const { all, provider } = yield* processes(4)
      const [first] = all
      if (first === undefined) return
      const id = yield* Effect.provide(given(), first.context)
      provider.next((spend) => Effect.delay(Effect.sync(spend), "200 millis"))
      const readers = yield* Effect.fork(
        Effect.all(
          all.flatMap(({ get }) => Array.from({ length: 50 }, () => get(id))),
          { concurrency: "unbounded" }
        )
      )
      yield* adjust("1 second")
      assert.deepStrictEqual([...new Set((yield* Fiber.join(readers)).map(accessToken))], ["access-1"])
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      assert.strictEqual((yield* first.manager.metadata(userId, id)).generation, 2)
    })
  )

  it.scoped("that are all told to renew spend once a refresh token that the provider keeps", () =>
    Effect.gen(function* () {
      const { all, provider } = yield* processes(4, {}, { rotatesRefreshToken: false })
      const [first] = all
      if (first === undefined) return
      const id = yield* Effect.provide(given(), first.context)
      provider.next((spend) => Effect.delay(Effect.sync(spend), "200 millis"))
      const callers = yield* Effect.fork(
        Effect.all(
          all.map(({ manager }) => manager.refresh(userId, id)),
          { concurrency: "unbounded" }
        )
      )
      yield* adjust("1 second")
      assert.deepStrictEqual([...new Set((yield* Fiber.join(callers)).map(({ generation }) => generation))], [2])
      assert.strictEqual(provider.spent.length, 1)
    })
  )

  it.scoped("do so although no lock keeps them apart: the open attempt does", () =>
    Effect.gen(function* () {
      const { at, engine, id, one, provider } = yield* two
      const locks = yield* Layer.build(LockService.layerMemory)
      const apart = yield* process({ ...engine, ports: Context.merge(engine.ports, locks) }, at)
      provider.next((spend) => Effect.delay(Effect.sync(spend), "1 second"))
      const readers = yield* Effect.fork(Effect.all([one.get(id), apart.get(id)], { concurrency: "unbounded" }))
      yield* adjust("5 seconds")
      assert.deepStrictEqual((yield* Fiber.join(readers)).map(accessToken), ["access-1", "access-1"])
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
    })
  )

  it.scoped("wait for the one that began an attempt to settle it, as long as that one beats", () =>
    Effect.gen(function* () {
      const { id, one, other, provider } = yield* two
      provider.next((spend) => Effect.zipRight(Effect.sync(spend), lost))
      yield* Effect.flip(one.get(id))
      yield* adjust("70 seconds")
      const waiting = yield* Effect.fork(Effect.flip(other.get(id)))
      yield* adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "LockTimeout")
      assert.strictEqual(provider.spent.length, 1)
      const told = yield* Effect.fork(Effect.flip(other.get(id, "3 minutes")))
      const own = yield* Effect.fork(Effect.flip(one.get(id, "3 minutes")))
      yield* adjust("5 seconds")
      assert.deepInclude(yield* Fiber.join(own), { _tag: "NeedsReauth", reason: "response_lost" })
      assert.deepInclude(yield* Fiber.join(told), { _tag: "NeedsReauth", reason: "response_lost" })
      assert.strictEqual(provider.spent.length, 2)
    })
  )

  it.scoped("do not wait for ever for one that beats and does nothing", () =>
    Effect.gen(function* () {
      const { id, one, other, provider } = yield* two
      provider.next(() => lost)
      yield* Effect.flip(one.get(id))
      yield* adjust("70 seconds")
      const reader = yield* Effect.fork(Effect.flip(other.get(id, "3 minutes")))
      yield* adjust("2 minutes")
      assert.deepInclude(yield* Fiber.join(reader), { _tag: "LockTimeout", retryAfterSeconds: 5 })
      assert.strictEqual(provider.spent.length, 1)
    })
  )
})

describe("a process that is killed between the provider's answer and the save", () => {
  it.scoped("is followed after the deadline by one probe of all the others together, and the loss is recorded", () =>
    Effect.gen(function* () {
      const { all, provider } = yield* processes(4, { sweeper: { interval: "10 seconds" } })
      const [killed, ...others] = all
      if (killed === undefined) return
      const id = yield* Effect.provide(given(), killed.context)
      provider.next((spend) =>
        Effect.zipRight(
          Effect.sync(() => (spend(), (killed.reach.down = "before"))),
          Effect.never
        )
      )
      yield* Effect.fork(killed.get(id))
      yield* adjust("30 seconds")
      const readers = yield* Effect.fork(
        Effect.all(
          others.flatMap(({ get }) => Array.from({ length: 20 }, () => Effect.flip(get(id, "3 minutes")))),
          { concurrency: "unbounded" }
        )
      )
      yield* adjust("34 seconds")
      assert.strictEqual(provider.spent.length, 1)
      const [attempt] = yield* Context.get(killed.context, Store).openAttempts
      yield* adjust("10 seconds")
      for (const error of yield* Fiber.join(readers)) {
        assert.deepInclude(error, { _tag: "NeedsReauth", reason: "response_lost", attemptId: attempt?.id ?? "" })
      }
      yield* adjust("5 minutes")
      assert.deepStrictEqual(provider.spent, ["refresh-0", "refresh-0"])
    })
  )

  it.scoped("without anybody reading is followed by one probe of the sweepers together", () =>
    Effect.gen(function* () {
      const { all, provider } = yield* processes(4, { sweeper: { interval: "10 seconds" } })
      const [killed, other] = all
      if (killed === undefined || other === undefined) return
      const id = yield* Effect.provide(given(), killed.context)
      provider.next((spend) =>
        Effect.zipRight(
          Effect.sync(() => (spend(), (killed.reach.down = "before"))),
          Effect.never
        )
      )
      yield* Effect.fork(killed.get(id))
      yield* adjust("90 seconds")
      assert.deepStrictEqual(provider.spent, ["refresh-0", "refresh-0"])
      assert.deepInclude(yield* other.manager.metadata(userId, id), {
        status: "needs_reauth",
        statusReason: "response_lost"
      })
      yield* adjust("10 minutes")
      assert.strictEqual(provider.spent.length, 2)
    })
  )

  it.scoped("costs nothing where its request never arrived", () =>
    Effect.gen(function* () {
      const { id, one, other, provider } = yield* two
      provider.next(() =>
        Effect.zipRight(
          Effect.sync(() => (one.reach.down = "before")),
          Effect.never
        )
      )
      yield* Effect.fork(one.get(id))
      const reader = yield* Effect.fork(other.get(id, "3 minutes"))
      yield* adjust("70 seconds")
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-1")
      assert.strictEqual(provider.reuses(), 0)
    })
  )
})

describe("a process that stands still past its attempt's deadline", () => {
  it.scoped("stores its answer on top of the loss that another one recorded", () =>
    Effect.gen(function* () {
      const { at, engine, id, one, provider } = yield* two
      // its lock at the server is over as well
      const locks = yield* Layer.build(LockService.layerMemory)
      const other = yield* process({ ...engine, ports: Context.merge(engine.ports, locks) }, at)
      provider.next((spend) =>
        Effect.sync(() => {
          one.reach.down = "still"
          return spend()
        })
      )
      yield* Effect.fork(one.get(id, "3 minutes"))
      const reader = yield* Effect.fork(Effect.flip(other.get(id, "3 minutes")))
      yield* adjust("70 seconds")
      assert.deepInclude(yield* Fiber.join(reader), { _tag: "NeedsReauth", reason: "response_lost" })
      assert.strictEqual(provider.spent.length, 2)
      one.reach.down = "never"
      yield* adjust("5 seconds")
      assert.strictEqual(accessToken(yield* other.get(id)), "access-1")
      assert.deepInclude(yield* other.manager.metadata(userId, id), { status: "active", generation: 2 })
      assert.deepStrictEqual(yield* one.receipts.all, [])
      assert.strictEqual(provider.spent.length, 2)
    })
  )

  it.scoped("does not overwrite what the user connected meanwhile", () =>
    Effect.gen(function* () {
      const { at, engine, id, one, provider } = yield* two
      const locks = yield* Layer.build(LockService.layerMemory)
      const other = yield* process({ ...engine, ports: Context.merge(engine.ports, locks) }, at)
      provider.next((spend) =>
        Effect.sync(() => {
          one.reach.down = "still"
          return spend()
        })
      )
      yield* Effect.fork(one.get(id, "3 minutes"))
      yield* adjust("20 seconds")
      const { variant } = yield* ScriptedHandler.oauth2({ refreshToken: "theirs", expiresIn: 3600 })
      yield* other.manager.update(userId, id, { variant })
      one.reach.down = "never"
      yield* adjust("5 seconds")
      assert.strictEqual(accessToken(yield* other.get(id)), "access-0")
      assert.strictEqual((yield* other.manager.metadata(userId, id)).generation, 2)
      assert.lengthOf(yield* one.receipts.all, 1)
    })
  )

  it.scoped("before it sends anything finds out, sends nothing, and begins again", () =>
    Effect.gen(function* () {
      const engine = yield* ScriptedHandler.engine
      const at = ScriptedHandler.make()
      const known = Context.get(engine.ports, LockService.LockService)
      let isOver = true
      const locks = LockService.LockService.of({
        ...known,
        acquire: (key, options) =>
          Effect.map(known.acquire(key, options), (lease) => ({
            ...lease,
            check: Effect.suspend(() => {
              if (!isOver || !key.startsWith("refresh:")) return lease.check
              isOver = false
              return Effect.fail(new LeaseLost())
            })
          }))
      })
      const one = yield* process({ ...engine, ports: Context.add(engine.ports, LockService.LockService, locks) }, at)
      const id = yield* Effect.provide(given(), one.context)
      assert.strictEqual(accessToken(yield* one.get(id)), "access-1")
      assert.isFalse(isOver)
      assert.deepStrictEqual(at.scripted.spent, ["refresh-0"])
      assert.deepStrictEqual(yield* Context.get(one.context, Store).openAttempts, [])
    })
  )
})

describe("a revocation that is still to be done", () => {
  const due = Effect.gen(function* () {
    const { all, at, provider } = yield* processes(4, { sweeper: { interval: "10 seconds" } })
    const [first] = all
    if (first === undefined) return yield* Effect.dieMessage("there are four")
    // the answer takes so long that all the others look meanwhile
    const { revoke } = at.handler
    Object.assign(at.handler, {
      revoke: (...request: Parameters<NonNullable<typeof revoke>>) =>
        Effect.delay(revoke?.(...request) ?? Effect.void, "2 seconds")
    })
    const id = yield* Effect.provide(given(), first.context)
    const store = Context.get(first.context, Store)
    const credential = yield* store.get(userId, id)
    yield* store.commit([
      Change.Remove({ userId, id, generation: 1 }),
      Change.Enqueue({ revocation: { id: "to be done", credential, dueAt: yield* store.now, tries: 0 } })
    ])
    return { provider, store }
  })

  it.scoped("is sent by one of the processes that find it due", () =>
    Effect.gen(function* () {
      const { provider, store } = yield* due
      yield* adjust("1 minute")
      assert.deepStrictEqual(provider.revoked, ["refresh-0"])
      assert.deepStrictEqual(yield* store.revocations(10), [])
    })
  )

  it.scoped("and was claimed by one that died is sent by another when the claim is over", () =>
    Effect.gen(function* () {
      const { provider, store } = yield* due
      const [seen] = yield* store.revocations(10)
      if (seen === undefined) return assert.fail("it is due")
      const until = DateTime.add(yield* store.now, { minutes: 3 })
      yield* store.commit([Change.Claim({ id: seen.id, dueAt: seen.dueAt, until })])
      yield* adjust("170 seconds")
      assert.deepStrictEqual(provider.revoked, [])
      yield* adjust("20 seconds")
      assert.deepStrictEqual(provider.revoked, ["refresh-0"])
    })
  )
})

describe("a kept answer", () => {
  it.scoped("is stored by one of many that find it, and by no one again", () =>
    Effect.gen(function* () {
      const { all, provider } = yield* processes(3, { sweeper: { interval: "10 seconds" } })
      const [dead] = all
      if (dead === undefined) return
      const id = yield* Effect.provide(given(), dead.context)
      provider.next((spend) => Effect.zipRight(Effect.sync(spend), lost))
      yield* Effect.flip(dead.get(id))
      const [attempt] = yield* Context.get(dead.context, Store).openAttempts
      if (attempt === undefined) return assert.fail("no attempt is open")
      const body = { access_token: "kept", refresh_token: "kept-too", expires_in: 3600 }
      const receipt = { attempt, answer: answer(200, body), receivedAt: yield* DateTime.now }
      for (const { receipts } of all) yield* receipts.keep(receipt)
      yield* adjust("10 seconds")
      for (const { get, receipts } of all) {
        assert.strictEqual(accessToken(yield* get(id)), "kept")
        assert.deepStrictEqual(yield* receipts.all, [])
      }
      assert.strictEqual((yield* dead.manager.metadata(userId, id)).generation, 2)
      // a copy that was not there to be dropped
      yield* dead.receipts.keep(receipt)
      yield* adjust("10 seconds")
      assert.deepStrictEqual(yield* dead.receipts.all, [])
      assert.strictEqual((yield* dead.manager.metadata(userId, id)).generation, 2)
      assert.strictEqual(provider.spent.length, 1)
    })
  )

  it.scoped("that brings no other refresh token does not take the place of a newer access token", () =>
    Effect.gen(function* () {
      const engine = yield* ScriptedHandler.engine
      const at = ScriptedHandler.make({ rotatesRefreshToken: false })
      const one = yield* process(engine, at, { sweeper: { interval: "10 seconds" } })
      const id = yield* Effect.provide(given(), one.context)
      at.scripted.next(() => lost)
      yield* Effect.flip(one.get(id))
      const store = Context.get(one.context, Store)
      yield* adjust("5 seconds")
      assert.strictEqual(accessToken(yield* one.get(id)), "access-1")
      const grant = store.grantOf(yield* store.get(userId, id))
      const now = yield* DateTime.now
      const attempt = {
        id: "closed long ago",
        userId,
        provider: ScriptedHandler.providerId,
        grant: Option.getOrElse(grant, () => ""),
        processId: "dead",
        startedAt: now,
        deadline: now,
        probeOf: Option.none()
      }
      yield* one.receipts.keep({
        attempt,
        answer: answer(200, { access_token: "old", expires_in: 3600 }),
        receivedAt: now
      })
      yield* adjust("10 seconds")
      assert.strictEqual(accessToken(yield* one.get(id)), "access-1")
    })
  )
})
