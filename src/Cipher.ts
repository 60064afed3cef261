/**
 * Encryption at rest: AES-256-GCM in an envelope. Every stored version has a random data key of its own, wrapped by a
 * key of the ring; what the version is (its user, id, kind, generation …) is authenticated with it, so that bytes moved
 * to another row do not open.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto"

/**
 * Sealed bytes, and the id of the key that wrapped their data key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sealed {
  readonly keyId: string
  readonly bytes: Uint8Array
}

/**
 * The bytes do not open: damaged, moved, or sealed with a key that is not in the ring.
 *
 * @since 0.1.0
 * @category errors
 */
export class DoesNotOpen extends Data.TaggedError("DoesNotOpen")<{ readonly keyId: string }> {
  override get message() {
    return `Bytes sealed with key ${JSON.stringify(this.keyId)} do not open.`
  }
}

/**
 * What is authenticated with the bytes: the same list must be given to open them.
 *
 * @since 0.1.0
 * @category models
 */
export type Subject = ReadonlyArray<string | number>

/**
 * @since 0.1.0
 * @category ports
 */
export class Cipher extends Context.Tag("effect-credentials/Cipher")<
  Cipher,
  {
    /** Seals with the first key of the ring. */
    readonly seal: (plain: Uint8Array, subject: Subject) => Effect.Effect<Sealed>
    /** Opens what any key of the ring sealed for this very subject; else `DoesNotOpen`. */
    readonly open: (sealed: Sealed, subject: Subject) => Effect.Effect<Uint8Array, DoesNotOpen>
    /** Wraps the data key anew under the first key of the ring; the contents are not touched. */
    readonly rewrap: (sealed: Sealed, subject: Subject) => Effect.Effect<Sealed, DoesNotOpen>
    /** The ids of the ring, the sealing one first. */
    readonly keyIds: Arr.NonEmptyReadonlyArray<string>
  }
>() {}

/**
 * A key of the ring: 32 bytes, and the id that is stored beside what it seals.
 *
 * @since 0.1.0
 * @category models
 */
export interface Key {
  readonly id: string
  readonly bytes: Redacted.Redacted<Uint8Array>
}

const format = 1
const keyLength = 32
const nonceLength = 12
const tagLength = 16
const sealLength = nonceLength + tagLength
const wrappedLength = sealLength + keyLength
const algorithm = "aes-256-gcm"

const encrypt = (key: Uint8Array, plain: Uint8Array, associated: Uint8Array) => {
  const nonce = randomBytes(nonceLength)
  const cipher = createCipheriv(algorithm, key, nonce).setAAD(associated)
  const body = Buffer.concat([cipher.update(plain), cipher.final()])
  return Buffer.concat([nonce, cipher.getAuthTag(), body])
}

const decrypt = (key: Uint8Array, sealed: Uint8Array, associated: Uint8Array) => {
  const decipher = createDecipheriv(algorithm, key, sealed.subarray(0, nonceLength), { authTagLength: tagLength })
    .setAAD(associated)
    .setAuthTag(sealed.subarray(nonceLength, sealLength))
  return Buffer.concat([decipher.update(sealed.subarray(sealLength)), decipher.final()])
}

// JSON keeps the parts apart: ["ab","c"] and ["a","bc"] differ
const associatedData = (subject: Subject) => Buffer.from(JSON.stringify([format, ...subject]), "utf8")
const wrappingData = (keyId: string, associated: Uint8Array) => Buffer.concat([Buffer.from(`${keyId}\n`), associated])

/**
 * A cipher over a ring of keys: the first seals, all open. Bytes: format, wrapped data key, contents; each part is
 * nonce (12), tag (16), ciphertext.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (keys: readonly [Key, ...ReadonlyArray<Key>]): Cipher["Type"] => {
  const ring = new Map(keys.map((key) => [key.id, Redacted.value(key.bytes)]))
  const sealing = keys[0]
  const wrap = (dataKey: Uint8Array, associated: Uint8Array) =>
    encrypt(Redacted.value(sealing.bytes), dataKey, wrappingData(sealing.id, associated))

  const unwrap = (sealed: Sealed, associated: Uint8Array) => {
    const key = ring.get(sealed.keyId)
    if (key === undefined || sealed.bytes[0] !== format) throw new Error("unknown key or format")
    const wrapped = sealed.bytes.subarray(1, 1 + wrappedLength)
    return decrypt(key, wrapped, wrappingData(sealed.keyId, associated))
  }

  /** Whatever is thrown on the way: it does not open. */
  const opening = <A>(sealed: Sealed, subject: Subject, run: (associated: Uint8Array) => A) =>
    Effect.try({
      try: () => run(associatedData(subject)),
      catch: () => new DoesNotOpen({ keyId: sealed.keyId })
    })

  return Cipher.of({
    keyIds: Arr.map(keys, (key) => key.id),
    seal: (plain, subject) =>
      Effect.sync(() => {
        const associated = associatedData(subject)
        const dataKey = randomBytes(keyLength)
        const bytes = Buffer.concat([Buffer.of(format), wrap(dataKey, associated), encrypt(dataKey, plain, associated)])
        return { keyId: sealing.id, bytes }
      }),
    open: (sealed, subject) =>
      opening(sealed, subject, (associated) =>
        decrypt(unwrap(sealed, associated), sealed.bytes.subarray(1 + wrappedLength), associated)
      ),
    rewrap: (sealed, subject) =>
      opening(sealed, subject, (associated) => ({
        keyId: sealing.id,
        bytes: Buffer.concat([
          Buffer.of(format),
          wrap(unwrap(sealed, associated), associated),
          sealed.bytes.subarray(1 + wrappedLength)
        ])
      }))
  })
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (keys: readonly [Key, ...ReadonlyArray<Key>]): Layer.Layer<Cipher> =>
  Layer.sync(Cipher, () => make(keys))

/**
 * One random key, forgotten with the process: for tests.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Cipher> = Layer.sync(Cipher, () =>
  make([{ id: "memory", bytes: Redacted.make(randomBytes(keyLength)) }])
)
