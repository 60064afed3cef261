/**
 * Every route of the OpenAPI document, asked whatever can be asked: the answer is one that the contract names, comes soon,
 * and holds nothing secret that was sent. The server keeps going.
 */
import { assert, describe, it } from "@effect/vitest"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import * as Http from "node:http"
import * as Net from "node:net"
import { Api } from "../../src/api/Api.ts"
import * as ApiKeys from "../../src/ApiKeys.ts"
import * as HandlerRegistry from "../../src/HandlerRegistry.ts"
import { type Answer, Outbound, OutboundFailure } from "../../src/Outbound.ts"
import * as Destination from "../../src/Outbound/Destination.ts"
import * as Provider from "../../src/Provider.ts"
import * as ProviderCatalogue from "../../src/ProviderCatalogue.ts"
import * as Service from "../../src/Service.ts"
import { bootstrapKey, over, type Reply, Serving } from "../server/Serving.ts"
import { measured } from "../Measured.ts"
import { bytes, holdsEffect, text } from "./Inputs.ts"
import { type Request, requestOf, type Route, routesOf, secret } from "./Requests.ts"

const document: unknown = JSON.parse(JSON.stringify(OpenApi.fromApi(Api)))
const routes = [
  ...routesOf(document),
  // those that the document cannot name
  { method: "GET", path: "/openapi.json", parameters: [], body: undefined, statuses: [200] },
  { method: "GET", path: "/docs", parameters: [], body: undefined, statuses: [200] }
]

/** What strangers answer: nothing, something, and tokens. */
const strangers = () => {
  let turn = 0
  const answers: ReadonlyArray<() => Effect.Effect<Answer, OutboundFailure>> = [
    () => body(200, { access_token: secret, refresh_token: `${secret}-${turn}`, expires_in: 60 }),
    () => Effect.fail(new OutboundFailure({ sent: true, reason: "broken_off" })),
    () => body(400, { error: "invalid_grant", error_description: secret }),
    () => body(200, `{"access_token": "${secret}`),
    () => body(503, secret),
    () => body(200, { device_code: secret, user_code: "A-B", verification_uri: "https://a.example", expires_in: 9 })
  ]
  const body = (status: number, given: unknown) =>
    Effect.succeed({
      status,
      headers: {},
      body: Redacted.make<Uint8Array>(Buffer.from(typeof given === "string" ? given : JSON.stringify(given)))
    })
  return Layer.succeed(Outbound, {
    send: ({ url }, { anyPort }) =>
      Effect.zipRight(
        Destination.vet(url, { allowLoopback: false, anyPort }),
        Effect.suspend(() => (answers[turn++ % answers.length] ?? answers[0] ?? assert.fail())())
      ),
    fetch: ({ anyPort }) =>
      Effect.succeed(async (url) => {
        await Effect.runPromise(Destination.vet(String(url), { allowLoopback: false, anyPort }))
        return new Response(`{"error":"${secret}"}`, { status: turn++ % 2 === 0 ? 404 : 401 })
      })
  })
}

/** One provider for each way of coming by tokens. */
const providers = Provider.Grant.literals.map((grant) =>
  Schema.decodeUnknownSync(Provider.Provider)({
    id: grant === "authorization_code" ? "acme" : grant.replaceAll("_", "-"),
    grant,
    authorizationUrl: "https://acme.example/authorize",
    tokenUrl: "https://acme.example/token",
    revocationUrl: "https://acme.example/revoke",
    deviceAuthorizationUrl: "https://acme.example/device"
  })
)

/** The service in memory, among strangers, and what its log says went wrong. */
const service = () => {
  const failures: Array<string> = []
  const clients = ({ id }: Provider.Provider) =>
    id !== "github" ? Option.some({ id: "client", secret: Redacted.make(secret) }) : Option.none()
  const protocol = HandlerRegistry.layer({ clients }).pipe(
    Layer.provideMerge(ProviderCatalogue.layer(providers)),
    Layer.provideMerge(strangers())
  )
  const ports = Layer.mergeAll(
    Service.layerMemoryEngine,
    ApiKeys.layerMemory({ bootstrap: Redacted.make(bootstrapKey) }),
    protocol
  )
  const listening = Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ cause, logLevel, message }) => {
      if (LogLevel.greaterThanEqual(logLevel, LogLevel.Error))
        failures.push(`${String(message)} ${Cause.pretty(cause)}`)
    })
  )
  const flow = {
    publicUrl: "http://localhost",
    redirectUri: "http://localhost/oauth/callback",
    returnUrls: ["https://app.example/done"]
  }
  const useCases = Service.layer({ sweeper: false, flow })
  const layer = over(Layer.provideMerge(useCases, ports)).pipe(Layer.provide(listening))
  return { layer, failures }
}

