import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import * as Connections from "../../src/Database/Connections.ts"

/** A server that takes connections and never says a word, and how many it has had at a time. */
const silent = Effect.acquireRelease(
  Effect.async<{ readonly port: number; readonly most: () => number; readonly close: () => void }>((resume) => {
    const sockets = new Set<Net.Socket>()
    let most = 0
    const server = Net.createServer((socket) => {
      sockets.add(socket)
      most = Math.max(most, sockets.size)
      socket.on("error", () => {})
      socket.on("close", () => sockets.delete(socket))
    })
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = address === null || typeof address === "string" ? 0 : address.port
      const close = () => {
        for (const socket of sockets) socket.destroy()
        server.close()
      }
      resume(Effect.succeed({ port, most: () => most, close }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

describe("connections", () => {
  it.scopedLive("are opened two at a time, and nobody waits longer for it", () =>
    Effect.gen(function* () {
      const { most, port } = yield* silent
      const pool = yield* Connections.make(
        { host: "127.0.0.1", port, user: "postgres", max: 10 },
        { connectWithin: Duration.millis(500), answerWithin: Duration.seconds(1) }
      )
      const begun = performance.now()
      const asked = Promise.allSettled(Array.from({ length: 10 }, () => pool.connect()))
      yield* Effect.sleep("400 millis")
      assert.strictEqual(most(), 2)
      const answered = yield* Effect.promise(() => asked)
      assert.isTrue(answered.every(({ status }) => status === "rejected"))
      assert.isBelow(performance.now() - begun, 900)
    })
  )
})
