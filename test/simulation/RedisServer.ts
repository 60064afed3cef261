/**
 * As much of a Redis server as the scripts and spools use: strings, sorted sets, hashes and sets that expire, scripts, and
 * messages. One command after the other, by a clock that somebody else turns. `test/simulation/RedisServer.test.ts`
 * compares it with a real one.
 */
import type { Argument, Script } from "../../src/Redis.ts"
import * as Lua from "./Lua.ts"
import { globals, Table, type Value as LuaValue } from "./Lua/Library.ts"

export type Reply = number | string | null | ReadonlyArray<Reply>

export class RedisFault extends Error {
  override readonly name = "ReplyError"
}

type Value =
  | { readonly type: "string"; text: string }
  | { readonly type: "zset"; readonly members: Map<string, number> }
  | { readonly type: "hash"; readonly fields: Map<string, string> }
  | { readonly type: "set"; readonly members: Set<string> }

interface Entry {
  readonly value: Value
  /** Milliseconds since 1970. */
  expiresAt: number | undefined
}

const empty = {
  string: (): Value => ({ type: "string", text: "" }),
  zset: (): Value => ({ type: "zset", members: new Map() }),
  hash: (): Value => ({ type: "hash", fields: new Map() }),
  set: (): Value => ({ type: "set", members: new Set() })
}

type Of<T extends Value["type"]> = Extract<Value, { readonly type: T }>

const sizeOf = (value: Value): number => {
  switch (value.type) {
    case "string":
      return 1
    case "hash":
      return value.fields.size
    default:
      return value.members.size
  }
}

/** `%.17g`: how Redis takes a number that a script gives, and how it tells a score. */
const numeral = (value: number): string =>
  Number.isInteger(value) && Math.abs(value) < 1e17 ? BigInt(value).toString() : String(value)

const byScore = ([one, a]: readonly [string, number], [other, b]: readonly [string, number]) =>
  a - b || (one < other ? -1 : Number(one > other))

const bound = (text: string): { readonly value: number; readonly isOpen: boolean } => {
  const isOpen = text.startsWith("(")
  const digits = isOpen ? text.slice(1) : text
  const value = digits === "+inf" ? Infinity : digits === "-inf" ? -Infinity : Number(digits)
  if (Number.isNaN(value)) throw new RedisFault("ERR min or max is not a float")
  return { value, isOpen }
}

const whole = (text: string | undefined): number => {
  if (text === undefined || !/^-?\d{1,18}$/.test(text))
    throw new RedisFault("ERR value is not an integer or out of range")
  return Number(text)
}

export class RedisServer {
  /** Milliseconds since 1970, with a fraction. */
  readonly #now: () => number
  readonly #publish: (channel: string, message: string) => number
  readonly #entries = new Map<string, Entry>()
  readonly #scripts = new Set<string>()

  constructor(now: () => number, publish: (channel: string, message: string) => number) {
    this.#now = now
    this.#publish = publish
  }

  get #millis(): number {
    return Math.floor(this.#now())
  }

