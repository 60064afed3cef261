/**
 * A process of contenders for one key.
 *
 * - `run`: for each line of its input, a key, how often each contender holds it and for how long, holds it so, and says the
 *   longest wait
 * - `hold`: holds until it is ended
 */
import { once } from "node:events"
import { createInterface } from "node:readline"
import * as Contender from "./Contender.ts"

const [url = "", wanted = "", role = "run", ttl = "10000", held = ""] = process.argv.slice(2)
const name = Contender.names.find((one) => one === wanted) ?? "bare"
const contender = Contender.make(name, url, Number(ttl))

if (role === "hold") {
  await contender.holdOn(held)
  process.stdout.write("held\n")
  await once(process, "SIGTERM")
}

process.stdout.write("ready\n")
for await (const line of createInterface({ input: process.stdin })) {
  const [key = "", times = "1", holdMillis = "0"] = line.split(" ")
  const work = {
    tasks: 16,
    times: Number(times),
    key: () => key,
    holdMillis: Number(holdMillis),
    how: "scoped"
  } as const
  process.stdout.write(`done ${await contender.run(work)}\n`)
}
await contender.close()
process.exit(0)
