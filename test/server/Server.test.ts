import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import type { CredentialId } from "../../src/Credential.ts"
import { CredentialNotFound, StoreUnavailable } from "../../src/CredentialsError.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import { LockService } from "../../src/LockService.ts"
import * as Health from "../../src/server/Health.ts"
import * as Listener from "../../src/server/Listener.ts"
import * as Server from "../../src/server/Server.ts"
import { Store } from "../../src/Store.ts"
import { bootstrapKey, call, inMemory, Serving, standIn } from "./Serving.ts"

const id = "11111111-1111-4111-8111-111111111111" as CredentialId
const path = `/v1/users/u/credentials/${id}/secret`

const never = <A>(begun: Deferred.Deferred<void>, ended: Deferred.Deferred<void>): Effect.Effect<A> =>
  Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never).pipe(
    Effect.onInterrupt(() => Deferred.succeed(ended, undefined))
  )

/** How often a server that stops is asked to answer before it does. */
const stoppingOver = <A, E>(
  get: Effect.Effect<A, E>,
  patience: string,
  use: (server: { readonly url: string; readonly stop: Effect.Effect<void> }) => Effect.Effect<void, never, Scope.Scope>
) =>
  Effect.gen(function* () {
    const outer = yield* Effect.scope
    const listener = yield* Listener.bind({ host: "127.0.0.1", port: 0 })
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(standIn({ credentials: { get: () => get as never } }), outer)
    yield* Layer.buildWithScope(Server.layer(listener, { patience: patience as "1 second" }), scope).pipe(
      Effect.provide(context)
    )
    yield* use({ url: `http://127.0.0.1:${listener.port}`, stop: Scope.close(scope, Exit.void) })
  })

describe("a caller who goes away", () => {
  it.scopedLive("interrupts what is done for it, and the server lives on", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const ended = yield* Deferred.make<void>()
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        const caller = yield* Effect.fork(call("GET", path))
        yield* Deferred.await(begun)
        assert.isFalse(yield* Deferred.isDone(ended))
        yield* Fiber.interrupt(caller)
        yield* Effect.timeout(Deferred.await(ended), "1 second")
        assert.strictEqual((yield* call("GET", "/healthz")).status, 200)
      }).pipe(Effect.provide(standIn({ credentials: { get: () => never(begun, ended) } })))
    })
  )

  it.scopedLive("in the middle of its body leaves nothing behind", () =>
    Effect.gen(function* () {
      const { call, url } = yield* Serving
      yield* Effect.async<void>((resume) => {
        const request = Http.request(`${url}/v1/users/u/credentials`, {
          method: "POST",
          headers: { authorization: `Bearer ${bootstrapKey}`, "content-length": 1000 }
        })
        request.on("error", () => resume(Effect.void)).write('{"type":')
        setTimeout(() => request.destroy(), 50)
      })
      assert.deepStrictEqual((yield* call("GET", "/v1/users/u/credentials")).json, { items: [] })
    }).pipe(Effect.provide(inMemory))
  )
})

describe("a wait", () => {
  it.live("ends within two seconds of what was asked, whatever it waits for", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const ended = yield* Deferred.make<void>()
      const stuck = Effect.uninterruptible(
        never<never>(begun, ended).pipe(Effect.interruptible, Effect.zipRight(Effect.never))
      )
      yield* Effect.gen(function* () {
        const { call } = yield* Serving
        const started = performance.now()
        const replies = yield* Effect.all(
          [
            call("GET", `${path}?waitSeconds=0`),
            call("PUT", `${path.replace("/secret", "")}?waitSeconds=0`, { body: { type: "api_key" } }),
            call("DELETE", `${path.replace("/secret", "")}?waitSeconds=0`),
            call("POST", `${path.replace("/secret", "/refresh")}?waitSeconds=0`),
            call("POST", path.replace("/secret", "/leases"), { body: { waitSeconds: 0 } }),
            call("DELETE", "/v1/users/u?waitSeconds=0")
          ],
          { concurrency: "unbounded" }
        )
        assert.isBelow(performance.now() - started, 2000)
        for (const reply of replies) {
          assert.strictEqual(reply.status, 423, reply.text)
          assert.strictEqual(reply.headers["retry-after"], "1")
        }
      }).pipe(
        Effect.provide(
          standIn({
            credentials: {
              get: () => stuck,
              update: () => stuck,
              delete: () => stuck,
              refresh: () => stuck,
              lend: () => stuck,
              deleteUser: () => stuck
            }
          })
        ),
        Effect.scoped
      )
    })
  )
})

