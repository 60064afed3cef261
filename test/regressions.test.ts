/**
 * The defects of the original system (`seed/inventory.md`), one test for each under its number: none returns.
 */
import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { randomBytes, randomUUID } from "node:crypto"
import * as AuditLog from "../src/AuditLog.ts"
import * as AuthorizationStore from "../src/AuthorizationStore.ts"
import * as Cipher from "../src/Cipher.ts"
import * as Credential from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { Undecryptable } from "../src/CredentialsError.ts"
import * as LockService from "../src/LockService.ts"
import { OAuthFlow } from "../src/OAuthFlow.ts"
import { Provider } from "../src/Provider.ts"
import * as Rewrapping from "../src/Rewrapping.ts"
import * as Service from "../src/Service.ts"
import * as Store from "../src/Store.ts"
import * as Memory from "../src/Store/Memory.ts"
import * as ScriptedProvider from "./servers/ScriptedProvider.ts"

const { Fault } = ScriptedProvider

const user = Credential.UserId.make("user")
const acme = Credential.providerId("acme")
const newId = () => Credential.CredentialId.to.make(randomUUID())

/** A provider that rotates and revokes on reuse, and a service that is its client. The clock is the test's. */
const world = (
  options: {
    readonly provider?: ScriptedProvider.Options
    readonly definition?: Readonly<Record<string, unknown>>
  } = {}
) =>
  Effect.gen(function* () {
    yield* TestClock.setTime(Date.parse("2026-01-01T00:00:00Z"))
    const provider = yield* ScriptedProvider.make(options.provider)
    const context = yield* Layer.build(
      Service.layerMemory({
        providers: [Schema.decodeUnknownSync(Provider)(provider.definition("acme", options.definition))],
        clients: () => Option.some({ id: provider.clientId, secret: Redacted.make(provider.clientSecret ?? "") }),
        allowLoopback: true,
        sweeper: false
      })
    )
    return {
      provider,
      manager: Context.get(context, CredentialsManager),
      flow: Context.get(context, OAuthFlow),
      locks: Context.get(context, LockService.LockService),
      store: Context.get(context, Store.Store),
      audit: Context.get(context, AuditLog.AuditLog)
    }
  })

/** The service over the memory engine, but for these ports. */
const serviceOver = <I extends Service.Ports>(
  ports: Context.Context<I>,
  options: {
    readonly provider?: ScriptedProvider.ScriptedProvider["Type"]
    readonly sweeper?: Service.Options["sweeper"]
  } = {}
) =>
  Effect.gen(function* () {
    const { provider, sweeper = false } = options
    const client = provider && { id: provider.clientId, secret: Redacted.make(provider.clientSecret ?? "") }
    const memory = yield* Layer.build(
      Service.layerMemory({
        providers: provider === undefined ? [] : [Schema.decodeUnknownSync(Provider)(provider.definition("acme"))],
        clients: () => Option.fromNullable(client),
        allowLoopback: true,
        sweeper: false
      })
    )
    const replaced = Layer.succeedContext(Context.merge(memory, ports))
    return yield* Layer.build(Service.layer({ sweeper }).pipe(Layer.provide(replaced)))
  })

type World = Effect.Effect.Success<ReturnType<typeof world>>

/** Stores a login of this provider; its access token has so many seconds left, and expired before if negative. */
const connected = (
  { manager, provider }: Pick<World, "manager" | "provider">,
  secondsLeft: number,
  scopes: ReadonlyArray<string> = []
) =>
  Effect.gen(function* () {
    const issued = provider.issue({ scopes, accessTokenSeconds: Math.max(1, secondsLeft) })
    const now = yield* DateTime.now
    const { id } = yield* manager.create(user, {
      provider: acme,
      variant: {
        type: "oauth2",
        accessToken: Redacted.make(issued.accessToken),
        refreshToken: Redacted.make(issued.refreshToken),
        accessTokenExpiresAt: DateTime.add(now, { seconds: secondsLeft }),
        scopes
      }
    })
    return { id, issued }
  })

const tokenOf = ({ accessToken }: Credential.Secret) => Redacted.value(accessToken ?? Redacted.make(""))

const refreshTokenOf = ({ store }: World, id: Credential.CredentialId) =>
  Effect.map(store.get(user, id), ({ variant }) =>
    variant.type === "oauth2" && variant.refreshToken !== undefined ? Redacted.value(variant.refreshToken) : ""
  )

