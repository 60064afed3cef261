import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as ApiKeys from "../../src/ApiKeys.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import { LockService } from "../../src/LockService.ts"
import * as Metrics from "../../src/Metrics.ts"
import * as Exposition from "../../src/Metrics/Exposition.ts"
import { OutboundFailure } from "../../src/Outbound.ts"
import { answer, given, userId, world } from "../ScriptedHandler.ts"
import { bootstrapKey, inMemory, over, type Reply, Serving } from "./Serving.ts"

const comment = /^# (?:HELP|TYPE) ([a-z0-9_]+) (.+)$/
const line = /^([a-z0-9_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)$/

interface Sample {
  readonly name: string
  readonly labels: string
  readonly value: number
}

/** Reads the text as strictly as the format is written down: every line is a comment or a sample. */
const parse = (text: string) => {
  assert.match(text, /\n$/)
  const types = new Map<string, string>()
  const samples: Array<Sample> = []
  for (const each of text.slice(0, -1).split("\n")) {
    const [, named = "", rest = ""] = comment.exec(each) ?? []
    if (each.startsWith("# TYPE")) {
      assert.isFalse(types.has(named), `${named} twice`)
      types.set(named, rest)
    } else if (!each.startsWith("# HELP")) {
      const [, name = "", labels = "", value = ""] = line.exec(each) ?? assert.fail(each)
      const number = value === "+Inf" ? Infinity : Number(value)
      assert.isFalse(Number.isNaN(number), each)
      const family = name.replace(/_(?:bucket|sum|count)$/, "")
      assert.isTrue(types.has(name) || types.get(family) === "histogram", each)
      samples.push({ name, labels, value: number })
    } else assert.isNotEmpty(rest, each)
  }
  return { types, samples }
}

const valueOf = (text: string, name: string, ...labels: ReadonlyArray<string>) =>
  parse(text)
    .samples.filter((sample) => sample.name === name && labels.every((label) => sample.labels.includes(label)))
    .reduce((sum, { value }) => sum + value, 0)

const scrape = Effect.flatMap(Serving, ({ call }) => Effect.map(call("GET", "/metrics"), ({ text }) => text))

const keyOf = (reply: Reply) => String((reply.json as Record<string, unknown>)["key"])

describe("the metrics", () => {
  it.scopedLive("are the admin's alone", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      assert.strictEqual((yield* call("GET", "/metrics", { key: null })).status, 401)
      const others = yield* call("POST", "/v1/api-keys", {
        body: { name: "all but admin", scopes: ["read", "secret", "lease", "write", "connect"] }
      })
      assert.strictEqual((yield* call("GET", "/metrics", { key: keyOf(others) })).status, 403)
      const { headers, status } = yield* call("GET", "/metrics")
      assert.deepStrictEqual([status, headers["content-type"]], [200, "text/plain; version=0.0.4; charset=utf-8"])
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("are text that Prometheus reads: each family once, each histogram's buckets rising to its count", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      yield* call("GET", "/v1/users/u/credentials")
      const { samples, types } = parse(yield* scrape)
      assert.isTrue([...types.keys()].every((name) => Metrics.all.some((metric) => metric.name === name)))
      const rows = new Map<string, Array<Sample>>()
      for (const sample of samples.filter(({ name }) => name.endsWith("_bucket"))) {
        const key = `${sample.name} ${sample.labels.replace(/,?le="[^"]*"/, "")}`
        rows.set(key, [...(rows.get(key) ?? []), sample])
      }
      assert.isAbove(rows.size, 0)
      for (const [key, buckets] of rows) {
        const counts = buckets.map(({ value }) => value)
        assert.deepStrictEqual(
          counts,
          counts.toSorted((one, other) => one - other),
          key
        )
        assert.include(buckets.at(-1)?.labels ?? "", 'le="+Inf"')
        const [name = "", labels = ""] = key.split(" ")
        const total = samples.find((each) => each.name === name.replace("bucket", "count") && each.labels === labels)
        assert.strictEqual(total?.value, counts.at(-1), key)
      }
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("tell requests by route and status, also of those that fit no route", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const count = (text: string, ...labels: ReadonlyArray<string>) =>
        valueOf(text, "effect_credentials_http_request_duration_seconds_count", ...labels)
      const route = 'route="/v1/users/:userId/credentials"'
      const before = yield* scrape
      yield* call("GET", "/v1/users/somebody/credentials")
      yield* call("GET", "/v1/users/somebody/credentials", { key: "wrong" })
      yield* call("OPTIONS", "/nowhere/canary-path")
      const after = yield* scrape
      const moved = (...labels: ReadonlyArray<string>) => count(after, ...labels) - count(before, ...labels)
      assert.strictEqual(moved('method="GET"', route, 'status="200"'), 1)
      assert.strictEqual(moved('method="GET"', route, 'status="401"'), 1)
      assert.strictEqual(moved('method="any"', 'route="none"', 'status="404"'), 1)
      assert.notInclude(after, "somebody")
      assert.notInclude(after, "canary")
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("tell the process and what the store holds", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      yield* call("POST", "/v1/users/u/credentials", { body: { type: "api_key", provider: "p", apiKey: "k" } })
      const text = yield* scrape
      assert.isAbove(valueOf(text, "process_resident_memory_bytes"), 1e7)
      assert.isAbove(valueOf(text, "process_cpu_seconds_total"), 0)
      assert.closeTo(valueOf(text, "process_start_time_seconds"), Date.now() / 1000, 3600)
      assert.strictEqual(valueOf(text, "effect_credentials_sealed_rows", 'table="credentials"'), 1)
      assert.strictEqual(valueOf(text, "effect_credentials_open_attempts"), 0)
    }).pipe(Effect.provide(inMemory))
  )

  it.scopedLive("count renewals, locks and events, and hold no secret, user or credential", () => {
    const { layer, provider } = world()
    const keys = ApiKeys.layerMemory({ bootstrap: Redacted.make(bootstrapKey) })
    return Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const before = yield* scrape
      const good = yield* given({ refreshToken: "canary-refresh" })
      const bad = yield* given({ refreshToken: "canary-other" })
      yield* manager.get(userId, good)
      provider.next(() => Effect.succeed(answer(400, { error: "invalid_grant", error_description: "canary-text" })))
      yield* Effect.flip(manager.get(userId, bad))
      provider.next(() => Effect.succeed(answer(503, "canary-body")))
      yield* Effect.flip(manager.refresh(userId, good))
      yield* Effect.scoped(manager.acquire(userId, good))
      const after = yield* scrape
      const moved = (name: string, ...labels: ReadonlyArray<string>) =>
        valueOf(after, name, ...labels) - valueOf(before, name, ...labels)
      const refreshes = (outcome: string) =>
        moved("effect_credentials_refreshes_total", 'provider="acme"', `outcome="${outcome}"`)
      assert.deepStrictEqual([refreshes("renewed"), refreshes("needs_reauth"), refreshes("unreachable")], [1, 1, 1])
      assert.strictEqual(moved("effect_credentials_refresh_duration_seconds_count", 'provider="acme"'), 3)
      assert.strictEqual(moved("effect_credentials_events_total", 'kind="needs_reauth"'), 1)
      assert.strictEqual(moved("effect_credentials_events_total", 'kind="credential_renewed"'), 1)
      assert.isAtLeast(moved("effect_credentials_lock_wait_duration_seconds_count", 'kind="refresh"'), 3)
      assert.strictEqual(
        moved("effect_credentials_lock_hold_duration_seconds_count", 'kind="credential"'),
        moved("effect_credentials_lock_wait_duration_seconds_count", 'kind="credential"')
      )
      assert.isAbove(moved("effect_credentials_store_operation_duration_seconds_count", 'operation="commit"'), 3)
      for (const text of ["canary", good, bad, userId, "access-"]) assert.notInclude(after, text)
    }).pipe(Effect.provide(over(Layer.merge(layer, keys))))
  })
})

