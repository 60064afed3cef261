import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { AuditLog } from "../src/AuditLog.ts"
import type { CredentialId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { Store } from "../src/Store.ts"
import {
  accessToken,
  adjust,
  answer,
  engine,
  given,
  make,
  oauth2,
  providerId,
  settle,
  userId,
  world
} from "./ScriptedHandler.ts"

const day = 86_400

/** Tokens of a day, and rounds an hour apart: the proportions of tokens of an hour, in fewer steps of the clock. */
const slowly = (options: Parameters<typeof world>[0] = {}) => {
  const made = world({ sweeper: { interval: "1 hour" }, ...options })
  made.provider.fields["expires_in"] = day
  return made
}

/** Rounds as they are by default. */
const promptly = (options: Parameters<typeof world>[0] = {}) => world({ sweeper: {}, ...options })

const get = (id: CredentialId) => Effect.flatMap(CredentialsManager, (manager) => manager.get(userId, id))

const generationOf = (id: CredentialId) =>
  Effect.map(
    Effect.flatMap(Store, (store) => store.get(userId, id)),
    ({ generation }) => generation
  )

/** What is answered before any time passes. */
const atOnce = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(self)
    yield* settle
    const exit = yield* Fiber.poll(fiber)
    return yield* Option.getOrElse(exit, () => Exit.die(new Error("it waits")))
  })

const several = (count: number, fields?: Parameters<typeof given>[0]) =>
  Effect.forEach(Array.from({ length: count }), (_, index) => given({ ...fields, refreshToken: `refresh-of-${index}` }))

const report = (id: CredentialId) =>
  Effect.flatMap(CredentialsManager, (manager) => manager.report(userId, id, { generation: 1, status: 401 }))

/** Credentials that the sweeper is to renew in its next round. */
const severalDue = (count: number) => Effect.tap(several(count, { expiresIn: null }), Effect.forEach(report))