const isUnlocked = ({ locks }: World, id: Credential.CredentialId) =>
  Effect.map(locks.inspect(LockService.credentialKey(user, id)), (seen) =>
    assert.deepStrictEqual(seen, { holders: [], waiting: 0 })
  )

const refreshing = (provider: ScriptedProvider.ScriptedProvider["Type"], times = 1) =>
  provider.awaitLedger((ledger) => ledger.filter(({ kind }) => kind === "refresh_token").length >= times)

/** Runs without the clock moving: whatever would wait for a lock's timeout would never end. */
const atOnce = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const since = yield* Clock.currentTimeMillis
    const result = yield* effect
    assert.strictEqual(yield* Clock.currentTimeMillis, since)
    return result
  })

it.scoped("1: 100 concurrent gets of one expired credential are one refresh, and all get the new token", () =>
  Effect.gen(function* () {
    const { manager, provider, ...rest } = yield* world()
    const { id } = yield* connected({ manager, provider }, -1)
    const secrets = yield* Effect.all(
      Array.from({ length: 100 }, () => manager.get(user, id)),
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual([provider.refreshes, provider.spends, provider.reuses], [1, 1, 0])
    assert.strictEqual(new Set(secrets.map(tokenOf)).size, 1)
    assert.isTrue(secrets.every((secret) => provider.isLive(tokenOf(secret))))
    assert.isTrue(provider.isRefreshable(yield* refreshTokenOf({ manager, provider, ...rest }, id)))
  })
)

it.scoped(
  "2: acquire, get and refresh of one expired credential at once do not stall each other, and share one refresh",
  () =>
    Effect.gen(function* () {
      const { manager, provider } = yield* world()
      const { id } = yield* connected({ manager, provider }, -1)
      const acquire = Effect.scoped(Effect.map(manager.acquire(user, id), ({ secret }) => tokenOf(secret)))
      const get = Effect.map(manager.get(user, id), tokenOf)
      const refresh = Effect.zipRight(manager.refresh(user, id, { ifGeneration: 1 }), get)
      const tokens = yield* atOnce(
        Effect.all([acquire, get, refresh, acquire, get, refresh, acquire], { concurrency: "unbounded" })
      )
      assert.strictEqual(new Set(tokens).size, 1)
      assert.deepStrictEqual([provider.refreshes, provider.reuses], [1, 0])
    })
)

it.scoped("3: a refresh that fails keeps no lock: the credential can be read, acquired and replaced at once", () =>
  Effect.gen(function* () {
    const given = yield* world()
    const { manager, provider } = given
    for (const fault of [Fault.down(503), Fault.resetBefore, Fault.html(502), Fault.error("invalid_client")]) {
      const { id } = yield* connected(given, 60)
      provider.next(fault)
      yield* Effect.flip(manager.refresh(user, id))
      yield* isUnlocked(given, id)
      yield* atOnce(Effect.scoped(manager.acquire(user, id)))
      yield* atOnce(manager.update(user, id, { title: "anew", variant: { type: "oauth2" } }))
    }
  })
)

it.scoped("4: an acquire that finds nothing, or cannot renew, keeps no lock", () =>
  Effect.gen(function* () {
    const given = yield* world()
    const { manager, provider } = given
    const missing = newId()
    assert.strictEqual((yield* Effect.flip(Effect.scoped(manager.acquire(user, missing))))._tag, "CredentialNotFound")
    yield* isUnlocked(given, missing)
    const { id } = yield* connected(given, -1)
    provider.next(Fault.error("invalid_grant"))
    assert.strictEqual((yield* Effect.flip(Effect.scoped(manager.acquire(user, id))))._tag, "NeedsReauth")
    yield* isUnlocked(given, id)
    assert.strictEqual((yield* Effect.flip(manager.lend(user, id, { owner: "me", ttl: 60_000 })))._tag, "NeedsReauth")
    yield* isUnlocked(given, id)
  })
)

it.scoped("5: a lease does not run out under its holder, and one that ran out frees nobody else's", () =>
  Effect.gen(function* () {
    const given = yield* world()
    const { manager } = given
    const { id } = yield* connected(given, 86_400)
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { lease } = yield* manager.acquire(user, id)
        yield* TestClock.adjust("1 hour")
        yield* lease.check
        const late = yield* Effect.flip(Effect.scoped(manager.acquire(user, id, { wait: 0 })))
        assert.strictEqual(late._tag, "LockTimeout")
      })
    )
    const first = yield* manager.lend(user, id, { owner: "first", ttl: "60 seconds" })
    yield* TestClock.adjust("60 seconds")
    const second = yield* manager.lend(user, id, { owner: "second", ttl: "60 seconds" })
    assert.isAbove(second.lease.fencingToken, first.lease.fencingToken)
    const stale = [
      manager.releaseLease(first.lease.leaseId, { owner: "first" }),
      manager.releaseLease(second.lease.leaseId, { owner: "first" })
    ]
    for (const release of stale) assert.strictEqual((yield* Effect.flip(release))._tag, "LeaseLost")
    const third = yield* Effect.flip(manager.lend(user, id, { owner: "third", ttl: "60 seconds", wait: 0 }))
    assert.strictEqual(third._tag, "LockTimeout")
    yield* manager.releaseLease(second.lease.leaseId, { owner: "second" })
    yield* isUnlocked(given, id)
  })
)

