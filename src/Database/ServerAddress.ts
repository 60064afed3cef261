/**
 * Where a Postgres server is and how to log in to it, as its URL says: nothing is taken from `PGHOST`, `PGPASSWORD` and
 * their like, nor from a password file.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { userInfo } from "node:os"

/**
 * How the connection is encrypted. `verify` trusts a certificate of a known authority, or of `rootCertificate`, for this
 * host; `encrypt` any.
 *
 * @since 0.1.0
 * @category models
 */
export type Encryption = "none" | "encrypt" | "verify-authority" | "verify"

/**
 * @since 0.1.0
 * @category models
 */
export interface ServerAddress {
  /** A name, an address, or the folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password: Redacted.Redacted
  readonly encryption: Encryption
  /** Files in PEM. */
  readonly rootCertificate: Option.Option<string>
  readonly certificate: Option.Option<string>
  readonly key: Option.Option<string>
  /** Command-line options for the session, as `options` of libpq. */
  readonly options: string
}

/**
 * What a URL must be, in words.
 *
 * @since 0.1.0
 */
export const expected = "the URL of a Postgres database, postgres://user:password@host:5432/database"

/** As in node-postgres, `require` verifies: encryption without verification protects from nobody who stands in between. */
const encryptions: Readonly<Record<string, Encryption>> = {
  disable: "none",
  "no-verify": "encrypt",
  prefer: "verify",
  require: "verify",
  "verify-ca": "verify-authority",
  "verify-full": "verify"
}

/**
 * Reads a URL as libpq does: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `options`, and `host` for the folder of a
 * socket; other parameters mean nothing here. None when it is no such URL.
 *
 * @see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 * @since 0.1.0
 * @category constructors
 */
export const parse = (text: string): Option.Option<ServerAddress> =>
  Option.liftThrowable(read)(text).pipe(Option.flatMap(Option.fromNullable))

const read = (text: string): ServerAddress | undefined => {
  const url = new URL(text)
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") return undefined
  const parameter = (name: string) => Option.fromNullable(url.searchParams.get(name) || null)
  const encryption = encryptions[Option.getOrElse(parameter("sslmode"), () => "disable")]
  const port = url.port === "" ? 5432 : Number(url.port)
  if (encryption === undefined || port === 0) return undefined
  const user = decodeURIComponent(url.username) || userInfo().username
  return {
    // an IPv6 address is in brackets only inside a URL
    host:
      decodeURIComponent(url.hostname).replace(/^\[|\]$/g, "") ||
      Option.getOrElse(parameter("host"), () => "localhost"),
    port,
    database: decodeURIComponent(url.pathname.slice(1)) || user,
    user,
    password: Redacted.make(decodeURIComponent(url.password)),
    encryption,
    rootCertificate: parameter("sslrootcert"),
    certificate: parameter("sslcert"),
    key: parameter("sslkey"),
    options: Option.getOrElse(parameter("options"), () => "")
  }
}

/**
 * The address for a person to read: no user, no password.
 *
 * @since 0.1.0
 */
export const show = ({ database, host, port }: ServerAddress): string =>
  host.startsWith("/") ? `${host} (${database})` : `${host.includes(":") ? `[${host}]` : host}:${port}/${database}`