/** Sent over connections that stay, as much as can be of what was meant. */
const send = (agent: Http.Agent, url: string, method: string, { body, headers, path }: Request) =>
  Effect.async<Reply>((resume) => {
    const { hostname, port } = new URL(url)
    const request = Http.request({
      hostname,
      port,
      agent,
      method,
      path: path.replaceAll(/[^\x21-\xff]/g, "%20"),
      headers: {
        ...Object.fromEntries(
          Object.entries(headers).map(([name, given]) => [name, given.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "?")])
        ),
        ...(body !== undefined && { "content-length": body.length })
      }
    })
    request
      .on("response", (response) => {
        const chunks: Array<Buffer> = []
        response.on("data", (chunk: Buffer) => chunks.push(chunk))
        response.on("end", () => {
          const whole = Buffer.concat(chunks).toString("utf8")
          let json: unknown
          try {
            json = JSON.parse(whole)
          } catch {}
          resume(Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers, text: whole, json }))
        })
      })
      .on("error", (error) => resume(Effect.die(error)))
      .end(body)
    return Effect.sync(() => request.destroy())
  })

const fill = (given: string, living: ReadonlyMap<string, string>) =>
  given.replaceAll(/<<(\w+)>>/g, (_, name: string) => living.get(name) ?? randomUUID())

/** Something of everything, so that requests that fit have something to fit. */
const populate = (call: Serving["Type"]["call"], living: Map<string, string>) =>
  Effect.gen(function* () {
    const of = (reply: Reply, name: string) => {
      const found = (reply.json as Record<string, unknown> | undefined)?.[name]
      return typeof found === "string" ? found : ""
    }
    const all = "/v1/users/u/credentials"
    yield* call("DELETE", "/v1/users/u?waitSeconds=0")
    const bodies = [
      { type: "oauth2", provider: "acme", accessToken: secret, refreshToken: secret, scopes: ["a"] },
      { type: "api_key", provider: "acme", apiKey: secret },
      { type: "user_password", provider: "acme", username: "name", password: secret },
      { type: "host_scoped", provider: "acme", host: "example.com", headers: { "X-Key": secret } }
    ]
    for (const body of bodies) living.set(body.type, of(yield* call("POST", all, { body }), "id"))
    // of a credential that no other request names: nobody is to wait for it
    const held = of(yield* call("POST", all, { body: { type: "api_key", provider: "acme", apiKey: secret } }), "id")
    const lease = yield* call("POST", `${all}/${held}/leases`, { body: { waitSeconds: 0, ttlSeconds: 600 } })
    living.set("lease", of(lease, "leaseId"))
    living.set("state", of(yield* call("POST", "/v1/users/u/oauth/acme/authorize"), "state"))
    living.set("cursor", of(yield* call("GET", `${all}?limit=1`), "nextCursor"))
    const key = yield* call("POST", "/v1/api-keys", { body: { name: "reader", scopes: ["read"], userId: "other" } })
    living.set("key", of(key, "keyId"))
    living.set("reader", of(key, "key"))
  })

/** What the server says before it knows the route. */
const anywhere = [400, 401, 403, 404, 413, 429, 431]
const mayFail = new Set([501, 502, 503])

/** These answer people, in pages. */
const isPage = ({ path }: Route) => path === "/oauth/callback" || path.startsWith("/oauth/start/") || path === "/docs"

const answersSecrets = ({ path }: Route) => /\/(secret|leases|api-keys)$/.test(path)

const check = (route: Route, request: Request, reply: Reply) => {
  const what = `${route.method} ${request.path} ${request.body?.toString("latin1").slice(0, 500)} → ${reply.status} ${reply.text.slice(0, 500)}`
  assert.isTrue(reply.status < 500 || mayFail.has(reply.status), what)
  if (!isPage(route)) assert.include([...route.statuses, ...anywhere], reply.status, what)
  const carries = reply.status < 300 && answersSecrets(route)
  if (!carries) assert.notInclude(JSON.stringify(reply.headers) + reply.text, secret, what)
  if (reply.status >= 400 && route.method !== "HEAD" && !reply.headers["content-type"]?.startsWith("text/html")) {
    const { _tag, message, retryable } = (reply.json ?? {}) as Record<string, unknown>
    assert.isTrue(typeof _tag === "string" && typeof message === "string" && typeof retryable === "boolean", what)
  }
  if (route.path.startsWith("/v1/")) assert.strictEqual(reply.headers["cache-control"], "no-store", what)
}

const few = 30

