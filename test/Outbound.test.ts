import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import * as Tracer from "effect/Tracer"
import type * as Http from "node:http"
import * as Net from "node:net"
import { inspect } from "node:util"
import { brotliCompressSync, constants, deflateSync, gzipSync } from "node:zlib"
import * as Outbound from "../src/Outbound.ts"
import * as LoopbackServer from "./servers/LoopbackServer.ts"

const canary = "canary-5f0c2e9a"

const post = (url: string, fields: Partial<Outbound.OutboundRequest> = {}): Outbound.OutboundRequest => ({
  method: "POST",
  url,
  headers: { authorization: Redacted.make(`Basic ${canary}`), "content-type": "application/x-www-form-urlencoded" },
  body: Redacted.make(`refresh_token=${canary}`),
  ...fields
})

const send = (request: Outbound.OutboundRequest, profile: Partial<Outbound.Profile> = {}, allowLoopback = true) =>
  Effect.flatMap(Outbound.Outbound, (outbound) => outbound.send(request, { ...Outbound.token, ...profile })).pipe(
    Effect.provide(Outbound.layer({ allowLoopback }))
  )

const text = (answer: Outbound.Answer) => Buffer.from(Redacted.value(answer.body)).toString("utf8")

const failure = <E, R>(sending: Effect.Effect<Outbound.Answer, E, R>) =>
  Effect.map(Effect.flip(sending), (error) => {
    assert.instanceOf(error, Outbound.OutboundFailure)
    return { sent: error.sent, reason: error.reason }
  })

interface Arrived {
  readonly message: Http.IncomingMessage
  readonly response: Http.ServerResponse
  readonly body: string
}

/** A server that does as it is told with each request, once it has all of it. */
const serving = (handle: (arrived: Arrived) => void) =>
  Effect.map(LoopbackServer.listen, ({ port, server, url }) => {
    const requests: Array<Arrived> = []
    let connections = 0
    server.on("connection", () => connections++)
    server.on("request", (message, response) => {
      const chunks: Array<Buffer> = []
      message.on("data", (chunk: Buffer) => chunks.push(chunk))
      message.on("end", () => {
        const arrived = { message, response, body: Buffer.concat(chunks).toString("utf8") }
        requests.push(arrived)
        handle(arrived)
      })
    })
    return {
      url,
      port,
      requests,
      get connections() {
        return connections
      }
    }
  })