it.scopedLive("a provider that is left alone shows", () => {
  const { layer, provider } = world()
  const keys = ApiKeys.layerMemory({ bootstrap: Redacted.make(bootstrapKey) })
  return Effect.gen(function* () {
    const manager = yield* CredentialsManager
    provider.always(() => Effect.fail(new OutboundFailure({ sent: false, reason: "unreachable" })))
    for (let count = 0; count < 5; count++) {
      yield* Effect.flip(manager.get(userId, yield* given({ refreshToken: `grant ${count}` })))
    }
    const text = yield* scrape
    assert.strictEqual(valueOf(text, "effect_credentials_provider_circuit_state", 'provider="acme"'), 2)
  }).pipe(Effect.provide(over(Layer.merge(layer, keys))))
})

it.effect("who waits for a lock is counted while it waits, and a hold that is lost as lost", () => {
  const { layer } = world()
  const read = () => Exposition.text(Metrics.all)
  const waiters = () => valueOf(read(), "effect_credentials_lock_waiters", 'kind="credential"')
  const lost = () => valueOf(read(), "effect_credentials_locks_lost_total", 'kind="credential"')
  return Effect.gen(function* () {
    const locks = yield* LockService
    const [waitersBefore, lostBefore] = [waiters(), lost()]
    yield* locks.take("credential:a:u", { ttl: "1 hour" })
    const contender = yield* Effect.fork(Effect.scoped(locks.acquire("credential:a:u", { wait: "1 minute" })))
    yield* Effect.yieldNow()
    yield* Effect.yieldNow()
    assert.strictEqual(waiters() - waitersBefore, 1)
    yield* Effect.flip(Effect.scoped(locks.acquire("credential:a:u", { wait: 0 })))
    assert.strictEqual(waiters() - waitersBefore, 1)
    contender.unsafeInterruptAsFork(contender.id())
    yield* Effect.yieldNow()
    yield* Effect.exit(contender.await)
    assert.strictEqual(waiters() - waitersBefore, 0)
    yield* Effect.scoped(Effect.zipRight(locks.acquire("credential:b:u"), locks.releaseAll))
    assert.strictEqual(lost() - lostBefore, 1)
  }).pipe(Effect.provide(layer))
})

it("the text escapes what the format needs escaped, and leaves out what is not asked for", () => {
  const name = "effect_credentials_test_escapes"
  const definition = { name, type: "gauge", help: "a \\ and\na line", labels: ["text"] } as const
  Effect.runSync(Metric.set(Metric.tagged(Metric.gauge(name), "text", 'quote " slash \\ line \n end'), -0.5))
  assert.strictEqual(
    Exposition.text([definition]),
    [
      `# HELP ${name} a \\\\ and\\na line`,
      `# TYPE ${name} gauge`,
      `${name}{text="quote \\" slash \\\\ line \\n end"} -0.5`,
      ""
    ].join("\n")
  )
  assert.strictEqual(Exposition.text([]), "")
})