it.scoped("6: a cached getter keeps what it renews: ten calls, one refresh, and again one when that is due", () =>
  Effect.gen(function* () {
    const { manager, provider } = yield* world({ provider: { accessTokenSeconds: 60 } })
    const { id } = yield* connected({ manager, provider }, -1)
    const get = yield* manager.cachedGetter(user)
    const ten = Effect.replicateEffect(Effect.map(get(id), Option.map(tokenOf)), 10)
    const tokens = yield* ten
    assert.strictEqual(new Set(tokens.map(Option.getOrThrow)).size, 1)
    assert.strictEqual(provider.refreshes, 1)
    yield* TestClock.adjust("61 seconds")
    yield* ten
    assert.deepStrictEqual([provider.refreshes, provider.reuses], [2, 0])
    assert.deepStrictEqual(yield* get(newId()), Option.none())
  })
)

it.scoped("7: a caller that goes away during the exchange loses nothing: the rotated token is stored", () =>
  Effect.gen(function* () {
    const given = yield* world()
    const { manager, provider } = given
    const { id } = yield* connected(given, -1)
    const callers = [
      Effect.asVoid(manager.get(user, id)),
      Effect.asVoid(manager.refresh(user, id)),
      Effect.asVoid(Effect.scoped(manager.acquire(user, id)))
    ]
    for (const [round, caller] of callers.entries()) {
      provider.next(Fault.slow({ after: "1500 millis" }))
      const fiber = yield* Effect.fork(caller)
      yield* refreshing(provider, round + 1)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      yield* TestClock.adjust("1500 millis")
      const secret = yield* manager.get(user, id)
      assert.strictEqual(secret.generation, round + 2)
      assert.isTrue(provider.isLive(tokenOf(secret)))
      assert.isTrue(provider.isRefreshable(yield* refreshTokenOf(given, id)))
      yield* TestClock.adjust("2 hours")
    }
    assert.strictEqual(provider.reuses, 0)
  })
)

it.scoped("8: a renewed credential keeps its id, whatever id the provider's answer names", () =>
  Effect.gen(function* () {
    const given = yield* world()
    const { manager, provider } = given
    const { id } = yield* connected(given, -1)
    provider.next(Fault.having({ id: newId(), credential_id: newId(), provider: "other", generation: 99 }))
    const secret = yield* manager.get(user, id)
    assert.strictEqual(secret.credentialId, id)
    assert.strictEqual(secret.generation, 2)
    const page = yield* manager.list(user, {}, { limit: 10, after: Option.none() })
    assert.deepStrictEqual(
      page.items.map((item) => [item.id, item.provider]),
      [[id, acme]]
    )
    assert.isTrue(provider.isRefreshable(yield* refreshTokenOf(given, id)))
  })
)