/** A server below HTTP. */
const accepting = (handle: (socket: Net.Socket) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.async<Net.Server>((resume) => {
        const server = Net.createServer((socket) => {
          socket.on("error", () => {})
          handle(socket)
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => {
      const address = server.address()
      return address === null || typeof address === "string" ? 0 : address.port
    }
  )

describe("send", () => {
  it.scoped("sends the request as it is, and answers what came, of any status", () =>
    Effect.gen(function* () {
      for (const status of [200, 201, 400, 404, 429, 500]) {
        const server = yield* serving(({ response }) => {
          response.writeHead(status, { "X-Some": "Header", "set-cookie": ["a=1", "b=2"] }).end("{}")
        })
        const answer = yield* send(post(`${server.url}/token?q=1`))
        assert.strictEqual(answer.status, status)
        assert.strictEqual(text(answer), "{}")
        assert.strictEqual(answer.headers["x-some"], "Header")
        assert.strictEqual(answer.headers["set-cookie"], "a=1, b=2")
        const [arrived] = server.requests
        assert.strictEqual(arrived?.message.method, "POST")
        assert.strictEqual(arrived?.message.url, "/token?q=1")
        assert.strictEqual(arrived?.message.headers.authorization, `Basic ${canary}`)
        assert.strictEqual(arrived?.body, `refresh_token=${canary}`)
      }
    })
  )

  it.scoped("refuses before anything is opened", () =>
    Effect.gen(function* () {
      const server = yield* serving(({ response }) => response.end())
      const error = yield* Effect.flip(send(post(server.url), {}, false))
      assert.strictEqual(error._tag, "OutboundRefused")
      assert.strictEqual(server.connections, 0)
    })
  )

  it.scoped("follows no redirect: the body goes to nobody else", () =>
    Effect.gen(function* () {
      const other = yield* serving(({ response }) => response.end("{}"))
      for (const status of [301, 302, 303, 307, 308]) {
        const server = yield* serving(({ response }) => {
          response.writeHead(status, { location: `${other.url}/token` }).end()
        })
        const answer = yield* send(post(server.url))
        assert.strictEqual(answer.status, status)
        assert.lengthOf(server.requests, 1)
      }
      assert.strictEqual(other.connections, 0)
    })
  )

  it.scoped("sends its own Host header, whatever the request says", () =>
    Effect.gen(function* () {
      const server = yield* serving(({ response }) => response.end())
      yield* send(post(server.url, { headers: { HOST: "metadata.google.internal" } }))
      assert.strictEqual(server.requests[0]?.message.headers.host, `127.0.0.1:${server.port}`)
    })
  )

  it.scoped("tells a trace the host, the method and the status; of a URL, a header or a body nothing else", () =>
    Effect.gen(function* () {
      const spans: Array<Tracer.Span> = []
      const native = yield* Effect.tracer
      const tracer = Tracer.make({
        context: (run, fiber) => native.context(run, fiber),
        span: (...parameters) => {
          const span = native.span(...parameters)
          spans.push(span)
          return span
        }
      })
      const lines: Array<unknown> = []
      const logger = Logger.make(
        ({ annotations, message }) => void lines.push({ message, ...Object.fromEntries(annotations) })
      )
      const server = yield* serving(({ response }) => response.writeHead(404, { "x-secret": canary }).end(canary))
      const calls = Effect.all([
        send(post(`${server.url}/${canary}?${canary}=1#${canary}`)),
        Effect.flip(send(post(`https://${canary}.internal/`))),
        Effect.flip(send(post(`http://127.0.0.1:${yield* LoopbackServer.freePort}/${canary}`)))
      ])
      yield* calls.pipe(
        Effect.withTracer(tracer),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
        Logger.withMinimumLogLevel(LogLevel.Debug)
      )
      assert.deepStrictEqual(
        spans.map(({ attributes, kind, name }) => [
          name,
          kind,
          attributes.get("server.address"),
          attributes.get("http.response.status_code")
        ]),
        [
          ["Outbound.call", "client", "127.0.0.1", 404],
          ["Outbound.call", "client", undefined, undefined],
          ["Outbound.call", "client", "127.0.0.1", undefined]
        ]
      )
      assert.deepStrictEqual(lines, [
        { message: ["Outbound call"], method: "POST", host: "127.0.0.1", status: 404 },
        { message: ["Outbound call"], method: "POST", reason: "refused" },
        { message: ["Outbound call"], method: "POST", host: "127.0.0.1", reason: "unreachable" }
      ])
      // what an exporter reads of a span
      const told = spans.map(({ attributes, name, status }) => [
        name,
        [...attributes],
        status._tag === "Ended" && Exit.isFailure(status.exit) && Cause.pretty(status.exit.cause)
      ])
      assert.notInclude(inspect([told, lines], false, 12), canary)
    })
  )

  it.scoped("uses a connection for one call alone, and closes it", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<void>()
      const server = yield* serving(({ message, response }) => {
        message.socket.once("close", () => Deferred.unsafeDone(closed, Effect.void))
        response.end("{}")
      })
      yield* send(post(server.url))
      yield* Deferred.await(closed)
      yield* send(post(server.url))
      assert.strictEqual(server.connections, 2)
      assert.strictEqual(server.requests[1]?.message.headers.connection, "close")
    })
  )

  it.scoped("asks for no compression, and unpacks what comes packed all the same", () =>
    Effect.gen(function* () {
      const packers = {
        gzip: gzipSync,
        "x-gzip": gzipSync,
        GZIP: gzipSync,
        deflate: deflateSync,
        br: brotliCompressSync
      }
      for (const [encoding, pack] of Object.entries(packers)) {
        const packed = pack(Buffer.from('{"access_token":"a"}'))
        const server = yield* serving(({ response }) => {
          response.writeHead(200, { "content-encoding": encoding, "content-length": packed.byteLength }).end(packed)
        })
        const answer = yield* send(post(server.url, { headers: { "Accept-Encoding": "gzip" } }))
        assert.strictEqual(server.requests[0]?.message.headers["accept-encoding"], "identity")
        assert.strictEqual(text(answer), '{"access_token":"a"}', encoding)
        assert.notProperty(answer.headers, "content-encoding")
        assert.notProperty(answer.headers, "content-length")
      }
    })
  )

  it.scoped("hands on as it is what is packed in a way that it does not know, or twice", () =>
    Effect.gen(function* () {
      const twice = gzipSync(gzipSync(Buffer.from("{}")))
      for (const encoding of ["gzip, gzip", "zstd", "identity", "constructor"]) {
        const server = yield* serving(({ response }) => {
          response.writeHead(200, { "content-encoding": encoding }).end(twice)
        })
        assert.deepStrictEqual(Buffer.from(Redacted.value((yield* send(post(server.url))).body)), twice, encoding)
      }
    })
  )

  it.scoped(
    "counts what it unpacks: a small answer that grows large is too_large, and is not unpacked to its end",
    () =>
      Effect.gen(function* () {
        for (const [encoding, bomb] of [
          ["gzip", gzipSync(Buffer.alloc(64 * 1024 * 1024))],
          ["deflate", deflateSync(Buffer.alloc(64 * 1024 * 1024))],
          [
            "br",
            brotliCompressSync(Buffer.alloc(64 * 1024 * 1024), { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })
          ]
        ] as const) {
          assert.isBelow(bomb.byteLength, 70 * 1024)
          const server = yield* serving(({ response }) => {
            response.writeHead(200, { "content-encoding": encoding }).end(bomb)
          })
          const before = process.memoryUsage().rss
          assert.deepStrictEqual(yield* failure(send(post(server.url), { maxBytes: 80 * 1024 })), {
            sent: true,
            reason: "too_large"
          })
          assert.isBelow(process.memoryUsage().rss - before, 32 * 1024 * 1024)
        }
      })
  )

  it.scoped("counts what arrives too: a packed answer that unpacks to nothing does not go on for ever", () =>
    Effect.gen(function* () {
      const server = yield* serving(({ response }) => {
        response.writeHead(200, { "content-encoding": "gzip" })
        response.write(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]))
        // stored blocks of length 0
        const nothing = Buffer.concat(Array.from({ length: 4096 }, () => Buffer.from([0, 0, 0, 0xff, 0xff])))
        const write = () => {
          while (!response.destroyed && response.write(nothing));
        }
        response.on("drain", write).on("error", () => {})
        write()
      })
      assert.deepStrictEqual(yield* failure(send(post(server.url))), { sent: true, reason: "too_large" })
    })
  )

  it.scoped("half a packed answer, or one that is not packed as it says: broken off, after sending", () =>
    Effect.gen(function* () {
      const whole = gzipSync(Buffer.from("x".repeat(1000)))
      for (const bytes of [whole.subarray(0, whole.byteLength - 9), Buffer.from("plain")]) {
        const server = yield* serving(({ response }) => {
          response.writeHead(200, { "content-encoding": "gzip" }).end(bytes)
        })
        assert.deepStrictEqual(yield* failure(send(post(server.url))), { sent: true, reason: "broken_off" })
      }
    })
  )

  it.scoped("takes no more than the profile allows: a larger answer is too_large, after sending", () =>
    Effect.gen(function* () {
      const exactly = yield* serving(({ response }) => response.end(Buffer.alloc(1024)))
      assert.strictEqual(Redacted.value((yield* send(post(exactly.url), { maxBytes: 1024 })).body).byteLength, 1024)
      assert.deepStrictEqual(yield* failure(send(post(exactly.url), { maxBytes: 1023 })), {
        sent: true,
        reason: "too_large"
      })
    })
  )

  it.scoped("stops an answer that does not end as soon as it is too large", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<void>()
      const server = yield* serving(({ message, response }) => {
        message.socket.once("close", () => Deferred.unsafeDone(closed, Effect.void))
        const write = () => {
          while (!response.destroyed && response.write(Buffer.alloc(16 * 1024)));
        }
        response.on("drain", write).on("error", () => {})
        write()
      })
      assert.deepStrictEqual(yield* failure(send(post(server.url))), { sent: true, reason: "too_large" })
      yield* Deferred.await(closed)
    })
  )

  it.scoped("takes no answer whose headers do not end", () =>
    Effect.gen(function* () {
      const port = yield* accepting((socket) => {
        socket.once("data", () => {
          socket.write("HTTP/1.1 200 OK\r\n")
          const write = () => {
            while (!socket.destroyed && socket.write(`x-${"a".repeat(1000)}: ${"b".repeat(1000)}\r\n`));
          }
          socket.on("drain", write)
          write()
        })
      })
      assert.deepStrictEqual(yield* failure(send(post(`http://127.0.0.1:${port}`))), {
        sent: true,
        reason: "too_large"
      })
    })
  )
})

