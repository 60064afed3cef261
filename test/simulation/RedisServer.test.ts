/**
 * The simulated Redis server beside a real one: the same steps of the scripts, drawn at random, give the same replies and
 * leave the same keys. `TIME` is given to both; what expires does so by the real server's own clock, so that how long is left
 * may differ by some milliseconds.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scripts from "../../src/LockService/Redis/Scripts.ts"
import * as Redis from "../../src/Redis.ts"
import * as Server from "../servers/Redis.ts"
import { Chance } from "./Chance.ts"
import { RedisServer, type Reply } from "./RedisServer.ts"

const clock = "lk:{b00}:clock"
const keys = ["s", "q", "w", "r", "g"].map((name) => `lk:{b00}:x:${name}`)

/** The script with a clock that the test sets: a list of seconds and microseconds. */
const byGivenTime = ({ text }: Redis.Script): Redis.Script =>
  Redis.script(text.replaceAll(/(redis\.)?call\('TIME'\)/g, `redis.call('LRANGE', '${clock}', 0, -1)`))

const scripts = {
  alone: Scripts.alone,
  acquire: Scripts.acquire,
  release: Scripts.release,
  renew: Scripts.renew,
  adopt: Scripts.adopt,
  holders: Scripts.holders
}
const real = Object.fromEntries(Object.entries(scripts).map(([name, script]) => [name, byGivenTime(script)]))

type Step = readonly [keyof typeof scripts, ReadonlyArray<string | number>]

const owners = ["lk:inbox:a.0", "lk:inbox:a.1", "lk:inbox:b.0", "lk:inbox:b.1", "t:lease", "lk:inbox:c.7"] as const

/** `state`: of the lock, as it is now. */
const drawn = (chance: Chance, state: string): Step => {
  const owner = chance.pick(owners)
  const ttl = chance.pick([300, 900, 5_000])
  const spent = () => (chance.happens(0.5) ? ["", ""] : ["32", String(1 + chance.below(32))])
  const last = Date.now() * 1000 + chance.between(-1e6, 1e6)
  return chance.weighted<() => Step>([
    [
      6,
      () => {
        const beside = chance.happens(0.2) ? chance.pick(owners) : ""
        const mode = `${chance.pick(["X", "S"])}${beside === "" ? "" : "G"}`
        const above = chance.happens(0.2) ? Math.floor(last) : 0
        const old = chance.happens(0.2) ? chance.pick(owners) : ""
        const late = chance.pick([0, 3000, -20])
        const line = `${late}|${chance.pick([0, 0, 300])}|${chance.pick([300, 2000])}|${chance.pick([400, 6000])}|lk:inbox:z|${beside}`
        return ["acquire", [owner, mode, ttl, chance.pick([1, 32]), above, old, line, ...spent()]]
      }
    ],
    [
      5,
      () => {
        const before = chance.happens(0.7) ? state : "1 1 1 nobody"
        if (chance.happens(0.4)) return ["alone", ["", before, state.split(" ", 2).join(" ")]]
        const above = chance.happens(0.2) ? Math.floor(last) : 0
        return ["alone", [ttl, chance.happens(0.3) ? before : "", owner, chance.pick([1, 32]), above]]
      }
    ],
    [4, () => ["release", [owner, ...spent()]]],
    [2, () => ["renew", [owner, ttl]]],
    [1, () => ["adopt", [owner, chance.pick(["X", "S"]), ttl, Math.floor(last)]]],
    [1, () => ["holders", []]]
  ])()
}

/** Numbers that may be times left. */
const isNear = (one: Reply, other: unknown): boolean => {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((part, at) => isNear(part, other[at]))
  }
  return one === other || (typeof one === "number" && typeof other === "number" && Math.abs(one - other) <= 25)
}

const told = (value: unknown) => JSON.stringify(value)

it.scopedLive(
  "scripts answer and store in the simulation what they do in a real server",
  () =>
    Effect.gen(function* () {
      const redis = yield* Redis.Redis
      const said: Array<string> = []
      const heard: Array<string> = []
      let now = 0
      const simulated = new RedisServer(
        () => now,
        (_, message) => said.push(message)
      )
      const chance = new Chance(Date.now())
      yield* redis.subscribe("lk:inbox:z", (message) => heard.push(message))
      yield* redis.subscribe("lk:inbox:a", (message) => heard.push(message))
      yield* redis.subscribe("lk:inbox:b", (message) => heard.push(message))
      yield* redis.subscribe("lk:inbox:c", (message) => heard.push(message))

      const snapshot = Effect.forEach(keys, (key) =>
        Effect.gen(function* () {
          const type = yield* redis.command("TYPE", key)
          if (type === "string") return [key, yield* redis.command("GET", key)]
          if (type === "zset") return [key, yield* redis.command("ZRANGE", key, 0, -1, "WITHSCORES")]
          if (type === "hash") {
            const all = (yield* redis.command("HGETALL", key)) as ReadonlyArray<string>
            const rows = Array.from({ length: all.length / 2 }, (_, row) => [all[2 * row], all[2 * row + 1]])
            return [key, rows.sort()]
          }
          return [key, null]
        })
      )
      const simulatedSnapshot = () => {
        const found = new Map([...simulated.keys()].map(({ key, value }) => [key, value]))
        return keys.map((key) => {
          const value = found.get(key)
          if (value === undefined) return [key, null]
          if (value.type === "string") return [key, value.text]
          if (value.type === "zset") return [key, simulated.command("ZRANGEBYSCORE", key, "-inf", "+inf", "WITHSCORES")]
          return [key, value.type === "hash" ? [...value.fields].sort() : null]
        })
      }

      yield* redis.command("DEL", ...keys, clock)
      for (let count = 0; count < 600; count++) {
        const [name, parameters] = drawn(chance, String(simulated.command("GET", ...keys.slice(0, 1)) ?? ""))
        const given = name === "alone" ? keys.slice(0, 1) : keys
        // nothing expires while it is looked at
        now = Date.now()
        const soon = [...simulated.keys()].flatMap(({ left }) => (left !== undefined && left < 200 ? [left] : []))
        if (soon.length > 0) yield* Effect.sleep(Math.max(...soon) + 20)
        now = Date.now() + chance.below(1000) / 1000
        const micros = Math.floor(now * 1000)
        yield* redis.command("DEL", clock)
        yield* redis.command("RPUSH", clock, Math.floor(micros / 1e6), micros % 1e6)
        const step = `${count}: ${name} ${told(parameters)}`
        const before = told(simulatedSnapshot())
        const answer = yield* Effect.async<unknown, Redis.RedisError>((resume) =>
          redis.evaluate(real[name] as Redis.Script, given, parameters, (error, reply) =>
            resume(error === undefined ? Effect.succeed(reply) : Effect.fail(error))
          )
        )
        const expected = simulated.evaluate(scripts[name], given, parameters)
        assert.isTrue(isNear(expected, answer), `${step}\n${before}\nsimulated ${told(expected)}\nreal ${told(answer)}`)
        assert.strictEqual(told(simulatedSnapshot()), told(yield* snapshot), `${step}\n${before}`)
        yield* redis.ping
      }
      yield* Effect.sleep(50)
      assert.deepStrictEqual(heard.toSorted(), said.toSorted())
    }).pipe(Effect.provide(Layer.unwrapScoped(Effect.map(Server.url, (url) => Redis.layer({ url }))))),
  // a machine that stands still for longer than what is kept clear of any expiry makes the two differ
  { timeout: 60_000, retry: 3 }
)
