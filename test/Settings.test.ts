import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Provider } from "../src/Provider.ts"
import * as Settings from "../src/Settings.ts"

const canary = "canary-77aa"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "settings-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
)

const load = (variables: Record<string, string>) =>
  Effect.withConfigProvider(Settings.load, ConfigProvider.fromMap(new Map(Object.entries(variables))))

const problemsOf = (variables: Record<string, string>) =>
  Effect.map(Effect.flip(load(variables)), ({ problems }) => problems)

const key = (fill: number) => Buffer.alloc(32, fill).toString("base64")

type Row = readonly [variable: string, value: string, problem: string, others?: Record<string, string>]

const bad: ReadonlyArray<Row> = [
  ["HOST", `${canary} x`, "HOST: expected an address to listen on, for example HOST=127.0.0.1"],
  ["PORT", canary, "PORT: expected a port from 0 to 65535, for example PORT=8787"],
  ["PORT", "65536", "PORT: expected a port from 0 to 65535, for example PORT=8787"],
  ["PORT", "-1", "PORT: expected a port from 0 to 65535, for example PORT=8787"],
  [
    "PUBLIC_URL",
    canary,
    "PUBLIC_URL: expected an http(s) origin without a path, for example PUBLIC_URL=https://credentials.example.com"
  ],
  [
    "PUBLIC_URL",
    `https://example.com/${canary}`,
    "PUBLIC_URL: expected an http(s) origin without a path, for example PUBLIC_URL=https://credentials.example.com"
  ],
  [
    "PUBLIC_URL",
    `https://u:${canary}@example.com`,
    "PUBLIC_URL: expected an http(s) origin without a path, for example PUBLIC_URL=https://credentials.example.com"
  ],
  [
    "HOST",
    "0.0.0.0",
    "PUBLIC_URL: expected the origin that browsers and providers see, since HOST is 0.0.0.0, for example PUBLIC_URL=https://credentials.example.com"
  ],
  [
    "OAUTH_REDIRECT_URI",
    `javascript:${canary}`,
    "OAUTH_REDIRECT_URI: expected an absolute http(s) URL without a fragment, for example OAUTH_REDIRECT_URI=https://app.example.com/oauth/callback"
  ],
  [
    "DATABASE_URL",
    `mysql://u:${canary}@h/d`,
    "DATABASE_URL: expected the URL of a Postgres database, postgres://user:password@host:5432/database, for example DATABASE_URL=postgres://credentials:secret@db.example.com:5432/credentials"
  ],
  [
    "DATABASE_URL",
    `postgres://u:${canary}@h/d`,
    "ENCRYPTION_KEYS: expected the keys that seal what is stored, since DATABASE_URL is set, the same for every server, for example ENCRYPTION_KEYS=k1:$(openssl rand -base64 32)",
    { ADMIN_API_KEY: "0123456789abcdef" }
  ],
  [
    "DATABASE_URL",
    `postgres://u:${canary}@h/d`,
    "ADMIN_API_KEY: expected the bootstrap key, since DATABASE_URL is set, the same for every server, for example ADMIN_API_KEY=$(openssl rand -hex 32)",
    { ENCRYPTION_KEYS: `k1:${key(1)}` }
  ],
  ...[`http://:${canary}@h`, `redis:///${canary}`, `redis://h/${canary}`].map((url): Row => [
    "REDIS_URL",
    url,
    "REDIS_URL: expected the URL of a Redis server, redis://user:password@host:6379 or rediss://…, for example REDIS_URL=redis://redis.example.com:6379"
  ]),
  [
    "ENCRYPTION_KEYS",
    canary,
    "ENCRYPTION_KEYS: expected id:base64 of 32 bytes, separated by commas, each id once, for example ENCRYPTION_KEYS=k1:$(openssl rand -base64 32)"
  ],
  [
    "ENCRYPTION_KEYS",
    `k1:${Buffer.alloc(31).toString("base64")}`,
    "ENCRYPTION_KEYS: expected id:base64 of 32 bytes, separated by commas, each id once, for example ENCRYPTION_KEYS=k1:$(openssl rand -base64 32)"
  ],
  [
    "ENCRYPTION_KEYS",
    `k1:${key(1)},k1:${key(2)}`,
    "ENCRYPTION_KEYS: expected id:base64 of 32 bytes, separated by commas, each id once, for example ENCRYPTION_KEYS=k1:$(openssl rand -base64 32)"
  ],
  [
    "ADMIN_API_KEY",
    canary,
    "ADMIN_API_KEY: expected at least 16 characters, none of them a space, for example ADMIN_API_KEY=$(openssl rand -hex 32)"
  ],
  [
    "OUTBOUND_ALLOW_LOOPBACK",
    "yes",
    "OUTBOUND_ALLOW_LOOPBACK: expected 1, or nothing, for example OUTBOUND_ALLOW_LOOPBACK=1"
  ],
  [
    "OUTBOUND_ALLOW_LOOPBACK",
    "1",
    "OUTBOUND_ALLOW_LOOPBACK: expected nothing, since NODE_ENV is production: it opens this machine's own services to whoever may name a URL. Unset it, or run with NODE_ENV=development",
    { NODE_ENV: "production" }
  ],
  [
    "RETURN_URLS",
    `https://app.example.com/done,${canary}`,
    "RETURN_URLS: expected absolute http(s) URLs without fragments, separated by commas, for example RETURN_URLS=https://app.example.com/connected"
  ],
  [
    "LOG_LEVEL",
    canary,
    "LOG_LEVEL: expected one of all, trace, debug, info, warning, error, fatal, none, for example LOG_LEVEL=info"
  ],
  ["LOG_FORMAT", canary, "LOG_FORMAT: expected pretty or json, for example LOG_FORMAT=json"],
  [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    canary,
    "OTEL_EXPORTER_OTLP_ENDPOINT: expected an absolute http(s) URL without a fragment, for example OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"
  ]
]

