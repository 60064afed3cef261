import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import type * as Http from "node:http"
import * as Net from "node:net"
import { inspect } from "node:util"
import { gzipSync } from "node:zlib"
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

describe("vet", () => {
  const verdict = (url: string, allowLoopback = false) =>
    Effect.map(Effect.either(Outbound.vet(url, allowLoopback)), (result) =>
      Either.isRight(result) ? result.right.href : "refused"
    )

  it.effect("https is called, whatever the case of its letters", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* verdict("https://acme.example/token?a=b"), "https://acme.example/token?a=b")
      assert.strictEqual(yield* verdict("HTTPS://ACME.example/token"), "https://acme.example/token")
    })
  )

  it.effect("nothing else is: no other scheme, no name or password in it, nothing relative", () =>
    Effect.gen(function* () {
      for (const url of [
        "http://acme.example/token",
        "ftp://acme.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/plain,x",
        "ws://acme.example/",
        "https://user:pass@acme.example/",
        "https://user@acme.example/",
        "https://:pass@acme.example/",
        "//acme.example/",
        "/token",
        "acme.example",
        "",
        "https://",
        "https://a b/"
      ]) {
        assert.strictEqual(yield* verdict(url), "refused", url)
        assert.strictEqual(yield* verdict(url, true), "refused", `${url}, with the loopback allowed`)
      }
    })
  )

  const loopback = [
    "http://localhost:3000/token",
    "http://LOCALHOST/",
    "http://127.0.0.1:3000/",
    "http://127.1.2.3/",
    "http://[::1]:3000/",
    "https://localhost/",
    "https://127.0.0.1/",
    // other spellings of 127.0.0.1
    "http://127.1/",
    "http://0x7f.1/",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://[0:0:0:0:0:0:0:1]/"
  ]

  it.effect("this machine is called only where that is allowed, over http too, in any spelling of its address", () =>
    Effect.gen(function* () {
      for (const url of loopback) {
        assert.strictEqual(yield* verdict(url), "refused", url)
        assert.notStrictEqual(yield* verdict(url, true), "refused", url)
      }
    })
  )

  it.effect("what only looks like this machine is not: http to it is refused though the loopback is allowed", () =>
    Effect.gen(function* () {
      for (const url of [
        "http://localhost.evil.org/",
        "http://127.0.0.1.evil.org/",
        "http://evil.org/127.0.0.1",
        "http://evil.org#localhost",
        "http://localhost@evil.org/",
        "http://xlocalhost/",
        "http://128.0.0.1/",
        "http://[::2]/"
      ]) {
        assert.strictEqual(yield* verdict(url, true), "refused", url)
      }
    })
  )

  it.effect("this machine in its other names is refused too: the root's dot, and IPv4 within IPv6", () =>
    Effect.gen(function* () {
      for (const url of ["https://localhost./", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/"]) {
        assert.strictEqual(yield* verdict(url), "refused", url)
      }
    })
  )

  it.effect("a refusal says which rule was broken, and nothing of the URL", () =>
    Effect.gen(function* () {
      for (const url of [
        `http://${canary}.example/`,
        `https://${canary}:x@acme.example/`,
        canary,
        `http://localhost/${canary}`
      ]) {
        const error = yield* Effect.flip(Outbound.vet(url, false))
        assert.notInclude(inspect(error, false, 9) + error.message, canary)
      }
    })
  )
})

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
    })
  )

  it.scoped("asks for no compression, and unpacks none: a small answer cannot grow large", () =>
    Effect.gen(function* () {
      const bomb = gzipSync(Buffer.alloc(10 * 1024 * 1024))
      const server = yield* serving(({ response }) => {
        response.writeHead(200, { "content-encoding": "gzip" }).end(bomb)
      })
      const answer = yield* send(post(server.url))
      assert.strictEqual(server.requests[0]?.message.headers["accept-encoding"], "identity")
      assert.deepStrictEqual(Buffer.from(Redacted.value(answer.body)), bomb)
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
      assert.strictEqual((yield* failure(send(post(`http://127.0.0.1:${port}`)))).sent, true)
    })
  )
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
