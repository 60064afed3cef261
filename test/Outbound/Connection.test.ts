import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import * as Net from "node:net"
import { setImmediate } from "node:timers/promises"
import * as Outbound from "../../src/Outbound.ts"
import * as LoopbackServer from "../servers/LoopbackServer.ts"
import * as PublicNetwork from "../servers/PublicNetwork.ts"

const v4 = "93.184.216.34"
const v6 = "2606:2800:220:1::1"

const send = (
  url: string,
  options: Partial<Outbound.Options> = {},
  profile: Outbound.Profile = Outbound.token,
  request: Partial<Outbound.OutboundRequest> = {}
) =>
  Effect.flatMap(Outbound.Outbound, (outbound) =>
    outbound.send({ method: "GET", url, headers: {}, ...request }, profile)
  ).pipe(
    Effect.provide(
      Outbound.layer({ allowLoopback: false, certificateAuthorities: [PublicNetwork.certificate], ...options })
    )
  )

const to = (...addresses: ReadonlyArray<string>) => ({ resolve: () => Effect.succeed(addresses) })

const failure = <E, R>(sending: Effect.Effect<Outbound.Answer, E, R>) =>
  Effect.map(Effect.flip(sending), (error) => {
    assert.instanceOf(error, Outbound.OutboundFailure)
    return { sent: error.sent, reason: error.reason }
  })

const ok = PublicNetwork.serve((_, response) => response.end("{}"))

const until = (condition: () => boolean) =>
  Effect.promise(async () => {
    while (!condition()) await setImmediate()
  })

