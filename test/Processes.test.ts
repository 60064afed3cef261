import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { StoreUnavailable } from "../src/CredentialsError.ts"
import * as Processes from "../src/Processes.ts"
import * as Sql from "../src/Processes/Sql.ts"
import { Heartbeats, suite } from "./contract/Heartbeats.ts"
import * as EmbeddedDatabase from "./EmbeddedDatabase.ts"

suite("memory", Layer.effect(Heartbeats, Processes.makeMemory))

suite("embedded", Layer.provide(Layer.effect(Heartbeats, Sql.make({ clock: "process" })), EmbeddedDatabase.layer))

const started = (heartbeats: Processes.Heartbeats) =>
  Effect.map(Layer.build(Processes.layer(Effect.succeed(heartbeats))), Context.get(Processes.Processes))

describe("a process", () => {
  it.scoped("is alive for the others as long as it runs, and not a moment after its clean end", () =>
    Effect.gen(function* () {
      const heartbeats = yield* Processes.makeMemory
      const other = yield* started(heartbeats)
      const scope = yield* Scope.make()
      const { id } = yield* Scope.extend(started(heartbeats), scope)
      assert.isTrue(yield* other.isAlive(id))
      yield* TestClock.adjust("5 minutes")
      assert.isTrue(yield* other.isAlive(id))
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(yield* other.isAlive(id))
    })
  )

  it.scoped("that is killed counts as dead three beats later, and not before", () =>
    Effect.gen(function* () {
      const heartbeats = yield* Processes.makeMemory
      const other = yield* started(heartbeats)
      let isKilled = false
      const { id } = yield* started({
        ...heartbeats,
        beat: (beating) =>
          Effect.suspend(() =>
            isKilled ? Effect.fail(new StoreUnavailable({ retryAfterSeconds: 1 })) : heartbeats.beat(beating)
          )
      })
      yield* TestClock.adjust("20 seconds")
      isKilled = true
      yield* TestClock.adjust("14999 millis")
      assert.isTrue(yield* other.isAlive(id))
      yield* TestClock.adjust("1 millis")
      assert.isFalse(yield* other.isAlive(id))
      // it was only out of reach
      isKilled = false
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(yield* other.isAlive(id))
    })
  )

  it.scoped("has another id with each start, and takes nobody's place", () =>
    Effect.gen(function* () {
      const heartbeats = yield* Processes.makeMemory
      const all = yield* Effect.replicateEffect(started(heartbeats), 20)
      assert.strictEqual(new Set(all.map(({ id }) => id)).size, 20)
      for (const { isAlive } of all) for (const { id } of all) assert.isTrue(yield* isAlive(id))
    })
  )

  it.scoped("drops at its start what has been silent for a day", () =>
    Effect.gen(function* () {
      const heartbeats = yield* Processes.makeMemory
      yield* heartbeats.beat("long gone")
      yield* TestClock.adjust("1 day")
      yield* started(heartbeats)
      assert.isFalse(yield* heartbeats.hasBeaten("long gone", Duration.days(2)))
    })
  )

  it.effect("that is the only one on its store knows that all others are dead", () =>
    Effect.gen(function* () {
      const { id, isAlive } = yield* Processes.Processes
      assert.isTrue(yield* isAlive(id))
      assert.isFalse(yield* isAlive("the one before"))
    }).pipe(Effect.provide(Processes.layerSole))
  )
})
