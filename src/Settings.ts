/**
 * The settings of the server, from environment variables: the only place, with `main.ts`, that names them. All are read
 * before anything starts, and what is wrong is told at once: the variable, what was expected, an example.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import { stat } from "node:fs/promises"
import { isIPv4 } from "node:net"
import { join, resolve } from "node:path"
import * as CredentialBody from "./api/CredentialBody.ts"
import * as ServerAddress from "./Database/ServerAddress.ts"
import { clientVariables, Provider, requiredVariables } from "./Provider.ts"
import { toNew } from "./server/CredentialBody.ts"
import * as EncryptionKeys from "./Settings/EncryptionKeys.ts"
import * as JsonFile from "./Settings/JsonFile.ts"
import * as KeptSecret from "./Settings/KeptSecret.ts"
import * as Setting from "./Settings/Setting.ts"
import type { SystemCredential } from "./SystemCredentials.ts"
import type { Client } from "./TokenEndpoint.ts"

/**
 * The settings do not allow a start. Each problem names its variable.
 *
 * @since 0.1.0
 * @category errors
 */
export class BadSettings extends Data.TaggedError("BadSettings")<{ readonly problems: ReadonlyArray<string> }> {
  override get message() {
    return `The settings are not valid.\n${this.problems.map((problem) => `  ${problem}`).join("\n")}`
  }
}

/**
 * A secret of the service's own: given, or kept in a file since the first start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** Absent: where the server listens. */
  readonly publicUrl: Option.Option<string>
  /** Absent: the server's own callback. */
  readonly oauthRedirectUri: Option.Option<string>
  /** Absent: the embedded database, in the data directory. */
  readonly databaseUrl: Option.Option<Redacted.Redacted>
  /** Absent: locks are this process's own, and it must be the only one. */
  readonly redisUrl: Option.Option<Redacted.Redacted>
  readonly dataDirectory: string
  readonly encryptionKeys: EncryptionKeys.KeyRing
  readonly adminApiKey: Redacted.Redacted
  /** Where the key is kept that nobody set. */
  readonly adminApiKeyFile: Option.Option<string>
  /** The keys were made just now. */
  readonly isFirstStart: boolean
  readonly providers: ReadonlyArray<Provider>
  readonly systemCredentials: {
    readonly since: DateTime.Utc
    readonly credentials: ReadonlyArray<SystemCredential>
  }
  /** Which client the service is at a provider, looked up when it is asked for. */
  readonly clients: (provider: Provider) => Option.Option<Client>
  readonly allowLoopback: boolean
  readonly returnUrls: ReadonlyArray<string>
  readonly logLevel: LogLevel.LogLevel
  readonly logFormat: Option.Option<"pretty" | "json">
  /** Where traces and metrics go. */
  readonly otlpEndpoint: Option.Option<string>
}

const matching = (pattern: RegExp) => Option.liftPredicate((text: string) => pattern.test(text))

const absoluteUrl = Option.liftPredicate(
  (text: string) => URL.canParse(text) && /^https?:\/\/[^@\s]+$/.test(text) && new URL(text).hash === ""
)

const origin = (text: string) =>
  Option.filter(absoluteUrl(text), () => {
    const url = new URL(text)
    return url.pathname === "/" && url.search === ""
  }).pipe(Option.map((given) => new URL(given).origin))

const port = (text: string) => Option.filter(matching(/^\d{1,5}$/)(text), (digits) => Number(digits) <= 65_535)

const list = (text: string) =>
  Option.all(
    text
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== "")
      .map(absoluteUrl)
  )

