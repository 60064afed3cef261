import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as Database from "../../src/Database.ts"

const failure = (cause: unknown, message = "Failed to execute statement") => new SqlError({ cause, message })
const coded = (code: string, message = "") => failure(Object.assign(new Error(message), { code }))

describe("Database", () => {
  it("an SQLSTATE is the database's own, never a system's error code", () => {
    assert.strictEqual(Database.sqlState(coded("23505")), "23505")
    assert.strictEqual(Database.sqlState(coded("57P01")), "57P01")
    assert.isUndefined(Database.sqlState(coded("EPIPE")))
    assert.isUndefined(Database.sqlState(coded("ECONNREFUSED")))
    assert.isUndefined(Database.sqlState(failure(undefined)))
  })

  it("a database that cannot be reached or cannot serve is unavailable; one that answers is not", () => {
    for (const code of [
      "08006",
      "57P01",
      "57P03",
      "53300",
      "25006",
      "57014",
      "25P03",
      "ECONNREFUSED",
      "EPIPE",
      "ENOTFOUND"
    ]) {
      assert.isTrue(Database.isUnavailable(coded(code)), code)
    }
    for (const message of [
      "Connection terminated unexpectedly",
      "timeout exceeded when trying to connect",
      "Cannot use a pool after calling end on the pool"
    ]) {
      assert.isTrue(Database.isUnavailable(failure(new Error(message))), message)
    }
    assert.isTrue(Database.isUnavailable(failure(new Error(""), "Failed to acquire connection for transaction")))
    for (const code of ["23505", "40001", "42P01", "22001"]) assert.isFalse(Database.isUnavailable(coded(code)), code)
    assert.isFalse(Database.isUnavailable(failure(new TypeError("Do not know how to serialize a BigInt"))))
  })

  for (const code of ["40001", "40P01"]) {
    it.effect(`a transaction that lost to another one (${code}) is run again until it succeeds`, () =>
      Effect.gen(function* () {
        let runs = 0
        const fiber = yield* Effect.fork(
          Database.withRetry(Effect.suspend(() => (++runs < 4 ? coded(code) : Effect.succeed(runs))))
        )
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* Fiber.join(fiber), 4)
      })
    )
  }

  it.effect("a transaction that always loses ends with its failure, after six runs", () =>
    Effect.gen(function* () {
      let runs = 0
      const fiber = yield* Effect.fork(
        Effect.flip(Database.withRetry(Effect.suspend(() => (runs++, coded("40001", String(runs))))))
      )
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(runs, 6)
      assert.strictEqual(Database.sqlState(error), "40001")
    })
  )

  it.effect("any other failure is not tried again", () =>
    Effect.gen(function* () {
      let runs = 0
      yield* Effect.flip(Database.withRetry(Effect.suspend(() => (runs++, coded("23505")))))
      yield* Effect.flip(Database.withRetry(Effect.suspend(() => (runs++, Effect.fail("mine")))))
      assert.strictEqual(runs, 2)
    })
  )
})
