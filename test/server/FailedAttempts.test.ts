import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import * as FailedAttempts from "../../src/server/FailedAttempts.ts"

const address = "192.0.2.1"

it.effect("failures are counted for each address, and forgotten after a minute", () =>
  Effect.gen(function* () {
    const failed = FailedAttempts.make(2)
    const count = (from = address) => failed.count(from)
    assert.deepStrictEqual(yield* Effect.all([count(), count(), count()]), [0, 0, 60])
    assert.strictEqual(yield* count("192.0.2.2"), 0)
    yield* TestClock.adjust("59500 millis")
    assert.strictEqual(yield* count(), 1)
    yield* TestClock.adjust("500 millis")
    assert.deepStrictEqual(yield* Effect.all([count(), count(), count()]), [0, 0, 60])
  })
)

it.effect("of very many addresses the oldest are forgotten, the newest never", () =>
  Effect.gen(function* () {
    const failed = FailedAttempts.make(1)
    yield* Effect.forEach(Array.from({ length: 10_001 }), (_, index) => failed.count(`address-${index}`), {
      discard: true
    })
    assert.strictEqual(yield* failed.count("address-10000"), 60)
    assert.strictEqual(yield* failed.count("address-0"), 0)
  })
)