describe("readiness", () => {
  const ready = (ping: Effect.Effect<void, StoreUnavailable>) =>
    Effect.gen(function* () {
      const store = yield* Store
      const locks = yield* LockService
      return yield* Effect.exit(
        Health.ready().pipe(Effect.provideService(Store, { ...store, ping }), Effect.provideService(LockService, locks))
      )
    }).pipe(Effect.provide(inMemory))

  it.scopedLive("is the store's and the locks'", () =>
    Effect.gen(function* () {
      assert.isTrue(Exit.isSuccess(yield* ready(Effect.void)))
      const down = new StoreUnavailable({ retryAfterSeconds: 1 })
      assert.deepStrictEqual(yield* ready(Effect.fail(down)), Exit.fail(down))
    })
  )

  it.scopedLive("is decided within two seconds", () =>
    Effect.gen(function* () {
      const started = performance.now()
      const exit = yield* ready(Effect.uninterruptible(Effect.never))
      assert.isTrue(Exit.isFailure(exit))
      assert.isBelow(performance.now() - started, 2500)
    })
  )
})

describe("a start", () => {
  it.scopedLive("answers 503 until there is something to serve", () =>
    Effect.gen(function* () {
      const listener = yield* Listener.bind({ host: "127.0.0.1", port: 0 })
      const reply = yield* call(`http://127.0.0.1:${listener.port}`, "GET", "/readyz")
      assert.deepStrictEqual(
        [reply.status, reply.headers["retry-after"], reply.json],
        [
          503,
          "1",
          {
            _tag: "ServiceUnavailable",
            message: "The service is starting: try again in 1 s.",
            retryable: true,
            phase: "starting",
            retryAfterSeconds: 1
          }
        ]
      )
    })
  )

  it.scopedLive("on a taken port fails with what to do", () =>
    Effect.gen(function* () {
      const { port } = yield* Listener.bind({ host: "127.0.0.1", port: 0 })
      const error = yield* Effect.flip(Listener.bind({ host: "127.0.0.1", port }))
      assert.strictEqual(
        error.message,
        `127.0.0.1:${port} is in use by another program: set PORT to a free port, for example PORT=8788.`
      )
    })
  )
})

describe("a stop", () => {
  it.scopedLive("lets requests end, and takes no new ones", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const get = Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(go)).pipe(
        Effect.zipRight(Effect.fail(new CredentialNotFound({ credentialId: id })))
      )
      yield* stoppingOver(get, "5 seconds", ({ stop, url }) =>
        Effect.gen(function* () {
          const agent = new Http.Agent({ keepAlive: true, maxSockets: 1 })
          yield* Effect.addFinalizer(() => Effect.sync(() => agent.destroy()))
          const running = yield* Effect.fork(call(url, "GET", path))
          yield* Deferred.await(begun)
          const stopping = yield* Effect.fork(stop)
          yield* Effect.sleep("100 millis")
          const refused = yield* Effect.exit(call(url, "GET", "/healthz"))
          assert.isTrue(Exit.isFailure(refused))
          yield* Deferred.succeed(go, undefined)
          const reply = yield* Fiber.join(running)
          assert.deepStrictEqual([reply.status, reply.headers.connection], [404, "close"])
          yield* Effect.timeout(Fiber.join(stopping), "1 second").pipe(Effect.orDie)
        })
      )
    })
  )

  it.scopedLive("is not held up by one that does not end: it is interrupted, and told why", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const ended = yield* Deferred.make<void>()
      yield* stoppingOver(never(begun, ended), "200 millis", ({ stop, url }) =>
        Effect.gen(function* () {
          const running = yield* Effect.fork(call(url, "GET", path))
          yield* Deferred.await(begun)
          const started = performance.now()
          yield* stop
          assert.isBelow(performance.now() - started, 1500)
          const reply = yield* Fiber.join(running)
          assert.strictEqual(reply.status, 503)
          assert.deepInclude(reply.json as object, { _tag: "ServiceUnavailable", phase: "stopping", retryable: true })
          assert.isTrue(yield* Deferred.isDone(ended))
        })
      )
    })
  )

  it.scopedLive("closes connections that are kept alive", () =>
    Effect.gen(function* () {
      yield* stoppingOver(Effect.never, "1 second", ({ stop, url }) =>
        Effect.gen(function* () {
          const agent = new Http.Agent({ keepAlive: true })
          yield* Effect.async<void>((resume) => {
            Http.get(`${url}/healthz`, { agent }, (response) => {
              response.resume().on("end", () => resume(Effect.void))
            })
          })
          const started = performance.now()
          yield* stop
          assert.isBelow(performance.now() - started, 500)
          agent.destroy()
        })
      )
    })
  )
})

it.scopedLive("every answer is kept from caches, sniffing, frames and referrers", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    for (const at of ["/healthz", "/nothing", "/v1/providers", "/v1/users/u/credentials"]) {
      const { headers } = yield* call("GET", at)
      assert.deepInclude(headers, {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff"
      })
    }
    assert.isDefined(yield* CredentialsManager)
  }).pipe(Effect.provide(inMemory))
)
