/**
 * What the layout promises: imports go downward only, what drags in a driver is in few places, and time and settings come
 * from where they can be replaced.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const src = Path.join(root, "src")

interface Import {
  readonly from: string
  /** A path below `src`, or the name of a package. */
  readonly to: string
  readonly isOwn: boolean
  /** It is gone when the types are: nothing is loaded. */
  readonly isType: boolean
}

const filesBelow = (directory: string): ReadonlyArray<string> =>
  Fs.readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((file) => file.split(Path.sep).join("/"))
    .filter((file) => file.endsWith(".ts"))
    .sort()

const files = filesBelow(src)
const textOf = new Map(files.map((file) => [file, Fs.readFileSync(Path.join(src, file), "utf8")]))

const statement = /^(?:import|export)\s+(type\s)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"/gm
const call = /\bimport\(\s*"([^"]+)"\s*\)/g

const importOf = (from: string, specifier: string, isType: boolean): Import => {
  const isOwn = specifier.startsWith(".")
  const to = isOwn ? Path.posix.normalize(Path.posix.join(Path.posix.dirname(from), specifier)) : specifier
  return { from, to, isOwn, isType }
}

const imports: ReadonlyArray<Import> = files.flatMap((from) => {
  const text = textOf.get(from) ?? ""
  return [
    ...[...text.matchAll(statement)].map(([, type, specifier = ""]) => importOf(from, specifier, type !== undefined)),
    ...[...text.matchAll(call)].map(([, specifier = ""]) => importOf(from, specifier, false))
  ]
})

/** A file's noun: the file `Store.ts` and the folder `Store/` are one. */
const nounOf = (file: string) => (file.split("/")[0] ?? file).replace(/\.ts$/, "")

/** The nouns of a floor, in the order in which the map names them. */
const floors: ReadonlyArray<ReadonlyArray<string>> = (textOf.get("index.ts") ?? "")
  .split(/^\/\/ ── \d+ .*$/m)
  .slice(1)
  .map((part) => [...part.matchAll(/from "\.\/(.+)\.ts"/g)].map(([, noun = ""]) => noun))

/** What the adapters of a database share: below the ports, and not in the map, as no program needs it. */
const shared = ["Database", "Redis"]

const edges = ["migrations", "api", "server", "Settings", "Engine", "main", "cli", "testing"]

const [values = [], ...above] = floors
const order = [...values, ...shared, ...above.flat(), ...edges]

/** Whoever imports a package, and whether these are all who may. */
const importersOf = (name: string) => [
  ...new Set(
    imports.filter(({ isOwn, to }) => !isOwn && (to === name || to.startsWith(`${name}/`))).map(({ from }) => from)
  )
]

const naming = (pattern: RegExp) => files.filter((file) => pattern.test(code(file)))

/** A file without its comments. */
const code = (file: string) => (textOf.get(file) ?? "").replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "")

/** Everything that is loaded with a file: own files, and the packages that they name. */
const loadedWith = (entry: string) => {
  const own = new Set<string>()
  const packages = new Set<string>()
  const load = (file: string): void => {
    if (own.has(file)) return
    own.add(file)
    for (const { from, isOwn, isType, to } of imports) {
      if (from !== file || isType) continue
      if (isOwn) load(to)
      else packages.add(to)
    }
  }
  load(entry)
  return { own, packages: [...packages] }
}

describe("the map", () => {
  it("has four floors, and names each noun once", () => {
    assert.lengthOf(floors, 4)
    for (const floor of floors) assert.isNotEmpty(floor)
    assert.deepStrictEqual(order, [...new Set(order)])
  })

  it("names every noun there is, and none that is not", () => {
    assert.deepStrictEqual(
      [...new Set(files.filter((file) => file !== "index.ts").map(nounOf))].sort(),
      [...order].sort()
    )
    for (const noun of floors.flat()) assert.isTrue(textOf.has(`${noun}.ts`), noun)
  })
})