it.scoped("9: narrower scopes than before are stored with their token, and said", () =>
  Effect.gen(function* () {
    const given = yield* world()
    const { audit, manager, provider } = given
    const { id } = yield* connected(given, -1, ["read", "write"])
    provider.next(Fault.having({ scope: "read" }))
    const secret = yield* manager.get(user, id)
    assert.isTrue(provider.isLive(tokenOf(secret)))
    assert.isTrue(provider.isRefreshable(yield* refreshTokenOf(given, id)))
    assert.deepStrictEqual((yield* manager.metadata(user, id)).scopes, ["read"])
    const events = yield* audit.recent(100)
    assert.isTrue(events.some(({ credentialId, kind }) => kind === "scopes_narrowed" && credentialId === id))
  })
)

it.scoped("10: what a user has just replaced or deleted is not overwritten by a renewal of what was before", () =>
  Effect.gen(function* () {
    const given = yield* world()
    const { manager, provider } = given
    const replacement = provider.issue()
    const renewals = [
      { name: "get", begin: (id: Credential.CredentialId) => Effect.asVoid(manager.get(user, id)) },
      {
        name: "a cached getter with an old snapshot",
        begin: (id: Credential.CredentialId) =>
          Effect.flatMap(manager.cachedGetter(user), (get) => Effect.asVoid(get(id)))
      }
    ]
    for (const { begin, name } of renewals) {
      const { id } = yield* connected(given, -1)
      const before = provider.refreshes
      provider.next(Fault.slow({ after: "1 second" }))
      const renewal = yield* Effect.fork(begin(id))
      yield* refreshing(provider, before + 1)
      const replaced = yield* manager.update(user, id, {
        variant: {
          type: "oauth2",
          accessToken: Redacted.make(replacement.accessToken),
          refreshToken: Redacted.make(replacement.refreshToken),
          accessTokenExpiresAt: DateTime.add(yield* DateTime.now, { hours: 1 })
        }
      })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(renewal)
      const secret = yield* manager.get(user, id)
      assert.strictEqual(tokenOf(secret), replacement.accessToken, name)
      assert.strictEqual(secret.generation, replaced.generation, name)
    }

    const { id } = yield* connected(given, -1)
    const before = provider.refreshes
    provider.next(Fault.slow({ after: "1 second" }))
    const renewal = yield* Effect.fork(Effect.exit(manager.get(user, id)))
    yield* refreshing(provider, before + 1)
    const deletion = yield* Effect.fork(manager.delete(user, id))
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(deletion)
    yield* Fiber.join(renewal)
    assert.isFalse(yield* manager.exists(user, id))

    const other = yield* connected(given, -1)
    const get = yield* manager.cachedGetter(user)
    yield* get(newId())
    yield* manager.delete(user, other.id, { revoke: false })
    assert.strictEqual((yield* Effect.flip(get(other.id)))._tag, "CredentialNotFound")
    assert.isFalse(yield* manager.exists(user, other.id))
    assert.strictEqual(provider.reuses, 0)
  })
)

it.scoped(
  "11: two holders that need {A, B} and {B, A} do not stall, and a second acquire that fails frees the first",
  () =>
    Effect.gen(function* () {
      const given = yield* world()
      const { manager } = given
      const a = (yield* connected(given, 3600)).id
      const b = (yield* connected(given, 3600)).id
      const both = (ids: ReadonlyArray<Credential.CredentialId>) =>
        Effect.scoped(
          Effect.flatMap(manager.acquireAll(user, ids), (held) =>
            Effect.as(
              Effect.yieldNow(),
              held.map(({ secret }) => secret.credentialId)
            )
          )
        )
      const answers = yield* atOnce(
        Effect.all(
          Array.from({ length: 20 }, (_, index) => both(index % 2 === 0 ? [a, b] : [b, a])),
          { concurrency: "unbounded" }
        )
      )
      assert.deepStrictEqual(answers[0], [a, b])
      assert.deepStrictEqual(answers[1], [b, a])

      for (const ids of [
        [a, newId(), b],
        [newId(), b],
        [a, newId()]
      ]) {
        assert.strictEqual((yield* Effect.flip(both(ids)))._tag, "CredentialNotFound")
      }
      yield* Effect.scoped(
        Effect.gen(function* () {
          const last = [a, b].sort().at(-1) ?? b
          yield* manager.acquire(user, last)
          const late = yield* Effect.flip(Effect.scoped(manager.acquireAll(user, [a, b], { wait: 0 })))
          assert.strictEqual(late._tag, "LockTimeout")
          yield* isUnlocked(given, [a, b].sort().at(0) ?? a)
        })
      )
      yield* Effect.forEach([a, b], (id) => isUnlocked(given, id))
    })
)

