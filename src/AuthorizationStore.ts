/**
 * Logins that were begun and not yet finished: kept for ten minutes, found by a `state` that is stored hashed, and taken
 * once (RFC 6749 10.12, RFC 9700 4.7).
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { Cipher } from "./Cipher.ts"
import { CredentialId, Extra, ProviderId, SecretText, UserId } from "./Credential.ts"
import type { StoreUnavailable } from "./CredentialsError.ts"
import * as Rewrapping from "./Rewrapping.ts"

/**
 * A login under way.
 *
 * @since 0.1.0
 * @category models
 */
export const Authorization = Schema.Struct({
  userId: UserId,
  provider: ProviderId,
  createdAt: Schema.DateTimeUtc,
  expiresAt: Schema.DateTimeUtc,
  /** What the browser is sent to. */
  authorizationUrl: Schema.Redacted(Schema.String),
  redirectUri: Schema.String,
  /** RFC 7636; none where the provider does not support it. */
  codeVerifier: Schema.optionalWith(SecretText, { exact: true }),
  scopes: Schema.Array(Schema.String),
  returnTo: Schema.optionalWith(Schema.String, { exact: true }),
  /** RFC 8628: what is asked with until the user is done, how often, and when next. */
  device: Schema.optionalWith(
    Schema.Struct({ deviceCode: SecretText, intervalSeconds: Schema.Number, nextPollAt: Schema.DateTimeUtc }),
    { exact: true }
  ),
  /** The credential to reconnect in place. */
  credentialId: Schema.optionalWith(CredentialId, { exact: true }),
  /** The id that a new credential gets; one that has it by then is replaced. Absent: a random one. */
  newCredentialId: Schema.optionalWith(CredentialId, { exact: true }),
  /** Whether the reconnected account may be another than before. */
  anyAccount: Schema.optionalWith(Schema.Boolean, { exact: true }),
  /** The cookie that the callback demands, where the login is bound to a browser. */
  browserSecret: Schema.optionalWith(SecretText, { exact: true }),
  /** What the credential will keep: URL variables, an MCP server's endpoints and client. */
  extra: Schema.Redacted(Extra)
})
export type Authorization = typeof Authorization.Type

/**
 * @since 0.1.0
 * @category ports
 */
export class AuthorizationStore extends Context.Tag("effect-credentials/AuthorizationStore")<
  AuthorizationStore,
  {
    /** Keeps a login under its state until it expires. */
    readonly put: (state: Redacted.Redacted, authorization: Authorization) => Effect.Effect<void, StoreUnavailable>
    /** Looks at a login without taking it. */
    readonly find: (state: Redacted.Redacted) => Effect.Effect<Option.Option<Authorization>, StoreUnavailable>
    /**
     * Takes a login: of any number of callers one gets it. None when it is unknown, taken, expired, or of another user or
     * provider than named (which leaves it where it is).
     */
    readonly take: (
      state: Redacted.Redacted,
      by: { readonly userId?: UserId; readonly provider?: ProviderId }
    ) => Effect.Effect<Option.Option<Authorization>, StoreUnavailable>
    /** Drops what a user has under way. */
    readonly removeUser: (userId: UserId) => Effect.Effect<void, StoreUnavailable>
    /** Drops what has expired. */
    readonly prune: Effect.Effect<void, StoreUnavailable>
    /** Brings the logins under way under the first key of the ring. */
    readonly rewrapping: Rewrapping.Rewrapping<StoreUnavailable>
  }
>() {}

/**
 * A login as a driver keeps it.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface AuthorizationRow {
  readonly stateHash: string
  readonly userId: string
  readonly provider: string
  readonly expiresAt: Date
  readonly keyId: string
  readonly sealed: Uint8Array
}

/**
 * What an engine implements to be an `AuthorizationStore`.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Driver {
  readonly put: (row: AuthorizationRow) => Effect.Effect<void, StoreUnavailable>
  readonly find: (stateHash: string) => Effect.Effect<Option.Option<AuthorizationRow>, StoreUnavailable>
  /** Removes and returns the row if its user and provider are these (`null`: any). */
  readonly take: (
    stateHash: string,
    userId: string | null,
    provider: string | null
  ) => Effect.Effect<Option.Option<AuthorizationRow>, StoreUnavailable>
  readonly removeUser: (userId: string) => Effect.Effect<void, StoreUnavailable>
  readonly prune: (before: Date) => Effect.Effect<void, StoreUnavailable>
  readonly sealed: Rewrapping.SealedRows<AuthorizationRow, StoreUnavailable>
}

