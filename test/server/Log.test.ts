import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as Log from "../../src/server/Log.ts"
import { bootstrapKey, Serving, standIn } from "./Serving.ts"

const canary = "canary-5d1e"

const writing = (format: "pretty" | "json", level: LogLevel.LogLevel = LogLevel.Info) => {
  const lines: Array<string> = []
  return { lines, layer: Log.layer({ format, level, write: (line) => lines.push(line) }) }
}

const failing = Effect.gen(function* () {
  const error = Object.assign(new Error(`value ${canary}\n    at /${canary}:1:1`, { cause: new TypeError(canary) }), {
    code: "23505",
    detail: canary
  })
  yield* Effect.logError("It failed", Cause.die(error))
  yield* Effect.logWarning(new Error(canary), Redacted.make(canary), { token: Redacted.make(canary) }).pipe(
    Effect.annotateLogs({ secret: Redacted.make(canary), attempt: 3 })
  )
})

describe("the log", () => {
  for (const format of ["json", "pretty"] as const) {
    it.effect(`in ${format} tells kinds and places of errors, and none of their words`, () => {
      const { layer, lines } = writing(format)
      return Effect.gen(function* () {
        yield* Effect.provide(failing, layer)
        const text = lines.join("\n")
        assert.lengthOf(lines, 2)
        assert.notInclude(text, canary)
        assert.include(text, "It failed")
        assert.include(text, "Error 23505")
        assert.include(text, "TypeError")
        assert.match(text, /Log\.test\.ts:\d+:\d+/)
        assert.include(text, "<redacted>")
      })
    })
  }

  it.effect("in json is one object a line", () => {
    const { layer, lines } = writing("json")
    return Effect.gen(function* () {
      yield* Effect.logInfo("a\nb").pipe(Effect.annotateLogs({ level: "fake", n: 1 }), Effect.provide(layer))
      const { time, ...entry } = JSON.parse(lines[0] ?? "") as Record<string, unknown>
      assert.isString(time)
      assert.deepStrictEqual(entry, { level: "info", message: "a\nb", n: 1 })
    })
  })

  it.effect("in pretty lets no value begin a line", () => {
    const { layer, lines } = writing("pretty")
    return Effect.gen(function* () {
      yield* Effect.logInfo("a\nb\u001b[2J").pipe(Effect.annotateLogs({ x: "1\n2" }), Effect.provide(layer))
      assert.match(lines[0] ?? "", /^\d\d:\d\d:\d\d\.\d{3} INFO {2}a b \[2J x=1 2$/)
    })
  })

  it.effect("leaves out what is below its level", () => {
    const { layer, lines } = writing("json", LogLevel.Warning)
    return Effect.gen(function* () {
      yield* Effect.provide(Effect.logInfo("quiet"), layer)
      assert.lengthOf(lines, 0)
    })
  })
})

it.scopedLive("a request leaves one line: its route, not what it asked for", () => {
  const { layer, lines } = writing("json")
  return Effect.gen(function* () {
    const { call } = yield* Serving
    const id = "11111111-1111-4111-8111-111111111111"
    yield* call("GET", `/v1/users/${canary}/credentials/${id}/secret?waitSeconds=1`)
    yield* call("GET", `/v1/users/${canary}/credentials?cursor=${canary}`, { key: null })
    yield* call("POST", `/v1/users/u/credentials`, { body: { type: canary, apiKey: canary } })
    yield* call("GET", `/oauth/callback?code=${canary}&state=${canary}`, { key: null, headers: { cookie: canary } })
    yield* call("GET", `/${canary}`)
    yield* call("GET", "/healthz")
    const requests = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    assert.deepStrictEqual(
      requests
        .filter(({ message }) => message === "Request")
        .map(({ key, method, route, status }) => [method, route, status, key]),
      [
        ["GET", "/v1/users/:userId/credentials/:credentialId/secret", 500, "bootstrap"],
        ["GET", "/v1/users/:userId/credentials", 401, undefined],
        ["POST", "/v1/users/:userId/credentials", 400, "bootstrap"],
        ["GET", "/oauth/callback", 410, undefined],
        ["GET", "none", 404, undefined]
      ]
    )
    const crash = requests.find(({ level }) => level === "error")
    assert.propertyVal(crash, "message", "A request failed in a way that it should not")
    assert.propertyVal(crash, "key", "bootstrap")
    assert.notInclude(lines.join("\n"), canary)
    assert.notInclude(lines.join("\n"), bootstrapKey)
  }).pipe(
    Effect.provide(standIn({ credentials: { get: () => Effect.die(new Error(canary)) } }).pipe(Layer.provide(layer)))
  )
})
