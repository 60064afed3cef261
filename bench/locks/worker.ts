/** A process of contenders for one key: waits for `go` on its input, and says when all are through. */
import { once } from "node:events"
import { setTimeout } from "node:timers/promises"
import * as Contender from "./Contender.ts"

const [url = "", wanted = "", key = "", contenders = "1", rounds = "1", holdMillis = "0"] = process.argv.slice(2)
const name = Contender.names.find((one) => one === wanted) ?? "bare"
const contender = Contender.make(name, url)
const use = () => (holdMillis === "0" ? Promise.resolve() : setTimeout(Number(holdMillis)).then(() => undefined))

// the compiler has seen it all before it counts
for (let round = 0; round < 20; round++) {
  await Promise.all(
    Array.from({ length: 16 }, () => contender.holdAndGo(`warm:${process.pid}`, () => Promise.resolve()))
  )
}
process.stdout.write("ready\n")
await once(process.stdin, "data")
let longest = 0
await Promise.all(
  Array.from({ length: Number(contenders) }, async () => {
    for (let round = 0; round < Number(rounds); round++) {
      const since = performance.now()
      await contender.holdAndGo(key, () => {
        longest = Math.max(longest, performance.now() - since)
        return use()
      })
    }
  })
)
process.stdout.write(`done ${longest}\n`)
await contender.close()
process.exit(0)