describe("profiles", () => {
  const bounds = {
    metadata: { profile: Outbound.metadata, bytes: 256 * 1024, seconds: 10 },
    token: { profile: Outbound.token, bytes: 64 * 1024, seconds: 60 },
    mcp: { profile: Outbound.mcp, bytes: 4 * 1024 * 1024, seconds: 120 }
  }
  for (const [name, { bytes, profile, seconds }] of Object.entries(bounds)) {
    it.scoped(`${name}: ${seconds} seconds, ${bytes} bytes, with a port as without`, () =>
      Effect.gen(function* () {
        const silent = yield* Deferred.make<void>()
        const exactly = yield* serving(({ response }) => response.end(Buffer.alloc(bytes)))
        const more = yield* serving(({ response }) => response.end(Buffer.alloc(bytes + 1)))
        const never = yield* serving(() => Deferred.unsafeDone(silent, Effect.void))
        for (const given of [profile, Outbound.listed(profile)]) {
          assert.strictEqual(Redacted.value((yield* send(post(exactly.url), given)).body).byteLength, bytes)
          assert.deepStrictEqual(yield* failure(send(post(more.url), given)), { sent: true, reason: "too_large" })
        }
        const waiting = yield* Effect.fork(failure(send(post(never.url), profile)))
        yield* Deferred.await(silent)
        yield* TestClock.adjust(Duration.millis(seconds * 1000 - 1))
        assert.isNull(waiting.unsafePoll())
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* Fiber.join(waiting), { sent: true, reason: "timeout" })
      })
    )
  }
})

