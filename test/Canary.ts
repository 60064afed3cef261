/**
 * Secrets that are looked for in everything that a service gives out: each as it is, and in the encodings in which it might
 * slip through.
 */
import { randomBytes } from "node:crypto"

/** Of bytes within others, whichever of three places in a group they begin at: what does not depend on their neighbours. */
const base64s = (bytes: Buffer, encoding: "base64" | "base64url"): ReadonlyArray<string> =>
  [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes])
      .toString(encoding)
      .replace(/=+$/, "")
    const whole = Math.floor(((before + bytes.length) * 8) / 6)
    return text.slice(before === 0 ? 0 : before + 1, whole)
  })

const quoted = (text: string) => JSON.stringify(text).slice(1, -1)

/** How a secret may be spelled. */
export const spellings = (secret: string): Readonly<Record<string, ReadonlyArray<string>>> => {
  const bytes = Buffer.from(secret, "utf8")
  return {
    plain: [secret],
    base64: base64s(bytes, "base64"),
    base64url: base64s(bytes, "base64url"),
    hex: [bytes.toString("hex"), bytes.toString("hex").toUpperCase()],
    escaped: [
      encodeURIComponent(secret),
      new URLSearchParams({ a: secret }).toString().slice(2),
      quoted(secret),
      quoted(quoted(secret))
    ]
  }
}

export interface Hit {
  readonly secret: string
  readonly encoding: string
  readonly place: string
  /** What is around it. */
  readonly text: string
}

export interface Canaries {
  /** A new secret; `odd`: with characters that encodings change. */
  readonly make: (name: string, shape?: "odd") => string
  /** A secret that somebody else made. */
  readonly learn: (name: string, secret: string | null | undefined) => void
  readonly count: () => number
  /** Where any of them is found. */
  readonly find: (outputs: ReadonlyMap<string, string | Buffer>) => ReadonlyArray<Hit>
}

export const make = (): Canaries => {
  const secrets = new Map<string, string>()
  const learn: Canaries["learn"] = (name, secret) => {
    if (typeof secret === "string" && secret.length >= 12) secrets.set(secret, name)
  }
  return {
    learn,
    make: (name, shape) => {
      const random = randomBytes(18).toString("base64url")
      const secret = shape === "odd" ? `cnr+${random}/"\\=&%ü` : `cnr-${random}`
      learn(name, secret)
      return secret
    },
    count: () => secrets.size,
    find: (outputs) =>
      [...outputs].flatMap(([place, output]) => {
        const text = (typeof output === "string" ? Buffer.from(output, "utf8") : output).toString("latin1")
        return [...secrets].flatMap(([secret, name]) =>
          Object.entries(spellings(secret)).flatMap(([encoding, all]) =>
            [...new Set(all)].flatMap((spelling): ReadonlyArray<Hit> => {
              const at = text.indexOf(Buffer.from(spelling, "utf8").toString("latin1"))
              return at < 0 ? [] : [{ secret: name, encoding, place, text: text.slice(Math.max(0, at - 120), at + 60) }]
            })
          )
        )
      })
  }
}
