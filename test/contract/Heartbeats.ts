import { assert, layer as withLayer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Duration from "effect/Duration"
import { randomUUID } from "node:crypto"
import type * as Processes from "../../src/Processes.ts"

/** The engine under test. */
export class Heartbeats extends Context.Tag("effect-credentials/test/Heartbeats")<Heartbeats, Processes.Heartbeats>() {}

const long = Duration.hours(1)

const inTime = Effect.withClock(Clock.make())

/** What every engine does as the keeper of beats. Its time may be its own, so these take some. */
export const suite = <E>(name: string, layer: Layer.Layer<Heartbeats, E>) =>
  withLayer(layer, { timeout: "60 seconds" })(`Heartbeats: ${name}`, (it) => {
    it.effect("a process that never beat is silent, and one that did is not", () =>
      Effect.gen(function* () {
        const { beat, hasBeaten } = yield* Heartbeats
        const [one, other] = [randomUUID(), randomUUID()]
        assert.isFalse(yield* hasBeaten(one, long))
        yield* beat(one)
        assert.isTrue(yield* hasBeaten(one, long))
        assert.isFalse(yield* hasBeaten(other, long))
      }).pipe(inTime)
    )

    it.effect("a beat is of the past after its time, until the next one", () =>
      Effect.gen(function* () {
        const { beat, hasBeaten } = yield* Heartbeats
        const id = randomUUID()
        yield* beat(id)
        yield* Effect.sleep("60 millis")
        assert.isFalse(yield* hasBeaten(id, Duration.millis(40)))
        assert.isTrue(yield* hasBeaten(id, long))
        yield* beat(id)
        assert.isTrue(yield* hasBeaten(id, Duration.seconds(10)))
      }).pipe(inTime)
    )

    it.effect("a process that ends is silent at once, ending again is nothing, and it may beat anew", () =>
      Effect.gen(function* () {
        const { beat, end, hasBeaten } = yield* Heartbeats
        const [id, other] = [randomUUID(), randomUUID()]
        yield* Effect.all([beat(id), beat(other)])
        yield* Effect.all([end(id), end(id)])
        assert.isFalse(yield* hasBeaten(id, long))
        assert.isTrue(yield* hasBeaten(other, long))
        yield* beat(id)
        assert.isTrue(yield* hasBeaten(id, long))
      }).pipe(inTime)
    )

    it.effect("those silent for long are dropped, the others stay", () =>
      Effect.gen(function* () {
        const { beat, hasBeaten, prune } = yield* Heartbeats
        const [old, young] = [randomUUID(), randomUUID()]
        yield* beat(old)
        yield* Effect.sleep("300 millis")
        yield* beat(young)
        yield* prune(Duration.millis(200))
        assert.isFalse(yield* hasBeaten(old, long))
        assert.isTrue(yield* hasBeaten(young, long))
      }).pipe(inTime)
    )

    it.effect("of 32 beats of one process at once none fails, and it is there once", () =>
      Effect.gen(function* () {
        const { beat, end, hasBeaten } = yield* Heartbeats
        const id = randomUUID()
        yield* Effect.all(
          Array.from({ length: 32 }, () => beat(id)),
          { concurrency: "unbounded", discard: true }
        )
        assert.isTrue(yield* hasBeaten(id, long))
        yield* end(id)
        assert.isFalse(yield* hasBeaten(id, long))
      }).pipe(inTime)
    )
  })
