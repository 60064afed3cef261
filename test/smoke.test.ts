import { assert, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { ProviderId, UserId } from "../src/Credential.ts"
import { Provider } from "../src/Provider.ts"
import * as Service from "../src/Service.ts"
import * as ScriptedProvider from "./servers/ScriptedProvider.ts"

it.scopedLive("200 gets, one refresh", () =>
  Effect.gen(function* () {
    const provider = yield* ScriptedProvider.make({ accessTokenSeconds: 60 })
    const definition = Schema.decodeUnknownSync(Provider)(provider.definition("acme"))
    const layer = Service.layerMemory({
      providers: [definition],
      allowLoopback: true,
      clients: () => Option.some({ id: provider.clientId, secret: Redacted.make(provider.clientSecret) })
    })
    const context = yield* Layer.build(layer)
    yield* Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const user = UserId.make("u1")
      const issued = provider.issue({ accessTokenSeconds: 1 })
      const { id } = yield* manager.create(user, {
        provider: ProviderId.to.make("acme"),
        variant: {
          type: "oauth2",
          accessToken: Redacted.make(issued.accessToken),
          refreshToken: Redacted.make(issued.refreshToken ?? ""),
          accessTokenExpiresAt: DateTime.unsafeMake(Date.now() - 1000),
          scopes: []
        }
      })
      const secrets = yield* Effect.all(
        Array.from({ length: 200 }, () => manager.get(user, id)),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(secrets.map((s) => Redacted.value(s.accessToken ?? Redacted.make("")))).size, 1)
      assert.strictEqual(provider.refreshes, 1)
      assert.strictEqual(secrets[0]?.generation, 2)
      const t0 = performance.now()
      for (let i = 0; i < 1000; i++) yield* manager.get(user, id)
      console.log("get us", performance.now() - t0)
      const t1 = performance.now()
      for (let i = 0; i < 1000; i++) yield* Effect.scoped(manager.acquire(user, id))
      console.log("acquire us", performance.now() - t1)
    }).pipe(Effect.provide(context))
  })
)