describe("a bad value", () => {
  for (const [variable, value, problem, others] of bad) {
    it.scoped(`of ${variable} is refused with what was expected (${problem.slice(0, 60)}…)`, () =>
      Effect.gen(function* () {
        const directory = join(yield* temporary, "data")
        const problems = yield* problemsOf({ DATA_DIR: directory, ...others, [variable]: value })
        assert.deepStrictEqual(problems, [problem])
        assert.notInclude(problems.join("\n"), canary)
        assert.isFalse(Fs.existsSync(directory), "nothing was made")
      })
    )
  }

  it.effect("is told with all others at once", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(load({ PORT: "x", LOG_LEVEL: "y", ADMIN_API_KEY: canary }))
      assert.strictEqual(
        error.message,
        `The settings are not valid.
  PORT: expected a port from 0 to 65535, for example PORT=8787
  ADMIN_API_KEY: expected at least 16 characters, none of them a space, for example ADMIN_API_KEY=$(openssl rand -hex 32)
  LOG_LEVEL: expected one of all, trace, debug, info, warning, error, fatal, none, for example LOG_LEVEL=info`
      )
    })
  )
})

describe("without any variable", () => {
  it.scoped("there are the defaults of the contract, and keys made once", () =>
    Effect.gen(function* () {
      const directory = join(yield* temporary, "nested", "data")
      const first = yield* load({ DATA_DIR: directory })
      assert.strictEqual(first.host, "127.0.0.1")
      assert.strictEqual(first.port, 8787)
      assert.isTrue(Option.isNone(first.publicUrl))
      assert.isTrue(Option.isNone(first.oauthRedirectUri))
      assert.strictEqual(first.dataDirectory, directory)
      assert.isFalse(first.allowLoopback)
      assert.deepStrictEqual(first.returnUrls, [])
      assert.deepStrictEqual(first.providers, [])
      assert.deepStrictEqual(first.systemCredentials.credentials, [])
      assert.strictEqual(first.logLevel, LogLevel.Info)
      assert.isTrue(first.isFirstStart)
      assert.deepStrictEqual(first.adminApiKeyFile, Option.some(join(directory, "admin.key")))
      assert.strictEqual(
        Fs.readFileSync(join(directory, "admin.key"), "utf8").trim(),
        Redacted.value(first.adminApiKey)
      )
      assert.isAtLeast(Redacted.value(first.adminApiKey).length, 40)
      for (const name of ["admin.key", "encryption.keys"]) {
        assert.strictEqual(Fs.statSync(join(directory, name)).mode & 0o777, 0o600, name)
      }
      assert.strictEqual(Fs.statSync(directory).mode & 0o777, 0o700)
      assert.sameMembers(Fs.readdirSync(directory), ["admin.key", "encryption.keys"])
      const second = yield* load({ DATA_DIR: directory })
      assert.isFalse(second.isFirstStart)
      assert.strictEqual(Redacted.value(second.adminApiKey), Redacted.value(first.adminApiKey))
      assert.deepStrictEqual(
        second.encryptionKeys.map(({ bytes, id }) => [id, Redacted.value(bytes)]),
        first.encryptionKeys.map(({ bytes, id }) => [id, Redacted.value(bytes)])
      )
    })
  )

  it.scopedLive("those who start at once have the same keys", () =>
    Effect.gen(function* () {
      const directory = join(yield* temporary, "data")
      const all = yield* Effect.all(
        Array.from({ length: 8 }, () => load({ DATA_DIR: directory })),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(all.map(({ adminApiKey }) => Redacted.value(adminApiKey))).size, 1)
      assert.strictEqual(new Set(all.map(({ encryptionKeys: [{ bytes }] }) => Redacted.value(bytes).join())).size, 1)
    })
  )

  it.scoped("a kept key that is damaged, or a directory that cannot be, is told", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      Fs.writeFileSync(join(directory, "encryption.keys"), canary)
      const [keys = ""] = yield* problemsOf({ DATA_DIR: directory })
      assert.match(keys, /^ENCRYPTION_KEYS: .*encryption\.keys does not hold id:base64 of 32 bytes/)
      Fs.rmSync(join(directory, "encryption.keys"))
      Fs.writeFileSync(join(directory, "admin.key"), "")
      const [admin = ""] = yield* problemsOf({ DATA_DIR: directory })
      assert.match(admin, /^ADMIN_API_KEY: .*admin\.key does not hold at least 16 characters/)
      const [none = ""] = yield* problemsOf({ DATA_DIR: join(directory, "admin.key") })
      assert.match(none, /^DATA_DIR: cannot keep encryption\.keys in .* \((?:EEXIST|ENOTDIR)\): expected a directory/)
      assert.notInclude(keys + admin + none, canary)
    })
  )
})