describe("a connection", () => {
  it.scoped("goes to the address that was judged, and keeps the name for TLS and for Host", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const server = yield* ok
      network.lead(v4, server.port)
      const answer = yield* send("https://sub.public.example/a?b", to(v4))
      assert.strictEqual(answer.status, 200)
      assert.deepStrictEqual(network.tried, [`${v4}:443`])
      assert.deepStrictEqual(server.requests, [
        { method: "GET", host: "sub.public.example", path: "/a?b", servername: "sub.public.example" }
      ])
    })
  )

  it.scoped("to a literal needs no look-up, and its certificate is checked for the address", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const server = yield* ok
      network.lead(v4, server.port)
      network.lead(v6, server.port)
      network.lead("1.1.1.1", server.port)
      const never = { resolve: () => Effect.die("asked") }
      assert.strictEqual((yield* send(`https://${v4}/`, never)).status, 200)
      assert.strictEqual((yield* send(`https://[${v6}]/`, never)).status, 200)
      assert.deepStrictEqual(yield* failure(send("https://1.1.1.1/", never)), { sent: false, reason: "unreachable" })
      assert.deepStrictEqual(network.tried, [`${v4}:443`, `[${v6}]:443`, "1.1.1.1:443"])
      assert.deepStrictEqual(
        server.requests.map(({ host, servername }) => [host, servername]),
        [
          [v4, false],
          [`[${v6}]`, false]
        ]
      )
    })
  )

  it.scoped("whose certificate is for another name, or of nobody who is trusted: unreachable, before sending", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const server = yield* ok
      network.lead(v4, server.port)
      const unsent = { sent: false, reason: "unreachable" }
      assert.deepStrictEqual(yield* failure(send("https://other.example/", to(v4))), unsent)
      const untrusted = { ...to(v4), certificateAuthorities: undefined }
      assert.deepStrictEqual(yield* failure(send("https://public.example/", untrusted)), unsent)
      assert.lengthOf(server.requests, 0)
    })
  )

  it.scoped("is refused by a wrong certificate even where the environment says that certificates do not matter", () =>
    Effect.gen(function* () {
      yield* withVariables({ NODE_TLS_REJECT_UNAUTHORIZED: "0" })
      const network = yield* PublicNetwork.watch
      const server = yield* ok
      network.lead(v4, server.port)
      assert.isFalse((yield* failure(send("https://other.example/", to(v4)))).sent)
      assert.lengthOf(server.requests, 0)
    })
  )

  it.scoped("tries the next address when one refuses, and fails when all do", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const server = yield* ok
      network.lead(v4, server.port)
      assert.strictEqual((yield* send("https://public.example/", to(v6, "1.1.1.1", v4))).status, 200)
      assert.sameMembers([...network.tried], [`[${v6}]:443`, "1.1.1.1:443", `${v4}:443`])
      const none = yield* failure(send("https://public.example/", to(v6, "1.1.1.1")))
      assert.deepStrictEqual(none, { sent: false, reason: "unreachable" })
    })
  )

  it.scoped("names another port only where the URL is the operator's", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const server = yield* ok
      network.lead(v4, server.port)
      const url = "https://public.example:8443/"
      assert.strictEqual((yield* Effect.flip(send(url, to(v4))))._tag, "OutboundRefused")
      assert.strictEqual((yield* send(url, to(v4), Outbound.listed(Outbound.token))).status, 200)
      assert.deepStrictEqual(network.tried, [`${v4}:8443`])
      assert.strictEqual(server.requests[0]?.host, "public.example:8443")
    })
  )

  it.scoped("that does not come in 3 seconds: timeout, before sending, and it is given up", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      network.lead(v4, "silence")
      const post = { method: "POST" as const, body: Redacted.make("refresh_token=x") }
      const waiting = yield* Effect.fork(failure(send("https://public.example/", to(v4), Outbound.token, post)))
      yield* until(() => network.tried.length === 1)
      yield* TestClock.adjust("2999 millis")
      assert.isNull(waiting.unsafePoll())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(waiting), { sent: false, reason: "timeout" })
    })
  )

  it.scoped("counts the look-up into these 3 seconds, and the TLS handshake", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const silent = yield* accepting
      network.lead(v4, silent.port)
      const slow = { resolve: () => Effect.as(Effect.sleep("2 seconds"), [v4]) }
      const waiting = yield* Effect.fork(failure(send("https://public.example/", slow)))
      yield* TestClock.adjust("2 seconds")
      yield* until(() => silent.connections() === 1)
      assert.isNull(waiting.unsafePoll())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(waiting), { sent: false, reason: "timeout" })

      const never = yield* Effect.fork(failure(send("https://public.example/", { resolve: () => Effect.never })))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(never), { sent: false, reason: "timeout" })
    })
  )

  it.scoped("is cut when its call is interrupted, in the middle of the handshake too", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const silent = yield* accepting
      network.lead(v4, silent.port)
      const waiting = yield* Effect.fork(send("https://public.example/", to(v4)))
      yield* until(() => silent.connections() === 1)
      yield* Fiber.interrupt(waiting)
      yield* until(() => silent.open() === 0)
    })
  )

  it.scoped("does not go over a proxy that the environment names", () =>
    Effect.gen(function* () {
      const proxy = yield* LoopbackServer.listen
      let used = 0
      proxy.server.on("connection", () => used++).on("request", (_, response) => response.end())
      const variables = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
      yield* withVariables({
        ...Object.fromEntries(variables.map((name) => [name, proxy.url])),
        NODE_USE_ENV_PROXY: "1",
        NO_PROXY: "",
        no_proxy: ""
      })
      const origin = yield* LoopbackServer.listen
      origin.server.on("request", (_, response) => response.end("direct"))
      const local = yield* send(origin.url, { allowLoopback: true })
      assert.strictEqual(Buffer.from(Redacted.value(local.body)).toString(), "direct")
      const network = yield* PublicNetwork.watch
      const server = yield* ok
      network.lead(v4, server.port)
      assert.strictEqual((yield* send("https://public.example/", to(v4))).status, 200)
      assert.deepStrictEqual(network.tried, [`${v4}:443`])
      assert.strictEqual(used, 0)
    })
  )

  it.scoped("to localhost goes to 127.0.0.1 or ::1, and asks nobody", () =>
    Effect.gen(function* () {
      const server = yield* LoopbackServer.listen
      server.server.on("request", (_, response) => response.end())
      const url = `http://localhost:${server.port}/`
      const asked = { allowLoopback: true, resolve: () => Effect.die("asked") }
      assert.strictEqual((yield* send(url, asked)).status, 200)
      const network = yield* PublicNetwork.watch
      assert.isFalse((yield* failure(send(url, asked))).sent)
      assert.deepStrictEqual(network.tried, [`127.0.0.1:${server.port}`, `[::1]:${server.port}`])
    })
  )

  it.scoped("without a resolver given, the system is asked", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      assert.deepStrictEqual(yield* failure(send("https://does-not-exist.invalid/")), {
        sent: false,
        reason: "unreachable"
      })
      assert.deepStrictEqual(network.tried, [])
    })
  )
})

/** Sets variables until the scope closes. */
const withVariables = (variables: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = { ...process.env }
      Object.assign(process.env, variables)
      return before
    }),
    (before) =>
      Effect.sync(() => {
        for (const name of Object.keys(variables)) delete process.env[name]
        Object.assign(process.env, before)
      })
  )

/** A server that takes connections, and says nothing. */
const accepting = Effect.map(
  Effect.acquireRelease(
    Effect.async<{ readonly server: Net.Server; readonly sockets: Set<Net.Socket>; readonly seen: () => number }>(
      (resume) => {
        const sockets = new Set<Net.Socket>()
        let seen = 0
        const server = Net.createServer((socket) => {
          seen++
          sockets.add(socket)
          socket
            .on("error", () => {})
            .on("close", () => sockets.delete(socket))
            .resume()
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets, seen: () => seen })))
      }
    ),
    ({ server, sockets }) =>
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
      })
  ),
  ({ seen, server, sockets }) => {
    const address = server.address()
    return {
      port: address === null || typeof address === "string" ? 0 : address.port,
      connections: seen,
      open: () => sockets.size
    }
  }
)