describe("whatever is asked of", () => {
  for (const route of routes) {
    it.scopedLive(
      `${route.method} ${route.path}, the answer is one of the contract`,
      () => {
        const { failures, layer } = service()
        return Effect.gen(function* () {
          const { call, url } = yield* Serving
          const agent = yield* Effect.acquireRelease(
            Effect.sync(() => new Http.Agent({ keepAlive: true })),
            (made) => Effect.sync(() => made.destroy())
          )
          const living = new Map([["admin", bootstrapKey]])
          let count = 0
          // what the contract names for others' failures, and strangers fail here: a plain 500 is none of it
          const failed: Record<string, number> = { "answers of 500": 0 }
          yield* holdsEffect(
            `route ${route.method} ${route.path}`,
            few,
            requestOf(document, route),
            Effect.fnUntraced(function* (meant) {
              if (count++ % 20 === 0) yield* populate(call, living)
              const request: Request = {
                path: fill(meant.path, living),
                headers: { ...meant.headers, authorization: fill(meant.headers["authorization"] ?? "", living) },
                body: meant.body && Buffer.from(fill(meant.body.toString("latin1"), living), "latin1")
              }
              const began = yield* Clock.currentTimeMillis
              const reply = yield* Effect.timeout(send(agent, url, route.method, request), "15 seconds")
              check(route, request, reply)
              if (reply.status > 500) {
                const { _tag } = reply.json as { readonly _tag: string }
                const name = `${reply.status} ${_tag}`
                failed[name] = (failed[name] ?? 0) + 1
              }
              const { leaseId } = (reply.json ?? {}) as { readonly leaseId?: string }
              if (reply.status === 201 && leaseId !== undefined) yield* call("DELETE", `/v1/leases/${leaseId}`)
              assert.isBelow((yield* Clock.currentTimeMillis) - began, 10_000)
              assert.deepStrictEqual(failures, [])
            })
          )
          assert.strictEqual((yield* call("GET", "/healthz")).status, 200)
          yield* measured("routes", { routes: 1, ...failed })
        }).pipe(Effect.provide(layer))
      },
      3_600_000
    )
  }
})

describe("whatever comes over the wire", () => {
  const head = FastCheck.record({
    method: FastCheck.oneof(
      FastCheck.constantFrom(
        "GET",
        "POST",
        "PUT",
        "DELETE",
        "HEAD",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "PATCH",
        "get",
        "X"
      ),
      text
    ),
    path: FastCheck.oneof(
      FastCheck.constantFrom("/v1/users/u/credentials", "/healthz", "*", "//", "/%", "http://a/v1/providers", "/../.."),
      text
    ),
    version: FastCheck.constantFrom("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""),
    headers: FastCheck.array(
      FastCheck.oneof(
        FastCheck.constantFrom(
          ..."Content-Length: 5|Content-Length: 99999|Content-Length: -1|Transfer-Encoding: chunked|Host: a".split("|"),
          ..."Transfer-Encoding: gzip, chunked|Expect: 100-continue|Expect: x|Upgrade: h2c|Host: b".split("|"),
          ..."Connection: upgrade|Content-Type: application/json|Connection: keep-alive, close| folded: line".split("|")
        ),
        FastCheck.tuple(text, text).map(([name, given]) => `${name}: ${given}`)
      ),
      { maxLength: 6 }
    ),
    body: FastCheck.oneof(bytes, FastCheck.constantFrom("5\r\n{}", "0\r\n\r\n", "zz\r\n", '{"type":').map(Buffer.from)),
    ending: FastCheck.constantFrom("end", "reset", "nothing")
  })

  it.scopedLive(
    "the server answers in HTTP or hangs up, and goes on",
    () => {
      const { failures, layer } = service()
      return Effect.gen(function* () {
        const { call, url } = yield* Serving
        yield* holdsEffect("wire", few * 3, head, ({ body, ending, headers, method, path, version }) =>
          Effect.gen(function* () {
            const authorization = `Authorization: Bearer ${bootstrapKey}`
            const lines = [`${method} ${path} ${version}`, authorization, ...headers, "", ""].join("\r\n")
            const answer = yield* Effect.async<string>((resume) => {
              let received = ""
              const socket = Net.connect(Number(new URL(url).port), "127.0.0.1")
              const over = () => resume(Effect.succeed(received))
              socket
                .on("data", (chunk) => (received += chunk.toString("latin1")))
                .on("error", over)
                .on("close", over)
                .setTimeout(30, () => socket.destroy())
              socket.write(Buffer.concat([Buffer.from(lines), body]), () => {
                if (ending === "end") socket.end()
                else if (ending === "reset") socket.resetAndDestroy()
              })
            })
            if (answer !== "") assert.match(answer, /^HTTP\/1\.1 [1234]\d\d /)
            assert.deepStrictEqual(failures, [])
          })
        )
        assert.strictEqual((yield* call("GET", "/healthz")).status, 200)
      }).pipe(Effect.provide(layer))
    },
    3_600_000
  )
})