describe("what did not come", () => {
  it.scoped("a connection that is refused: unreachable, before sending", () =>
    Effect.gen(function* () {
      const port = yield* LoopbackServer.freePort
      assert.deepStrictEqual(yield* failure(send(post(`http://127.0.0.1:${port}/`))), {
        sent: false,
        reason: "unreachable"
      })
    })
  )

  it.scoped("a name that nobody has: before sending", () =>
    Effect.gen(function* () {
      assert.isFalse((yield* failure(send(post("https://does-not-exist.invalid/")))).sent)
    })
  )

  it.scoped("a TLS handshake that fails: unreachable, before sending", () =>
    Effect.gen(function* () {
      const seen: Array<Buffer> = []
      const port = yield* accepting((socket) => {
        socket.once("data", (data) => {
          seen.push(data)
          socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")
        })
      })
      assert.deepStrictEqual(yield* failure(send(post(`https://127.0.0.1:${port}/`))), {
        sent: false,
        reason: "unreachable"
      })
      assert.notInclude(Buffer.concat(seen).toString("latin1"), canary)
    })
  )

  it.scoped("a connection that is reset after the request arrived: broken off, after sending", () =>
    Effect.gen(function* () {
      const server = yield* serving(({ message }) => message.socket.resetAndDestroy())
      assert.deepStrictEqual(yield* failure(send(post(server.url))), { sent: true, reason: "broken_off" })
      assert.lengthOf(server.requests, 1)
    })
  )

  it.scoped("a connection that is closed without a word, at once or after the request: broken off, after sending", () =>
    Effect.gen(function* () {
      const wordless = yield* serving(({ message }) => message.socket.end())
      assert.deepStrictEqual(yield* failure(send(post(wordless.url))), { sent: true, reason: "broken_off" })
      const port = yield* accepting((socket) => socket.destroy())
      assert.deepStrictEqual(yield* failure(send(post(`http://127.0.0.1:${port}/`))), {
        sent: true,
        reason: "broken_off"
      })
    })
  )

  it.scoped("half an answer: broken off, after sending; never half a body", () =>
    Effect.gen(function* () {
      const cut = yield* serving(({ message, response }) => {
        response.writeHead(200, { "content-length": "100" })
        response.write("half", () => message.socket.destroy())
      })
      assert.deepStrictEqual(yield* failure(send(post(cut.url))), { sent: true, reason: "broken_off" })
      const chunked = yield* serving(({ message, response }) => {
        response.write("half", () => message.socket.destroy())
      })
      assert.deepStrictEqual(yield* failure(send(post(chunked.url))), { sent: true, reason: "broken_off" })
    })
  )

  it.scoped("what is no HTTP: broken off, after sending", () =>
    Effect.gen(function* () {
      const port = yield* accepting((socket) => socket.once("data", () => socket.end("SSH-2.0-OpenSSH\r\n")))
      assert.deepStrictEqual(yield* failure(send(post(`http://127.0.0.1:${port}/`))), {
        sent: true,
        reason: "broken_off"
      })
    })
  )

  it.scoped("an answer that does not come in time: timeout, after sending, by the clock of the test", () =>
    Effect.gen(function* () {
      const arrived = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      const server = yield* serving(({ message }) => {
        message.socket.once("close", () => Deferred.unsafeDone(closed, Effect.void))
        Deferred.unsafeDone(arrived, Effect.void)
      })
      const waiting = yield* Effect.fork(failure(send(post(server.url))))
      yield* Deferred.await(arrived)
      yield* TestClock.adjust("59 seconds")
      assert.isNull(waiting.unsafePoll())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(waiting), { sent: true, reason: "timeout" })
      yield* Deferred.await(closed)
    })
  )

  it.scopedLive("an answer that came while the process stood still past its time is heard", () =>
    Effect.gen(function* () {
      const server = yield* serving(({ response }) => {
        response.end("{}")
        // from here on the timer is due, and the answer is in the socket
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600)
      })
      const answer = yield* send(post(server.url), { timeout: "200 millis" })
      assert.strictEqual(text(answer), "{}")
    })
  )

  it.scoped("an answer that comes a byte at a time has no more time than another", () =>
    Effect.gen(function* () {
      const arrived = yield* Deferred.make<Http.ServerResponse>()
      const server = yield* serving(({ response }) => Deferred.unsafeDone(arrived, Effect.succeed(response)))
      const waiting = yield* Effect.fork(failure(send(post(server.url), { timeout: "10 seconds" })))
      const response = yield* Deferred.await(arrived)
      for (let second = 0; second < 10; second++) {
        response.write("x")
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(yield* Fiber.join(waiting), { sent: true, reason: "timeout" })
    })
  )

  it.scoped("an interrupted call closes its connection", () =>
    Effect.gen(function* () {
      const arrived = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      const server = yield* serving(({ message }) => {
        message.socket.once("close", () => Deferred.unsafeDone(closed, Effect.void))
        Deferred.unsafeDone(arrived, Effect.void)
      })
      const waiting = yield* Effect.fork(send(post(server.url)))
      yield* Deferred.await(arrived)
      yield* Fiber.interrupt(waiting)
      yield* Deferred.await(closed)
    })
  )

  it.scoped("a header that cannot be sent: before sending, and its value is not told", () =>
    Effect.gen(function* () {
      const server = yield* serving(({ response }) => response.end())
      const headers = { authorization: Redacted.make(`${canary}\r\nx-injected: 1`) }
      const sending = send(post(server.url, { headers }))
      assert.deepStrictEqual(yield* failure(sending), { sent: false, reason: "unreachable" })
      assert.notInclude(inspect(yield* Effect.flip(sending), false, 9), canary)
      assert.lengthOf(server.requests, 0)
    })
  )

  it.scoped("no failure shows anything of the request", () =>
    Effect.gen(function* () {
      const server = yield* serving(({ message }) => message.socket.resetAndDestroy())
      for (const url of [`${server.url}/${canary}`, `http://127.0.0.1:${yield* LoopbackServer.freePort}/${canary}`]) {
        const error = yield* Effect.flip(send(post(url)))
        assert.notInclude(inspect(error, false, 9) + error.message, canary)
      }
    })
  )
})
