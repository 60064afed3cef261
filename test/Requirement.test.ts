import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as FastCheck from "effect/FastCheck"
import { randomUUID } from "node:crypto"
import * as Credential from "../src/Credential.ts"
import * as Requirement from "../src/Requirement.ts"

const now = DateTime.unsafeMake("2026-01-01T00:00:00Z")
const provider = (name: string) => Credential.providerId(name)

const metadataOf = (fields: Partial<Credential.Metadata> = {}): Credential.Metadata => ({
  id: Credential.CredentialId.to.make(randomUUID()),
  userId: Credential.UserId.make("user"),
  type: "oauth2",
  provider: provider("github"),
  scopes: ["repo", "user"],
  status: "active",
  generation: 1,
  createdAt: now,
  updatedAt: now,
  ...fields
})

const need = (fields: Partial<Requirement.Requirement> = {}): Requirement.Requirement => ({
  name: "need",
  provider: provider("github"),
  ...fields
})

const idFor = (requirement: Requirement.Requirement, ...credentials: ReadonlyArray<Credential.Metadata>) =>
  Requirement.match([requirement], credentials, now).matches[0]?.credentialId

describe("a credential fits", () => {
  it("a requirement of its provider, whatever else, unless the requirement says more", () => {
    assert.isTrue(Requirement.fits(need(), metadataOf()))
    assert.isTrue(Requirement.fits(need(), metadataOf({ type: "api_key" })))
    assert.isFalse(Requirement.fits(need(), metadataOf({ provider: provider("gitlab") })))
  })

  it("a requirement that lists its type", () => {
    assert.isTrue(Requirement.fits(need({ types: ["api_key", "oauth2"] }), metadataOf()))
    assert.isFalse(Requirement.fits(need({ types: ["api_key"] }), metadataOf()))
    assert.isFalse(Requirement.fits(need({ types: [] }), metadataOf()))
  })

  it("only when all scopes that are needed were granted; of other types no scopes are asked", () => {
    assert.isTrue(Requirement.fits(need({ scopes: [] }), metadataOf()))
    assert.isTrue(Requirement.fits(need({ scopes: ["user"] }), metadataOf()))
    assert.isFalse(Requirement.fits(need({ scopes: ["user", "admin"] }), metadataOf()))
    const { scopes: _, ...unscoped } = metadataOf()
    assert.isFalse(Requirement.fits(need({ scopes: ["user"] }), unscoped))
    assert.isTrue(Requirement.fits(need({ scopes: ["user"] }), metadataOf({ type: "api_key" })))
  })

  it("the host that will be called, when it is bound to hosts", () => {
    const bound = (host: string) => metadataOf({ type: "host_scoped", host })
    assert.isTrue(Requirement.fits(need({ host: "api.example.com" }), bound("*.example.com")))
    assert.isFalse(Requirement.fits(need({ host: "api.example.org" }), bound("*.example.com")))
    assert.isTrue(Requirement.fits(need({ host: "api.example.org" }), metadataOf()))
  })

  it("the MCP server that it was made for, and no other; the same URL in another spelling is the same server", () => {
    const login = metadataOf({
      provider: provider("mcp"),
      metadata: { mcp_server_url: "https://mcp.example.com/sse" }
    })
    const server = (serverUrl: string) => need({ provider: provider("mcp"), serverUrl })
    for (const same of [
      "https://mcp.example.com/sse",
      "https://MCP.example.com:443/sse/",
      "HTTPS://mcp.example.com/sse#x"
    ]) {
      assert.isTrue(Requirement.fits(server(same), login), same)
    }
    for (const other of [
      "https://mcp.example.com/",
      "https://mcp.example.com/sse/v2",
      "https://mcp.example.com/sse?tenant=1",
      "http://mcp.example.com/sse",
      "https://mcp.example.com:8443/sse",
      "https://mcp.example.org/sse",
      "not a url",
      ""
    ]) {
      assert.isFalse(Requirement.fits(server(other), login), other)
    }
    assert.isFalse(Requirement.fits(server("https://mcp.example.com/sse"), metadataOf({ provider: provider("mcp") })))
  })
})