it.scoped("12: releaseAll misses no lock, however many are held and however long", () =>
  Effect.gen(function* () {
    const given = yield* world()
    const { manager } = given
    const ids = yield* Effect.replicateEffect(
      Effect.map(
        manager.create(user, { provider: acme, variant: { type: "api_key", apiKey: Redacted.make("key") } }),
        ({ id }) => id
      ),
      300
    )
    const scope = yield* Scope.make()
    const held = yield* Scope.extend(
      Effect.forEach(ids, (id) => manager.acquire(user, id)),
      scope
    )
    yield* TestClock.adjust("1 day")
    yield* Effect.forEach(held, ({ lease }) => lease.check)
    yield* manager.releaseAll
    for (const { lease } of held) assert.strictEqual((yield* Effect.flip(lease.check))._tag, "LeaseLost")
    yield* Effect.forEach(ids, (id) => isUnlocked(given, id))
    yield* Scope.close(scope, Exit.void)
  })
)

it.scoped(
  "13: an update overtakes 50 queued users, who come in their order; nobody polls (between processes: with the Redis layer)",
  () =>
    Effect.gen(function* () {
      const given = yield* world()
      const { manager } = given
      const { id } = yield* manager.create(user, {
        provider: acme,
        variant: { type: "api_key", apiKey: Redacted.make("old") }
      })
      const order: Array<string> = []
      const waiting = (count: number) =>
        Effect.repeat(Effect.zipRight(Effect.yieldNow(), given.locks.inspect(LockService.credentialKey(user, id))), {
          until: (seen) => seen.waiting === count
        })
      const scope = yield* Scope.make()
      yield* Scope.extend(manager.acquire(user, id), scope)
      const users = yield* Effect.forEach(Array.from({ length: 50 }), (_, index) =>
        Effect.zipLeft(
          Effect.fork(
            Effect.scoped(
              Effect.map(manager.acquire(user, id), ({ secret }) =>
                order.push(`${index} ${Redacted.value(secret.apiKey ?? Redacted.make(""))}`)
              )
            )
          ),
          waiting(index + 1)
        )
      )
      const update = yield* Effect.fork(
        manager.update(user, id, { variant: { type: "api_key", apiKey: Redacted.make("new") } })
      )
      yield* waiting(51)
      yield* atOnce(
        Effect.gen(function* () {
          yield* Scope.close(scope, Exit.void)
          yield* Fiber.join(update)
          yield* Fiber.joinAll(users)
        })
      )
      assert.deepStrictEqual(
        order,
        Array.from({ length: 50 }, (_, index) => `${index} new`)
      )
    })
)

it.scoped(
  "14: with a wrong key nothing is taken for nothing: the store does not open, a row says so, and no write destroys it",
  () =>
    Effect.gen(function* () {
      const driver = yield* Memory.make
      const key = (id: string): Cipher.Key => ({ id, bytes: Redacted.make(randomBytes(32)) })
      const [right, wrong] = [key("right"), key("wrong")]
      const opened = (ring: readonly [Cipher.Key, ...ReadonlyArray<Cipher.Key>]) =>
        Effect.map(
          Layer.build(Store.layer(Effect.succeed(driver)).pipe(Layer.provide(Cipher.layer(ring)))),
          Context.get(Store.Store)
        )
      const managed = (store: Store.Store["Type"]) =>
        Effect.map(serviceOver(Context.make(Store.Store, store)), Context.get(CredentialsManager))
      const apiKey = (value: string) => ({
        provider: acme,
        variant: { type: "api_key" as const, apiKey: Redacted.make(value) }
      })

      const before = yield* managed(yield* opened([right]))
      const { id } = yield* before.create(user, apiKey("precious"))

      const refused = yield* Effect.flip(opened([wrong]))
      assert.instanceOf(refused, Store.KeyRingMismatch)
      const damaged = yield* Effect.flip(opened([key("right")]))
      assert.instanceOf(damaged, Store.KeyRingMismatch)

      // a ring whose first key is new: the old key still opens what it sealed, and a row that it does not open is loud
      const rotated = yield* opened([wrong, right])
      const now = yield* managed(rotated)
      const second = yield* now.create(user, apiKey("sealed with the new key"))
      const after = yield* managed(yield* opened([right, key("wrong")]))
      assert.instanceOf(yield* Effect.flip(after.get(user, second.id)), Undecryptable)
      const page = yield* after.list(user, {}, { limit: 10, after: Option.none() })
      assert.deepStrictEqual(
        page.items.map((item) => [item.id, item.status]).sort(),
        [
          [id, "active"],
          [second.id, "undecryptable"]
        ].sort()
      )
      yield* after.create(user, apiKey("another"))
      assert.instanceOf(yield* Effect.flip(after.update(user, second.id, apiKey("over it"))), Undecryptable)
      yield* after.deleteUser(Credential.UserId.make("another user"))
      const restored = yield* managed(yield* opened([wrong, right]))
      const secret = yield* restored.get(user, second.id)
      assert.strictEqual(Redacted.value(secret.apiKey ?? Redacted.make("")), "sealed with the new key")
      assert.strictEqual(Redacted.value((yield* restored.get(user, id)).apiKey ?? Redacted.make("")), "precious")
    })
)

