/**
 * The text form of a key ring: `id:base64(32 bytes)`, separated by commas.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import type { Key } from "../Cipher.ts"

/**
 * @since 0.1.0
 * @category models
 */
export type KeyRing = readonly [Key, ...ReadonlyArray<Key>]

/**
 * What the text must be.
 *
 * @since 0.1.0
 */
export const expected = "id:base64 of 32 bytes, separated by commas, each id once"

const shape = /^([A-Za-z0-9._-]{1,64}):([A-Za-z0-9+/]{43}=?)$/

const parseKey = (text: string): Option.Option<Key> => {
  const [, id, base64] = shape.exec(text.trim()) ?? []
  if (id === undefined || base64 === undefined) return Option.none()
  const bytes = Buffer.from(base64, "base64")
  return bytes.length === 32 ? Option.some({ id, bytes: Redacted.make<Uint8Array>(bytes) }) : Option.none()
}

/**
 * @since 0.1.0
 */
export const parse = (text: string): Option.Option<KeyRing> =>
  Option.all(text.split(",").map(parseKey)).pipe(
    Option.filter((keys) => new Set(keys.map(({ id }) => id)).size === keys.length),
    Option.filter((keys): keys is [Key, ...Array<Key>] => Arr.isNonEmptyReadonlyArray(keys))
  )

/**
 * The text of a ring of one new key.
 *
 * @since 0.1.0
 */
export const generate = (): string => `k1:${randomBytes(32).toString("base64")}`
