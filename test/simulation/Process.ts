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
import { layerMemory, type Lease, LockService } from "../../src/LockService.ts"
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
  /** One process has locks of its own. */
  readonly isAlone: boolean
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
  /** Nobody is handed what is over already, unless the process stood still on the way. */
  const alive = (lease: Lease) =>
    Effect.catchAll(lease.check, () =>
      Effect.sync(() => {
        if (machine.isClosing) return
        world.violation(`${machine.name} is granted ${lease.key}, and that lease is over`)
      })
    )
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
              if (took > wait * 1.1 + 3_500) {
                world.violation(`${machine.name} waits ${Math.round(took)} ms for ${key}, and was to wait ${wait}`)
              }
              if (around.holdsAreShort && wait >= 20_000) world.violation(`${machine.name} starves at ${key}`)
              const quiet = Math.min(took, world.now - redis.troubledAt, witness.freeFor(key), witness.calmFor())
              if (quiet > 13_000)
                world.violation(`${machine.name} is not given ${key}, which is free since ${quiet} ms`)
            })
          ),
          Effect.tap(alive),
          Effect.map(seen),
          Effect.tap(([, hold]) => Effect.addFinalizer(() => Effect.sync(() => witness.ended(hold)))),
          Effect.map(([lease]) => lease)
        )
      }),
    lend: (key, id, to) => Effect.tap(locks.lend(key, id, to), () => Effect.sync(() => witness.lent(id, to)))
  })
}

/** What a process is made of, in the order in which it is made. */
const parts = (machine: Machine, folder: Spool.Folder, around: Surroundings) => {
  const { database } = around
  const spool = Spool.make(folder, machine, {
    failing: around.spoolFailing,
    written: (attempt, isKept) => around.witness.receipt(attempt, isKept)
  })
  const kept = around.secondCopy
    ? Effect.map(ReceiptsInRedis.make, (copy) => SecondCopy.make(spool, copy))
    : Effect.succeed(spool)
  return [
    Store.layer(Effect.succeed(database.driver(machine))),
    Receipts.layer(kept),
    around.isAlone ? layerMemory : RedisLocks.layer(),
    Processes.layer(Effect.succeed(database.heartbeats(machine)), { interval: "5 seconds" }),
    CircuitBreaker.layer(Effect.succeed(database.circuits(machine))),
    Layer.effect(
      LockService,
      Effect.map(LockService, (known) => watched(known, machine, around))
    ),
    Leases.layer,
    Revocations.layer,
    Attempts.layer({ exchangeTimeout }),
    Renewal.layer({ holderWait: "40 seconds", yieldsFor: "10 seconds" }),
    Lending.layer,
    Deletion.layer,
    CredentialsManager.layer,
    ...(around.sweeps ? [Recovery.layer, Sweeper.layer({ interval: "10 seconds" })] : [])
  ] as ReadonlyArray<Layer.Layer<never, unknown>>
}

/** What is the same in all processes, or has nothing to be made. */
const given = (machine: Machine, { leases, provider, redis }: Surroundings): Context.Context<never> => {
  const handler = provider.handler(machine)
  const { definition } = provider
  return Context.empty().pipe(
    Context.add(Cipher, Sealing.cipher),
    Context.add(Redis, redis.connect(machine)),
    Context.add(
      AuditLog,
      AuditLog.of({
        append: ({ detail, kind }) => Effect.sync(() => machine.tell(() => `audit: ${kind} ${detail ?? ""}`)),
        recent: () => Effect.succeed([])
      })
    ),
    Context.add(LeaseStore, leases),
    Context.add(AuthorizationStore, {
      prune: Effect.void,
      removeUser: () => Effect.void
    } as unknown as AuthorizationStore["Type"]),
    Context.add(
      ProviderCatalogue,
      ProviderCatalogue.of({
        get: () => Effect.succeed(definition),
        find: () => Option.some(definition),
        all: [definition]
      })
    ),
    Context.add(
      HandlerRegistry,
      HandlerRegistry.of({
        forLogin: () => Effect.succeed(handler),
        of: () => Effect.succeed(handler),
        isConfigured: () => true
      })
    )
  ) as Context.Context<never>
}

export interface Started {
  readonly manager: CredentialsManager.CredentialsManager["Type"]
  /** Ends it in an orderly way. */
  readonly close: Effect.Effect<void>
}

type Part = { readonly _op_layer: string; readonly effect: Effect.Effect<Context.Context<never>, unknown, Scope.Scope> }

/**
 * What makes a part. `Layer.build` with its memory, its fibers and a scope for each would take three times as long as all
 * that a schedule is about.
 */
const effectOf = (part: Layer.Layer<never, unknown>): Part["effect"] => {
  const { _op_layer, effect } = part as unknown as Part
  if (_op_layer !== "FromEffect" && _op_layer !== "Scoped")
    throw new Error(`a part that is made of others: ${_op_layer}`)
  return effect
}

/** Starts the use cases in a process, one part after the other; fails when its store or its locks are out of reach. */
export const start = (machine: Machine, folder: Spool.Folder, around: Surroundings): Effect.Effect<Started, unknown> =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const made = yield* parts(machine, folder, around)
      .reduce<Effect.Effect<Context.Context<never>, unknown, Scope.Scope>>(
        (before, part) =>
          Effect.flatMap(before, (context) =>
            Effect.map(Effect.provide(effectOf(part), context), (built) => Context.merge(context, built))
          ),
        Effect.succeed(given(machine, around))
      )
      .pipe(
        Scope.extend(scope),
        Effect.tapErrorCause((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
    const built = made as Context.Context<Processes.Processes | CredentialsManager.CredentialsManager>
    around.witness.started(machine, Context.get(built, Processes.Processes).id)
    return {
      manager: Context.get(built, CredentialsManager.CredentialsManager),
      close: Scope.close(scope, Exit.void)
    }
  })
