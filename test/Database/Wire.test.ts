import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import * as Wire from "../../src/Database/Wire.ts"

const message = (letter: string, body = "") => {
  const bytes = Buffer.alloc(5 + body.length)
  bytes.write(letter, 0)
  bytes.writeUInt32BE(4 + body.length, 1)
  bytes.write(body, 5)
  return bytes
}

const startup = Buffer.from([0, 0, 0, 8, 0, 3, 0, 0])

/** Writes down each batch and answers with its size. */
const recorder = () => {
  const batches: Array<string> = []
  const engine: Wire.Engine = {
    run: (messages, answer) => {
      batches.push(Buffer.from(messages).toString("latin1"))
      answer(Buffer.from(`${messages.length};`))
      return Promise.resolve()
    }
  }
  return { batches, engine }
}

const turns = () => new Promise((resolve) => setTimeout(resolve, 10))

describe("Wire", () => {
  it("the engine gets whole batches, however the bytes arrive, and never what follows the last one", async () => {
    const { batches, engine } = recorder()
    const wire = Wire.connector(engine)()
    wire.resume()
    wire.write(startup.subarray(0, 3))
    wire.write(startup.subarray(3))
    await turns()
    const [parse, sync, query] = [message("P", "parse"), message("S"), message("Q", "select 1")]
    wire.cork()
    wire.write(parse)
    wire.write(Buffer.concat([sync, query.subarray(0, 4)]))
    wire.uncork()
    await turns()
    wire.write(query.subarray(4))
    wire.write(message("P", "waits"))
    await turns()
    assert.deepStrictEqual(batches, [
      startup.toString("latin1"),
      Buffer.concat([parse, sync]).toString("latin1"),
      query.toString("latin1")
    ])
  })

  it("a second connection is refused while the first is open, and a later one starts with a clean session", async () => {
    const { batches, engine } = recorder()
    const connect = Wire.connector(engine)
    const first = connect()
    first.resume()
    first.write(startup)
    await turns()

    const second = connect()
    second.write(startup)
    const [error] = await once(second, "error")
    assert.strictEqual(error.code, "53300")

    first.end()
    await once(first, "close")
    assert.include(batches.at(-1), "ROLLBACK")
    assert.include(batches.at(-1), "DISCARD ALL")

    const third = connect()
    third.write(startup)
    const [answer] = await once(third, "data")
    assert.strictEqual(String(answer), "8;")
  })

  it("when the engine fails, nothing of that batch's answer gets out", async () => {
    let fails = false
    const wire = Wire.connector({
      run: (_messages, answer) => {
        answer(Buffer.from("answer"))
        return fails ? Promise.reject(new Wire.EngineGone("57P02", "gone")) : Promise.resolve()
      }
    })()
    const received: Array<string> = []
    wire.on("data", (bytes) => received.push(String(bytes)))
    wire.write(startup)
    await turns()
    fails = true
    wire.write(message("Q", "commit"))
    const [error] = await once(wire, "error")
    assert.strictEqual(error.code, "57P02")
    assert.deepStrictEqual(received, ["answer"])
  })
})
