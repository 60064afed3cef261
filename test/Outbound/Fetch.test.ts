import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import type * as Http from "node:http"
import { setImmediate } from "node:timers/promises"
import { gzipSync } from "node:zlib"
import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import * as Outbound from "../../src/Outbound.ts"
import * as LoopbackServer from "../servers/LoopbackServer.ts"

const fetchOf = (profile: Partial<Outbound.Profile> = {}) =>
  Effect.flatMap(Outbound.Outbound, (outbound) => outbound.fetch({ ...Outbound.mcp, ...profile })).pipe(
    Effect.provide(Outbound.layer({ allowLoopback: true }))
  )

const serving = (answer: (request: Http.IncomingMessage, response: Http.ServerResponse, body: string) => void) =>
  Effect.map(LoopbackServer.listen, ({ server, url }) => {
    let open = 0
    server.on("connection", (socket) => {
      open++
      socket.on("close", () => open--)
    })
    server.on("request", (request, response) => {
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => answer(request, response, Buffer.concat(chunks).toString()))
    })
    return { url, open: () => open }
  })

const promise = <A>(evaluate: () => PromiseLike<A>) =>
  Effect.promise(async () => {
    return await evaluate()
  })

const rejection = (evaluate: () => PromiseLike<unknown>) =>
  Effect.flip(Effect.tryPromise({ try: evaluate, catch: (error) => error }))

const until = (condition: () => boolean) =>
  Effect.promise(async () => {
    while (!condition()) await setImmediate()
  })

const streaming = (chunk: string) =>
  serving((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.write(chunk)
  })

const failed = (reason: string) => ({ _tag: "OutboundFailure", sent: true, reason })

