import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as Kept from "../src/CircuitBreaker/Circuits.ts"
import * as Sql from "../src/CircuitBreaker/Sql.ts"
import { UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { ProviderError } from "../src/CredentialsError.ts"
import { OutboundFailure } from "../src/Outbound.ts"
import { Provider } from "../src/Provider.ts"
import { Circuits, suite } from "./contract/Circuits.ts"
import * as EmbeddedDatabase from "./EmbeddedDatabase.ts"
import * as ScriptedHandler from "./ScriptedHandler.ts"
import { accessToken, adjust, answer, given, oauth2, userId, world } from "./ScriptedHandler.ts"

suite("memory", Layer.effect(Circuits, Kept.makeMemory))

suite("embedded", Layer.provide(Layer.effect(Circuits, Sql.make({ clock: "process" })), EmbeddedDatabase.layer))

const down = () => Effect.fail(new OutboundFailure({ sent: false, reason: "unreachable" }))

const aProvider = (tokenUrl: string) =>
  Schema.decodeUnknownSync(Provider)({ id: "acme", authorizationUrl: "https://acme.test/authorize", tokenUrl })

const acme = aProvider("https://acme.test/token")

/** A breaker, and calls through it to an endpoint that is up or down. */
const endpoint = (circuits: Kept.Circuits, provider = acme) => {
  const { guard, stateOf } = CircuitBreaker.make(circuits)
  const seen = { calls: 0, failsWith: Option.none<ProviderError["reason"]>(), takes: 0 }
  const call = (grant: string, onDemand = false) =>
    guard(
      { provider, grant, onDemand },
      Effect.suspend(() => {
        seen.calls++
        const end = Option.match(seen.failsWith, {
          onNone: () => Effect.succeed("tokens"),
          onSome: (reason) => Effect.fail(new ProviderError({ provider: provider.id, reason }))
        })
        return Effect.delay(end, seen.takes)
      })
    )
  const state = Effect.map(stateOf(CircuitBreaker.endpointOf(provider)), (found) => found.state)
  return { seen, call, state }
}

/** One after the other, so that each sees what became of the others. */
const failing = (call: (grant: string) => Effect.Effect<unknown, unknown>, grants: number, from = 0) =>
  Effect.forEach(Array.from({ length: grants }), (_, index) => Effect.flip(call(`grant ${from + index}`)))

describe("an endpoint", () => {
  it.effect(
    "is left alone after five grants failed there in a row, tried after the pause, and open to all once it answers",
    () =>
      Effect.gen(function* () {
        const { call, seen, state } = endpoint(yield* Kept.makeMemory)
        seen.failsWith = Option.some("timeout")
        yield* failing(call, 4)
        assert.strictEqual(yield* state, "closed")
        yield* failing(call, 96, 4)
        assert.strictEqual(seen.calls, 5)
        assert.strictEqual(yield* state, "open")
        const refused = yield* Effect.flip(call("another"))
        assert.deepInclude(refused, { _tag: "ProviderError", reason: "timeout", provider: "acme" })
        assert.isTrue(refused._tag === "ProviderError" && (refused.retryAfterSeconds ?? 0) <= 6)
        yield* adjust("7 seconds")
        assert.strictEqual(yield* state, "half_open")
        seen.failsWith = Option.none()
        seen.takes = 100
        const calls = yield* Effect.fork(
          Effect.all(
            Array.from({ length: 10 }, (_, index) => Effect.either(call(`later ${index}`))),
            { concurrency: "unbounded" }
          )
        )
        yield* adjust("100 millis")
        assert.lengthOf(
          (yield* Fiber.join(calls)).filter(({ _tag }) => _tag === "Right"),
          1
        )
        assert.strictEqual(seen.calls, 6)
        assert.strictEqual(yield* state, "closed")
        seen.takes = 0
        yield* call("any")
        assert.strictEqual(seen.calls, 7)
      })
  )

  it.effect("that stays down is tried at pauses that double up to a minute", () =>
    Effect.gen(function* () {
      const { call, seen } = endpoint(yield* Kept.makeMemory)
      seen.failsWith = Option.some("unreachable")
      yield* failing(call, 5)
      for (let second = 0; second < 600; second++) {
        yield* Effect.flip(call(`grant ${second}`))
        yield* TestClock.adjust("1 second")
      }
      // 5, 10, 20, 40, 60, 60, … by 0.8 to 1.2
      assert.isAtLeast(seen.calls, 5 + 10)
      assert.isAtMost(seen.calls, 5 + 16)
    })
  )

  it.effect("is not left alone for the sake of one grant, of failures far apart, or while it answers in between", () =>
    Effect.gen(function* () {
      const { call, seen, state } = endpoint(yield* Kept.makeMemory)
      seen.failsWith = Option.some("unreachable")
      for (let count = 0; count < 50; count++) yield* Effect.flip(call("the one"))
      assert.strictEqual(seen.calls, 50)
      yield* failing(call, 3)
      yield* adjust("61 seconds")
      yield* failing(call, 4, 10)
      assert.strictEqual(yield* state, "closed")
      seen.failsWith = Option.none()
      yield* call("one that works")
      seen.failsWith = Option.some("unreachable")
      yield* failing(call, 4, 20)
      assert.strictEqual(yield* state, "closed")
    })
  )

  for (const reason of ["throttled", "rejected", "invalid_client"] as const) {
    it.effect(`that answers ${reason} answers: nobody else is held up for it`, () =>
      Effect.gen(function* () {
        const { call, seen, state } = endpoint(yield* Kept.makeMemory)
        seen.failsWith = Option.some(reason)
        yield* failing(call, 20)
        assert.strictEqual(seen.calls, 20)
        assert.strictEqual(yield* state, "closed")
      })
    )
  }

  it.effect("is another one at another origin: a tenant's own host that is down is in nobody's way", () =>
    Effect.gen(function* () {
      const circuits = yield* Kept.makeMemory
      const broken = endpoint(circuits, aProvider("https://broken.acme.test/token"))
      const sound = endpoint(circuits, aProvider("https://sound.acme.test/token"))
      broken.seen.failsWith = Option.some("unreachable")
      yield* failing(broken.call, 50)
      assert.strictEqual(yield* broken.state, "open")
      assert.strictEqual(yield* sound.call("a grant"), "tokens")
      assert.strictEqual(yield* sound.state, "closed")
    })
  )

  it.effect("is tried on demand before the pause is over, at most once a second", () =>
    Effect.gen(function* () {
      const { call, seen } = endpoint(yield* Kept.makeMemory)
      seen.failsWith = Option.some("unreachable")
      yield* failing(call, 5)
      for (let count = 0; count < 40; count++) {
        yield* Effect.flip(call(`grant ${count}`, true))
        yield* adjust("100 millis")
      }
      assert.isAtLeast(seen.calls, 7)
      assert.isAtMost(seen.calls, 9)
      seen.failsWith = Option.none()
      yield* adjust("1 second")
      assert.strictEqual(yield* call("by hand", true), "tokens")
    })
  )

  it.effect("gets at most so many calls at once, and the others learn from them", () =>
    Effect.gen(function* () {
      const { call, seen } = endpoint(yield* Kept.makeMemory)
      seen.failsWith = Option.some("timeout")
      seen.takes = 60_000
      const calls = yield* Effect.fork(
        Effect.all(
          Array.from({ length: 1_000 }, (_, index) => Effect.flip(call(`grant ${index}`))),
          { concurrency: "unbounded" }
        )
      )
      yield* adjust("1 minute")
      // a few got the places of the first that failed
      yield* adjust("1 minute")
      for (const error of yield* Fiber.join(calls)) assert.deepInclude(error, { reason: "timeout" })
      assert.isAtLeast(seen.calls, 128)
      assert.isAtMost(seen.calls, 128 + 16)
    })
  )

  it.effect("whose try was interrupted is tried by somebody else", () =>
    Effect.gen(function* () {
      const { call, seen } = endpoint(yield* Kept.makeMemory)
      seen.failsWith = Option.some("unreachable")
      yield* failing(call, 5)
      yield* adjust("7 seconds")
      seen.failsWith = Option.none()
      seen.takes = 1_000
      const trial = yield* Effect.fork(call("trial"))
      yield* adjust("100 millis")
      assert.strictEqual((yield* Effect.flip(call("second")))._tag, "ProviderError")
      yield* Fiber.interrupt(trial)
      seen.takes = 0
      assert.strictEqual(yield* call("third"), "tokens")
    })
  )

  it.effect("is known to all processes within a second, and tried by one of them", () =>
    Effect.gen(function* () {
      const circuits = yield* Kept.makeMemory
      const all = Array.from({ length: 4 }, () => endpoint(circuits))
      const calls = () => all.reduce((sum, { seen }) => sum + seen.calls, 0)
      for (const { call, seen } of all) {
        yield* call("before")
        seen.failsWith = Option.some("unreachable")
        seen.takes = 0
      }
      const [first] = all
      if (first === undefined) return
      yield* failing(first.call, 5)
      yield* adjust("1 second")
      const before = calls()
      for (const { call } of all) yield* failing(call, 20)
      assert.strictEqual(calls(), before)
      yield* adjust("6 seconds")
      yield* Effect.all(
        all.flatMap(({ call }) => Array.from({ length: 5 }, (_, index) => Effect.flip(call(`grant ${index}`)))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(calls(), before + 1)
    })
  )
})

describe("an outage of a provider", () => {
  const many = 300

  it.effect(
    "costs 300 due credentials a few calls; living tokens are served; all are renewed when it is over",
    () => {
      const { layer, provider } = world()
      return Effect.gen(function* () {
        const manager = yield* CredentialsManager
        const all = yield* Effect.forEach(Array.from({ length: many }), (_, index) =>
          Effect.gen(function* () {
            const user = UserId.make(`user-${index % 200}`)
            const credential = yield* oauth2({ refreshToken: `mine-${index}`, expiresIn: 3600 })
            return { user, id: (yield* manager.create(user, credential)).id }
          })
        )
        yield* adjust("58 minutes")
        provider.always(down)
        const readAll = Effect.forEach(all, ({ id, user }) => Effect.either(manager.get(user, id)), { concurrency: 16 })
        const living = yield* readAll
        assert.isTrue(living.every((read) => read._tag === "Right" && accessToken(read.right) === "access-0"))
        assert.isAtMost(provider.spent.length, 5 + 16)
        const [first] = all
        if (first === undefined) return
        // by hand the failure shows
        assert.deepInclude(yield* Effect.flip(manager.get(first.user, first.id, { refresh: "force" })), {
          reason: "unreachable"
        })
        yield* adjust("3 minutes")
        const before = provider.spent.length
        const expired = yield* readAll
        for (const read of expired) {
          assert.isTrue(
            read._tag === "Left" && read.left._tag === "ProviderError" && read.left.reason === "unreachable"
          )
        }
        assert.isAtMost(provider.spent.length - before, 1)
        provider.always(undefined)
        yield* adjust("2 minutes")
        let left = many
        for (let round = 0; round < 5 && left > 0; round++) {
          left = (yield* readAll).filter(({ _tag }) => _tag === "Left").length
          yield* adjust("1 minute")
        }
        assert.strictEqual(left, 0)
        assert.strictEqual(provider.reuses(), 0)
        const { states } = yield* CircuitBreaker.CircuitBreaker
        assert.deepStrictEqual(yield* states, [])
      }).pipe(Effect.provide(layer))
    },
    120_000
  )

  it.scoped("that one process saw is over for all when another one's try is answered", () =>
    Effect.gen(function* () {
      const engine = yield* ScriptedHandler.engine
      const at = ScriptedHandler.make()
      const [one, other] = yield* Effect.all([
        Layer.build(world({ engine, at }).layer),
        Layer.build(world({ engine, at }).layer)
      ])
      const ids = yield* Effect.provide(
        Effect.forEach(Array.from({ length: 20 }), (_, index) => given({ refreshToken: `mine-${index}` })),
        one
      )
      const read = (process: typeof one) =>
        Effect.forEach(ids, (id) => Effect.either(Context.get(process, CredentialsManager).get(userId, id)))
      at.scripted.always(() => Effect.succeed(answer(503, "down")))
      yield* read(one)
      assert.strictEqual(at.scripted.spent.length, 5)
      yield* read(other)
      assert.strictEqual(at.scripted.spent.length, 5)
      at.scripted.always(undefined)
      yield* adjust("10 seconds")
      const found = yield* read(other)
      assert.isTrue(found.every(({ _tag }) => _tag === "Right"))
      assert.strictEqual(at.scripted.reuses(), 0)
    })
  )
})
