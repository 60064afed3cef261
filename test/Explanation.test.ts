import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import { type CredentialId, type NewCredential, providerId as providerOf } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import {
  LockUnavailable,
  MissingConfig,
  MissingTokenUrl,
  Undecryptable,
  UnknownProvider
} from "../src/CredentialsError.ts"
import * as Explanation from "../src/Explanation.ts"
import { HandlerRegistry } from "../src/HandlerRegistry.ts"
import { OutboundFailure } from "../src/Outbound.ts"
import { LockService } from "../src/LockService.ts"
import { Store } from "../src/Store.ts"
import { adjust, answer, given, oauth2, providerId, settle, userId, world } from "./ScriptedHandler.ts"

const explain = (id: CredentialId, owner?: string) =>
  Effect.flatMap(Explanation.Explanation, (explanation) => explanation.explain(userId, id, { owner }))

/** Of a report what its readers act upon. */
const gist = ({ nextAction, renewal, status }: Explanation.Report) => ({
  status,
  verdict: renewal.verdict,
  reason: renewal.reason,
  renewable: renewal.renewable,
  action: nextAction.action
})

const seconds = (from: DateTime.Utc, to: DateTime.Utc | undefined) =>
  to === undefined ? undefined : Math.round(DateTime.distance(from, to) / 1000)

const create = (credential: NewCredential) =>
  Effect.flatMap(CredentialsManager, (manager) => Effect.map(manager.create(userId, credential), ({ id }) => id))

describe("a credential that is fresh", () => {
  it.effect("says from when on it is renewed, and why", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: 3600 })
      const now = yield* DateTime.now
      const report = yield* explain(id)
      assert.deepStrictEqual(gist(report), {
        status: "active",
        verdict: "fresh",
        reason: "expiring",
        renewable: true,
        action: "none"
      })
      const { aheadAt, marginSeconds = 0, nextAt } = report.renewal
      assert.isTrue(DateTime.lessThan(aheadAt ?? now, nextAt ?? now))
      assert.isTrue(marginSeconds >= 240 && marginSeconds <= 300)
      assert.strictEqual(seconds(now, nextAt), 3600 - marginSeconds)
      assert.include(report.nextAction.message, DateTime.formatIso(nextAt ?? now))
      assert.deepStrictEqual(report.leases, { available: true, holders: [], waiting: 0 })
    }).pipe(Effect.provide(layer))
  })

  it.effect("is what the policy says it is: due from the very second that it names", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: 3600 })
      const now = yield* DateTime.now
      const { renewal } = yield* explain(id)
      const left = DateTime.distance(now, renewal.nextAt ?? now)
      yield* TestClock.adjust(Math.floor(left) - 1000)
      assert.strictEqual((yield* explain(id)).renewal.verdict, "fresh")
      yield* TestClock.adjust(1001)
      assert.strictEqual((yield* explain(id)).renewal.verdict, "due")
    }).pipe(Effect.provide(layer))
  })

  it.effect("is asked about without a call, a renewal or a write, however due it is", () => {
    const { layer, provider, reach } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      reach.calls.length = 0
      assert.strictEqual((yield* explain(id)).nextAction.action, "renew")
      yield* settle
      assert.deepStrictEqual(provider.spent, [])
      assert.deepStrictEqual([...new Set(reach.calls)].sort(), ["get", "openAttempt"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("and without expiry is served until it is reported; then it is due at once", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: null })
      const before = yield* explain(id)
      assert.deepStrictEqual([before.renewal.nextAt, before.nextAction.action], [undefined, "none"])
      yield* manager.report(userId, id, { generation: 1, status: 401 })
      assert.deepStrictEqual(gist(yield* explain(id)), {
        status: "active",
        verdict: "due",
        reason: "reported",
        renewable: true,
        action: "renew"
      })
    }).pipe(Effect.provide(layer))
  })

  it.effect("whose refresh token is about to end tells the user to connect again", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const now = yield* DateTime.now
      const fresh = yield* oauth2({ expiresIn: 3600 })
      const id = yield* create({
        ...fresh,
        variant: { ...fresh.variant, refreshTokenExpiresAt: DateTime.add(now, { days: 3 }) } as never
      })
      const report = yield* explain(id)
      assert.deepStrictEqual([report.renewal.verdict, report.nextAction.action], ["fresh", "reconnect"])
      assert.isDefined(report.reauthSoonAt)
    }).pipe(Effect.provide(layer))
  })
})

