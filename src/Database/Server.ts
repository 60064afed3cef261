/**
 * A database on a Postgres server, which any number of processes share.
 *
 * @since 0.1.0
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import type { ConnectionOptions } from "node:tls"
import * as Pg from "pg"
import * as Connections from "./Connections.ts"
import * as ServerAddress from "./ServerAddress.ts"

const advice = {
  address: `is not ${ServerAddress.expected}: correct DATABASE_URL`,
  silent: "does not answer: start it, or correct the host and port in DATABASE_URL",
  busy: "takes no connection just now: wait until it has started, or allow more of them (max_connections)",
  login:
    "refuses the user, the password or an unencrypted connection: correct DATABASE_URL (with ?sslmode=require to encrypt), or pg_hba.conf",
  database: "has no such database: create it (createdb), or correct the name at the end of DATABASE_URL",
  encryption: "takes no encrypted connections: turn on ssl there, or end DATABASE_URL in ?sslmode=disable",
  certificate:
    "shows a certificate that is not trusted: name its authority's file in DATABASE_URL with ?sslrootcert=/path/to/ca.pem, or take any certificate with ?sslmode=no-verify",
  certificateFile:
    "cannot be asked, because a file that DATABASE_URL names does not open (sslrootcert, sslcert, sslkey)",
  pooler: "is behind a pooler that takes no session settings: name the server itself in DATABASE_URL",
  standby: "is a standby, or only for reading: name the primary in DATABASE_URL",
  encoding: "does not store Unicode: create the database anew (createdb --encoding=UTF8 --template=template0)",
  permission:
    "does not let this user make tables: grant create on the schema public, or name its owner in DATABASE_URL",
  failed: "refuses to work"
} as const

/**
 * There is no database to work with at the address. `code` is the server's or the system's own word for why.
 *
 * @since 0.1.0
 * @category errors
 */