describe("match", () => {
  it("picks the first that fits and serves, in the order given, and lists all that fit", () => {
    const [expired, renewable, lost, spare] = [
      metadataOf({ type: "api_key", expiresAt: now }),
      metadataOf({ accessTokenExpiresAt: now }),
      metadataOf({ status: "needs_reauth" }),
      metadataOf()
    ] as const
    const all = [lost, expired, renewable, spare]
    assert.deepStrictEqual(Requirement.match([need()], all, now), {
      matches: [{ name: "need", credentialId: renewable.id, candidates: all }],
      missing: []
    })
    assert.strictEqual(idFor(need(), lost, expired), null)
    assert.strictEqual(idFor(need(), spare, renewable), spare.id)
  })

  it("an API key serves until it expires; what cannot be opened serves nobody", () => {
    const key = metadataOf({ type: "api_key", expiresAt: DateTime.add(now, { millis: 1 }) })
    assert.strictEqual(idFor(need(), key), key.id)
    assert.strictEqual(idFor(need(), metadataOf({ status: "undecryptable" })), null)
  })

  it("names what is missing, and keeps the order of the requirements", () => {
    const mine = metadataOf()
    const requirements = [
      need({ name: "one", provider: provider("gitlab") }),
      need({ name: "two" }),
      need({ name: "three", scopes: ["admin"] })
    ]
    const { matches, missing } = Requirement.match(requirements, [mine], now)
    assert.deepStrictEqual(
      matches.map(({ credentialId, name }) => [name, credentialId]),
      [
        ["one", null],
        ["two", mine.id],
        ["three", null]
      ]
    )
    assert.deepStrictEqual(missing, ["one", "three"])
  })

  it("each MCP server is a requirement of its own: of two logins each serves its server", () => {
    const login = (url: string) => metadataOf({ provider: provider("mcp"), metadata: { mcp_server_url: url } })
    const server = (name: string, serverUrl: string) => need({ name, provider: provider("mcp"), serverUrl })
    const urls = ["https://one.example.com/mcp", "https://two.example.com/mcp"] as const
    const [one, two] = [login(urls[0]), login(urls[1])]
    const { matches, missing } = Requirement.match(
      [server("two", urls[1]), server("one", urls[0]), server("three", "https://three.example.com/mcp")],
      [one, two],
      now
    )
    assert.deepStrictEqual(
      matches.map(({ credentialId }) => credentialId),
      [two.id, one.id, null]
    )
    assert.deepStrictEqual(missing, ["three"])
  })

  const anyMetadata = FastCheck.record({
    id: FastCheck.uuid().map((text) => Credential.CredentialId.to.make(text)),
    type: FastCheck.constantFrom(...Credential.Type.literals),
    provider: FastCheck.constantFrom("github", "mcp").map(provider),
    scopes: FastCheck.subarray(["a", "b"]),
    status: FastCheck.constantFrom(...Credential.Status.literals)
  }).map(metadataOf)
  const anyNeed = FastCheck.record({
    name: FastCheck.string(),
    provider: FastCheck.constantFrom("github", "mcp").map(provider),
    scopes: FastCheck.subarray(["a", "b"])
  })

  it.prop(
    "equal questions have equal answers; a match is a candidate, and missing are those without",
    { credentials: FastCheck.array(anyMetadata), requirements: FastCheck.array(anyNeed) },
    ({ credentials, requirements }) => {
      const answer = Requirement.match(requirements, credentials, now)
      assert.deepStrictEqual(answer, Requirement.match(requirements, credentials, now))
      assert.lengthOf(answer.matches, requirements.length)
      for (const { candidates, credentialId } of answer.matches) {
        if (credentialId !== null) assert.isTrue(candidates.some(({ id }) => id === credentialId))
      }
      assert.deepStrictEqual(
        answer.missing,
        answer.matches.filter(({ credentialId }) => credentialId === null).map(({ name }) => name)
      )
    }
  )
})