const Contents = Schema.parseJson(Authorization)
const encodeContents = Schema.encodeSync(Contents)
const decodeContents = Schema.decodeUnknown(Contents)

const hash = (state: Redacted.Redacted) =>
  createHash("sha256").update(Redacted.value(state), "utf8").digest("base64url")

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  driver: Driver
): Effect.fn.Return<AuthorizationStore["Type"], never, Cipher> {
  const cipher = yield* Cipher

  const subject = (row: Pick<AuthorizationRow, "stateHash" | "userId" | "provider">) =>
    ["authorization", row.stateHash, row.userId, row.provider] as const

  /** A login that does not open, or whose time is over, is none. */
  const open = (row: AuthorizationRow) =>
    cipher.open({ keyId: row.keyId, bytes: row.sealed }, subject(row)).pipe(
      Effect.flatMap((plain) => decodeContents(Buffer.from(plain).toString("utf8"))),
      Effect.option,
      Effect.zipWith(DateTime.now, (authorization, now) =>
        Option.filter(authorization, (pending) => DateTime.greaterThan(pending.expiresAt, now))
      )
    )

  const openFound = Effect.flatMap(
    Option.match({ onNone: () => Effect.succeed(Option.none<Authorization>()), onSome: open })
  )

  return AuthorizationStore.of({
    put: Effect.fnUntraced(function* (state, authorization) {
      const row = {
        stateHash: hash(state),
        userId: authorization.userId,
        provider: authorization.provider,
        expiresAt: DateTime.toDateUtc(authorization.expiresAt)
      }
      const sealed = yield* cipher.seal(Buffer.from(encodeContents(authorization), "utf8"), subject(row))
      yield* driver.put({ ...row, keyId: sealed.keyId, sealed: sealed.bytes })
    }),
    find: (state) => openFound(driver.find(hash(state))),
    take: (state, by) => openFound(driver.take(hash(state), by.userId ?? null, by.provider ?? null)),
    removeUser: driver.removeUser,
    prune: Effect.flatMap(DateTime.now, (now) => driver.prune(DateTime.toDateUtc(now))),
    rewrapping: Rewrapping.make(cipher, { name: "authorizations", rows: driver.sealed, subject })
  })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(driver: Effect.Effect<Driver, E, R>): Layer.Layer<AuthorizationStore, E, R | Cipher> =>
  Layer.effect(AuthorizationStore, Effect.flatMap(driver, make))

/**
 * A driver over a map.
 *
 * @since 0.1.0
 * @category drivers
 */
export const makeMemory: Effect.Effect<Driver> = Effect.sync(() => {
  const rows = new Map<string, AuthorizationRow>()
  return {
    put: (row) => Effect.sync(() => void rows.set(row.stateHash, row)),
    find: (stateHash) => Effect.sync(() => Option.fromNullable(rows.get(stateHash))),
    take: (stateHash, userId, provider) =>
      Effect.sync(() => {
        const row = rows.get(stateHash)
        if (
          row === undefined ||
          (userId !== null && row.userId !== userId) ||
          (provider !== null && row.provider !== provider)
        ) {
          return Option.none()
        }
        rows.delete(stateHash)
        return Option.some(row)
      }),
    removeUser: (userId) =>
      Effect.sync(() => {
        for (const row of rows.values()) if (row.userId === userId) rows.delete(row.stateHash)
      }),
    prune: (before) =>
      Effect.sync(() => {
        for (const row of rows.values()) if (row.expiresAt <= before) rows.delete(row.stateHash)
      }),
    sealed: Rewrapping.inMemory({
      all: () => [...rows.values()],
      get: (row) => rows.get(row.stateHash),
      id: (row) => [row.stateHash],
      put: (row) => rows.set(row.stateHash, row)
    })
  }
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<AuthorizationStore, never, Cipher> = layer(makeMemory)
