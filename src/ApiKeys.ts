/**
 * The keys that callers of the server show: 256 random bits, stored hashed, each with scopes and perhaps bound to one
 * user.
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
import { createHash, randomBytes, randomUUID, timingSafeEqual } from "node:crypto"
import type { UserId } from "./Credential.ts"
import type { StoreUnavailable } from "./CredentialsError.ts"

/**
 * What a key may do; `admin` is everything.
 *
 * @since 0.1.0
 * @category models
 */
export const Scope = Schema.Literal("read", "secret", "lease", "write", "connect", "admin")
export type Scope = typeof Scope.Type

/**
 * A key without its text.
 *
 * @since 0.1.0
 * @category models
 */
export interface ApiKey {
  readonly keyId: string
  readonly name: string
  readonly scopes: ReadonlyArray<Scope>
  /** The one user that the key works for; none: for all. */
  readonly userId: Option.Option<UserId>
  readonly createdAt: DateTime.Utc
}

/**
 * @since 0.1.0
 * @category ports
 */
export class ApiKeys extends Context.Tag("effect-credentials/ApiKeys")<
  ApiKeys,
  {
    /** Makes a key; its text is answered here and never again. */
    readonly create: (options: {
      readonly name: string
      readonly scopes: ReadonlyArray<Scope>
      readonly userId: Option.Option<UserId>
    }) => Effect.Effect<{ readonly key: Redacted.Redacted; readonly apiKey: ApiKey }, StoreUnavailable>
    /** The key of that text, if there is one. Takes the same time whatever part of it is wrong. */
    readonly verify: (key: Redacted.Redacted) => Effect.Effect<Option.Option<ApiKey>, StoreUnavailable>
    /** All but the bootstrap key, ordered by `createdAt`, then `keyId`. */
    readonly list: Effect.Effect<ReadonlyArray<ApiKey>, StoreUnavailable>
    /** False when there was none. */
    readonly remove: (keyId: string) => Effect.Effect<boolean, StoreUnavailable>
  }
>() {}

/**
 * What an engine implements to be `ApiKeys`.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Driver {
  readonly insert: (apiKey: ApiKey, hash: Uint8Array) => Effect.Effect<void, StoreUnavailable>
  readonly find: (
    keyId: string
  ) => Effect.Effect<Option.Option<{ readonly apiKey: ApiKey; readonly hash: Uint8Array }>, StoreUnavailable>
  readonly list: Effect.Effect<ReadonlyArray<ApiKey>, StoreUnavailable>
  readonly remove: (keyId: string) => Effect.Effect<boolean, StoreUnavailable>
}

const hash = (text: string) => createHash("sha256").update(text, "utf8").digest()

const shape = /^ec_([0-9a-f]{32})_[A-Za-z0-9_-]{43}$/

const toKeyId = (hex: string) => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")

/**
 * Keys over a driver, and the bootstrap key from configuration, which has the scope `admin` and is in no list. A key's
 * text is `ec_<key id>_<secret>`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (driver: Driver, bootstrap: Redacted.Redacted): ApiKeys["Type"] => {
  const bootstrapHash = hash(Redacted.value(bootstrap))
  const bootstrapKey: ApiKey = {
    keyId: "bootstrap",
    name: "bootstrap",
    scopes: ["admin"],
    userId: Option.none(),
    createdAt: DateTime.unsafeMake(0)
  }
  return ApiKeys.of({
    create: Effect.fnUntraced(function* ({ name, scopes, userId }) {
      const keyId = randomUUID()
      const key = `ec_${keyId.replaceAll("-", "")}_${randomBytes(32).toString("base64url")}`
      const apiKey: ApiKey = { keyId, name, scopes, userId, createdAt: yield* DateTime.now }
      yield* driver.insert(apiKey, hash(key))
      return { key: Redacted.make(key), apiKey }
    }),
    verify: (key) => {
      const text = Redacted.value(key)
      const given = hash(text)
      if (timingSafeEqual(given, bootstrapHash)) return Effect.succeed(Option.some(bootstrapKey))
      const hex = shape.exec(text)?.[1]
      if (hex === undefined) return Effect.succeed(Option.none())
      return Effect.map(
        driver.find(toKeyId(hex)),
        Option.flatMap((found) => (timingSafeEqual(given, found.hash) ? Option.some(found.apiKey) : Option.none()))
      )
    },
    list: driver.list,
    remove: driver.remove
  })
}

const makeMemory: Effect.Effect<Driver> = Effect.sync(() => {
  const keys = new Map<string, { readonly apiKey: ApiKey; readonly hash: Uint8Array }>()
  return {
    insert: (apiKey, hashed) => Effect.sync(() => void keys.set(apiKey.keyId, { apiKey, hash: hashed })),
    find: (keyId) => Effect.sync(() => Option.fromNullable(keys.get(keyId))),
    list: Effect.sync(() =>
      [...keys.values()]
        .map(({ apiKey }) => apiKey)
        .sort(
          (one, other) => one.createdAt.epochMillis - other.createdAt.epochMillis || (one.keyId < other.keyId ? -1 : 1)
        )
    ),
    remove: (keyId) => Effect.sync(() => keys.delete(keyId))
  }
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  driver: Effect.Effect<Driver, E, R>,
  options: { readonly bootstrap: Redacted.Redacted }
): Layer.Layer<ApiKeys, E, R> =>
  Layer.effect(
    ApiKeys,
    Effect.map(driver, (made) => make(made, options.bootstrap))
  )

/**
 * @since 0.1.0
 * @category layers
 */
export const layerMemory = (options: { readonly bootstrap: Redacted.Redacted }): Layer.Layer<ApiKeys> =>
  layer(makeMemory, options)