describe("imports", () => {
  it("were all found: each own one is a file", () => {
    assert.isAbove(imports.length, 300)
    for (const { from, isOwn, to } of imports) if (isOwn) assert.isTrue(textOf.has(to), `${from} imports ${to}`)
  })

  it("go downward only: a noun uses those of earlier lines", () => {
    const upward = imports.filter(
      ({ from, isOwn, to }) => isOwn && from !== "index.ts" && order.indexOf(nounOf(to)) > order.indexOf(nounOf(from))
    )
    assert.deepStrictEqual(
      upward.map(({ from, to }) => `${from} → ${to}`),
      []
    )
  })

  it("of the map itself are made by nobody", () => {
    assert.deepStrictEqual(
      imports.filter(({ isOwn, to }) => isOwn && to === "index.ts").map(({ from }) => from),
      []
    )
  })

  it("go in no circle, those of types included", () => {
    const done = new Set<string>()
    const visit = (file: string, path: ReadonlyArray<string>): void => {
      assert.notInclude(path, file, [...path, file].join(" → "))
      if (done.has(file)) return
      for (const { from, isOwn, to } of imports) if (isOwn && from === file) visit(to, [...path, file])
      done.add(file)
    }
    for (const file of files) visit(file, [])
  })

  it("the API knows nothing of the server, and no noun knows the API", () => {
    const wrong = imports.filter(
      ({ from, isOwn, to }) =>
        isOwn &&
        ((nounOf(from) === "api" && nounOf(to) === "server") || (nounOf(to) === "api" && !edges.includes(nounOf(from))))
    )
    assert.deepStrictEqual(wrong, [])
  })

  it("values use no service: nothing of this package above them, and no driver", () => {
    for (const file of files.filter((file) => values.includes(nounOf(file)))) {
      for (const { isOwn, to } of imports.filter(({ from }) => from === file)) {
        assert.isTrue(
          isOwn ? values.includes(nounOf(to)) : /^(effect\/|@effect\/platform\/|node:crypto$)/.test(to),
          `${file}: ${to}`
        )
      }
    }
  })
})