describe("with variables", () => {
  it.scoped("each is taken, and nothing is made that was given", () =>
    Effect.gen(function* () {
      const directory = join(yield* temporary, "data")
      const settings = yield* load({
        HOST: "0.0.0.0",
        PORT: " 80 ",
        PUBLIC_URL: "https://Credentials.example.com/",
        OAUTH_REDIRECT_URI: "https://app.example.com/back?x=1",
        DATA_DIR: directory,
        ENCRYPTION_KEYS: `new:${key(1)}, old:${key(2)}`,
        ADMIN_API_KEY: "0123456789abcdef",
        OUTBOUND_ALLOW_LOOPBACK: "1",
        RETURN_URLS: "https://a.example/x, https://b.example/y?z=1",
        LOG_LEVEL: "WARN",
        LOG_FORMAT: "json",
        DATABASE_URL: "postgres://ada:secret@db.example.com/credentials",
        REDIS_URL: "rediss://:secret@redis.example.com:6380/2"
      })
      assert.deepStrictEqual(
        Option.map(settings.databaseUrl, Redacted.value),
        Option.some("postgres://ada:secret@db.example.com/credentials")
      )
      assert.deepStrictEqual(
        Option.map(settings.redisUrl, Redacted.value),
        Option.some("rediss://:secret@redis.example.com:6380/2")
      )
      assert.strictEqual(settings.port, 80)
      assert.deepStrictEqual(settings.publicUrl, Option.some("https://credentials.example.com"))
      assert.deepStrictEqual(settings.oauthRedirectUri, Option.some("https://app.example.com/back?x=1"))
      assert.deepStrictEqual(
        settings.encryptionKeys.map(({ id }) => id),
        ["new", "old"]
      )
      assert.isTrue(Option.isNone(settings.adminApiKeyFile))
      assert.isFalse(settings.isFirstStart)
      assert.isTrue(settings.allowLoopback)
      assert.deepStrictEqual(settings.returnUrls, ["https://a.example/x", "https://b.example/y?z=1"])
      assert.strictEqual(settings.logLevel, LogLevel.Warning)
      assert.deepStrictEqual(settings.logFormat, Option.some("json"))
      assert.isFalse(Fs.existsSync(directory))
    })
  )

  it.scoped("a provider's client is looked up by its id", () =>
    Effect.gen(function* () {
      const settings = yield* load({
        DATA_DIR: join(yield* temporary, "data"),
        GITHUB_CLIENT_ID: "id",
        GITHUB_CLIENT_SECRET: "secret",
        HALF_CLIENT_ID: "id",
        OPEN_DOOR_CLIENT_ID: "id",
        SIGNED_CLIENT_ID: "id",
        SIGNED_PRIVATE_KEY: String.raw`-----BEGIN\nKEY`
      })
      const clientOf = (id: string, clientAuth?: string) =>
        settings.clients(
          Schema.decodeUnknownSync(Provider)({
            id,
            authorizationUrl: "https://x.example/a",
            tokenUrl: "https://x.example/t",
            ...(clientAuth !== undefined && { clientAuth })
          })
        )
      const github = Option.getOrThrow(clientOf("github"))
      assert.strictEqual(github.id, "id")
      assert.strictEqual(Redacted.value(github.secret ?? Redacted.make("")), "secret")
      assert.isTrue(Option.isNone(clientOf("half")))
      assert.isTrue(Option.isNone(clientOf("other")))
      assert.deepStrictEqual(clientOf("open-door", "none"), Option.some({ id: "id" }))
      const signed = Option.getOrThrow(clientOf("signed", "private_key_jwt"))
      assert.strictEqual(Redacted.value(signed.privateKey ?? Redacted.make("")), "-----BEGIN\nKEY")
    })
  )
})