  #entry(key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry?.expiresAt === undefined || entry.expiresAt >= this.#millis) return entry
    this.#entries.delete(key)
    return undefined
  }

  #read<T extends Value["type"]>(key: string, type: T): Of<T> | undefined {
    const value = this.#entry(key)?.value
    if (value === undefined) return undefined
    if (value.type !== type) throw new RedisFault("WRONGTYPE Operation against a key holding the wrong kind of value")
    return value as Of<T>
  }

  #write<T extends Value["type"]>(key: string, type: T): Of<T> {
    const known = this.#read(key, type)
    if (known !== undefined) return known
    const value = empty[type]() as Of<T>
    this.#entries.set(key, { value, expiresAt: undefined })
    return value
  }

  #tidy(key: string): void {
    const entry = this.#entries.get(key)
    if (entry !== undefined && sizeOf(entry.value) === 0) this.#entries.delete(key)
  }

  /** All keys that are there, with what they hold and for how long, for people and oracles. */
  *keys(): Generator<{ readonly key: string; readonly value: Value; readonly left: number | undefined }> {
    for (const key of this.#entries.keys()) {
      const entry = this.#entry(key)
      if (entry === undefined) continue
      yield {
        key,
        value: entry.value,
        left: entry.expiresAt === undefined ? undefined : entry.expiresAt - this.#millis
      }
    }
  }

  flush(): void {
    this.#entries.clear()
    this.#scripts.clear()
  }

  /** Whether the server knows the script by its hash; from now on it does. */
  learn(sha: string): boolean {
    const known = this.#scripts.has(sha)
    this.#scripts.add(sha)
    return known
  }

  evaluate(script: Script, keys: ReadonlyArray<string>, parameters: ReadonlyArray<Argument>): Reply {
    const call = (...given: ReadonlyArray<LuaValue>): ReadonlyArray<LuaValue> => [
      toLua(
        this.command(
          ...given.map((value) => {
            if (typeof value === "number") return numeral(value)
            if (typeof value === "string") return value
            throw new RedisFault("ERR Lua redis lib command arguments must be strings or integers")
          })
        )
      )
    ]
    const redis = new Table()
    redis.fields.set("call", call)
    const [answer] = Lua.compile(script.text)({
      ...globals,
      redis,
      KEYS: new Table([...keys]),
      ARGV: new Table(parameters.map(String))
    })
    return fromLua(answer)
  }

  command(name = "", ...parameters: ReadonlyArray<string>): Reply {
    const [key = "", second = "", third = ""] = parameters
    switch (name.toUpperCase()) {
      case "PING":
        return "PONG"
      case "TIME": {
        const micros = Math.floor(this.#now() * 1000)
        return [String(Math.floor(micros / 1_000_000)), String(micros % 1_000_000)]
      }
      case "GET":
        return this.#read(key, "string")?.text ?? null
      case "SET":
        return this.#set(key, second, parameters.slice(2))
      case "EXISTS":
        return parameters.filter((one) => this.#entry(one) !== undefined).length
      case "DEL":
        return parameters.filter((one) => this.#entry(one) !== undefined && this.#entries.delete(one)).length
      case "PTTL": {
        const entry = this.#entry(key)
        if (entry === undefined) return -2
        return entry.expiresAt === undefined ? -1 : Math.max(0, entry.expiresAt - this.#millis)
      }
      case "PEXPIRE":
        return this.#expire(key, whole(second))
      case "ZADD":
        return this.#zadd(key, parameters.slice(1))
      case "ZREM": {
        const removed = this.#read(key, "zset")?.members.delete(second) === true
        this.#tidy(key)
        return Number(removed)
      }
      case "ZSCORE": {
        const score = this.#read(key, "zset")?.members.get(second)
        return score === undefined ? null : numeral(score)
      }
      case "ZRANGE": {
        const all = this.#sorted(key).map(([member]) => member)
        const to = whole(third)
        return all.slice(whole(second), to === -1 ? undefined : to + 1)
      }
      case "ZRANGEBYSCORE": {
        const [low, high] = [bound(second), bound(third)]
        const found = this.#sorted(key).filter(
          ([, score]) =>
            (low.isOpen ? score > low.value : score >= low.value) &&
            (high.isOpen ? score < high.value : score <= high.value)
        )
        const withScores = parameters[3]?.toUpperCase() === "WITHSCORES"
        return found.flatMap(([member, score]) => (withScores ? [member, numeral(score)] : [member]))
      }
      case "HSET": {
        const { fields } = this.#write(key, "hash")
        const isNew = !fields.has(second)
        fields.set(second, third)
        return Number(isNew)
      }
      case "HGET":
        return this.#read(key, "hash")?.fields.get(second) ?? null
      case "HDEL": {
        const removed = this.#read(key, "hash")?.fields.delete(second) === true
        this.#tidy(key)
        return Number(removed)
      }
      case "SADD": {
        const { members } = this.#write(key, "set")
        const isNew = !members.has(second)
        members.add(second)
        return Number(isNew)
      }
      case "SREM": {
        const removed = this.#read(key, "set")?.members.delete(second) === true
        this.#tidy(key)
        return Number(removed)
      }
      case "SMEMBERS":
        return [...(this.#read(key, "set")?.members ?? [])]
      case "PUBLISH":
        return this.#publish(key, second)
      default:
        throw new RedisFault(`ERR the simulated server does not know '${name}'`)
    }
  }

  #set(key: string, text: string, options: ReadonlyArray<string>): Reply {
    const [option, millis] = options.map((word) => word.toUpperCase())
    const before = option === "KEEPTTL" ? this.#entry(key)?.expiresAt : undefined
    if (option !== undefined && option !== "PX" && option !== "KEEPTTL") throw new RedisFault("ERR syntax error")
    const lasts = option === "PX" ? whole(millis) : undefined
    if (lasts !== undefined && lasts <= 0) throw new RedisFault("ERR invalid expire time in 'set' command")
    this.#entries.set(key, {
      value: { type: "string", text },
      expiresAt: lasts === undefined ? before : this.#millis + lasts
    })
    return "OK"
  }

  #expire(key: string, millis: number): Reply {
    const entry = this.#entry(key)
    if (entry === undefined) return 0
    if (millis <= 0) this.#entries.delete(key)
    else entry.expiresAt = this.#millis + millis
    return 1
  }

  #zadd(key: string, given: ReadonlyArray<string>): Reply {
    const onlyNew = given[0]?.toUpperCase() === "NX"
    const [score = "", member = ""] = onlyNew ? given.slice(1) : given
    const value = Number(score)
    if (score === "" || Number.isNaN(value)) throw new RedisFault("ERR value is not a valid float")
    const { members } = this.#write(key, "zset")
    const isNew = !members.has(member)
    if (isNew || !onlyNew) members.set(member, value)
    return Number(isNew)
  }

  #sorted(key: string): ReadonlyArray<readonly [string, number]> {
    return [...(this.#read(key, "zset")?.members ?? [])].sort(byScore)
  }
}

const toLua = (reply: Reply): LuaValue => {
  if (reply === null) return false
  if (typeof reply === "number" || typeof reply === "string") return reply
  return new Table(reply.map(toLua))
}

const fromLua = (value: LuaValue): Reply => {
  if (value === undefined || value === false) return null
  if (value === true) return 1
  if (typeof value === "number") return Math.trunc(value)
  if (typeof value === "string") return value
  if (!(value instanceof Table)) throw new RedisFault("ERR a script answered with a function")
  const all: Array<Reply> = []
  for (const item of value.list) {
    if (item === undefined) break
    all.push(fromLua(item))
  }
  return all
}