describe("a credential that is due", () => {
  it.effect("and whose provider failed says with what, and until when it is left alone", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      provider.next(() => Effect.succeed(answer(429, { error: "slow" }, { "retry-after": "40" })))
      yield* Effect.flip(manager.get(userId, id))
      const now = yield* DateTime.now
      const report = yield* explain(id)
      assert.deepStrictEqual(gist(report), {
        status: "active",
        verdict: "due",
        reason: "expired",
        renewable: true,
        action: "wait"
      })
      assert.deepStrictEqual(report.renewal.lastError, { reason: "throttled" })
      assert.strictEqual(report.renewal.failures, 1)
      assert.strictEqual(seconds(now, report.renewal.backOffUntil), 40)
      assert.deepStrictEqual(report.renewal.nextAt, report.renewal.backOffUntil)
      yield* TestClock.adjust("41 seconds")
      assert.strictEqual((yield* explain(id)).nextAction.action, "renew")
    }).pipe(Effect.provide(layer))
  })

  it.effect("and whose provider fails for others too waits for it without having called", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const waiting = yield* given({ refreshToken: "its own" })
      provider.always(() => Effect.fail(new OutboundFailure({ sent: false, reason: "unreachable" })))
      for (let count = 0; count < 5; count++) {
        yield* Effect.flip(manager.get(userId, yield* given({ refreshToken: `another ${count}` })))
      }
      const { nextAction, renewal } = yield* explain(waiting)
      assert.deepStrictEqual([renewal.failures, renewal.circuit?.state], [0, "open"])
      assert.isTrue(DateTime.greaterThan(renewal.circuit?.until ?? DateTime.unsafeMake(0), yield* DateTime.now))
      assert.strictEqual(nextAction.action, "wait")
      yield* TestClock.adjust("1 minute")
      const later = yield* explain(waiting)
      assert.deepStrictEqual([later.renewal.circuit, later.nextAction.action], [{ state: "half_open" }, "renew"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("and whose provider refuses this service's client is the operator's to mend", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      provider.next(() => Effect.succeed(answer(401, { error: "invalid_client" })))
      yield* Effect.flip(manager.get(userId, id))
      const report = yield* explain(id)
      assert.deepStrictEqual(
        [report.renewal.lastError?.reason, report.nextAction.action],
        ["invalid_client", "configure"]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("and cannot be asked for says what is missing", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const id = yield* given()
      const errors = [
        ["unknown_provider", new UnknownProvider({ provider: providerId })],
        ["missing_config", new MissingConfig({ provider: providerId, variables: ["ACME_CLIENT_ID"] })],
        ["missing_token_url", new MissingTokenUrl({ provider: providerId, credentialId: id })]
      ] as const
      for (const [blockedBy, error] of errors) {
        const registry = Layer.effect(
          HandlerRegistry,
          Effect.map(HandlerRegistry, (real) => ({ ...real, of: () => Effect.fail(error) }))
        )
        const report = yield* explain(id).pipe(Effect.provide(Layer.provide(Explanation.layer, registry)))
        assert.deepStrictEqual([report.renewal.blockedBy, report.nextAction.action], [blockedBy, "configure"])
      }
    }).pipe(Effect.provide(layer))
  })

  it.effect(
    "and is being renewed names the attempt, which is to be waited for; after its deadline it is settled",
    () => {
      const { layer, provider } = world()
      return Effect.gen(function* () {
        const manager = yield* CredentialsManager
        const id = yield* given()
        provider.next(() => Effect.never)
        const reader = yield* Effect.fork(Effect.exit(manager.get(userId, id, { wait: "2 minutes" })))
        yield* adjust("1 second")
        const { nextAction, renewal } = yield* explain(id)
        assert.match(renewal.attempt?.id ?? "", /^[0-9a-f-]{36}$/)
        assert.isTrue(DateTime.lessThan(renewal.attempt?.startedAt ?? DateTime.unsafeMake(0), yield* DateTime.now))
        assert.strictEqual(nextAction.action, "wait")
        yield* adjust("66 seconds")
        const after = yield* explain(id)
        assert.isDefined(after.renewal.attempt)
        assert.deepStrictEqual([after.renewal.lastError?.reason, after.nextAction.action], ["timeout", "renew"])
        yield* Fiber.interrupt(reader)
      }).pipe(Effect.provide(layer))
    }
  )
})

describe("a credential that only its user can help", () => {
  it.effect("says why", () => {
    const { layer, provider } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given()
      provider.next(() => Effect.succeed(answer(400, { error: "invalid_grant" })))
      yield* Effect.flip(manager.get(userId, id))
      const report = yield* explain(id)
      assert.deepStrictEqual(gist(report), {
        status: "needs_reauth",
        verdict: "dead",
        reason: "grant_revoked",
        renewable: false,
        action: "reconnect"
      })
      assert.strictEqual(report.statusReason, "grant_revoked")
      assert.isUndefined(report.renewal.nextAt)
    }).pipe(Effect.provide(layer))
  })

  it.effect("because it never had a refresh token is served until its expiry", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const id = yield* given({ refreshToken: null, expiresIn: 600 })
      assert.deepStrictEqual(gist(yield* explain(id)), {
        status: "active",
        verdict: "fresh",
        reason: "no_refresh_token",
        renewable: false,
        action: "reconnect"
      })
      yield* TestClock.adjust("11 minutes")
      const over = yield* explain(id)
      assert.deepStrictEqual([over.renewal.verdict, over.nextAction.action], ["dead", "reconnect"])
      const lasting = yield* given({ refreshToken: null, expiresIn: null })
      assert.strictEqual((yield* explain(lasting)).nextAction.action, "none")
    }).pipe(Effect.provide(layer))
  })
})

