/**
 * The documentation is true: its examples compile and run, its commands work as pasted, its links lead somewhere, and its
 * tables say what the code says.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as ConfigError from "effect/ConfigError"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Metrics from "../src/Metrics.ts"
import * as Provider from "../src/Provider.ts"
import { builtin } from "../src/ProviderCatalogue/builtin.ts"
import { requiredScopes } from "../src/server/Authentication.ts"
import * as Settings from "../src/Settings.ts"
import * as Service from "./servers/Service.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

const pages = [
  "README.md",
  "CHANGELOG.md",
  ...Fs.readdirSync(Path.join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .sort()
    .map((file) => Path.posix.join("docs", file.replaceAll(Path.sep, "/")))
]

const textOf = (page: string) => Fs.readFileSync(Path.join(root, page), "utf8")

interface Block {
  readonly page: string
  readonly line: number
  readonly language: string
  readonly code: string
}

/** The fenced blocks of a page, less the indentation of their fence. */
const blocksOf = (page: string): ReadonlyArray<Block> => {
  const text = textOf(page)
  return [...text.matchAll(/^( *)```(\w*)\n([^]*?)^ *```$/gm)].map(
    ({ 1: indent = "", 2: language = "", ...match }) => ({
      page,
      line: text.slice(0, match.index).split("\n").length + 1,
      language,
      code: (match[3] ?? "").replaceAll(new RegExp(`^${indent}`, "gm"), "")
    })
  )
}

/** The rows of the table that follows a heading, each a list of cells. */
const tableUnder = (page: string, heading: string): ReadonlyArray<ReadonlyArray<string>> => {
  const section = textOf(page).split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? ""
  const rows = section.split("\n").filter((line) => line.startsWith("|"))
  return rows.slice(2).map((row) =>
    row
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim())
  )
}