const redisUrl = (text: string) =>
  URL.canParse(text) && /^rediss?:\/\/[^/?#]/.test(text) && /^(?:\/\d*)?$/.test(new URL(text).pathname)
    ? Option.some(Redacted.make(text))
    : Option.none()

const levels = ["all", "trace", "debug", "info", "warning", "error", "fatal", "none"] as const

const level = (text: string) =>
  Option.map(
    Option.fromNullable(levels.find((name) => name === text.toLowerCase().replace(/^warn$/, "warning"))),
    (name) => LogLevel.fromLiteral(`${name.charAt(0).toUpperCase()}${name.slice(1)}` as LogLevel.Literal)
  )

const logFormat = Option.liftPredicate(
  (text: string): text is "pretty" | "json" => text === "pretty" || text === "json"
)

const adminKeyExpected = "at least 16 characters, none of them a space"

const adminKey = (text: string) => Option.map(matching(/^[\u0021-\u007e]{16,4096}$/)(text), Redacted.make)

const isLoopback = (host: string) => host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."))

const url = "an absolute http(s) URL without a fragment"

const variables = Config.all({
  host: Setting.withDefault(
    "HOST",
    "an address to listen on",
    "127.0.0.1",
    matching(/^[A-Za-z0-9.:_-]{1,253}$/),
    "127.0.0.1"
  ),
  port: Config.map(Setting.withDefault("PORT", "a port from 0 to 65535", "8787", port, "8787"), Number),
  publicUrl: Setting.optional(
    "PUBLIC_URL",
    "an http(s) origin without a path",
    "https://credentials.example.com",
    origin
  ),
  oauthRedirectUri: Setting.optional("OAUTH_REDIRECT_URI", url, "https://app.example.com/oauth/callback", absoluteUrl),
  databaseUrl: Setting.optional(
    "DATABASE_URL",
    ServerAddress.expected,
    "postgres://credentials:secret@db.example.com:5432/credentials",
    (text) => Option.as(ServerAddress.parse(text), Redacted.make(text))
  ),
  redisUrl: Setting.optional(
    "REDIS_URL",
    "the URL of a Redis server, redis://user:password@host:6379 or rediss://…",
    "redis://redis.example.com:6379",
    redisUrl
  ),
  dataDirectory: Setting.withDefault("DATA_DIR", "a directory", "/var/lib/effect-credentials", Option.some, "./.data"),
  encryptionKeys: Setting.optional(
    "ENCRYPTION_KEYS",
    EncryptionKeys.expected,
    "k1:$(openssl rand -base64 32)",
    EncryptionKeys.parse
  ),
  adminApiKey: Setting.optional("ADMIN_API_KEY", adminKeyExpected, "$(openssl rand -hex 32)", adminKey),
  providersFile: Setting.optional("PROVIDERS_FILE", "a file", "./providers.json", Option.some),
  systemCredentialsFile: Setting.optional(
    "SYSTEM_CREDENTIALS_FILE",
    "a file",
    "./system-credentials.json",
    Option.some
  ),
  allowLoopback: Setting.withDefault(
    "OUTBOUND_ALLOW_LOOPBACK",
    "1, or nothing",
    "1",
    (text) => (text === "1" ? Option.some(true) : text === "0" ? Option.some(false) : Option.none()),
    false
  ),
  isProduction: Setting.withDefault(
    "NODE_ENV",
    "a word",
    "production",
    (text) => Option.some(text === "production"),
    false
  ),
  returnUrls: Setting.withDefault(
    "RETURN_URLS",
    "absolute http(s) URLs without fragments, separated by commas",
    "https://app.example.com/connected",
    list,
    []
  ),
  logLevel: Setting.withDefault("LOG_LEVEL", `one of ${levels.join(", ")}`, "info", level, LogLevel.Info),
  logFormat: Setting.optional("LOG_FORMAT", "pretty or json", "json", logFormat),
  otlpEndpoint: Setting.optional("OTEL_EXPORTER_OTLP_ENDPOINT", url, "http://127.0.0.1:4318", absoluteUrl)
})

/** What no variable can say alone. */
const together = (given: Config.Config.Success<typeof variables>): ReadonlyArray<string> => [
  // keys made for one machine would leave the others, and the next one, with what they cannot open
  ...(Option.isSome(given.databaseUrl) && Option.isNone(given.encryptionKeys)
    ? [
        "ENCRYPTION_KEYS: expected the keys that seal what is stored, since DATABASE_URL is set, the same for every server, for example ENCRYPTION_KEYS=k1:$(openssl rand -base64 32)"
      ]
    : []),
  ...(Option.isSome(given.databaseUrl) && Option.isNone(given.adminApiKey)
    ? [
        "ADMIN_API_KEY: expected the bootstrap key, since DATABASE_URL is set, the same for every server, for example ADMIN_API_KEY=$(openssl rand -hex 32)"
      ]
    : []),
  ...(Option.isNone(given.publicUrl) && !isLoopback(given.host)
    ? [
        `PUBLIC_URL: expected the origin that browsers and providers see, since HOST is ${given.host}, for example PUBLIC_URL=https://credentials.example.com`
      ]
    : []),
  ...(given.allowLoopback && given.isProduction
    ? [
        "OUTBOUND_ALLOW_LOOPBACK: expected nothing, since NODE_ENV is production: it opens this machine's own services to whoever may name a URL. Unset it, or run with NODE_ENV=development"
      ]
    : [])
]

const orProblem =
  (variable: string) =>
  <A, R>(effect: Effect.Effect<A, string, R>): Effect.Effect<A, BadSettings, R> =>
    Effect.mapError(effect, (problem) => new BadSettings({ problems: [`${variable}: ${problem}`] }))

/** What is kept in `DATA_DIR`, by its name there. */
type Keeping = (
  dataDirectory: string,
  name: string,
  make: () => string
) => Effect.Effect<KeptSecret.KeptSecret, BadSettings>

const orMade: Keeping = (dataDirectory, name, make) =>
  KeptSecret.getOrMake(join(dataDirectory, name), make).pipe(
    Effect.mapError(
      (error) =>
        `cannot keep ${name} in ${dataDirectory} (${error.code ?? "unknown"}): expected a directory to write to`
    ),
    orProblem("DATA_DIR")
  )

const asItIs: Keeping = (dataDirectory, name) =>
  KeptSecret.get(join(dataDirectory, name)).pipe(
    Effect.mapError(
      (error) =>
        `${name} in ${dataDirectory} cannot be read (${error.code ?? "unknown"}): expected the directory of the server, or DATABASE_URL, ENCRYPTION_KEYS and ADMIN_API_KEY as the server has them`
    ),
    orProblem("DATA_DIR")
  )

const generateAdminKey = () => `ec_admin_${randomBytes(32).toString("base64url")}`

const readAdminKey = (secret: KeptSecret.KeptSecret) =>
  Effect.mapError(
    adminKey(Redacted.value(secret.text)),
    () => new BadSettings({ problems: [`ADMIN_API_KEY: ${secret.file} does not hold ${adminKeyExpected}`] })
  )

const readKeyRing = (secret: KeptSecret.KeptSecret) =>
  Effect.mapError(
    EncryptionKeys.parse(Redacted.value(secret.text)),
    () => new BadSettings({ problems: [`ENCRYPTION_KEYS: ${secret.file} does not hold ${EncryptionKeys.expected}`] })
  )

const readProviders = (file: Option.Option<string>) =>
  Option.match(file, {
    onNone: () => Effect.succeed<ReadonlyArray<Provider>>([]),
    onSome: (path) => orProblem("PROVIDERS_FILE")(JsonFile.readArray(path, Provider))
  })

const readSystemCredentials = (file: Option.Option<string>) =>
  Option.match(file, {
    onNone: () => Effect.succeed({ since: DateTime.unsafeMake(0), credentials: [] }),
    onSome: (path) =>
      Effect.gen(function* () {
        const bodies = yield* JsonFile.readArray(path, CredentialBody.New)
        const credentials: Array<SystemCredential> = []
        for (const [index, body] of bodies.entries()) {
          if (body.id === undefined || credentials.some(({ id }) => id === body.id)) {
            return yield* Effect.fail(`${path}[${index}].id: expected a UUID that no other has`)
          }
          credentials.push({ ...toNew(body), id: body.id })
        }
        const { mtime } = yield* Effect.orElseFail(
          Effect.promise(() => stat(path)),
          () => `cannot read ${path}`
        )
        return { since: DateTime.unsafeMake(mtime), credentials }
      }).pipe(orProblem("SYSTEM_CREDENTIALS_FILE"))
  })

/** Where a variable cannot have many lines, a PEM is written in one. */
const toPem = (text: string) => Redacted.make(text.replaceAll("\\n", "\n"))

/** Looked up when it is first asked for: the variables of a process do not change. */
const clientsFrom = (provider: ConfigProvider.ConfigProvider) => {
  const look = (name: string): Option.Option<string> =>
    Effect.runSync(Effect.option(provider.load(Config.nonEmptyString(name))))
  const find = (definition: Provider): Option.Option<Client> => {
    const names = clientVariables(definition)
    if (requiredVariables(definition).some((name) => Option.isNone(look(name)))) return Option.none()
    const secret = look(names.secret)
    const privateKey = look(names.privateKey)
    const privateKeyId = look(names.privateKeyId)
    return Option.map(look(names.id), (id) => ({
      id,
      ...(Option.isSome(secret) && { secret: Redacted.make(secret.value) }),
      ...(Option.isSome(privateKey) && { privateKey: toPem(privateKey.value) }),
      ...(Option.isSome(privateKeyId) && { privateKeyId: privateKeyId.value })
    }))
  }
  const found = new Map<string, Option.Option<Client>>()
  return (definition: Provider): Option.Option<Client> => {
    const key = `${definition.id} ${definition.clientAuth}`
    const client = found.get(key) ?? find(definition)
    found.set(key, client)
    return client
  }
}

const loadWith = Effect.fnUntraced(function* (kept: Keeping): Effect.fn.Return<Settings, BadSettings> {
  const given = yield* Effect.mapError(variables, (error) => new BadSettings({ problems: Setting.problems(error) }))
  const problems = together(given)
  if (problems.length > 0) return yield* new BadSettings({ problems })
  const dataDirectory = resolve(given.dataDirectory)
  const providers = yield* readProviders(given.providersFile)
  const systemCredentials = yield* readSystemCredentials(given.systemCredentialsFile)
  const keys = Option.isSome(given.encryptionKeys)
    ? { ring: given.encryptionKeys.value, fresh: false }
    : yield* Effect.flatMap(kept(dataDirectory, "encryption.keys", EncryptionKeys.generate), (secret) =>
        Effect.map(readKeyRing(secret), (ring) => ({ ring, fresh: secret.fresh }))
      )
  const admin = Option.isSome(given.adminApiKey)
    ? { text: given.adminApiKey.value, file: Option.none<string>(), fresh: false }
    : yield* Effect.flatMap(kept(dataDirectory, "admin.key", generateAdminKey), (secret) =>
        Effect.map(readAdminKey(secret), (text) => ({ text, file: Option.some(secret.file), fresh: secret.fresh }))
      )
  return {
    host: given.host,
    port: given.port,
    publicUrl: given.publicUrl,
    oauthRedirectUri: given.oauthRedirectUri,
    databaseUrl: given.databaseUrl,
    redisUrl: given.redisUrl,
    dataDirectory,
    encryptionKeys: keys.ring,
    adminApiKey: admin.text,
    adminApiKeyFile: admin.file,
    isFirstStart: keys.fresh || admin.fresh,
    providers,
    systemCredentials,
    clients: clientsFrom(yield* Effect.configProviderWith(Effect.succeed)),
    allowLoopback: given.allowLoopback,
    returnUrls: given.returnUrls,
    logLevel: given.logLevel,
    logFormat: given.logFormat,
    otlpEndpoint: given.otlpEndpoint
  }
})

/**
 * Reads every setting by the fiber's `ConfigProvider`, the files that they name, and the keys that are kept in
 * `DATA_DIR`, which are made at the first start.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load: Effect.Effect<Settings, BadSettings> = loadWith(orMade)

/**
 * The same for what works on a server's data beside the server: keys that are not there are not made, but a problem.
 *
 * @since 0.1.0
 * @category constructors
 */
export const loadExisting: Effect.Effect<Settings, BadSettings> = loadWith(asItIs)
