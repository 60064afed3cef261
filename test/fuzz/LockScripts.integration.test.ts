/**
 * The scripts of the lock over a real Redis, in any order, with any arguments that the service could send and late, doubled
 * and forgotten ones: no script fails, fences only rise, nobody holds beside an exclusive holder, and nothing stays for ever.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { randomUUID } from "node:crypto"
import * as Scripts from "../../src/LockService/Redis/Scripts.ts"
import * as Redis from "../../src/Redis.ts"
import * as Server from "../servers/Redis.ts"
import { holdsEffect } from "./Inputs.ts"

interface Owner {
  readonly name: string
  readonly mode: "X" | "S"
  /** Whom it passes beside; `""`: nobody. */
  readonly beside: string
}

const index = FastCheck.nat({ max: 7 })
const millis = FastCheck.oneof(
  FastCheck.constantFrom(1, 2, 5, 15_000, 3_600_000, 86_400_001),
  FastCheck.integer({ min: 1, max: 40 })
)
const signed = FastCheck.oneof(
  FastCheck.constantFrom(0, -1e9, 1e9, -864e5, 864e5),
  FastCheck.integer({ min: -50, max: 50 })
)

const step = FastCheck.oneof(
  {
    weight: 6,
    arbitrary: FastCheck.record({
      kind: FastCheck.constant("acquire" as const),
      owner: index,
      /** A new request in the place of that owner's last; else the same is sent again. */
      anew: FastCheck.boolean(),
      mode: FastCheck.constantFrom("X" as const, "X" as const, "S" as const),
      /** Whether it is asked first as if there were nobody else. */
      alone: FastCheck.boolean(),
      beside: FastCheck.option(index, { freq: 4 }),
      old: FastCheck.option(index, { freq: 4 }),
      ttl: millis,
      block: FastCheck.constantFrom(1, 1, 64, 100_000),
      above: FastCheck.constantFrom("0", "last", "last", "ahead"),
      late: signed,
      yields: FastCheck.constantFrom(0, 0, 1, 30, 60_000),
      claim: millis,
      lease: millis
    })
  },
  {
    weight: 4,
    arbitrary: FastCheck.record({
      kind: FastCheck.constant("release" as const),
      alone: FastCheck.boolean(),
      owner: index
    })
  },
  { weight: 2, arbitrary: FastCheck.record({ kind: FastCheck.constant("renew" as const), owner: index, ttl: millis }) },
  {
    weight: 2,
    arbitrary: FastCheck.record({
      kind: FastCheck.constant("adopt" as const),
      owner: index,
      ttl: FastCheck.oneof(millis, FastCheck.constantFrom(0, -5)),
      fence: FastCheck.constantFrom("1", "last", "ahead")
    })
  },
  { weight: 1, arbitrary: FastCheck.record({ kind: FastCheck.constant("wait" as const), millis: index }) },
  {
    weight: 1,
    arbitrary: FastCheck.record({ kind: FastCheck.constantFrom("flush" as const, "wait" as const), millis: index })
  }
)

interface Hold {
  readonly owner: string
  readonly mode: string
  readonly fence: number
}

const holdsOf = (reply: unknown): ReadonlyArray<Hold> => {
  const flat = (reply as [ReadonlyArray<string>])[0]
  return Array.from({ length: flat.length / 4 }, (_, row) => {
    const [owner = "", mode = "", fence = ""] = flat.slice(row * 4)
    return { owner, mode, fence: Number(fence) }
  })
}

const runOn =
  (redis: Redis.Redis["Type"]) =>
  (script: Redis.Script, keys: ReadonlyArray<string>, parameters: ReadonlyArray<Redis.Argument>) =>
    Effect.async<unknown, Redis.RedisError>((resume) =>
      redis.evaluate(script, keys, parameters, (error, reply) =>
        resume(error === undefined ? Effect.succeed(reply) : Effect.fail(error))
      )
    )

