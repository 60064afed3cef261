import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { CredentialId } from "../../src/Credential.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import * as Receipts from "../../src/Receipts.ts"
import * as Directory from "../../src/Receipts/Directory.ts"
import * as SecondCopy from "../../src/Receipts/SecondCopy.ts"
import { Spool, suite } from "../contract/Spool.ts"
import * as ScriptedHandler from "../ScriptedHandler.ts"
import { accessToken, adjust, given, userId, world } from "../ScriptedHandler.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "receipts-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const directory = Effect.flatMap(temporary, (folder) => Directory.make({ directory: folder }))

suite("memory", Layer.effect(Spool, Receipts.makeMemory))

suite("directory", Layer.scoped(Spool, directory))

suite("directory and memory", Layer.scoped(Spool, Effect.zipWith(directory, Receipts.makeMemory, SecondCopy.make)))

const bytes = Buffer.from("sealed")

/** A spool that can be out of reach. */
const reachable = Effect.map(Receipts.makeMemory, (spool) => {
  const reach = { isDown: false }
  const fail = (doing: "write" | "read") => Effect.fail(new Receipts.SpoolUnavailable({ doing, place: "REDIS_URL" }))
  const through = <A>(doing: "write" | "read", self: Effect.Effect<A, Receipts.SpoolUnavailable>) =>
    Effect.suspend(() => (reach.isDown ? fail(doing) : self))
  return {
    reach,
    plain: spool,
    spool: {
      write: (name, given) => through("write", spool.write(name, given)),
      read: (name) => through("read", spool.read(name)),
      names: through("read", spool.names),
      remove: (name) => through("write", spool.remove(name)),
      replace: (name, before, after) => through("write", spool.replace(name, before, after))
    } satisfies Receipts.Spool
  }
})

describe("a receipt in two places", () => {
  it.effect("is durable without its second copy, and not by that alone", () =>
    Effect.gen(function* () {
      const [durable, copy] = [yield* reachable, yield* reachable]
      const { read, write } = SecondCopy.make(durable.spool, copy.spool)
      copy.reach.isDown = true
      yield* write("one", bytes)
      copy.reach.isDown = false
      assert.deepStrictEqual(yield* read("one"), Option.some(bytes))
      durable.reach.isDown = true
      assert.strictEqual((yield* Effect.flip(write("two", bytes)))._tag, "SpoolUnavailable")
      // for whoever looks for it
      assert.deepStrictEqual(yield* copy.plain.read("two"), Option.some(bytes))
    })
  )

  it.effect("is found in either, and is known to be nowhere only when both say so", () =>
    Effect.gen(function* () {
      const [durable, copy] = [yield* reachable, yield* reachable]
      const { names, read } = SecondCopy.make(durable.spool, copy.spool)
      yield* durable.plain.write("here", bytes)
      yield* copy.plain.write("there", bytes)
      yield* copy.plain.write("here", bytes)
      assert.sameMembers([...(yield* names)], ["here", "there"])
      for (const name of ["here", "there"]) assert.deepStrictEqual(yield* read(name), Option.some(bytes))
      assert.deepStrictEqual(yield* read("nowhere"), Option.none())
      copy.reach.isDown = true
      assert.deepStrictEqual(yield* read("here"), Option.some(bytes))
      assert.deepStrictEqual(yield* names, ["here"])
      assert.strictEqual((yield* Effect.flip(read("nowhere")))._tag, "SpoolUnavailable")
      copy.reach.isDown = false
      durable.reach.isDown = true
      assert.deepStrictEqual(yield* read("here"), Option.some(bytes))
      assert.strictEqual((yield* Effect.flip(read("nowhere")))._tag, "SpoolUnavailable")
      assert.sameMembers([...(yield* names)], ["here", "there"])
      copy.reach.isDown = true
      assert.strictEqual((yield* Effect.flip(names))._tag, "SpoolUnavailable")
    })
  )

  it.effect("goes from both; a second copy that cannot be removed is in nobody's way", () =>
    Effect.gen(function* () {
      const [durable, copy] = [yield* reachable, yield* reachable]
      const { read, remove, write } = SecondCopy.make(durable.spool, copy.spool)
      yield* write("one", bytes)
      yield* remove("one")
      assert.deepStrictEqual(yield* copy.plain.read("one"), Option.none())
      yield* write("two", bytes)
      copy.reach.isDown = true
      yield* remove("two")
      copy.reach.isDown = false
      assert.deepStrictEqual(yield* durable.plain.read("two"), Option.none())
      assert.deepStrictEqual(yield* read("two"), Option.some(bytes))
    })
  )
})

describe("a process whose machine is lost after it kept an answer", () => {
  const machines = Effect.gen(function* () {
    const engine = yield* ScriptedHandler.engine
    const at = ScriptedHandler.make()
    const shared = yield* reachable
    const start = Effect.gen(function* () {
      const spool = SecondCopy.make(yield* Receipts.makeMemory, shared.spool)
      const { layer, reach } = world({ engine, at, spool, sweeper: { interval: "10 seconds" } })
      const context = yield* Layer.build(layer)
      const manager = Context.get(context, CredentialsManager)
      return {
        context,
        reach,
        metadata: (id: CredentialId) => manager.metadata(userId, id),
        get: (id: CredentialId) => manager.get(userId, id, { wait: "3 minutes" })
      }
    })
    const [one, other] = [yield* start, yield* start]
    const id = yield* Effect.provide(given(), one.context)
    at.scripted.next((spend) =>
      Effect.sync(() => {
        one.reach.down = "before"
        return spend()
      })
    )
    return { one, other, id, shared, provider: at.scripted }
  })

  it.scoped("is followed by another, which finds the answer in the second copy and asks nobody", () =>
    Effect.gen(function* () {
      const { id, one, other, provider, shared } = yield* machines
      const reader = yield* Effect.fork(one.get(id))
      yield* adjust("1 second")
      assert.strictEqual(accessToken(yield* reader), "access-1")
      assert.strictEqual(accessToken(yield* other.get(id)), "access-1")
      assert.deepStrictEqual(provider.spent, ["refresh-0"])
      assert.deepStrictEqual(yield* shared.plain.names, [])
    })
  )

  it.scoped("is followed by another although nobody reads", () =>
    Effect.gen(function* () {
      const { id, one, other, provider } = yield* machines
      yield* Effect.fork(one.get(id))
      yield* adjust("20 seconds")
      assert.deepInclude(yield* other.metadata(id), { generation: 2, status: "active" })
      assert.strictEqual(provider.spent.length, 1)
    })
  )

  it.scoped("is not written off while the second copy is out of reach", () =>
    Effect.gen(function* () {
      const { id, one, other, provider, shared } = yield* machines
      yield* Effect.fork(one.get(id))
      yield* adjust("1 second")
      shared.reach.isDown = true
      yield* adjust("2 minutes")
      assert.strictEqual((yield* Effect.flip(other.get(id)))._tag, "StoreUnavailable")
      assert.strictEqual(provider.spent.length, 1)
      shared.reach.isDown = false
      yield* adjust("10 seconds")
      assert.strictEqual(accessToken(yield* other.get(id)), "access-1")
      assert.strictEqual(provider.spent.length, 1)
    })
  )
})
