/**
 * An Effect program that uses the library beside servers, by the same settings: it borrows a credential, does a side effect
 * after each check until its lease is lost, and then tries what only a holder may. It says all with the time of the clock
 * that all processes share.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as AuditLog from "../../src/AuditLog/Sql.ts"
import { CredentialId, UserId } from "../../src/Credential.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import * as Engine from "../../src/Engine.ts"
import * as HandlerRegistry from "../../src/HandlerRegistry.ts"
import * as LeaseStore from "../../src/LeaseStore/Sql.ts"
import { credentialKey, LockService } from "../../src/LockService.ts"
import * as Outbound from "../../src/Outbound.ts"
import * as ProviderCatalogue from "../../src/ProviderCatalogue.ts"
import * as Service from "../../src/Service.ts"
import * as Settings from "../../src/Settings.ts"
import * as SystemCredentials from "../../src/SystemCredentials.ts"

const userId = UserId.make(process.argv[2] ?? "")
const id = CredentialId.to.make(process.argv[3] ?? "")

const replacement = { variant: { type: "oauth2" } } as const

const say = (line: string) => Effect.sync(() => void process.stdout.write(`${line}\n`))

const layer = Layer.unwrapScoped(
  Effect.gen(function* () {
    const settings = yield* Settings.load
    const engine = yield* Engine.make(settings)
    const providers = HandlerRegistry.layer({ clients: settings.clients }).pipe(
      Layer.provideMerge(ProviderCatalogue.layer(settings.providers)),
      Layer.provideMerge(Outbound.layer({ allowLoopback: settings.allowLoopback }))
    )
    const sealed = Layer.provide(
      Engine.sealed(settings, engine.redis),
      SystemCredentials.layer([], { since: settings.systemCredentials.since })
    )
    return Service.layer({ sweeper: false }).pipe(
      Layer.provideMerge(Layer.mergeAll(sealed, LeaseStore.layer, AuditLog.layer, providers)),
      Layer.provideMerge(Layer.succeedContext(engine.context))
    )
  })
)

const tagOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.merge(Effect.mapBoth(effect, { onFailure: ({ _tag }) => _tag, onSuccess: () => "done" }))

const program = Effect.gen(function* () {
  const credentials = yield* CredentialsManager
  const locks = yield* LockService
  const { lease, secret } = yield* credentials.acquire(userId, id)
  yield* say(`held ${lease.fencingToken} ${secret.generation}`)
  yield* lease.check.pipe(
    Effect.zipRight(Effect.suspend(() => say(`effect ${Date.now()}`))),
    Effect.zipRight(Effect.sleep("2 millis")),
    Effect.forever,
    Effect.ignore
  )
  yield* say(`lost ${Date.now()}`)
  yield* lease.lost
  const key = credentialKey(userId, id)
  const named = { leaseId: lease.id, wait: "2 seconds" } as const
  yield* say(`refresh ${yield* tagOf(credentials.refresh(userId, id, named))}`)
  yield* say(`replace ${yield* tagOf(credentials.update(userId, id, replacement, named))}`)
  yield* say(`renew ${yield* tagOf(locks.renew(key, lease.id, "10 seconds"))}`)
  yield* say(`release ${yield* tagOf(locks.release(key, lease.id))}`)
}).pipe(Effect.scoped)

await Effect.runPromise(Effect.provide(program, layer))
