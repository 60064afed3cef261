/**
 * The load on a server, from a process of its own: connections that each send the next request when they have the last
 * answer. Plain sockets, so that most of the machine is left to what is measured.
 */
import { connect, type Socket } from "node:net"
import * as Child from "../Child.ts"
import * as Turns from "../Turns.ts"

export interface Target {
  readonly port: number
  /** Each connection asks for one of these. */
  readonly paths: ReadonlyArray<string>
  readonly key: string
  readonly connections: number
  readonly millis: number
}

export interface Result {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly requests: number
}

/** Where an answer ends in what has come; none while it has not all come. */
const endOf = (received: Buffer): number | undefined => {
  const head = received.indexOf("\r\n\r\n")
  if (head === -1) return undefined
  const headers = received.toString("latin1", 0, head)
  if (!headers.startsWith("HTTP/1.1 200 ")) throw new Error(headers)
  const length = /\r\ncontent-length: *(\d+)/i.exec(headers)?.[1]
  if (length !== undefined) return received.length < head + 4 + Number(length) ? undefined : head + 4 + Number(length)
  const last = received.indexOf("\r\n0\r\n\r\n", head + 2)
  return last === -1 ? undefined : last + 7
}

const run = (target: Target): Promise<Result> => {
  const requests = target.paths.map(
    (path) => `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${target.key}\r\n\r\n`
  )
  const since = performance.now()
  const times: Array<number> = []
  const one = (request = "") =>
    new Promise<void>((resolve, reject) => {
      const socket: Socket = connect(target.port, "127.0.0.1").setNoDelay(true)
      let received = Buffer.alloc(0)
      let sent = 0
      const send = () => {
        sent = performance.now()
        socket.write(request)
      }
      socket
        .once("connect", send)
        .once("error", reject)
        .on("data", (data) => {
          received = received.length === 0 ? data : Buffer.concat([received, data])
          const end = endOf(received)
          if (end === undefined) return
          received = received.subarray(end)
          const now = performance.now()
          times.push(now - sent)
          if (now - since < target.millis) return send()
          socket.destroy()
          resolve()
        })
    })
  return Promise.all(
    Array.from({ length: target.connections }, (_, index) => one(requests[index % requests.length]))
  ).then(() => ({
    perSecond: (1000 * times.length) / (performance.now() - since),
    p50: Turns.quantile(times, 0.5),
    p99: Turns.quantile(times, 0.99),
    requests: times.length
  }))
}

process.stdout.write("ready\n")
await Child.answer(async (line) => JSON.stringify(await run(JSON.parse(line))))