describe("the scripts of a lock", () => {
  it.scopedLive("put a reader back with its fence although its request, doubled and late, still stands in line", () =>
    Effect.gen(function* () {
      const run = runOn(yield* Redis.make({ url: yield* Server.url, answerWithin: "10 seconds" }))
      const lock = randomUUID()
      const keys = Scripts.keyNames.map((name) => `fuzz:{${lock}}:${name}`)
      const ask = (owner: string, mode: "X" | "S", ttl: number) =>
        run(Scripts.acquire, keys, [owner, mode, ttl, 1, 0, "", `0|0|2000|15000|lk:${lock}|`])
      const fence = Number(yield* ask("writer", "X", 500)) + 1
      yield* ask("reader", "S", 15_000)
      yield* Effect.sleep("600 millis")
      assert.strictEqual(yield* run(Scripts.adopt, keys, ["reader", "S", 15_000, fence]), 1)
      yield* ask("another", "S", 15_000)
      const held = holdsOf(yield* run(Scripts.holders, keys, []))
      assert.deepInclude(held, { owner: "reader", mode: "S", fence })
      assert.lengthOf(held, 2)
    })
  )

  it.scopedLive(
    "in any order keep fences rising, one exclusive holder at most, and a time on everything",
    () =>
      Effect.gen(function* () {
        const redis = yield* Redis.make({ url: yield* Server.url, answerWithin: "10 seconds" })

        const run = runOn(redis)
        yield* holdsEffect(
          "lock scripts",
          200,
          FastCheck.array(step, { minLength: 5, maxLength: 60 }),
          Effect.fnUntraced(function* (steps) {
            const lock = randomUUID()
            const keys = Scripts.keyNames.map((name) => `fuzz:{${lock}}:${name}`)
            const inbox = `lk:${lock.slice(0, 8)}`
            let count = 0
            const named = (mode: Owner["mode"], beside: string): Owner => ({
              name: count++ % 3 === 0 ? `t:${randomUUID()}` : `${inbox}.${count.toString(36)}`,
              mode,
              beside
            })
            const owners = Array.from({ length: 8 }, () => named("X", ""))
            const known = new Map(owners.map((owner) => [owner.name, owner]))
            const of = (at: number) => owners[at] ?? assert.fail()
            /** The last fence that anybody may have used. */
            let last = 0
            const held = new Map<string, number>()
            /** What the lock's state was when they were granted with nobody beside them. */
            const states = new Map<string, string>()
            const alone = (parameters: ReadonlyArray<Redis.Argument>) =>
              Effect.map(run(Scripts.alone, keys.slice(0, 1), parameters), (reply) => (reply as [unknown])[0])
            const number = (which: string) =>
              which === "last" ? last : which === "ahead" ? last + 1_000_000 : Number(which)

            /** What a grant means for those that were before. */
            const granted = (owner: string, fence: number, block: number) => {
              if (held.get(owner) === fence) return
              assert.isAbove(fence, last, `${owner} got ${fence} after ${last}`)
              held.set(owner, fence)
              last = fence + block - 1
            }

            for (const each of steps) {
              const answered: Array<{ readonly owner: string; readonly fence: number; readonly block: number }> = []
              if (each.kind === "acquire") {
                const beside = each.beside === null ? "" : of(each.beside).name
                if (each.anew) {
                  const owner = named(each.mode, beside === of(each.owner).name ? "" : beside)
                  owners[each.owner] = owner
                  known.set(owner.name, owner)
                }
                const owner = of(each.owner)
                const old = each.old === null || each.old === each.owner ? "" : of(each.old).name
                const above = number(each.above)
                const tail = `${each.late}|${each.yields}|${each.claim}|${each.lease}|${inbox}|${owner.beside}`
                const mode = owner.beside === "" ? owner.mode : `${owner.mode}G`
                const isAlone = each.alone && mode === "X"
                const before = states.get(old) ?? ""
                // who was may have used all that was reserved for it
                const used = before === "" ? above : Math.max(above, last)
                const state = isAlone ? yield* alone([each.ttl, before, owner.name, each.block, used]) : null
                if (typeof state === "string") states.set(owner.name, state)
                const reply =
                  state ??
                  (yield* run(Scripts.acquire, keys, [owner.name, mode, each.ttl, each.block, above, old, tail]))
                if (typeof reply === "string") {
                  const fence = Number.parseInt(reply, 10)
                  if (held.get(owner.name) !== fence) assert.isAbove(fence, above)
                  answered.push({ owner: owner.name, fence, block: each.block })
                } else assert.lengthOf(reply as Array<unknown>, 2)
              } else if (each.kind === "release") {
                const { name } = of(each.owner)
                const state = states.get(name)
                const after = state?.split(" ", 2).join(" ") ?? ""
                const ended = each.alone && state !== undefined ? yield* alone(["", state, after]) : null
                if (ended === null) assert.include([0, 1], yield* run(Scripts.release, keys, [name]))
                else assert.strictEqual(ended, 1)
              } else if (each.kind === "renew") {
                const reply = yield* run(Scripts.renew, keys, [of(each.owner).name, each.ttl])
                const [is, , fence] = reply as [number, string, string, number]
                if (is === 1) assert.strictEqual(held.get(of(each.owner).name) ?? Number(fence), Number(fence))
              } else if (each.kind === "adopt" && of(each.owner).beside === "") {
                const fence = number(each.fence)
                const reply = yield* run(Scripts.adopt, keys, [
                  of(each.owner).name,
                  of(each.owner).mode,
                  each.ttl,
                  fence
                ])
                if (reply === 1) {
                  held.set(of(each.owner).name, fence)
                  last = Math.max(last, fence)
                }
              } else if (each.kind === "wait") {
                yield* Effect.sleep(each.millis)
              } else if (each.kind === "flush") {
                // the server forgot: what was is for those to say who know it, with the last fence that they used
                yield* redis.command("DEL", ...keys)
                held.clear()
                last = 0
              }

              const holds = holdsOf(yield* run(Scripts.holders, keys, []))
              // one step may have granted to several, and whom it answers need not be the first, nor still hold
              const all = [...answered, ...holds.map(({ fence, owner }) => ({ owner, fence, block: 1 }))]
              for (const { block, fence, owner } of all.toSorted((one, other) => one.fence - other.fence)) {
                granted(owner, fence, block)
              }
              const isGuest = ({ owner }: Hold) => known.get(owner)?.beside !== ""
              const exclusive = holds.filter((hold) => hold.mode === "X" && !isGuest(hold))
              const guests = holds.filter((hold) => hold.mode === "X" && isGuest(hold))
              const readers = holds.filter((hold) => hold.mode === "S")
              const shown = JSON.stringify({ each, holds })
              assert.isAtMost(exclusive.length, 1, shown)
              assert.isAtMost(guests.length, 1, shown)
              if (exclusive.length > 0) assert.lengthOf(readers, 0, shown)
              for (const key of keys) {
                assert.notStrictEqual(yield* redis.command("PTTL", key), -1, `${key} stays for ever: ${shown}`)
              }
            }
          })
        )
      }),
    600_000
  )
})
