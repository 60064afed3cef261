import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type * as Http from "node:http"
import * as ApiKeys from "../../src/ApiKeys.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import * as Telemetry from "../../src/server/Telemetry.ts"
import * as Span from "../../src/Span.ts"
import { answer, given, userId, world } from "../ScriptedHandler.ts"
import * as LoopbackServer from "../servers/LoopbackServer.ts"
import * as Service from "../servers/Service.ts"
import { bootstrapKey, over, Serving } from "./Serving.ts"

interface Attribute {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

interface Sent {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly attributes: ReadonlyArray<Attribute>
  readonly events: ReadonlyArray<unknown>
  readonly status: { readonly code: number; readonly message?: string }
}

/** A collector that keeps what it gets; `hang`: takes calls and never answers. */
const collector = (options: { readonly hang?: boolean } = {}) =>
  Effect.gen(function* () {
    const payloads: Array<{ readonly path: string; readonly body: string }> = []
    const { server, url } = yield* LoopbackServer.listen
    server.on("request", (request: Http.IncomingMessage, response: Http.ServerResponse) => {
      const chunks: Array<Buffer> = []
      request
        .on("data", (chunk: Buffer) => chunks.push(chunk))
        .on("end", () => {
          payloads.push({ path: request.url ?? "", body: Buffer.concat(chunks).toString("utf8") })
          if (options.hang !== true) response.writeHead(200, { "content-type": "application/json" }).end("{}")
        })
    })
    const spans = () =>
      payloads
        .filter(({ path }) => path === "/v1/traces")
        .flatMap(
          ({ body }) =>
            (
              JSON.parse(body) as {
                resourceSpans: ReadonlyArray<{ scopeSpans: ReadonlyArray<{ spans: ReadonlyArray<Sent> }> }>
              }
            ).resourceSpans
        )
        .flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans))
    return { endpoint: url, payloads, spans }
  })

const keys = ApiKeys.layerMemory({ bootstrap: Redacted.make(bootstrapKey) })

/** Everything in memory behind a server, traced to an endpoint; `stop` tells how long the end took, in milliseconds. */
const traced = (endpoint: string) =>
  Effect.gen(function* () {
    const { layer, provider } = world()
    const scope = yield* Effect.acquireRelease(Scope.make(), (made) => Scope.close(made, Exit.void))
    const lines: Array<string> = []
    const log = Logger.replace(
      Logger.defaultLogger,
      Logger.make(({ logLevel, message }) => {
        if (logLevel.ordinal > 20_000) lines.push(String(message))
      })
    )
    const traces = yield* Layer.toRuntime(Layer.provideMerge(Telemetry.layer({ endpoint }), log)).pipe(
      Scope.extend(scope)
    )
    const context = yield* Layer.buildWithScope(over(Layer.merge(layer, keys)), scope).pipe(Effect.provide(traces))
    const stop = Effect.suspend(() => {
      const began = Date.now()
      return Effect.map(Scope.close(scope, Exit.void), () => Date.now() - began)
    })
    return { context, provider, lines, stop }
  })

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"