describe("ahead of time", () => {
  it.effect("a token is renewed before any reader finds it due, so none ever waits, however slow the provider", () => {
    const { layer, provider } = slowly()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: day })
      provider.always((spend) => Effect.delay(Effect.sync(spend), "50 seconds"))
      const seen = new Set<string | null>()
      for (let half = 0; half < 3 * 48; half++) {
        yield* adjust("30 minutes")
        seen.add(accessToken(yield* atOnce(get(id))))
      }
      assert.strictEqual(provider.spent.length, 3)
      assert.strictEqual(seen.size, provider.spent.length + 1)
      assert.strictEqual(provider.reuses(), 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("a token that nobody reads is renewed once in each of its lives", () => {
    const { layer, provider } = slowly()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: day })
      yield* adjust("5 days")
      // for the sweeper a life ends at 80 to 85 % of it, or in the round after that
      assert.isAtLeast(provider.spent.length, 5)
      assert.isAtMost(provider.spent.length, 6)
      assert.strictEqual(yield* generationOf(id), provider.spent.length + 1)
      assert.strictEqual(provider.reuses(), 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("tokens that live shorter than five minutes are left to their readers, expired ones too", () => {
    const { layer, provider } = promptly()
    return Effect.gen(function* () {
      provider.fields["expires_in"] = 299
      const expired = yield* given({ refreshToken: "of-the-expired" })
      yield* given({ expiresIn: 299 })
      yield* adjust("10 minutes")
      assert.deepStrictEqual(provider.spent, [])
      yield* Effect.replicateEffect(get(expired), 100, { concurrency: "unbounded" })
      assert.deepStrictEqual(provider.spent, ["of-the-expired"])
      yield* adjust("10 minutes")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("tokens that expire at one time are not renewed at one time", () => {
    const { layer, provider } = world({ sweeper: { interval: "15 minutes" } })
    return Effect.gen(function* () {
      provider.fields["expires_in"] = day
      yield* several(60, { expiresIn: day })
      yield* adjust("19 hours")
      assert.strictEqual(provider.spent.length, 0)
      const each: Array<number> = []
      for (let slice = 0; slice < 7; slice++) {
        const before = provider.spent.length
        yield* adjust("15 minutes")
        each.push(provider.spent.length - before)
      }
      assert.strictEqual(provider.spent.length, 60)
      for (const count of each) assert.isBelow(count, 30, each.join())
    }).pipe(Effect.provide(layer))
  })

  it.effect("a reported token is renewed in the next round, without a reader", () => {
    const { layer, provider } = promptly()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: null })
      yield* adjust("5 minutes")
      assert.strictEqual(provider.spent.length, 0)
      yield* report(id)
      yield* adjust("10 seconds")
      assert.strictEqual(accessToken(yield* atOnce(get(id))), "access-1")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("a renewal under way is the one that readers and forced renewals join", () => {
    const { layer, provider } = promptly()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const [id] = yield* severalDue(1)
      if (id === undefined) return assert.fail()
      const answered = yield* Deferred.make<void>()
      provider.next((spend) => Effect.zipRight(Deferred.await(answered), Effect.sync(spend)))
      yield* adjust("10 seconds")
      assert.strictEqual(provider.spent.length, 1)
      const forced = yield* Effect.fork(manager.refresh(userId, id))
      const reader = yield* Effect.fork(get(id))
      yield* settle
      yield* Deferred.succeed(answered, undefined)
      assert.strictEqual((yield* Fiber.join(forced)).generation, 2)
      assert.strictEqual(accessToken(yield* Fiber.join(reader)), "access-1")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("nothing is renewed where that is switched off", () => {
    const { layer, provider } = slowly({ sweeper: { interval: "1 hour", ahead: false } })
    return Effect.gen(function* () {
      yield* given({ expiresIn: day })
      yield* adjust("3 days")
      assert.deepStrictEqual(provider.spent, [])
    }).pipe(Effect.provide(layer))
  })
})

describe("the bounds", () => {
  it.effect("a backlog is drained at the rate that is allowed at a provider, oldest first", () => {
    const { layer, provider } = world({ sweeper: { interval: "10 hours", ahead: { concurrency: 2, perSecond: 1 } } })
    return Effect.gen(function* () {
      // lifetimes that differ by more than the spread, the shortest created last
      const numbers = Array.from({ length: 60 }, (_, index) => index)
      yield* Effect.forEach(numbers.toReversed(), (number) =>
        given({ expiresIn: 301 * 1.08 ** number, refreshToken: String(number) })
      )
      yield* adjust("10 hours")
      yield* adjust("20 seconds")
      assert.closeTo(provider.spent.length, 20, 2)
      yield* adjust("41 seconds")
      assert.deepStrictEqual(provider.spent.map(Number), numbers)
      assert.strictEqual(provider.reuses(), 0)
    }).pipe(Effect.provide(layer))
  })

  for (const refreshInvalidatesAccessToken of [true, false]) {
    it.effect(
      `a provider that hangs has no more than a few renewals under way, where one ends the access token: ${refreshInvalidatesAccessToken}`,
      () => {
        const { layer, provider } = slowly({ provider: { refreshInvalidatesAccessToken } })
        return Effect.gen(function* () {
          yield* several(20, { expiresIn: day })
          let underWay = 0
          let most = 0
          provider.always((spend) =>
            Effect.acquireUseRelease(
              Effect.sync(() => void (most = Math.max(most, ++underWay))),
              () => Effect.delay(Effect.sync(spend), "50 seconds"),
              () => Effect.sync(() => void underWay--)
            )
          )
          yield* adjust("22 hours")
          assert.strictEqual(most, 4)
          assert.strictEqual(provider.spent.length, 20)
          assert.strictEqual(provider.reuses(), 0)
        }).pipe(Effect.provide(layer))
      }
    )
  }

  it.effect("held credentials wait by themselves: others are renewed, and they are once given back", () => {
    const { layer, provider } = slowly({ renewal: { holderWait: "20 seconds" } })
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const scope = yield* Scope.make()
      const held = yield* several(10, { expiresIn: day })
      const others = yield* Effect.forEach(Array.from({ length: 10 }), (_, index) =>
        given({ expiresIn: day, refreshToken: `free-${index}` })
      )
      yield* Effect.forEach(held, (id) => Scope.extend(manager.acquire(userId, id), scope))
      yield* adjust("22 hours")
      assert.strictEqual(provider.spent.length, 10)
      for (const id of others) assert.strictEqual(yield* generationOf(id), 2)
      yield* Scope.close(scope, Exit.void)
      yield* adjust("1 hour")
      for (const id of held) assert.strictEqual(yield* generationOf(id), 2)
      assert.strictEqual(provider.reuses(), 0)
    }).pipe(Effect.provide(layer))
  })
})

describe("what fails", () => {
  it.effect("is asked for less and less often, and does not keep others from being renewed", () => {
    const { layer, provider } = world({ sweeper: { interval: "5 minutes" } })
    return Effect.gen(function* () {
      const good = yield* given({ expiresIn: null, refreshToken: "good" })
      yield* severalDue(15)
      provider.always((spend, token) =>
        token.startsWith("refresh-of-") ? Effect.succeed(answer(400, { error: "invalid_scope" })) : Effect.sync(spend)
      )
      yield* adjust("2 hours")
      const tries = () => provider.spent.filter((token) => token === "refresh-of-0").length
      const atFirst = tries()
      assert.isAbove(atFirst, 5)
      yield* report(good)
      yield* adjust("330 seconds")
      assert.strictEqual(yield* generationOf(good), 2)
      yield* adjust("4 hours")
      assert.isAtMost(tries() - atFirst, 9)
      assert.isAbove(tries(), atFirst)
    }).pipe(Effect.provide(layer))
  })

  it.effect("for good is not asked for again", () => {
    const { layer, provider } = slowly()
    return Effect.gen(function* () {
      yield* given({ expiresIn: day })
      provider.always(() => Effect.succeed(answer(400, { error: "invalid_grant" })))
      yield* adjust("5 days")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("by Retry-After is left alone until then", () => {
    const { layer, provider } = promptly()
    return Effect.gen(function* () {
      const [id] = yield* severalDue(1)
      if (id === undefined) return assert.fail()
      provider.next(() => Effect.succeed(answer(429, {}, { "retry-after": "300" })))
      yield* adjust("1 minute")
      assert.strictEqual(provider.spent.length, 1)
      yield* adjust("4 minutes")
      assert.strictEqual(provider.spent.length, 1)
      yield* adjust("30 seconds")
      assert.strictEqual(provider.spent.length, 2)
      assert.strictEqual(yield* generationOf(id), 2)
    }).pipe(Effect.provide(layer))
  })
})

describe("several processes", () => {
  it.effect("renew what is due of one store once, and none is asked for twice", () => {
    const at = make()
    const provider = at.scripted
    return Effect.gen(function* () {
      const shared = yield* engine
      const processes = yield* Effect.replicateEffect(
        Effect.suspend(() => Layer.build(world({ engine: shared, at, sweeper: {} }).layer)),
        3
      )
      const [first] = processes
      if (first === undefined) return assert.fail()
      provider.always((spend) => Effect.delay(Effect.sync(spend), "2 seconds"))
      const ids = yield* Effect.provide(severalDue(60), first)
      yield* adjust("1 minute")
      assert.strictEqual(provider.spent.length, 60)
      assert.strictEqual(provider.reuses(), 0)
      for (const id of ids) assert.strictEqual(yield* Effect.provide(generationOf(id), first), 2)
    }).pipe(Effect.scoped)
  })

  it.effect("take over what one had claimed that died, once its claim is over", () => {
    const { layer, provider } = promptly()
    return Effect.gen(function* () {
      const store = yield* Store
      yield* severalDue(1)
      const until = DateTime.add(yield* DateTime.now, { minutes: 5 })
      assert.lengthOf(yield* store.claimDue(providerId, { limit: 1, until }), 1)
      yield* adjust("4 minutes")
      assert.strictEqual(provider.spent.length, 0)
      yield* adjust("70 seconds")
      assert.strictEqual(provider.spent.length, 1)
    }).pipe(Effect.provide(layer))
  })
})

describe("a refresh token that is about to die", () => {
  const dying = (expiresIn: number, days: number) =>
    Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const fresh = yield* oauth2({ expiresIn })
      const refreshTokenExpiresAt = DateTime.add(yield* DateTime.now, { days })
      if (fresh.variant.type !== "oauth2") return yield* Effect.dieMessage("an OAuth credential")
      const created = yield* manager.create(userId, { ...fresh, variant: { ...fresh.variant, refreshTokenExpiresAt } })
      return { id: created.id, refreshTokenExpiresAt }
    })

  const announced = Effect.map(
    Effect.flatMap(AuditLog, (log) => log.recent(100)),
    (events) => events.filter(({ kind }) => kind === "reauth_soon").map(({ credentialId }) => credentialId)
  )

  const soonAt = (id: CredentialId) =>
    Effect.map(
      Effect.flatMap(CredentialsManager, (manager) => manager.metadata(userId, id)),
      ({ reauthSoonAt }) => reauthSoonAt
    )

  it.effect("is announced once, two weeks before, however often its access token is renewed until then", () => {
    const { layer, provider } = world({ sweeper: { interval: "6 hours" }, provider: { rotatesRefreshToken: false } })
    return Effect.gen(function* () {
      provider.fields["expires_in"] = 2 * day
      const { id, refreshTokenExpiresAt } = yield* dying(2 * day, 20)
      yield* adjust("143 hours")
      assert.deepStrictEqual([yield* announced, yield* soonAt(id)], [[], undefined])
      yield* adjust("7 hours")
      assert.deepStrictEqual([yield* announced, yield* soonAt(id)], [[id], refreshTokenExpiresAt])
      const before = provider.spent.length
      yield* adjust("8 days")
      assert.isAbove(provider.spent.length, before + 3)
      assert.deepStrictEqual([yield* announced, yield* soonAt(id)], [[id], refreshTokenExpiresAt])
    }).pipe(Effect.provide(layer))
  })

  it.effect("is announced although its access token is not the sweeper's to renew", () => {
    const { layer, provider } = promptly()
    return Effect.gen(function* () {
      const { id } = yield* dying(60, 3)
      yield* adjust("1 minute")
      assert.deepStrictEqual(yield* announced, [id])
      assert.deepStrictEqual(provider.spent, [])
    }).pipe(Effect.provide(layer))
  })

  it.effect("is announced anew once it had been replaced by one that lives, and that dies too", () => {
    const { layer, provider } = world({ sweeper: { interval: "6 hours" } })
    return Effect.gen(function* () {
      provider.fields["expires_in"] = 5 * day
      provider.fields["refresh_token_expires_in"] = 100 * day
      const { id } = yield* dying(5 * day, 10)
      yield* adjust("7 hours")
      assert.deepStrictEqual(yield* announced, [id])
      yield* adjust("5 days")
      assert.strictEqual(provider.spent.length, 1)
      assert.isUndefined(yield* soonAt(id))
      // the next answers say how little is left
      provider.fields["refresh_token_expires_in"] = 10 * day
      yield* adjust("5 days")
      assert.strictEqual(provider.spent.length, 2)
      assert.isDefined(yield* soonAt(id))
      assert.deepStrictEqual(yield* announced, [id, id])
    }).pipe(Effect.provide(layer))
  })
})

describe("a token whose answer says no lifetime", () => {
  it.effect("is renewed ahead of what reports have taught, and no report is needed any more", () => {
    const { layer, provider } = world({ sweeper: { interval: "5 minutes" } })
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      provider.fields["expires_in"] = undefined
      const id = yield* given({ expiresIn: null })
      const refused = Effect.gen(function* () {
        const { generation } = yield* get(id)
        yield* manager.report(userId, id, { generation, status: 401 })
        return generation
      })
      // its tokens live for two hours, which only their users find out
      for (const generation of [1, 2]) {
        yield* adjust("2 hours")
        assert.strictEqual(yield* refused, generation)
        yield* adjust("5 minutes")
        assert.strictEqual(yield* generationOf(id), generation + 1)
      }
      for (const generation of [4, 5, 6]) {
        yield* adjust("112 minutes")
        assert.strictEqual(yield* generationOf(id), generation)
      }
      assert.strictEqual(provider.spent.length, 5)
      assert.strictEqual(provider.reuses(), 0)
    }).pipe(Effect.provide(layer))
  })
})

describe("shutdown", () => {
  it.effect("claims nothing more, and stores what was being asked for", () => {
    const { layer, provider } = promptly()
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layer, scope)
      yield* Effect.gen(function* () {
        yield* severalDue(20)
        const answered = yield* Deferred.make<void>()
        provider.always((spend) => Effect.zipRight(Deferred.await(answered), Effect.sync(spend)))
        yield* adjust("20 seconds")
        assert.strictEqual(provider.spent.length, 4)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* adjust("1 second")
        assert.isTrue(Option.isNone(yield* Fiber.poll(closing)))
        yield* Deferred.succeed(answered, undefined)
        yield* Fiber.join(closing)
        yield* adjust("10 minutes")
        assert.strictEqual(provider.spent.length, 4)
        const { credentials } = yield* Effect.flatMap(Store, (store) => store.all(userId))
        assert.strictEqual(credentials.filter(({ generation }) => generation === 2).length, 4)
      }).pipe(Effect.provide(context))
    })
  })
})