it.scoped(
  "15: logins that nobody finished are dropped after ten minutes, and a state of any characters is just unknown",
  () =>
    Effect.gen(function* () {
      const rows = new Map<string, AuthorizationStore.AuthorizationRow>()
      const driver: AuthorizationStore.Driver = {
        put: (row) => Effect.sync(() => void rows.set(row.stateHash, row)),
        find: (hash) => Effect.sync(() => Option.fromNullable(rows.get(hash))),
        take: (hash) =>
          Effect.sync(() => {
            const row = Option.fromNullable(rows.get(hash))
            rows.delete(hash)
            return row
          }),
        removeUser: () => Effect.void,
        prune: (before) =>
          Effect.sync(() => {
            for (const row of rows.values()) if (row.expiresAt <= before) rows.delete(row.stateHash)
          }),
        sealed: Rewrapping.inMemory({
          all: () => [...rows.values()],
          get: ({ stateHash }) => rows.get(stateHash),
          id: ({ stateHash }) => [stateHash],
          put: (row) => rows.set(row.stateHash, row)
        })
      }
      const provider = yield* ScriptedProvider.make()
      const authorizations = yield* AuthorizationStore.make(driver).pipe(Effect.provide(Cipher.layerMemory))
      const context = yield* serviceOver(Context.make(AuthorizationStore.AuthorizationStore, authorizations), {
        provider,
        sweeper: { interval: "10 seconds" }
      })
      const flow = Context.get(context, OAuthFlow)
      const { state } = yield* flow.authorize(user, acme, {})
      yield* TestClock.adjust("5 minutes")
      yield* Effect.replicateEffect(flow.authorize(user, acme, {}), 9)
      assert.strictEqual(rows.size, 10)
      yield* TestClock.adjust("5 minutes")
      const late = yield* Effect.flip(
        flow.callback({ state, code: Redacted.make("code") }, { userId: user, provider: acme })
      )
      assert.strictEqual(late._tag, "AuthorizationExpired")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(rows.size, 9)
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(rows.size, 0)

      for (const odd of ["ünïcode 🔑", "\uD800", "\u0000", "", " ", "a".repeat(100_000), "%00", "../../etc/passwd"]) {
        const unknown = yield* Effect.flip(
          flow.callback({ state: Redacted.make(odd), code: Redacted.make("code") }, { userId: user, provider: acme })
        )
        assert.strictEqual(unknown._tag, "AuthorizationExpired", JSON.stringify(odd))
        assert.strictEqual((yield* Effect.flip(flow.start(Redacted.make(odd))))._tag, "AuthorizationExpired")
      }
      assert.lengthOf(provider.ledger, 0)
    })
)

