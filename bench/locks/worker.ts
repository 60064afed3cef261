/**
 * A process of contenders for one key.
 *
 * - `run`: waits for `go` on its input, then holds again and again, and says the longest wait
 * - `hold`: holds until it is ended
 */
import { once } from "node:events"
import * as Contender from "./Contender.ts"

const [url = "", wanted = "", key = "", role = "run", ttl = "10000", times = "1", holdMillis = "0"] =
  process.argv.slice(2)
const name = Contender.names.find((one) => one === wanted) ?? "bare"
const contender = Contender.make(name, url, Number(ttl))

if (role === "hold") {
  await contender.holdOn(key)
  process.stdout.write("held\n")
  await once(process, "SIGTERM")
}

const work = { tasks: 16, how: "scoped" } as const
// the compiler has seen it all before it counts
await contender.run({ ...work, times: 100, key: () => `warm:${process.pid}` })
process.stdout.write("ready\n")
await once(process.stdin, "data")
const longest = await contender.run({ ...work, times: Number(times), key: () => key, holdMillis: Number(holdMillis) })
process.stdout.write(`done ${longest}\n`)
await contender.close()
process.exit(0)
