import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { readdirSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as DirectoryLock from "../../src/Database/DirectoryLock.ts"
import * as OtherProcess from "./OtherProcess.ts"

const acquireIn = (scope: Scope.Scope, directory: string) => Scope.extend(DirectoryLock.acquire(directory), scope)

describe("DirectoryLock", () => {
  it.scoped("of many that want a directory at once, one gets it and the others are told that it is in use", () =>
    Effect.gen(function* () {
      const directory = yield* OtherProcess.temporaryFolder
      const scope = yield* Effect.scope
      const exits = yield* Effect.all(
        Array.from({ length: 20 }, () => Effect.exit(acquireIn(scope, directory))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
      const error = yield* Effect.flip(DirectoryLock.acquire(directory))
      assert.strictEqual(error._tag, "DirectoryInUse")
      assert.include(error.message, directory)
      assert.include(error.message, "choose another directory")
    })
  )

  it.scoped("the end of the owner's scope frees the directory, time and again, and leaves one small file", () =>
    Effect.gen(function* () {
      const directory = yield* OtherProcess.temporaryFolder
      for (let round = 0; round < 5; round++) yield* Effect.scoped(DirectoryLock.acquire(directory))
      yield* DirectoryLock.acquire(directory)
      assert.isAtMost(readdirSync(directory).length, 1)
    })
  )

  it.scoped("makes the directory and its parents, for the owner alone", () =>
    Effect.gen(function* () {
      const root = yield* OtherProcess.temporaryFolder
      const directory = join(root, "a", "b")
      yield* DirectoryLock.acquire(directory)
      assert.strictEqual(statSync(directory).mode & 0o777, 0o700)
      assert.strictEqual(statSync(join(root, "a")).mode & 0o777, 0o700)
    })
  )

  it.scoped("locks a directory whose path is far longer than a socket's may be", () =>
    Effect.gen(function* () {
      const directory = join(yield* OtherProcess.temporaryFolder, "a".repeat(200), "b".repeat(200))
      yield* DirectoryLock.acquire(directory)
      const error = yield* Effect.flip(DirectoryLock.acquire(directory))
      assert.strictEqual(error._tag, "DirectoryInUse")
    })
  )

  it.scoped("two paths to one directory are one directory", () =>
    Effect.gen(function* () {
      const directory = yield* OtherProcess.temporaryFolder
      yield* DirectoryLock.acquire(directory)
      const error = yield* Effect.flip(DirectoryLock.acquire(join(directory, "..", directory.split("/").at(-1) ?? "")))
      assert.strictEqual(error._tag, "DirectoryInUse")
    })
  )

  it.scoped("a path that is no directory is unusable, and the error says why", () =>
    Effect.gen(function* () {
      const file = join(yield* OtherProcess.temporaryFolder, "file")
      writeFileSync(file, "")
      const error = yield* Effect.flip(DirectoryLock.acquire(file))
      assert.deepStrictEqual([error._tag, "code" in error && error.code], ["DirectoryUnusable", "EEXIST"])
    })
  )

  it.scoped(
    "another process is refused while the owner lives, and let in after the owner was killed",
    () =>
      Effect.gen(function* () {
        const directory = join(yield* OtherProcess.temporaryFolder, "database")
        const owner = yield* OtherProcess.start(directory, "hold")
        yield* owner.said(1)
        assert.deepStrictEqual(owner.lines, ["ready"])

        const late = yield* OtherProcess.start(directory, "hold")
        yield* late.said(1)
        assert.match(late.lines[0] ?? "", /^refused .* is in use by another process/)

        yield* owner.kill
        const next = yield* OtherProcess.start(directory, "hold")
        yield* next.said(1)
        assert.deepStrictEqual(next.lines, ["ready"])
      }),
    60_000
  )
})
