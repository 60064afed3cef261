/**
 * The promise, against a provider that nobody here wrote: `oidc-provider`, which rotates refresh tokens and ends the whole
 * grant when a spent one comes back. The server is a process of its own.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Browser from "../servers/Browser.ts"
import { ok } from "../servers/Client.ts"
import * as OidcProvider from "../servers/OidcProvider.ts"
import * as Service from "../servers/Service.ts"

const user = "ada"

/** A server, a provider with access tokens of 5 seconds, and an account that was connected through a browser. */
const connected = (fields: Readonly<Record<string, unknown>> = {}) =>
  Effect.gen(function* () {
    const { port, redirectUri } = yield* Service.reserve
    const provider = yield* OidcProvider.make({ redirectUris: [redirectUri], accessTokenSeconds: 5 })
    const service = yield* Service.start({
      port,
      providers: [provider.definition("oidc", fields)],
      env: provider.environment("oidc")
    })
    const { authorizationUrl } = yield* ok(service.client.authorize(user, "oidc", {}))
    const page = yield* Browser.make().follow(authorizationUrl)
    assert.strictEqual(page.status, 200)
    const { items } = yield* ok(service.client.list(user))
    const [credential] = items
    if (credential === undefined || items.length !== 1) return yield* Effect.dieMessage("one credential was expected")
    return { provider, service, id: credential.id }
  })

type Connected = Effect.Effect.Success<ReturnType<typeof connected>>

const expiry = Effect.sleep("5200 millis")

const readAtOnce = ({ id, service }: Connected, count: number) =>
  Effect.all(
    Array.from({ length: count }, () => ok(service.client.secret(user, id))),
    { concurrency: "unbounded" }
  )

/** Everybody got one and the same living token, for `refreshes` refreshes so far, and no token was spent twice. */
const assertServed = (
  { provider }: Connected,
  secrets: ReadonlyArray<{ readonly accessToken?: string }>,
  refreshes: number
) =>
  Effect.gen(function* () {
    const tokens = [...new Set(secrets.map(({ accessToken }) => accessToken ?? ""))]
    assert.strictEqual(tokens.length, 1)
    assert.isTrue(yield* provider.isLive(tokens[0] ?? ""))
    assert.strictEqual(provider.refreshes, refreshes)
    assert.strictEqual(provider.reuses, 0)
    assert.deepStrictEqual(provider.errors, [])
    assert.deepStrictEqual(provider.faults, [])
  })

describe("an account at oidc-provider", () => {
  it.scopedLive(
    "is read 200 times at once after each expiry for one refresh, also over a kill -9 between two rounds",
    () =>
      Effect.gen(function* () {
        const world = yield* connected()
        yield* assertServed(world, yield* readAtOnce(world, 20), 0)
        yield* expiry
        yield* assertServed(world, yield* readAtOnce(world, 200), 1)
        yield* expiry
        yield* assertServed(world, yield* readAtOnce(world, 200), 2)
        yield* world.service.kill("SIGKILL")
        yield* world.service.restart()
        yield* expiry
        yield* assertServed(world, yield* readAtOnce(world, 200), 3)
        assert.strictEqual((yield* ok(world.service.client.get(user, world.id))).generation, 4)
      }),
    60_000
  )

  it.scopedLive(
    "keeps its grant when every reader goes away during the exchange",
    () =>
      Effect.gen(function* () {
        const world = yield* connected({ refreshInvalidatesAccessToken: true })
        yield* expiry
        world.provider.delayTokenAnswers("1500 millis")
        yield* readAtOnce(world, 50).pipe(Effect.timeoutOption("500 millis"))
        yield* Effect.sleep("1500 millis")
        world.provider.delayTokenAnswers(0)
        yield* assertServed(world, yield* readAtOnce(world, 20), 1)
        yield* expiry
        yield* assertServed(world, yield* readAtOnce(world, 20), 2)
      }),
    60_000
  )

  it.scopedLive(
    "is renewed once for 32 leases that contend for it",
    () =>
      Effect.gen(function* () {
        const world = yield* connected({ refreshInvalidatesAccessToken: true })
        const { client } = world.service
        yield* expiry
        const borrow = Effect.gen(function* () {
          const lease = yield* ok(client.acquire(user, world.id, { waitSeconds: 60, ttlSeconds: 30 }))
          yield* ok(client.releaseLease(lease.leaseId))
          return lease
        })
        const [leases, secrets] = yield* Effect.all(
          [
            Effect.all(
              Array.from({ length: 32 }, () => borrow),
              { concurrency: "unbounded" }
            ),
            readAtOnce(world, 50)
          ],
          { concurrency: "unbounded" }
        )
        yield* assertServed(world, [...secrets, ...leases.map(({ secret }) => secret)], 1)
        const fences = leases.map(({ fencingToken }) => fencingToken)
        assert.strictEqual(new Set(fences).size, 32)
      }),
    60_000
  )

  it.scopedLive(
    "ends at the provider when it is deleted here",
    () =>
      Effect.gen(function* () {
        const world = yield* connected()
        const [secret] = yield* readAtOnce(world, 1)
        assert.deepStrictEqual(yield* ok(world.service.client.delete(user, world.id)), { deleted: true, revoked: true })
        assert.isFalse(yield* world.provider.isLive(secret?.accessToken ?? ""))
        assert.strictEqual(world.provider.revokedGrants.length, 1)
      }),
    60_000
  )
})
