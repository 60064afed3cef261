import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { OAuth2 } from "../src/Credential.ts"
import { type TokenSet, toVariant } from "../src/TokenSet.ts"

const at = DateTime.unsafeMake("2026-01-01T00:00:00Z")
const later = (seconds: number) => DateTime.add(at, { seconds })

const tokens = (fields: Partial<TokenSet> = {}): TokenSet => ({
  accessToken: Redacted.make("access"),
  refreshToken: Option.some(Redacted.make("refresh")),
  lifetimeSeconds: Option.none(),
  refreshLifetimeSeconds: Option.none(),
  refreshLifetimeRenews: true,
  scopes: Option.none(),
  subject: Option.none(),
  kept: Redacted.make({}),
  ...fields
})

const before = (fields: Partial<OAuth2> = {}) => ({ scopes: ["repo"], refreshToken: Redacted.make("old"), ...fields })

const lifetimes = ({
  accessTokenExpiresAt,
  lifetimeSeconds,
  refreshLifetimeSeconds,
  refreshTokenExpiresAt
}: OAuth2) => ({
  accessTokenExpiresAt,
  lifetimeSeconds,
  refreshLifetimeSeconds,
  refreshTokenExpiresAt
})

const none = {
  accessTokenExpiresAt: undefined,
  lifetimeSeconds: undefined,
  refreshLifetimeSeconds: undefined,
  refreshTokenExpiresAt: undefined
}

describe("an access token", () => {
  it("lives as long as the answer says, whatever those before it did", () => {
    const variant = toVariant(tokens({ lifetimeSeconds: Option.some(60) }), before({ lifetimeSeconds: 3600 }), at)
    assert.deepStrictEqual(lifetimes(variant), { ...none, accessTokenExpiresAt: later(60), lifetimeSeconds: 60 })
  })

  it("without a lifetime has no expiry, and is expected to live as long as those before it", () => {
    assert.deepStrictEqual(lifetimes(toVariant(tokens(), before(), at)), none)
    assert.deepStrictEqual(
      lifetimes(toVariant(tokens(), before({ lifetimeSeconds: 3600, accessTokenExpiresAt: at }), at)),
      { ...none, lifetimeSeconds: 3600 }
    )
  })
})

describe("a refresh token", () => {
  const answered = (seconds: number) => tokens({ refreshLifetimeSeconds: Option.some(seconds) })

  it("has its grant's lifetime from the longest answer, so that a grant that runs out shows", () => {
    const first = toVariant(answered(1_000), { scopes: [] }, at)
    assert.deepStrictEqual([first.refreshLifetimeSeconds, first.refreshTokenExpiresAt], [1_000, later(1_000)])
    const second = toVariant(answered(400), first, later(600))
    assert.deepStrictEqual([second.refreshLifetimeSeconds, second.refreshTokenExpiresAt], [1_000, later(1_000)])
    assert.strictEqual(toVariant(answered(2_000), second, at).refreshLifetimeSeconds, 2_000)
  })

  it("that goes on keeps its end; a new one of which nothing is said has none", () => {
    const known = { refreshTokenExpiresAt: later(500), refreshLifetimeSeconds: 1_000 }
    assert.deepStrictEqual(lifetimes(toVariant(tokens({ refreshToken: Option.none() }), before(known), at)), {
      ...none,
      ...known
    })
    assert.deepStrictEqual(lifetimes(toVariant(tokens(), before(known), at)), none)
  })

  it("of a grant whose life counts from the login ends with that, however often it is replaced", () => {
    const known = { refreshTokenExpiresAt: later(500), refreshLifetimeSeconds: 1_000 }
    const replaced = tokens({ refreshLifetimeRenews: false })
    const first = toVariant(replaced, before(known), at)
    assert.deepStrictEqual(lifetimes(toVariant(replaced, first, later(100))), { ...none, ...known })
    const said = toVariant({ ...answered(300), refreshLifetimeRenews: false }, before(known), at)
    assert.deepStrictEqual(said.refreshTokenExpiresAt, later(300))
  })
})
