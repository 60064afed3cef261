/** The real use cases, as one simulated process runs them: over the simulated servers, and watched at their locks. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Attempts from "../../src/Attempts.ts"
import { AuditLog } from "../../src/AuditLog.ts"
import { AuthorizationStore } from "../../src/AuthorizationStore.ts"
import { Cipher } from "../../src/Cipher.ts"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as CredentialsManager from "../../src/CredentialsManager.ts"
import * as Deletion from "../../src/Deletion.ts"
import { HandlerRegistry } from "../../src/HandlerRegistry.ts"
import * as Leases from "../../src/Leases.ts"
import { LeaseStore } from "../../src/LeaseStore.ts"
import * as Lending from "../../src/Lending.ts"
import { type Lease, LockService } from "../../src/LockService.ts"
import * as RedisLocks from "../../src/LockService/Redis.ts"
import * as Processes from "../../src/Processes.ts"
import { ProviderCatalogue } from "../../src/ProviderCatalogue.ts"
import * as Receipts from "../../src/Receipts.ts"
import * as ReceiptsInRedis from "../../src/Receipts/Redis.ts"
import * as SecondCopy from "../../src/Receipts/SecondCopy.ts"
import * as Recovery from "../../src/Recovery.ts"
import { Redis } from "../../src/Redis.ts"
import * as Renewal from "../../src/Renewal.ts"
import * as Revocations from "../../src/Revocations.ts"
import * as Store from "../../src/Store.ts"
import * as Sweeper from "../../src/Sweeper.ts"
import type { Database } from "./Database.ts"
import type { Machine } from "./Machine.ts"
import type { Provider } from "./Provider.ts"
import type { RedisNetwork } from "./RedisNetwork.ts"
import * as Sealing from "./Sealing.ts"
import * as Spool from "./Spool.ts"
import type { Hold, Witness } from "./Witness.ts"

export interface Surroundings {
  readonly database: Database
  readonly redis: RedisNetwork
  readonly provider: Provider
  readonly witness: Witness
  readonly leases: LeaseStore["Type"]
  readonly secondCopy: boolean
  readonly spoolFailing: number
  readonly sweeps: boolean
  /** Nobody is kept waiting for long. */
  readonly holdsAreShort: boolean
}

export const exchangeTimeout = 6_000

/** The lock service, watched: who is granted what, acts on it, gives it back, and waits too long. */
const watched = (locks: LockService["Type"], machine: Machine, around: Surroundings): LockService["Type"] => {
  const { world } = machine
  const { redis, witness } = around
  const seen = (lease: Lease): readonly [Lease, Hold] => {
    const { fencingToken: fence, id, key, mode } = lease
    const hold: Hold = { id, key, mode, fence, machine, since: world.now, actedAt: undefined, endedAt: undefined }
    witness.granted(hold)
    const check = Effect.tap(lease.check, () => Effect.sync(() => witness.acts(hold)))
    return [{ id, key, mode, fencingToken: fence, check, lost: lease.lost }, hold]
  }
  return LockService.of({
    ...locks,
    acquire: (key, options = {}) =>
      Effect.suspend(() => {
        const since = world.now
        const wait = Duration.toMillis(options.wait ?? "30 seconds")
        return locks.acquire(key, options).pipe(
          Effect.tapError((error) =>
            Effect.sync(() => {
              const took = world.now - since
              machine.tell(() => `${error._tag} at ${key.slice(0, 11)} after ${Math.round(took)} ms`)
              // stood still meanwhile
              if (machine.stillUntil > since || error._tag !== "LockTimeout") return
              if (took > wait * 1.1 + 3_000) {
                world.violation(`${machine.name} waits ${Math.round(took)} ms for ${key}, and was to wait ${wait}`)
              }
              if (around.holdsAreShort && wait >= 20_000) world.violation(`${machine.name} starves at ${key}`)
              const quiet = Math.min(took, world.now - redis.troubledAt, witness.freeFor(key), witness.calmFor())
              if (quiet > 13_000)
                world.violation(`${machine.name} is not given ${key}, which is free since ${quiet} ms`)
            })
          ),
          Effect.map(seen),
          Effect.tap(([, hold]) => Effect.addFinalizer(() => Effect.sync(() => witness.ended(hold)))),
          Effect.map(([lease]) => lease)
        )
      }),
    lend: (key, id, to) => Effect.tap(locks.lend(key, id, to), () => Effect.sync(() => witness.lent(id, to)))
  })
}

