import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import * as ProgressBar from "../../src/cli/ProgressBar.ts"

const output = (isTerminal: boolean) => {
  const written: Array<string> = []
  return { written, isTerminal, write: (text: string) => void written.push(text) }
}

it.effect("on a terminal a bar moves in one line: rows done of all, their rate, and what time is left", () =>
  Effect.gen(function* () {
    const terminal = output(true)
    const bar = yield* ProgressBar.make(terminal)
    yield* bar.show({ name: "credentials", done: 0, total: 50_000 })
    yield* TestClock.adjust("10 seconds")
    yield* bar.show({ name: "credentials", done: 12_500, total: 50_000 })
    yield* bar.show({ name: "credentials", done: 12_600, total: 50_000 })
    bar.line("something happened")
    yield* TestClock.adjust("30 seconds")
    yield* bar.show({ name: "receipts", done: 50_000, total: 50_000 })
    yield* bar.end
    assert.deepStrictEqual(terminal.written, [
      "\r\u001b[2K░░░░░░░░░░░░░░░░░░░░░░░░ 0 of 50,000 rows, 0 % (credentials)",
      "\r\u001b[2K██████░░░░░░░░░░░░░░░░░░ 12,500 of 50,000 rows, 25 %, 1,250 a second, 30 s left (credentials)",
      "\r\u001b[2Ksomething happened\n██████░░░░░░░░░░░░░░░░░░ 12,500 of 50,000 rows, 25 %, 1,250 a second, 30 s left (credentials)",
      "\r\u001b[2K████████████████████████ 50,000 of 50,000 rows, 100 %, 1,250 a second (receipts)",
      "\n"
    ])
  })
)

it.effect("elsewhere there is a line every five seconds, and a last one", () =>
  Effect.gen(function* () {
    const file = output(false)
    const bar = yield* ProgressBar.make(file)
    for (let second = 0; second <= 12; second++) {
      yield* bar.show({ name: "credentials", done: second * 1_000, total: 12_000 })
      yield* TestClock.adjust("1 second")
    }
    yield* bar.end
    assert.deepStrictEqual(file.written, [
      "credentials: 0 of 12,000 rows, 0 %\n",
      "credentials: 5,000 of 12,000 rows, 41 %, 1,000 a second, 7 s left\n",
      "credentials: 10,000 of 12,000 rows, 83 %, 1,000 a second, 2 s left\n",
      "credentials: 12,000 of 12,000 rows, 100 %, 1,000 a second\n"
    ])
  })
)