describe("a file of the operator's", () => {
  const withFile = (variable: string, contents: string) =>
    Effect.map(temporary, (directory) => {
      const file = join(directory, "file.json")
      Fs.writeFileSync(file, contents)
      return { file, variables: { DATA_DIR: join(directory, "data"), [variable]: file } }
    })

  const provider = { id: "acme", authorizationUrl: "https://acme.example/a", tokenUrl: "https://acme.example/t" }
  const credential = {
    id: "11111111-1111-4111-8111-111111111111",
    type: "api_key",
    provider: "openai",
    apiKey: canary
  }

  const badFiles: ReadonlyArray<readonly [variable: string, contents: string, problem: string]> = [
    ["PROVIDERS_FILE", "{", " is not JSON"],
    ["PROVIDERS_FILE", "{}", " is not a JSON array"],
    [
      "PROVIDERS_FILE",
      JSON.stringify([provider, { ...provider, tokenUrl: canary }]),
      "[1].tokenUrl: expected an absolute http(s) URL, such as https://example.com/oauth/token"
    ],
    [
      "PROVIDERS_FILE",
      JSON.stringify([{ ...provider, tokenURL: canary }]),
      "[0].tokenURL: expected nothing of this name"
    ],
    ["PROVIDERS_FILE", JSON.stringify([{ id: "acme" }]), "[0].tokenUrl: expected a value"],
    ["PROVIDERS_FILE", JSON.stringify([canary]), "[0]: expected "],
    [
      "SYSTEM_CREDENTIALS_FILE",
      JSON.stringify([{ ...credential, id: undefined }]),
      "[0].id: expected a UUID that no other has"
    ],
    ["SYSTEM_CREDENTIALS_FILE", JSON.stringify([credential, credential]), "[1].id: expected a UUID that no other has"],
    ["SYSTEM_CREDENTIALS_FILE", JSON.stringify([{ ...credential, apiKey: 5 }]), "[0].apiKey: expected text"],
    [
      "SYSTEM_CREDENTIALS_FILE",
      JSON.stringify([{ ...credential, type: canary }]),
      "[0].type: expected one of oauth2, api_key, user_password, host_scoped"
    ]
  ]
  for (const [variable, contents, problem] of badFiles) {
    it.scoped(`${variable} with ${problem} is told by index and field`, () =>
      Effect.gen(function* () {
        const { file, variables } = yield* withFile(variable, contents)
        const [told = "", ...more] = yield* problemsOf(variables)
        assert.isTrue(told.startsWith(`${variable}: ${file}${problem}`), told)
        assert.notInclude(told, canary)
        assert.deepStrictEqual(more, [])
      })
    )
  }

  it.scoped("that is not there is told", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const file = join(directory, "none.json")
      assert.deepStrictEqual(yield* problemsOf({ PROVIDERS_FILE: file, DATA_DIR: join(directory, "data") }), [
        `PROVIDERS_FILE: cannot read ${file} (ENOENT)`
      ])
    })
  )

  it.scoped("gives providers and credentials", () =>
    Effect.gen(function* () {
      const providers = yield* withFile("PROVIDERS_FILE", JSON.stringify([provider]))
      const credentials = yield* withFile("SYSTEM_CREDENTIALS_FILE", JSON.stringify([credential]))
      const settings = yield* load({ ...providers.variables, ...credentials.variables })
      assert.strictEqual(settings.providers[0]?.id, "acme")
      assert.strictEqual(settings.systemCredentials.credentials[0]?.id, credential.id)
      assert.strictEqual(settings.systemCredentials.credentials[0]?.variant.type, "api_key")
    })
  )
})
