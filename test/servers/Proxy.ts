/**
 * A TCP proxy on a free port of 127.0.0.1, for as long as its scope lives, which can do what networks do: cut, delay,
 * fall silent, and lose exactly the answer to a Postgres COMMIT.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import { setTimeout } from "node:timers/promises"

export interface Proxy {
  readonly port: number
  /** Resets every connection there is; new ones go through. */
  readonly cut: Effect.Effect<void>
  /** Resets the clients' ends alone: the server believes in its connections still. */
  readonly orphan: Effect.Effect<void>
  /** Lets no byte through, in either direction, and keeps connections open: also new ones. `resume` lets go of what waits. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Each piece of data waits so long, one way. */
  readonly delay: (millis: number) => Effect.Effect<void>
  /** Resets every connection there is, and takes new ones to another server from now on. */
  readonly divert: (target: Target) => Effect.Effect<void>
  /**
   * From now on the server gets every COMMIT and does it, and its answer is lost: the connection is reset, or stays open
   * in silence. `none`: answers arrive again.
   */
  readonly loseCommits: (how: "reset" | "silence" | "none") => Effect.Effect<void>
  /** How many answers to a COMMIT were lost. */
  readonly lost: () => number
}

export interface Target {
  readonly host: string
  readonly port: number
}

/** A simple query (`Q`), as transactions are ended; as good when a driver prepares it. */
const isCommit = (data: Buffer) => data.includes("COMMIT\0", 0, "latin1")

export const listen = (target: Target): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(() => start(target)),
      ({ stop }) => Effect.promise(stop)
    ),
    ({ proxy }) => proxy
  )

const start = async (first: Target) => {
  let target = first
  const sockets = new Set<Net.Socket>()
  const clients = new Set<Net.Socket>()
  const orphaned = new WeakSet<Net.Socket>()
  let millis = 0
  let commits: "reset" | "silence" | "none" = "none"
  let lost = 0
  let gate = Promise.resolve()
  let open = () => {}

  const destroy = (socket: Net.Socket) => void (socket.destroyed || socket.resetAndDestroy())

  const server = Net.createServer({ noDelay: true }, (client) => {
    const upstream = Net.connect({ ...target, noDelay: true })
    let doomed = false
    clients.add(client)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client]
    ] as const) {
      sockets.add(from)
      let order = Promise.resolve()
      const inTurn = (step: () => void) => {
        order = order.then(async () => {
          if (millis > 0) await setTimeout(millis)
          await gate
          step()
        })
      }
      from.on("data", (data) =>
        inTurn(() => {
          if (from === client && commits !== "none" && isCommit(data)) doomed = true
          if (from === upstream && doomed) {
            lost++
            if (commits === "reset") destroy(client)
            return
          }
          if (!to.destroyed) to.write(data)
        })
      )
      from.on("error", () => {})
      from.on("close", () => {
        sockets.delete(from)
        clients.delete(from)
        if (!orphaned.has(from)) inTurn(() => destroy(to))
      })
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject)
    server.listen(0, "127.0.0.1", resolve)
  })
  const address = server.address()

  const proxy: Proxy = {
    port: address === null || typeof address === "string" ? 0 : address.port,
    cut: Effect.sync(() => sockets.forEach(destroy)),
    orphan: Effect.sync(() => {
      for (const client of clients) {
        orphaned.add(client)
        destroy(client)
      }
    }),
    pause: Effect.sync(() => {
      open()
      gate = new Promise((resolve) => {
        open = resolve
      })
    }),
    resume: Effect.sync(() => open()),
    divert: (next) =>
      Effect.sync(() => {
        target = next
        sockets.forEach(destroy)
      }),
    delay: (each) => Effect.sync(() => void (millis = each)),
    loseCommits: (how) => Effect.sync(() => void (commits = how)),
    lost: () => lost
  }
  const stop = () =>
    new Promise<void>((resolve) => {
      open()
      server.close(() => resolve())
      sockets.forEach((socket) => socket.destroy())
    })
  return { proxy, stop }
}