describe("a credential that is never renewed", () => {
  it.effect("is served as stored; an API key until its expiry, and is then to be replaced", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const now = yield* DateTime.now
      const secret = Redacted.make("canary-secret")
      const kinds: ReadonlyArray<NewCredential["variant"]> = [
        { type: "api_key", apiKey: secret, expiresAt: DateTime.add(now, { hours: 1 }) },
        { type: "user_password", username: "u", password: secret },
        { type: "host_scoped", host: "example.com", headers: { "X-Key": secret } }
      ]
      for (const variant of kinds) {
        const id = yield* create({ provider: providerOf("other"), variant })
        const report = yield* explain(id)
        assert.deepStrictEqual(
          { type: report.type, action: report.nextAction.action, renewal: report.renewal },
          { type: variant.type, action: "none", renewal: { renewable: false, failures: 0 } }
        )
        assert.notInclude(JSON.stringify(report), "canary")
        if (variant.type !== "api_key") continue
        yield* TestClock.adjust("2 hours")
        assert.strictEqual((yield* explain(id)).nextAction.action, "replace")
      }
    }).pipe(Effect.provide(layer))
  })

  it.effect("because its bytes do not open is told from what its row still says", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: 3600 })
      const broken = Layer.effect(
        Store,
        Effect.map(Store, (store) => ({
          ...store,
          get: () => Effect.fail(new Undecryptable({ credentialId: id, keyId: "gone" })),
          metadata: (user: typeof userId, of: CredentialId) =>
            Effect.map(store.metadata(user, of), (known) => ({ ...known, status: "undecryptable" as const }))
        }))
      )
      const report = yield* explain(id).pipe(Effect.provide(Layer.provide(Explanation.layer, broken)))
      assert.deepStrictEqual(
        [report.status, report.generation, report.nextAction.action],
        ["undecryptable", 1, "restore"]
      )
    }).pipe(Effect.provide(layer))
  })
})

describe("leases", () => {
  it.effect("are told with their holders' modes, fences and ends, and how many wait, but never with their ids", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const id = yield* given({ expiresIn: 3600 })
      const { lease } = yield* manager.lend(userId, id, { owner: "one", mode: "shared", ttl: "1 minute" })
      yield* manager.acquire(userId, id, { mode: "shared" })
      const waiting = yield* Effect.fork(Effect.scoped(manager.acquire(userId, id, { wait: "1 minute" })))
      yield* settle
      const mine = yield* explain(id, "one")
      assert.deepStrictEqual(mine.leases, {
        available: true,
        holders: [
          { mode: "shared", fencingToken: lease.fencingToken, expiresAt: lease.expiresAt, mine: true },
          { mode: "shared", fencingToken: lease.fencingToken + 1 }
        ],
        waiting: 1
      })
      const others = yield* explain(id, "other")
      assert.isTrue(others.leases.available && others.leases.holders.every((holder) => holder.mine === undefined))
      assert.notInclude(JSON.stringify(mine), Redacted.value(lease.leaseId))
      yield* Fiber.interrupt(waiting)
    }).pipe(Effect.provide(layer), Effect.scoped)
  })

  it.effect("are said to be unknown while the lock service fails or hangs; the rest is told", () => {
    const { layer } = world()
    return Effect.gen(function* () {
      const id = yield* given({ expiresIn: 3600 })
      for (const ping of [Effect.fail(new LockUnavailable({ retryAfterSeconds: 1 })), Effect.never]) {
        const locks = Layer.effect(
          LockService,
          Effect.map(LockService, (real) => LockService.of({ ...real, ping }))
        )
        const asked = yield* Effect.fork(explain(id).pipe(Effect.provide(Layer.provide(Explanation.layer, locks))))
        yield* adjust("3 seconds")
        const report = yield* Fiber.join(asked)
        assert.deepStrictEqual(report.leases, { available: false })
        assert.strictEqual(report.renewal.verdict, "fresh")
      }
    }).pipe(Effect.provide(layer))
  })
})

it.effect("another user's credential is not found", () => {
  const { layer } = world()
  return Effect.gen(function* () {
    const id = yield* given()
    const explanation = yield* Explanation.Explanation
    const error = yield* Effect.flip(explanation.explain("user-2" as typeof userId, id))
    assert.strictEqual(error._tag, "CredentialNotFound")
  }).pipe(Effect.provide(layer))
})