export class DatabaseUnreachable extends Data.TaggedError("DatabaseUnreachable")<{
  /** Without user and password. */
  readonly address: string
  readonly reason: keyof typeof advice
  readonly code: string
}> {
  override get message() {
    return `The database ${this.address} ${advice[this.reason]} (${this.code}).`
  }

  /** The same may succeed later, with nothing corrected. */
  get isPassing() {
    return this.reason === "silent" || this.reason === "busy" || this.reason === "standby"
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** `ServerAddress.parse` says what it may hold. */
  readonly url: Redacted.Redacted
  /** How many connections there are at most: 10 unless said. */
  readonly poolSize?: number | undefined
  /** How long a statement may take, waits for locks included: 5 seconds unless said. */
  readonly patience?: Duration.DurationInput | undefined
  /** Settings of the sessions, beside those that are made here. */
  readonly session?: Readonly<Record<string, string | number>> | undefined
}

/**
 * A Postgres client over the server at the URL. Fails with `DatabaseUnreachable` when no session can be had there within
 * five seconds, or when what is there would not do: a standby, another encoding than UTF-8, no right to make tables.
 *
 * - Nobody waits without end: three seconds for a connection, or for a turn at one while nobody else ends theirs; then
 *   `patience` for a statement, by the server's clock, and a second longer by this process', which then gives up the
 *   connection: a server that was cut off says nothing.
 * - A connection is used again only when the server has said that it is ready. One whose statement failed, was given up
 *   or interrupted is closed, so that nobody gets what is left of another one's. An interrupted statement may be done.
 * - Acknowledged is on disk: sessions by whose default a commit would not wait for it (`synchronous_commit = off`) do.
 * - Each transaction is `read committed`, whatever the database's default is.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, DatabaseUnreachable> =>
  Layer.scopedContext(
    Effect.map(make(options), (client) =>
      Context.make(PgClient.PgClient, client).pipe(Context.add(SqlClient.SqlClient, client))
    )
  )

/**
 * The client of `layer`, for as long as the scope lives.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fn("Database.Server.make")(function* (
  options: Options
): Effect.fn.Return<PgClient.PgClient, DatabaseUnreachable, Scope.Scope> {
  const address = yield* ServerAddress.parse(Redacted.value(options.url)).pipe(
    Effect.mapError(() => new DatabaseUnreachable({ address: "of DATABASE_URL", reason: "address", code: "not a URL" }))
  )
  const patience = Duration.toMillis(options.patience ?? "5 seconds")
  const connection = yield* connectionTo(address)
  const { synchronousCommit } = yield* inspect(address, connection)
  const config = {
    ...connection,
    max: options.poolSize ?? 10,
    idleTimeoutMillis: 60_000,
    // a server that has changed its role, or its address, is left within this time
    maxLifetimeSeconds: 600,
    options: sessionOptions(address, {
      ...(synchronousCommit === "off" && { synchronous_commit: "on" }),
      default_transaction_isolation: "read committed",
      statement_timeout: patience,
      idle_in_transaction_session_timeout: 2 * patience,
      ...options.session
    })
  }
  const acquire = Connections.make(config, {
    connectWithin: Duration.seconds(3),
    answerWithin: Duration.millis(patience + 1_000)
  })
  return yield* PgClient.fromPool({ acquire }).pipe(
    Effect.provide(Reactivity.layer),
    Effect.mapError((error) => refusalOf(address, error.cause))
  )
})

/** As an element of the startup message: spaces part the settings, unless a backslash is before them. */
const sessionOptions = (address: ServerAddress.ServerAddress, settings: Readonly<Record<string, string | number>>) =>
  [
    address.options,
    ...Object.entries({ DateStyle: "ISO", ...settings }).map(
      ([name, value]) => `-c ${name}=${String(value).replace(/[\\ ]/g, "\\$&")}`
    )
  ]
    .filter((option) => option !== "")
    .join(" ")

type Connection = Pg.ClientConfig & { readonly enableChannelBinding?: boolean }

/** Everything spelled out, because `pg` fills gaps from PGHOST, PGPASSWORD and their like. */
const connectionTo = (address: ServerAddress.ServerAddress): Effect.Effect<Connection, DatabaseUnreachable> =>
  Effect.map(encryptionOf(address), (ssl) => ({
    host: address.host,
    port: address.port,
    database: address.database,
    user: address.user,
    // a function, because an empty password would be a gap
    password: () => Redacted.value(address.password),
    ssl,
    application_name: "effect-credentials",
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000
  }))

const encryptionOf = (
  address: ServerAddress.ServerAddress
): Effect.Effect<ConnectionOptions | false, DatabaseUnreachable> =>
  address.encryption === "none"
    ? Effect.succeed(false)
    : Effect.try({
        try: () => ({
          rejectUnauthorized: address.encryption !== "encrypt",
          ...(address.encryption === "verify-authority" && { checkServerIdentity: () => undefined }),
          ...fileAs("ca", address.rootCertificate),
          ...fileAs("cert", address.certificate),
          ...fileAs("key", address.key)
        }),
        catch: (cause) =>
          new DatabaseUnreachable({
            address: ServerAddress.show(address),
            reason: "certificateFile",
            code: codeOf(cause) ?? "unreadable"
          })
      })

const fileAs = (name: "ca" | "cert" | "key", path: Option.Option<string>) =>
  Option.match(path, { onNone: () => ({}), onSome: (file) => ({ [name]: Fs.readFileSync(file, "utf8") }) })

interface Facts {
  readonly isStandby: boolean
  readonly encoding: string
  readonly mayMigrate: boolean
  readonly synchronousCommit: string
}

const facts = `
  select
    pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as "isStandby",
    current_setting('server_encoding') as encoding,
    coalesce(has_schema_privilege(current_schema(), 'create'), false)
      or to_regclass('effect_credentials_migrations') is not null as "mayMigrate",
    current_setting('synchronous_commit') as "synchronousCommit"`

/** Over a connection of its own, which says more about a refusal than a pool does. */
const inspect = (
  address: ServerAddress.ServerAddress,
  connection: Connection
): Effect.Effect<Facts, DatabaseUnreachable> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const client = new Pg.Client({
        ...connection,
        connectionTimeoutMillis: 5_000,
        query_timeout: 5_000,
        options: sessionOptions(address, {})
      })
      client.on("error", () => {})
      return client
    }),
    (client) =>
      Effect.tryPromise({
        try: async () => {
          await client.connect()
          const { rows } = await client.query<Facts>(facts)
          return rows
        },
        catch: (cause) => refusalOf(address, cause)
      }).pipe(
        Effect.flatMap(([found]) => {
          const refuse = (reason: DatabaseUnreachable["reason"], code: string) =>
            new DatabaseUnreachable({ address: ServerAddress.show(address), reason, code })
          if (found === undefined) return refuse("failed", "no answer")
          if (found.isStandby) return refuse("standby", "transaction_read_only")
          if (found.encoding !== "UTF8") return refuse("encoding", found.encoding)
          if (!found.mayMigrate) return refuse("permission", "42501")
          return Effect.succeed(found)
        })
      ),
    (client) => Effect.promise(() => client.end()).pipe(Effect.interruptible, Effect.timeoutOption("1 second"))
  )

const codeOf = (cause: unknown): string | undefined =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : undefined

/** Postgres' own words may name users and parameters of the URL: of them only the code is told. */
const refusalOf = (address: ServerAddress.ServerAddress, cause: unknown): DatabaseUnreachable => {
  const words = cause instanceof Error ? cause.message : ""
  const code = codeOf(cause) ?? (/time.?out/i.test(words) ? "ETIMEDOUT" : "closed")
  return new DatabaseUnreachable({ address: ServerAddress.show(address), reason: reasonOf(code, words), code })
}

const reasonOf = (code: string, words: string): DatabaseUnreachable["reason"] => {
  if (code === "3D000") return "database"
  if (code.startsWith("28")) return "login"
  if (code === "53300" || code === "57P03") return "busy"
  if (/startup parameter/i.test(words)) return "pooler"
  if (/does not support SSL/i.test(words)) return "encryption"
  if (/CERT|VERIFY|ISSUER|ERR_TLS/.test(code)) return "certificate"
  return /^E[A-Z]|^closed$|^57P/.test(code) ? "silent" : "failed"
}
