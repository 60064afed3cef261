/**
 * The package as users get it: built, packed, unpacked into a fresh folder beside its dependencies, and used from there by
 * a program and by the compiler.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import * as Fs from "node:fs/promises"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const root = fileURLToPath(new URL("..", import.meta.url))
const tsc = Path.join(Path.dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc")

/** What only the embedded engine and Postgres need: not there, so that whoever loads it fails. */
const absent = new Set(["pg", "@electric-sql/pglite", "@effect/sql-pg"])

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const run = (file: string, parameters: ReadonlyArray<string>, cwd: string): Promise<Ran> =>
  promisify(execFile)(file, parameters, { cwd, env: { PATH: process.env["PATH"], HOME: process.env["HOME"] } }).then(
    ({ stderr, stdout }) => ({ code: 0, stdout, stderr }),
    (error: { readonly code?: number; readonly stdout?: string; readonly stderr?: string }) => ({
      code: error.code ?? -1,
      stdout: error.stdout ?? "",
      stderr: error.stderr ?? String(error)
    })
  )

const succeeded = async (ran: Promise<Ran>): Promise<string> => {
  const { code, stderr, stdout } = await ran
  assert.strictEqual(code, 0, `${stdout}\n${stderr}`)
  return stdout
}

let folder = ""
const consumer = () => Path.join(folder, "consumer")
const installed = () => Path.join(consumer(), "node_modules", "effect-credentials")

beforeAll(async () => {
  folder = await Fs.realpath(await Fs.mkdtemp(Path.join(Os.tmpdir(), "effect-credentials-package-")))
  const source = Path.join(folder, "source")
  await Fs.mkdir(source)
  const manifest: { readonly dependencies: Readonly<Record<string, string>> } = JSON.parse(
    await Fs.readFile(Path.join(root, "package.json"), "utf8")
  )
  await Fs.cp(Path.join(root, "package.json"), Path.join(source, "package.json"))
  await Fs.cp(Path.join(root, "src"), Path.join(source, "src"), { recursive: true })
  for (const file of ["CHANGELOG.md", "README.md", "LICENSE"]) {
    await Fs.cp(Path.join(root, file), Path.join(source, file)).catch(() => undefined)
  }
  const build = ["-p", Path.join(root, "tsconfig.build.json"), "--outDir", Path.join(source, "dist")]
  await succeeded(
    run(process.execPath, [tsc, ...build, "--tsBuildInfoFile", Path.join(source, "dist", ".tsbuildinfo")], root)
  )
  await succeeded(run("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", folder], source))
  const tarball = (await Fs.readdir(folder)).find((file) => file.endsWith(".tgz")) ?? ""
  await Fs.mkdir(installed(), { recursive: true })
  await succeeded(run("tar", ["-xzf", Path.join(folder, tarball), "--strip-components=1", "-C", installed()], folder))
  await Fs.writeFile(Path.join(consumer(), "package.json"), JSON.stringify({ type: "module", private: true }))
  for (const name of [...Object.keys(manifest.dependencies), "@types/node"]) {
    if (absent.has(name)) continue
    const link = Path.join(consumer(), "node_modules", name)
    await Fs.mkdir(Path.dirname(link), { recursive: true })
    await Fs.symlink(Path.join(root, "node_modules", name), link)
  }
}, 120_000)

afterAll(() => Fs.rm(folder, { recursive: true, force: true }))

/** Runs a program of the consumer's. */
const program = async (text: string): Promise<Ran> => {
  const file = Path.join(consumer(), "program.js")
  await Fs.writeFile(file, text)
  return run(process.execPath, [file], consumer())
}

/** The nouns that the map names. */
const nouns = async () => {
  const map = await Fs.readFile(Path.join(root, "src", "index.ts"), "utf8")
  return [...map.matchAll(/from "\.\/(.+)\.ts"/g)].map(([, noun = ""]) => noun)
}

