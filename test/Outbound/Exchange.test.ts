import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Net from "node:net"
import * as Exchange from "../../src/Outbound/Exchange.ts"
import * as LoopbackServer from "../servers/LoopbackServer.ts"

const over = (socket: Net.Socket, href: string, maxBytes: number) => {
  const url = new URL(href)
  const destination = { url, host: url.hostname, addresses: Option.none() }
  const progress = { sockets: [socket], host: undefined }
  return Exchange.over(socket, destination, { method: "GET", url: href, headers: {}, body: null }, maxBytes, progress)
}

const connect = (port: number) =>
  Effect.async<Net.Socket>((resume) => {
    const socket = Net.connect({ port, host: "127.0.0.1" }, () => resume(Effect.succeed(socket)))
    socket.on("error", () => {})
  })

describe("over", () => {
  it.scoped("a connection that has closed since it was opened: unreachable at once, before sending", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(over(new Net.Socket().destroy(), "http://127.0.0.1:9/", 1024))
      assert.deepInclude(error, { sent: false, reason: "unreachable" })
    })
  )

  it.scoped("a connection that is reset while nobody reads fails its call, and throws at nobody else", () =>
    Effect.gen(function* () {
      const { port, server, url } = yield* LoopbackServer.listen
      server.on("request", (request, response) => {
        response.writeHead(200, { "content-length": 1024 * 1024 })
        response.write(Buffer.alloc(256 * 1024), () => request.socket.resetAndDestroy())
      })
      const thrown: Array<unknown> = []
      const note = (error: unknown) => void thrown.push(error)
      process.on("uncaughtException", note)
      yield* Effect.addFinalizer(() => Effect.sync(() => process.off("uncaughtException", note)))
      for (let times = 0; times < 10; times++) {
        const socket = yield* connect(port)
        const { next } = yield* over(socket, url, 1024 * 1024)
        yield* Effect.async<void>((resume) => void socket.once("close", () => resume(Effect.void)))
        const error = yield* Effect.flip(Effect.forever(next))
        assert.deepInclude(error, { sent: true, reason: "broken_off" })
      }
      assert.deepStrictEqual(thrown, [])
    })
  )
})