const quoted = (cell: string | undefined) => /^`([^`]+)`/.exec(cell ?? "")?.[1] ?? ""

const run = promisify(execFile)

interface RunOptions {
  readonly cwd: string
  readonly env?: NodeJS.ProcessEnv
}

/** What a program printed; what it said, when it failed. */
const output = (command: string, parameters: ReadonlyArray<string>, options: RunOptions) =>
  Effect.promise(() =>
    run(command, parameters, options).then(
      ({ stdout }) => Either.right(stdout),
      (error: { readonly stdout?: string; readonly stderr?: string }) =>
        Either.left(`${error.stdout ?? ""}${error.stderr ?? String(error)}`)
    )
  )

const binOf = (name: string, path: string) =>
  Path.join(Path.dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), path)

// beneath node_modules, where packages are found; this one among them, as if it were installed
const examples = Path.join(root, "node_modules", ".cache", "docs-examples")

const typescript = pages.flatMap(blocksOf).filter(({ language }) => language === "ts")

const nameOf = ({ line, page }: Block) => `${page.replaceAll(/[^A-Za-z0-9]+/g, "-")}-${line}`

beforeAll(() => {
  Fs.rmSync(examples, { recursive: true, force: true })
  Fs.mkdirSync(Path.join(examples, "node_modules"), { recursive: true })
  Fs.symlinkSync(root, Path.join(examples, "node_modules", "effect-credentials"), "junction")
  for (const block of typescript) Fs.writeFileSync(Path.join(examples, `${nameOf(block)}.ts`), block.code)
  const configuration = {
    extends: "../../../tsconfig.base.json",
    compilerOptions: { composite: false, declaration: false, sourceMap: false, typeRoots: ["../../@types"] },
    include: ["*.ts"]
  }
  Fs.writeFileSync(Path.join(examples, "tsconfig.json"), JSON.stringify(configuration))
  Fs.writeFileSync(Path.join(examples, "package.json"), JSON.stringify({ type: "module" }))
})

describe("the documentation's examples", () => {
  it.live(
    "compile against the package, and those that run something run",
    () =>
      Effect.gen(function* () {
        assert.isAbove(typescript.length, 5)
        const compiled = yield* output(process.execPath, [binOf("typescript", "bin/tsc"), "-p", "."], { cwd: examples })
        assert.deepStrictEqual(compiled, Either.right(""))
        const runnable = typescript.filter(({ code }) => code.includes("runPromise("))
        assert.isTrue(runnable.some(({ page }) => page === "README.md"))
        for (const block of runnable) {
          // what an example leaves in the system's temporary folder goes with the next run
          const options = { cwd: examples, env: { ...process.env, TMPDIR: examples } }
          const printed = yield* output(process.execPath, [`${nameOf(block)}.js`], options)
          assert.isTrue(Either.isRight(printed), `${block.page}, line ${block.line}: ${Either.merge(printed)}`)
          assert.notInclude(Either.merge(printed), "sk-example")
        }
      }),
    120_000
  )
})

/** The names of all fields, at every depth. */
const shapeOf = (value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(
        Object.entries(value)
          .sort(([one], [other]) => (one < other ? -1 : 1))
          .map(([name, inner]) => [name, shapeOf(inner)])
      )
    : typeof value

/** Stands in for curl where there is none: what the documentation uses of it. */
const standIn = `
const words = process.argv.slice(1)
const headers = {}
let url, method, body
for (let at = 0; at < words.length; at++) {
  if (words[at] === "-H") { const [name, value] = words[++at].split(/: (.*)/s); headers[name] = value }
  else if (words[at] === "-X") method = words[++at]
  else if (words[at] === "-d") body = words[++at]
  else if (words[at] !== "-sf" && words[at] !== "-s") url = words[at]
}
const response = await fetch(url, { headers, body, method: method ?? (body === undefined ? "GET" : "POST") })
if (!response.ok) { console.error(response.status, await response.text()); process.exit(22) }
process.stdout.write(await response.text())
`

const failing = 'set -euo pipefail\ncurl() { command curl -f --no-progress-meter "$@"; }\n'
const replaced = `set -euo pipefail\ncurl() { node --input-type=module -e "$STAND_IN" -- "$@"; }\n`

/** Runs a script block by block in one shell; answers what each printed. A curl that gets an error fails it. */
const runBlocks = (blocks: ReadonlyArray<string>, options: { readonly cwd: string }) =>
  Effect.gen(function* () {
    const mark = "-- end of a block --"
    const hasCurl = Either.isRight(yield* output("curl", ["--version"], options))
    const script = (hasCurl ? failing : replaced) + blocks.map((block) => `${block}\necho; echo "${mark}"\n`).join("")
    const env = { ...process.env, STAND_IN: standIn }
    const printed = yield* output("bash", ["-c", script], { ...options, env })
    assert.isTrue(Either.isRight(printed), Either.merge(printed))
    return Either.merge(printed)
      .split(mark)
      .map((text) => text.trim())
  })

/** The commands of a page against a server that was started as the page says, and what each printed. */
const runPage = (page: string, env: Readonly<Record<string, string>>) =>
  Effect.gen(function* () {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-credentials-"))),
      (made) => Effect.sync(() => Fs.rmSync(made, { recursive: true, force: true }))
    )
    const service = yield* Service.start({
      dataDir: Path.join(directory, ".data"),
      env: { ...env, ADMIN_API_KEY: undefined, OUTBOUND_ALLOW_LOOPBACK: undefined }
    })
    const blocks = blocksOf(page)
    const commands = blocks.filter(({ language }) => language === "sh")
    const printed = yield* runBlocks(
      commands.map(({ code }) => code.replaceAll("http://127.0.0.1:8787", service.url)),
      { cwd: directory }
    )
    const answers = commands.map((command, index) => {
      const following = blocks[blocks.indexOf(command) + 1]
      const shown = following?.language === "json" ? following : undefined
      return { command, shown, printed: printed[index] ?? "" }
    })
    return answers
  })

describe("the commands of the", () => {
  it.scopedLive(
    "README's tour work as pasted, and print what it shows",
    () =>
      Effect.gen(function* () {
        const answers = yield* runPage("README.md", { GITHUB_CLIENT_ID: "id", GITHUB_CLIENT_SECRET: "secret" })
        assert.isAbove(answers.filter(({ shown }) => shown !== undefined).length, 3)
        for (const { command, printed, shown } of answers) {
          if (shown === undefined) continue
          const where = `${command.page}, line ${command.line}`
          assert.deepStrictEqual(shapeOf(JSON.parse(printed)), shapeOf(JSON.parse(shown.code)), where)
        }
      }),
    60_000
  )

  it.scopedLive(
    "getting started guide work as pasted",
    () => runPage("docs/getting-started.md", { GITLAB_CLIENT_ID: "id", GITLAB_CLIENT_SECRET: "secret" }),
    60_000
  )
})

describe("the documentation's links", () => {
  /** As GitHub makes the anchor of a heading. */
  const anchorOf = (heading: string) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replaceAll(/\s/g, "-")

  const anchorsOf = (page: string) =>
    [...textOf(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => anchorOf(heading))

  for (const page of pages) {
    it(`in ${page} lead to files and headings that are there`, () => {
      const prose = textOf(page).replaceAll(/^ *```[^]*?^ *```$/gm, "")
      for (const [, target = ""] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (target.startsWith("https://")) continue
        const [path = "", anchor] = target.split("#")
        const file = path === "" ? page : Path.posix.join(Path.posix.dirname(page), path)
        assert.isTrue(Fs.existsSync(Path.join(root, file)), target)
        if (anchor !== undefined) assert.include(anchorsOf(file), anchor, target)
      }
    })
  }
})

describe("the documentation's tables", () => {
  it.scoped("name the variables that the settings read", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-credentials-"))),
        (made) => Effect.sync(() => Fs.rmSync(made, { recursive: true, force: true }))
      )
      const asked = new Set<string>()
      const recording = ConfigProvider.fromFlat(
        ConfigProvider.makeFlat({
          load: (path, primitive, split) => {
            const name = path.join("_")
            asked.add(name)
            const given = new Map([["DATA_DIR", directory]])
            return ConfigProvider.fromMap(given).flattened.load(path, primitive, split)
          },
          enumerateChildren: () => Effect.fail(ConfigError.Unsupported([], "variables have no children")),
          patch: ConfigProvider.fromMap(new Map()).flattened.patch
        })
      )
      const settings = yield* Effect.withConfigProvider(Settings.load, recording)
      const names = Provider.clientVariables(builtin[0] ?? assert.fail("there is a provider"))
      assert.isTrue(Option.isNone(settings.clients(builtin[0] ?? assert.fail("there is a provider"))))
      for (const name of Object.values(names)) asked.delete(name)
      const table = tableUnder("README.md", "Settings").map(([variable]) => quoted(variable))
      const ofClients = Object.values(names).map((name) => name.replace(/^[A-Z0-9]+(?=_)/, "<PROVIDER>"))
      assert.deepStrictEqual(table.sort(), [...asked, ...ofClients].sort())
    })
  )

  it("name, for every attack, what stops it and tests that are there", () => {
    const rows = tableUnder("docs/security.md", "Attacks")
    assert.isAbove(rows.length, 20)
    for (const [attack = "", control = "", tests = ""] of rows) {
      assert.isNotEmpty(control, attack)
      const files = [...tests.matchAll(/`([^`]+)`/g)].map(([, file = ""]) => file)
      assert.isNotEmpty(files, attack)
      for (const file of files) {
        assert.match(file, /^test\/.+\.ts$/, attack)
        assert.isTrue(Fs.existsSync(Path.join(root, file)), `${attack}: ${file}`)
      }
    }
  })

  it("list the metrics that there are, as they describe themselves", () => {
    const table = tableUnder("docs/operations.md", "Metrics").filter(([, type = ""]) =>
      ["counter", "gauge", "histogram"].includes(type)
    )
    const names = (cell = "") => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name)
    assert.deepStrictEqual(
      table.map(([name, type, labels, help]) => ({ name: quoted(name), type, labels: names(labels), help })),
      Metrics.all.map(({ help, labels, name, type }) => ({ name, type, labels: [...labels], help }))
    )
  })

  it("name the fields that a provider definition has", () => {
    const fieldsUnder = (heading: string) =>
      tableUnder("docs/providers.md", heading)
        .map(([field]) => quoted(field))
        .sort()
    assert.deepStrictEqual(fieldsUnder("Fields"), Object.keys(Provider.fields).sort())
    assert.deepStrictEqual(fieldsUnder("Revocation"), Object.keys(Provider.Revocation.fields).sort())
    assert.deepStrictEqual(fieldsUnder("Signed assertions"), Object.keys(Provider.Assertion.fields).sort())
    assert.deepStrictEqual(fieldsUnder("How tokens are come by"), [...Provider.Grant.literals].sort())
  })

  it("name the variables that built-in providers have", () => {
    const table = tableUnder("docs/providers.md", "Variables in URLs")
    const listed = (cell: string | undefined) =>
      [...(cell?.split(":")[0] ?? "").matchAll(/`([^`]+)`/g)].map(([, name]) => name).join(" ")
    assert.deepStrictEqual(
      table.map(([id, names]) => `${quoted(id)}: ${listed(names)}`).sort(),
      builtin
        .filter((provider) => Provider.variables(provider).length > 0)
        .map((provider) => `${provider.id}: ${Provider.variables(provider).join(" ")}`)
        .sort()
    )
  })

  it.scopedLive(
    "list the routes that the server has, with their scopes",
    () =>
      Effect.gen(function* () {
        const service = yield* Service.start()
        const answer = yield* Effect.promise(async () => (await fetch(`${service.url}/openapi.json`)).text())
        const contract = JSON.parse(answer) as { readonly paths: Readonly<Record<string, object>> }
        const scopes = new Map(
          [...requiredScopes].map(([route, scope]) => [route.replaceAll(/:(\w+)/g, "{$1}"), scope as string])
        )
        const served = Object.entries(contract.paths).flatMap(([path, methods]) =>
          Object.keys(methods).map((method) => {
            const route = `${method.toUpperCase()} ${path}`
            return `${route} ${scopes.get(route) ?? "none"}`
          })
        )
        const table = tableUnder("docs/http-api.md", "Routes").map(
          ([route, scope]) => `${quoted(route)} ${scope?.replaceAll("`", "") ?? ""}`
        )
        assert.deepStrictEqual(table.slice().sort(), served.sort())
      }),
    60_000
  )
})