describe("the packed package", () => {
  it("holds what is built and its source, and no test, no cache and nothing of this machine", async () => {
    const files = await Fs.readdir(installed(), { recursive: true })
    for (const file of [
      "package.json",
      "dist/index.js",
      "dist/index.d.ts",
      "dist/cli.js",
      "dist/main.js",
      "dist/Store.d.ts",
      "src/index.ts"
    ]) {
      assert.include(files, Path.normalize(file))
    }
    for (const file of files) assert.notMatch(file, /(^|\/)(test|node_modules)(\/|$)|tsbuildinfo|\.env|\.test\./)
    for (const file of files.filter((file) => file.endsWith(".js") || file.endsWith(".d.ts"))) {
      assert.notInclude(await Fs.readFile(Path.join(installed(), file), "utf8"), root, file)
    }
  })

  it("has a program that a shell can start", async () => {
    const program = await Fs.readFile(Path.join(installed(), "dist", "cli.js"), "utf8")
    assert.match(program, /^#!\/usr\/bin\/env node\n/)
  })
})

describe("in a fresh folder", () => {
  it("a program keeps a credential and uses it", async () => {
    const output = await succeeded(
      program(`
        import * as Effect from "effect/Effect"
        import * as Option from "effect/Option"
        import * as Redacted from "effect/Redacted"
        import { Credential, Service } from "effect-credentials"
        import { CredentialsManager } from "effect-credentials/CredentialsManager"
        import { Store } from "effect-credentials/Store"

        const use = Effect.gen(function*() {
          const manager = yield* CredentialsManager
          const store = yield* Store
          const user = Credential.UserId.make("user")
          const { id } = yield* manager.create(user, {
            provider: Credential.providerId("acme"),
            variant: { type: "api_key", apiKey: Redacted.make("the key") }
          })
          const { secret } = yield* manager.acquire(user, id)
          const { generation } = yield* store.get(user, id)
          return { header: Redacted.value(secret.headers.Authorization), generation }
        })
        const layer = Service.layerMemory({ clients: () => Option.none() })
        console.log(JSON.stringify(await Effect.runPromise(use.pipe(Effect.scoped, Effect.provide(layer)))))
      `)
    )
    assert.deepStrictEqual<unknown>(JSON.parse(output), { header: "Bearer the key", generation: 1 })
  })

  it("each public noun can be imported by its own name, and is the one that the map names", async () => {
    const names = await nouns()
    const output = await succeeded(
      program(`
        import * as map from "effect-credentials"
        const names = ${JSON.stringify(names)}
        const same = []
        for (const name of names) same.push((await import("effect-credentials/" + name)) === map[name])
        console.log(JSON.stringify({ same, names: Object.keys(map).sort() }))
      `)
    )
    assert.deepStrictEqual<unknown>(JSON.parse(output), { same: names.map(() => true), names: [...names].sort() })
  })

  it("an import does nothing: no output, no timer, no socket, no global, no file", async () => {
    const before = await Fs.readdir(consumer())
    const ran = await program(`
      const before = new Set(Object.keys(globalThis))
      const listeners = () => process.eventNames().map((name) => [name, process.listenerCount(name)])
      const heard = JSON.stringify(listeners())
      await import("effect-credentials")
      for (const name of ${JSON.stringify(await nouns())}) await import("effect-credentials/" + name)
      const left = process.getActiveResourcesInfo().filter((name) => !/^(CloseReq|FSReq|TTY|Pipe|File)/.test(name))
      if (left.length > 0) console.log("left running: " + left)
      // effect keeps one of its own
      const globals = Object.keys(globalThis).filter((name) => !before.has(name) && !name.startsWith("effect/"))
      if (globals.length > 0) console.log("new globals: " + globals)
      if (JSON.stringify(listeners()) !== heard) console.log("a new listener: " + JSON.stringify(listeners()))
    `)
    assert.deepStrictEqual(ran, { code: 0, stdout: "", stderr: "" })
    assert.deepStrictEqual([...new Set([...before, "program.js"])].sort(), (await Fs.readdir(consumer())).sort())
  })

  it("an import loads no database: pg and pglite are not even there", async () => {
    for (const name of absent) {
      const ran = await program(`await import(${JSON.stringify(name)})`)
      assert.include(ran.stderr, "ERR_MODULE_NOT_FOUND", name)
    }
    await succeeded(program(`await import("effect-credentials")`))
    // nor does what is for tests
    await succeeded(
      program(`
        const { ScriptedHandler, ScriptedProvider, ScriptedService } = await import("effect-credentials/testing")
        ScriptedService.layer({ provider: { accessTokenSeconds: 5 } })
        if (ScriptedProvider.Fault.down(503).refuse.status !== 503) throw new Error("no fault")
        if (ScriptedHandler.make().scripted.reuses() !== 0) throw new Error("no handler")
      `)
    )
    // the SQL adapters leave the choice of the driver to their user
    for (const adapter of ["Store/Sql", "AuthorizationStore/Sql", "LeaseStore/Sql", "AuditLog/Sql", "ApiKeys/Sql"]) {
      await succeeded(program(`await import("effect-credentials/${adapter}")`))
    }
    const embedded = await program(`await import("effect-credentials/Database/Embedded")`)
    assert.include(embedded.stderr, "ERR_MODULE_NOT_FOUND")
  })

  it("the server's program and internals are not to be imported", async () => {
    for (const name of ["main", "cli", "cli/CommandLine", "internal/anything"]) {
      const ran = await program(`await import("effect-credentials/${name}")`)
      assert.include(ran.stderr, "ERR_PACKAGE_PATH_NOT_EXPORTED", name)
    }
  })

  it("the compiler finds all types, and they are not any", async () => {
    const text = `
      import type * as Effect from "effect/Effect"
      import type * as Layer from "effect/Layer"
      import * as Option from "effect/Option"
      import { Credential, CredentialsError, OAuthFlow, Service } from "effect-credentials"
      import { CredentialsManager } from "effect-credentials/CredentialsManager"
      import * as Store from "effect-credentials/Store"
      import * as Sql from "effect-credentials/Store/Sql"

      export const layer: Layer.Layer<
        CredentialsManager | OAuthFlow.OAuthFlow | Service.Ports,
        CredentialsError.StoreUnavailable
      > = Service.layerMemory({ clients: () => Option.none() })
      export const user: Credential.UserId = Credential.UserId.make("user")
      export const get = (manager: CredentialsManager["Type"], id: Credential.CredentialId): Effect.Effect<
        Credential.Secret,
        { readonly _tag: string }
      > => manager.get(user, id)
      export const change = Store.Change.Dequeue({ id: "id" })
      export const sql = Sql

      // @ts-expect-error a user's id is not any text
      export const unbranded: Credential.UserId = "user"
      // @ts-expect-error clients is missing
      export const incomplete = Service.layerMemory({})
      // @ts-expect-error no such thing
      export const nothing = Store.nothing
    `
    await Fs.writeFile(Path.join(consumer(), "consumer.ts"), text)
    const options = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck", "--target", "ES2022"]
    const resolution = ["--module", "NodeNext", "--moduleResolution", "NodeNext", "--types", "node"]
    const output = await succeeded(run(process.execPath, [tsc, ...options, ...resolution, "consumer.ts"], consumer()))
    assert.strictEqual(output, "")
  })

  it("the compiler finds nothing wrong in the package's own types", async () => {
    const names = await nouns()
    const text = names.map((name) => `export * as ${name} from "effect-credentials/${name}"`).join("\n")
    await Fs.writeFile(Path.join(consumer(), "nouns.ts"), text)
    const options = ["--noEmit", "--strict", "--target", "ES2022", "--lib", "ES2023,DOM", "--types", "node"]
    const ran = await run(
      process.execPath,
      [tsc, ...options, "--module", "NodeNext", "--moduleResolution", "NodeNext", "nouns.ts"],
      consumer()
    )
    // what other packages' types say of themselves is theirs
    const own = ran.stdout
      .split("\n")
      .filter((line) => /error TS/.test(line) && /effect-credentials\/dist|^nouns/.test(line))
    assert.deepStrictEqual(own, [])
  })
})