describe("fetch", () => {
  it.scoped("sends method, headers and body, and answers status, headers and body", () =>
    Effect.gen(function* () {
      const server = yield* serving((request, response, body) => {
        response.writeHead(201, { "content-type": "application/json", "mcp-session-id": "s", location: "/1" })
        response.end(JSON.stringify([request.method, request.url, request.headers["x-a"], body]))
      })
      const fetch = yield* fetchOf()
      const response = yield* promise(() =>
        fetch(new URL(`${server.url}/mcp?a=b`), { method: "POST", headers: new Headers({ "X-A": "1" }), body: "{}" })
      )
      assert.strictEqual(response.status, 201)
      assert.isTrue(response.ok)
      assert.strictEqual(response.headers.get("mcp-session-id"), "s")
      assert.strictEqual(response.headers.get("location"), "/1")
      assert.deepStrictEqual(yield* promise(() => response.json()), ["POST", "/mcp?a=b", "1", "{}"])
      const plain = yield* promise(() => fetch(`${server.url}/x`))
      assert.deepStrictEqual(yield* promise(() => plain.json()), ["GET", "/x", null, ""])
      const form = yield* promise(() =>
        fetch(`${server.url}/`, { method: "PUT", body: new URLSearchParams({ a: "é" }) })
      )
      assert.deepStrictEqual(yield* promise(() => form.json()), ["PUT", "/", null, "a=%C3%A9"])
    })
  )

  it.scoped("answers without a body where there is none, and unpacks what is packed", () =>
    Effect.gen(function* () {
      const fetch = yield* fetchOf()
      for (const status of [204, 205, 304]) {
        const server = yield* serving((_, response) => response.writeHead(status).end())
        const response = yield* promise(() => fetch(server.url))
        assert.strictEqual(response.status, status)
        assert.isNull(response.body)
        yield* until(() => server.open() === 0)
      }
      const packed = yield* serving((_, response) =>
        response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("unpacked"))
      )
      const response = yield* promise(() => fetch(packed.url))
      assert.strictEqual(yield* promise(() => response.text()), "unpacked")
      assert.isNull(response.headers.get("content-encoding"))
    })
  )

  it.scoped("a status that is none: broken off, after sending", () =>
    Effect.gen(function* () {
      const server = yield* serving((_, response) => response.writeHead(999).end())
      const fetch = yield* fetchOf()
      assert.deepInclude(yield* rejection(() => fetch(server.url)), failed("broken_off"))
    })
  )

  it.scoped("hands over each piece as it comes", () =>
    Effect.gen(function* () {
      let stream: Http.ServerResponse | undefined
      const server = yield* serving((_, response) => {
        stream = response.writeHead(200)
        response.write("one")
      })
      const fetch = yield* fetchOf()
      const response = yield* promise(() => fetch(server.url))
      const reader = response.body?.getReader()
      const read = promise(async () => {
        const { done, value } = (await reader?.read()) ?? { done: true, value: undefined }
        return done ? undefined : Buffer.from(value ?? []).toString()
      })
      assert.strictEqual(yield* read, "one")
      stream?.write("two")
      assert.strictEqual(yield* read, "two")
      const [three, four] = [reader?.read(), reader?.read()]
      stream?.write("three")
      assert.strictEqual(Buffer.from((yield* promise(async () => await three))?.value ?? []).toString(), "three")
      stream?.end("four")
      assert.strictEqual(Buffer.from((yield* promise(async () => await four))?.value ?? []).toString(), "four")
      assert.isUndefined(yield* read)
      yield* until(() => server.open() === 0)
    })
  )

  it.scoped("a body that nobody reads is taken as far as the profile allows, and no further", () =>
    Effect.gen(function* () {
      let written = 0
      const server = yield* serving((_, response) => {
        const write = () => {
          for (let more = true; more && !response.destroyed; written += 65_536) {
            more = response.write(Buffer.alloc(65_536))
          }
        }
        response.on("drain", write).on("error", () => {})
        write()
      })
      const fetch = yield* fetchOf({ maxBytes: 1024 * 1024 })
      const response = yield* promise(() => fetch(server.url))
      yield* until(() => server.open() === 0)
      // what the system's buffers hold comes on top
      assert.isBelow(written, 32 * 1024 * 1024)
      assert.deepInclude(yield* rejection(() => response.text()), failed("too_large"))
    })
  )

  it.scoped("rejects with what Outbound says, not with an error of fetch", () =>
    Effect.gen(function* () {
      const fetch = yield* fetchOf()
      assert.deepInclude(yield* rejection(() => fetch("http://acme.example/")), {
        _tag: "OutboundRefused",
        rule: "only https is called"
      })
      const port = yield* LoopbackServer.freePort
      assert.deepInclude(yield* rejection(() => fetch(`http://127.0.0.1:${port}/`)), {
        _tag: "OutboundFailure",
        sent: false,
        reason: "unreachable"
      })
      const secret = yield* rejection(() => fetch("https://user:canary@acme.example/"))
      assert.propertyVal(secret, "_tag", "OutboundRefused")
      assert.notInclude(String(secret), "canary")
    })
  )

  it.scoped("a body that is too large, or breaks off, fails its reader", () =>
    Effect.gen(function* () {
      const fetch = yield* fetchOf({ maxBytes: 10 })
      const large = yield* serving((_, response) => response.end("x".repeat(11)))
      const response = yield* promise(() => fetch(large.url))
      assert.deepInclude(yield* rejection(() => response.text()), failed("too_large"))
      const bomb = yield* serving((_, response) =>
        response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(Buffer.alloc(20)))
      )
      const packed = yield* fetchOf({ maxBytes: 19 + 10 })
      const unpacked = yield* promise(() => packed(bomb.url))
      assert.strictEqual((yield* promise(() => unpacked.arrayBuffer())).byteLength, 20)
      const cut = yield* serving((_, response) => {
        response.writeHead(200, { "content-length": "10" })
        response.write("half", () => response.destroy())
      })
      const half = yield* promise(() => fetch(cut.url))
      assert.deepInclude(yield* rejection(() => half.text()), failed("broken_off"))
      yield* until(() => large.open() + cut.open() === 0)
    })
  )

  it.scoped("the profile's time goes on until the body has ended, read or not", () =>
    Effect.gen(function* () {
      const server = yield* streaming("data: 1\n\n")
      const fetch = yield* fetchOf()
      const read = yield* promise(() => fetch(server.url))
      yield* promise(() => fetch(server.url))
      const reading = yield* Effect.fork(rejection(() => read.text()))
      yield* TestClock.adjust("119999 millis")
      assert.strictEqual(server.open(), 2)
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(yield* Fiber.join(reading), failed("timeout"))
      yield* until(() => server.open() === 0)
    })
  )

  it.scoped(
    "an aborted signal rejects with its reason and closes the connection: before, during, and while reading",
    () =>
      Effect.gen(function* () {
        const fetch = yield* fetchOf()
        const reason = new Error("enough")
        const silent = yield* serving(() => {})
        assert.strictEqual(yield* rejection(() => fetch(silent.url, { signal: AbortSignal.abort(reason) })), reason)
        assert.strictEqual(silent.open(), 0)

        const during = new AbortController()
        const waiting = yield* Effect.fork(rejection(() => fetch(silent.url, { signal: during.signal })))
        yield* until(() => silent.open() === 1)
        during.abort(reason)
        assert.strictEqual(yield* Fiber.join(waiting), reason)
        yield* until(() => silent.open() === 0)

        const server = yield* streaming("data: 1\n\n")
        const later = new AbortController()
        const response = yield* promise(() => fetch(server.url, { signal: later.signal }))
        const text = yield* Effect.fork(rejection(() => response.text()))
        later.abort(reason)
        assert.strictEqual(yield* Fiber.join(text), reason)
        yield* until(() => server.open() === 0)
      })
  )

  it.scoped("a cancelled body closes the connection", () =>
    Effect.gen(function* () {
      const server = yield* streaming("data: 1\n\n")
      const fetch = yield* fetchOf()
      const response = yield* promise(() => fetch(server.url))
      assert.strictEqual(server.open(), 1)
      yield* promise(() => response.body?.cancel() ?? Promise.resolve())
      yield* until(() => server.open() === 0)
    })
  )

  it.scoped("all its calls end with the scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const silent = yield* serving(() => {})
      const server = yield* streaming("data: 1\n\n")
      const fetch = yield* Scope.extend(fetchOf(), scope)
      const response = yield* promise(() => fetch(server.url))
      const text = yield* Effect.fork(rejection(() => response.text()))
      const waiting = yield* Effect.fork(rejection(() => fetch(silent.url)))
      yield* until(() => silent.open() === 1)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(text)
      yield* Fiber.join(waiting)
      yield* until(() => server.open() + silent.open() === 0)
    })
  )

  it.scoped("follows what the profile allows, whatever init says, and leaves no way to follow more", () =>
    Effect.gen(function* () {
      const asked: Array<string | undefined> = []
      const server = yield* serving((request, response) => {
        asked.push(request.url)
        const hop = Number(request.url?.slice(1))
        response.writeHead(307, { location: `/${hop + 1}` }).end()
      })
      const fetch = yield* fetchOf(Outbound.metadata)
      for (const redirect of ["follow", "manual", "error"] as const) {
        asked.length = 0
        const response = yield* promise(() => fetch(`${server.url}/0`, { redirect }))
        assert.deepStrictEqual([response.status, response.headers.get("location")], [307, null])
        assert.deepStrictEqual(asked, ["/0", "/1", "/2"])
      }
      const token = yield* fetchOf(Outbound.token)
      asked.length = 0
      assert.strictEqual((yield* promise(() => token(`${server.url}/0`))).status, 307)
      assert.deepStrictEqual(asked, ["/0"])
    })
  )

  it.scoped("carries the MCP SDK's transport: answers as JSON and as a stream of events", () =>
    Effect.gen(function* () {
      const server = yield* serving((request, response, body) => {
        if (request.method !== "POST") return void response.writeHead(405).end()
        const { id, method } = JSON.parse(body)
        if (id === undefined) return void response.writeHead(202).end()
        const result =
          method === "initialize"
            ? { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "s", version: "1" } }
            : { tools: [{ name: "echo", inputSchema: { type: "object" } }] }
        const message = JSON.stringify({ jsonrpc: "2.0", id, result })
        if (method === "initialize") {
          return void response.writeHead(200, { "content-type": "application/json" }).end(message)
        }
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.end(`event: message\ndata: ${message}\n\n`)
      })
      const fetch = yield* fetchOf()
      const client = new Client({ name: "test", version: "1" })
      yield* promise(() => client.connect(new StreamableHTTPClientTransport(new URL(`${server.url}/mcp`), { fetch })))
      const { tools } = yield* promise(() => client.listTools())
      assert.deepStrictEqual(
        tools.map(({ name }) => name),
        ["echo"]
      )
      yield* promise(() => client.close())
    })
  )
})