describe("packages that drag something in", () => {
  const importers = {
    pg: ["Database/Connections.ts", "Database/Embedded.ts", "Database/Server.ts"],
    "@effect/sql-pg": ["Database/Embedded.ts", "Database/Server.ts"],
    "@electric-sql/pglite": ["Database/Cluster.ts", "Database/Embedded.ts"],
    "@effect/cli": ["cli/CommandLine.ts", "cli/HoldBack.ts", "cli/RotateKeys.ts"],
    "@effect/opentelemetry": ["server/Telemetry.ts"],
    undici: ["Outbound/Exchange.ts"],
    "node:dns": ["Outbound/Connection.ts"],
    ioredis: ["Redis.ts"],
    "@modelcontextprotocol/sdk": ["McpClient.ts"],
    oauth4webapi: ["OAuthFlow.ts", ...files.filter((file) => nounOf(file) === "TokenEndpoint")]
  }

  for (const [name, allowed] of Object.entries(importers)) {
    it(`${name} is imported by ${allowed.join(" and ")} alone`, () => {
      const found = importersOf(name)
      assert.isNotEmpty(found)
      for (const file of found) assert.include(allowed, file)
    })
  }

  it("node:tls is Outbound's alone, but for types", () => {
    const found = imports.filter(({ isType, to }) => to === "node:tls" && !isType).map(({ from }) => from)
    assert.deepStrictEqual(found, ["Outbound/Connection.ts"])
  })

  it("fetch is nobody's: every call goes through Outbound, but for those to the operator's own collector", () => {
    assert.deepStrictEqual(
      naming(/(?<![.\w])fetch\(|\bnode:https?"|FetchHttpClient|NodeHttpClient/).filter(
        (file) => nounOf(file) !== "testing"
      ),
      // the others there speak of the server's own sockets
      ["server/Body.ts", "server/InFlight.ts", "server/Listener.ts", "server/Telemetry.ts"]
    )
  })

  it("the map loads neither pg nor pglite, nor the adapters that need them", () => {
    const { own, packages } = loadedWith("index.ts")
    for (const name of packages) assert.notMatch(name, /^(pg|@electric-sql\/|@effect\/sql|ioredis)/)
    for (const file of own)
      assert.notMatch(file, /\/Sql\.ts$|^Database|^(api|server|migrations|Settings|main|cli|testing)/)
  })

  it("a noun of the map is loaded without an engine", () => {
    for (const noun of floors.flat()) {
      for (const name of loadedWith(`${noun}.ts`).packages) {
        assert.notMatch(name, /^(pg|@electric-sql\/|@effect\/sql|ioredis)/, noun)
      }
    }
  })
})

describe("what can be replaced", () => {
  it("environment variables are read in Settings.ts and main.ts alone", () => {
    assert.deepStrictEqual(
      naming(/process\.env\b|process\["env"\]|\benv\b[^"]*from "node:process"/).filter(
        (file) => !["Settings.ts", "main.ts"].includes(file)
      ),
      []
    )
  })

  /** Below Effect: what runs where no fiber does. */
  const belowEffect: Readonly<Record<string, ReadonlyArray<string>>> = {
    setInterval: ["server/Listener.ts"],
    setTimeout: ["Database/Connections.ts"]
  }

  const ambient = {
    "Date.now": /\bDate\.now\b/,
    "new Date()": /\bnew Date\(\s*\)/,
    "DateTime.unsafeNow": /\bunsafeNow\(/,
    setTimeout: /\bsetTimeout\b/,
    setInterval: /\bsetInterval\b/,
    "Math.random": /\bMath\.random\b/,
    "performance.now": /\bperformance\.now\b/,
    hrtime: /\bhrtime\b/
  }

  for (const [name, pattern] of Object.entries(ambient)) {
    it(`${name} is not used: time and chance are Effect's`, () => {
      assert.deepStrictEqual(naming(pattern), belowEffect[name] ?? [])
    })
  }
})

describe("names", () => {
  it("no file is called after a kind of thing instead of a thing", () => {
    const vague = /(^|\/)(utils?|helpers?|common|types?|shared|misc|lib|impl|live)\.(test\.)?ts$/i
    const all = [
      ...files.map((file) => `src/${file}`),
      ...filesBelow(Path.join(root, "test")).map((file) => `test/${file}`)
    ]
    assert.deepStrictEqual(
      all.filter((file) => vague.test(file) || /(^|\/)(utils?|helpers?|common|internal)\//i.test(file)),
      []
    )
  })

  it("a file is a noun in PascalCase, but for the map, the programs, the migrations and the list of built-in providers", () => {
    const named = /^(?:[a-z]+\/)?(?:[A-Z][A-Za-z0-9]*\/)*[A-Z][A-Za-z0-9]*\.ts$/
    const others = new Set([
      "index.ts",
      "main.ts",
      "cli.ts",
      "migrations.ts",
      "testing.ts",
      "ProviderCatalogue/builtin.ts"
    ])
    assert.deepStrictEqual(
      files.filter((file) => !named.test(file) && !others.has(file) && !/^migrations\/\d{4}_[a-z_]+\.ts$/.test(file)),
      []
    )
  })

  it("a service's key is the path of its file; a further one of a file, and those of the edges, stand beside it", () => {
    const keys = files.flatMap((file) =>
      [
        ...code(file).matchAll(/(?:Context|HttpApiMiddleware)\.(?:Tag|Reference)(?:<[^>]*>)?\([^"]{0,20}?"([^"]+)"/g)
      ].map(([, key = ""]) => ({
        file,
        key
      }))
    )
    assert.isAbove(keys.length, 15)
    for (const { file, key } of keys) {
      const path = `effect-credentials/${file.replace(/\.ts$/, "")}`
      const besides = edges.includes(nounOf(file)) || keys.some((other) => other.file === file && other.key === path)
      assert.isTrue(key === path || (besides && Path.dirname(key) === Path.dirname(path)), `${file}: ${key}`)
    }
  })
})