it.scoped(
  "16: MCP: the resource is named, the issuer checked, the login revoked, http refused and no redirect followed (so far as that is built: a login by discovery is not)",
  () =>
    Effect.gen(function* () {
      const given = yield* world({
        provider: {
          clients: [{ clientId: "registered", clientSecret: "registered-secret" }],
          clientAuth: ["client_secret_post"]
        }
      })
      const { flow, manager, provider } = given
      const mcp = Schema.decodeSync(Credential.ProviderId)("ProviderName.MCP")
      const login = (metadata: Readonly<Record<string, string>> = {}) =>
        Effect.map(DateTime.now, (now) => {
          const issued = provider.issue()
          return {
            provider: mcp,
            variant: {
              type: "oauth2" as const,
              accessToken: Redacted.make(issued.accessToken),
              refreshToken: Redacted.make(issued.refreshToken),
              accessTokenExpiresAt: now,
              scopes: []
            },
            extra: Redacted.make({
              mcp_server_url: "https://mcp.example.com/sse",
              mcp_resource_url: "https://mcp.example.com/",
              mcp_token_url: provider.tokenUrl,
              mcp_revocation_url: provider.revocationUrl,
              mcp_client_id: "registered",
              mcp_client_secret: "registered-secret",
              ...metadata
            })
          }
        })
      const create = (metadata?: Readonly<Record<string, string>>) =>
        Effect.flatMap(login(metadata), (given) => manager.create(user, given))

      // `resource` (RFC 8707) goes with every token request, and the revocation URL is kept
      const { id } = yield* create()
      yield* manager.get(user, id)
      assert.strictEqual(provider.ledger[0]?.parameters["resource"], "https://mcp.example.com/")
      const newest = yield* refreshTokenOf(given, id)
      assert.isTrue(provider.isRefreshable(newest))
      assert.deepStrictEqual(yield* manager.delete(user, id), { deleted: true, revoked: true })
      assert.isFalse(provider.isRefreshable(newest))

      // a token endpoint over http is not called
      const plain = yield* create({ mcp_token_url: "http://acme.example/token" })
      assert.strictEqual((yield* Effect.flip(manager.get(user, plain.id)))._tag, "OutboundRefused")

      // a redirect does not send the token request's body to another origin
      const elsewhere = yield* ScriptedProvider.make()
      const redirected = yield* create()
      provider.next(Fault.refuse({ status: 307, headers: { location: elsewhere.tokenUrl } }))
      assert.strictEqual((yield* Effect.flip(manager.get(user, redirected.id)))._tag, "ProviderError")
      assert.lengthOf(elsewhere.ledger, 0)

      // `iss` (RFC 9207) is checked where the provider announces it
      const begun = yield* flow.authorize(user, acme, {})
      const foreign = yield* Effect.flip(
        flow.callback(
          { state: begun.state, code: Redacted.make("code"), iss: "https://evil.example" },
          { userId: user, provider: acme }
        )
      )
      assert.deepStrictEqual(
        [foreign._tag, "error" in foreign && foreign.error],
        ["AuthorizationDenied", "issuer_mismatch"]
      )
      assert.strictEqual(provider.exchanges, 0)
    })
)

it.scoped(
  "17: a valid token costs a get one read and no lock, and an acquire with its release one read and one lock",
  () =>
    Effect.gen(function* () {
      const provider = yield* ScriptedProvider.make()
      const calls: Array<string> = []
      const counting = <T extends object>(name: string, service: T): T =>
        new Proxy(service, {
          get: (target, property, receiver) => {
            const value: unknown = Reflect.get(target, property, receiver)
            if (typeof value !== "function") return value
            return (...parameters: ReadonlyArray<unknown>): unknown => {
              calls.push(`${name}.${String(property)}`)
              return Reflect.apply(value, target, parameters)
            }
          }
        })
      const memory = yield* Layer.build(Layer.merge(Store.layerMemory, LockService.layerMemory)).pipe(
        Effect.provide(Cipher.layerMemory)
      )
      const context = yield* serviceOver(
        Context.make(Store.Store, counting("Store", Context.get(memory, Store.Store))).pipe(
          Context.add(LockService.LockService, counting("LockService", Context.get(memory, LockService.LockService)))
        ),
        { provider }
      )
      const manager = Context.get(context, CredentialsManager)
      const { id } = yield* connected({ manager, provider }, 3600)
      const costOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.gen(function* () {
          calls.length = 0
          yield* effect
          return calls.filter((call) => call !== "Store.grantOf")
        })
      assert.deepStrictEqual(yield* costOf(manager.get(user, id)), ["Store.get"])
      assert.deepStrictEqual(yield* costOf(Effect.scoped(manager.acquire(user, id))), [
        "LockService.acquire",
        "Store.get"
      ])
      assert.lengthOf(provider.ledger, 0)
    })
)