describe("a traced server", () => {
  it.scopedLive("sends a request's spans under the caller's trace, and nothing that it was not told to", () =>
    Effect.gen(function* () {
      const { endpoint, payloads, spans } = yield* collector()
      const { context, provider, stop } = yield* traced(endpoint)
      const [good, bad] = yield* Effect.gen(function* () {
        const { call } = yield* Serving
        const secretOf = (id: string, query = "") => `/v1/users/${userId}/credentials/${id}/secret${query}`
        const fine = yield* given({ refreshToken: "canary-refresh" })
        const dead = yield* given({ refreshToken: "canary-dead" })
        const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-01`, "x-canary": "canary-header" }
        const read = yield* call("GET", secretOf(fine, "?waitSeconds=7"), { headers })
        assert.strictEqual(read.status, 200, read.text)
        provider.next(() => Effect.succeed(answer(400, { error: "invalid_grant", error_description: "canary-text" })))
        assert.strictEqual((yield* call("GET", secretOf(dead))).status, 424)
        yield* call("GET", "/v1/providers?canary-query=1", {
          headers: { traceparent: `00-${"ab".repeat(16)}-00f067aa0ba902b7-00` }
        })
        const manager = yield* CredentialsManager
        yield* Effect.flip(manager.get("canary-user" as typeof userId, fine))
        return [fine, dead] as const
      }).pipe(Effect.provide(context))
      assert.isBelow(yield* stop, 5_000)

      const sent = spans()
      const names = new Set(sent.map(({ name }) => name))
      const request = "GET /v1/users/:userId/credentials/:credentialId/secret"
      for (const name of [
        request,
        "CredentialsManager.get",
        "Store.find",
        "Store.commit",
        "Renewal.flight",
        "Attempts.spend",
        "LockService.acquire"
      ]) {
        assert.isTrue(names.has(name), `${name} of ${[...names].join(", ")}`)
      }
      const server = sent.find((span) => span.name === request && span.traceId === traceId)
      assert.strictEqual(server?.parentSpanId, "00f067aa0ba902b7")
      const get = sent.find((span) => span.name === "CredentialsManager.get" && span.traceId === traceId)
      assert.strictEqual(get?.parentSpanId, server?.spanId)
      const values = Object.fromEntries(
        server?.attributes.map(({ key, value }) => [key, Object.values(value)[0]]) ?? []
      )
      assert.deepStrictEqual(
        { ...values, "http.response.status_code": Number(values["http.response.status_code"]) },
        {
          "http.request.method": "GET",
          "http.route": "/v1/users/:userId/credentials/:credentialId/secret",
          "http.response.status_code": 200
        }
      )
      assert.isFalse(names.has("GET /v1/providers"), "its caller does not record")
      const failed = sent.filter(({ status }) => status.code === 2)
      assert.isTrue(failed.some(({ attributes }) => JSON.stringify(attributes).includes("NeedsReauth")))
      for (const { attributes, events, name, status } of sent) {
        assert.deepStrictEqual([events, Object.keys(status)], [[], ["code"]], name)
        for (const { key } of attributes) assert.include([...Span.attributes, "error.type"], key)
      }
      const all = payloads.map(({ body }) => body).join("\n")
      for (const text of ["canary", good, bad, userId, "waitSeconds", "access-", bootstrapKey]) {
        assert.notInclude(all, text)
      }
      assert.include(all, '"effect-credentials"')
      const metrics = payloads.filter(({ path }) => path === "/v1/metrics").map(({ body }) => body)
      assert.include(metrics.join("\n"), "effect_credentials_refreshes_total")
    })
  )

  for (const [what, endpoint] of [
    ["is not there", Effect.succeed("http://127.0.0.1:9")],
    ["never answers", Effect.map(collector({ hang: true }), (silent) => silent.endpoint)]
  ] as const) {
    it.scopedLive(`whose collector ${what} answers as ever, says nothing of it, and stops in time`, () =>
      Effect.gen(function* () {
        const { context, lines, stop } = yield* traced(yield* endpoint)
        yield* Effect.gen(function* () {
          const { call } = yield* Serving
          for (let count = 0; count < 20; count++) {
            assert.strictEqual((yield* call("GET", "/v1/providers")).status, 200)
          }
        }).pipe(Effect.provide(context))
        assert.isBelow(yield* stop, 5_000)
        assert.deepStrictEqual(lines, [])
      })
    )
  }
})

it("a failed span keeps the kind of its error, and loses a name that could be anything", () => {
  const exception = (type: string) => ({
    attributes: [{ key: "span.label", value: { stringValue: "x" } }],
    events: [{ name: "exception", attributes: [{ key: "exception.type", value: { stringValue: type } }] }],
    status: { code: 2, message: "canary" }
  })
  const typeOf = (type: string) => Telemetry.harmless(exception(type)).attributes
  assert.deepStrictEqual(typeOf("NeedsReauth"), [{ key: "error.type", value: { stringValue: "NeedsReauth" } }])
  assert.deepStrictEqual(typeOf("canary token=1"), [{ key: "error.type", value: { stringValue: "Error" } }])
})

it.effect("while nobody traces, a span is not made", () =>
  Effect.gen(function* () {
    const made = yield* Deferred.make<boolean>()
    yield* Effect.option(Effect.currentSpan).pipe(
      Effect.flatMap((span) => Deferred.succeed(made, span._tag === "Some")),
      Span.within("test")
    )
    assert.isFalse(yield* Deferred.await(made))
  })
)

it.scopedLive(
  "the program sends what it has when it is told to stop",
  () =>
    Effect.gen(function* () {
      const { endpoint, payloads, spans } = yield* collector()
      const service = yield* Service.start({ env: { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint } })
      yield* service.client.providers
      const exit = yield* service.stop("10 seconds")
      assert.deepStrictEqual(exit, { code: exit.code, signal: null })
      assert.isTrue(spans().some(({ name }) => name === "GET /v1/providers"))
      const all = payloads.map(({ body }) => body).join("\n")
      assert.notInclude(all, service.adminApiKey)
      assert.include(all, "process_resident_memory_bytes")
    }),
  60_000
)