const ports = (machine: Machine, folder: Spool.Folder, around: Surroundings) => {
  const { database, provider, redis } = around
  const handler = provider.handler(machine)
  const { definition } = provider
  const connected = Layer.succeed(Redis, redis.connect(machine))
  const sealing = Layer.succeed(Cipher, Sealing.cipher)
  const spool = Spool.make(folder, machine, around.spoolFailing)
  const receipts = Receipts.layer(
    around.secondCopy
      ? Effect.map(ReceiptsInRedis.make, (copy) => SecondCopy.make(spool, copy))
      : Effect.as(Redis, spool)
  )
  const locks = Layer.effect(
    LockService,
    Effect.map(LockService, (known) => watched(known, machine, around))
  ).pipe(Layer.provide(RedisLocks.layer()))
  return Layer.mergeAll(
    Store.layer(Effect.succeed(database.driver(machine))),
    receipts,
    locks,
    Processes.layer(Effect.succeed(database.heartbeats(machine)), { interval: "5 seconds" }),
    CircuitBreaker.layer(Effect.succeed(database.circuits(machine))),
    Layer.succeed(
      AuditLog,
      AuditLog.of({
        append: ({ detail, kind }) => Effect.sync(() => machine.tell(() => `audit: ${kind} ${detail ?? ""}`)),
        recent: () => Effect.succeed([])
      })
    ),
    Layer.succeed(LeaseStore, around.leases),
    Layer.succeed(AuthorizationStore, {
      prune: Effect.void,
      removeUser: () => Effect.void
    } as unknown as AuthorizationStore["Type"]),
    Layer.succeed(
      ProviderCatalogue,
      ProviderCatalogue.of({
        get: () => Effect.succeed(definition),
        find: () => Option.some(definition),
        all: [definition]
      })
    ),
    Layer.succeed(
      HandlerRegistry,
      HandlerRegistry.of({
        forLogin: () => Effect.succeed(handler),
        of: () => Effect.succeed(handler),
        isConfigured: () => true
      })
    )
  ).pipe(Layer.provide(sealing), Layer.provide(connected))
}

const useCases = (sweeps: boolean) => {
  const renewals = Renewal.layer({ holderWait: "40 seconds", yieldsFor: "10 seconds" }).pipe(
    Layer.provideMerge(Attempts.layer({ exchangeTimeout }))
  )
  const shared = Layer.mergeAll(Leases.layer, Revocations.layer, renewals)
  const background = sweeps
    ? Sweeper.layer({ interval: "10 seconds" }).pipe(Layer.provide(Recovery.layer))
    : Layer.empty
  return Layer.merge(
    CredentialsManager.layer.pipe(Layer.provide(Deletion.layer), Layer.provide(Lending.layer)),
    background
  ).pipe(Layer.provide(shared))
}

const withSweeper = useCases(true)
const withoutSweeper = useCases(false)

export interface Started {
  readonly manager: CredentialsManager.CredentialsManager["Type"]
  /** Ends it in an orderly way. */
  readonly close: Effect.Effect<void>
}

/** Starts the use cases in a process; fails when its store or its locks are out of reach. */
export const start = (machine: Machine, folder: Spool.Folder, around: Surroundings): Effect.Effect<Started, unknown> =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const layer = Layer.provideMerge(around.sweeps ? withSweeper : withoutSweeper, ports(machine, folder, around))
    const built = yield* Layer.buildWithScope(layer, scope).pipe(
      Effect.tapErrorCause((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    around.witness.started(machine, Context.get(built, Processes.Processes).id)
    return {
      manager: Context.get(built, CredentialsManager.CredentialsManager),
      close: Scope.close(scope, Exit.void)
    }
  })
