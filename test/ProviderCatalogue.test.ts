/**
 * Every built-in provider, from the link to the revocation, against a server that demands what the entry says and answers as
 * the provider does: no entry is only text.
 */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { generateKeyPairSync } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { MachineFlow } from "../src/MachineFlow.ts"
import { OAuthFlow } from "../src/OAuthFlow.ts"
import { Provider, variables } from "../src/Provider.ts"
import { builtin } from "../src/ProviderCatalogue/builtin.ts"
import * as Service from "../src/Service.ts"
import { isMachine } from "../src/TokenEndpoint/MachineGrant.ts"
import * as ScriptedProvider from "./servers/ScriptedProvider.ts"
import { challengeOf } from "../src/testing/ScriptedProvider/Grants.ts"

const userId = UserId.make("ada")

type Answer = Readonly<Record<string, unknown>>

/** How a provider answers beside the standard: what its data does not say, because any of it is read. */
interface Manner {
  /** A login brings no refresh token, and the access token does not expire. */
  readonly forGood?: true
  readonly shape?: (answer: Answer, now: number) => unknown
  readonly format?: "form"
  readonly invalidGrant?: { readonly status: number; readonly body: Answer }
}

const withoutExpiry = (answer: Answer): Answer => {
  const { expires_in: _, ...rest } = answer
  return rest
}

const forGood: Manner = { forGood: true, shape: withoutExpiry }

const manners: Readonly<Record<string, Manner>> = {
  atlassian: { invalidGrant: { status: 403, body: { error: "invalid_grant" } } },
  clickup: { forGood: true, shape: ({ access_token }) => ({ access_token, token_type: "Bearer" }) },
  facebook: {
    forGood: true,
    shape: ({ access_token }) => ({ access_token, token_type: "bearer", expires_in: 5183944 })
  },
  github: {
    forGood: true,
    shape: (answer) => ({ ...withoutExpiry(answer), scope: String(answer["scope"]).replaceAll(" ", ",") }),
    invalidGrant: { status: 200, body: { error: "bad_verification_code" } }
  },
  "github-app": { invalidGrant: { status: 200, body: { error: "bad_refresh_token" } } },
  hubspot: { invalidGrant: { status: 400, body: { status: "BAD_REFRESH_TOKEN", message: "missing" } } },
  intercom: {
    forGood: true,
    shape: ({ access_token }) => ({ token_type: "Bearer", token: access_token, access_token })
  },
  mailchimp: { forGood: true, shape: ({ access_token }) => ({ access_token, expires_in: 0, scope: null }) },
  monday: { shape: withoutExpiry },
  notion: { invalidGrant: { status: 400, body: { object: "error", code: "invalid_grant" } } },
  pipedrive: { shape: (answer) => ({ ...answer, api_domain: "https://acme.pipedrive.com" }) },
  quickbooks: { shape: (answer) => ({ ...answer, x_refresh_token_expires_in: 8_726_400 }) },
  salesforce: { shape: (answer) => ({ ...withoutExpiry(answer), instance_url: "https://acme.my.salesforce.com" }) },
  sentry: {
    shape: (answer, now) => ({ ...withoutExpiry(answer), expires_at: new Date(now + 2_592_000_000).toISOString() })
  },
  slack: {
    shape: (answer) => ({ ok: true, ...answer, team: { id: "T1", name: "Acme" } }),
    invalidGrant: { status: 200, body: { ok: false, error: "invalid_refresh_token" } }
  },
  "slack-user": {
    shape: (answer) => ({ ok: true, team: { id: "T1", name: "Acme" }, authed_user: { id: "U1", ...answer } }),
    invalidGrant: { status: 200, body: { ok: false, error: "invalid_refresh_token" } }
  },
  square: {
    shape: (answer, now) => ({ ...withoutExpiry(answer), expires_at: new Date(now + 2_592_000_000).toISOString() }),
    invalidGrant: { status: 401, body: { message: "Invalid refresh token", type: "service.not_authorized" } }
  },
  strava: {
    shape: (answer, now) => ({ ...withoutExpiry(answer), expires_at: Math.floor(now / 1000) + 21_600 }),
    invalidGrant: {
      status: 400,
      body: {
        message: "Bad Request",
        errors: [{ resource: "RefreshToken", field: "refresh_token", code: "invalid" }]
      }
    }
  },
  "stripe-apps": { shape: withoutExpiry },
  "stripe-connect": { forGood: true, shape: (answer) => ({ ...withoutExpiry(answer), stripe_user_id: "acct_1" }) },
  twitch: {
    shape: (answer) => ({ ...answer, scope: String(answer["scope"]).split(" ") }),
    invalidGrant: { status: 400, body: { error: "Bad Request", status: 400, message: "Invalid refresh token" } }
  },
  webflow: forGood,
  zoom: { invalidGrant: { status: 400, body: { reason: "Invalid Token!", error: "invalid_request" } } },
  zoho: {
    shape: (answer) => ({ ...answer, api_domain: "https://www.zohoapis.com" }),
    invalidGrant: { status: 200, body: { error: "invalid_code" } }
  }
}

const encoded = Schema.encodeSync(Provider)

/** The entry with its hosts replaced by the server's; what stands in its URLs for variables moves into their paths. */
const localised = (entry: Provider, url: string) => {
  const { allowedHosts: _, ...data } = encoded(entry)
  const names = variables(entry).map((name) => `${name}={${name}}`)
  const at = (path: string) => `${url}${path}${names.length === 0 ? "" : `?${names.join("&")}`}`
  return Schema.decodeUnknownSync(Provider)({
    ...data,
    ...(entry.authorizationUrl !== undefined && { authorizationUrl: at("/authorize") }),
    tokenUrl: at("/token"),
    ...(entry.refreshUrl !== undefined && { refreshUrl: at("/refresh") }),
    ...(entry.revocationUrl !== undefined && {
      revocationUrl: entry.revocationUrl.includes("{client_id}") ? `${url}/revoke?client={client_id}` : at("/revoke")
    })
  })
}

const redirectUri = "https://us.example/oauth/callback"

const reply = ({ body, status }: NonNullable<Manner["invalidGrant"]>) => ({
  status,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body)
})

/** A server that behaves as the entry says, and everything over it in memory. */
const world = (entry: Provider) =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const manner = manners[entry.id] ?? {}
    const isPublic = entry.clientAuth === "none"
    const server = yield* ScriptedProvider.make({
      clients: [{ clientId: "the-client_1.x", ...(!isPublic && { clientSecret: "s3cr-t_~/+=" }) }],
      clientAuth: [entry.clientAuth],
      redirectUris: [redirectUri],
      pkce: entry.pkce === "required" ? "required" : "supported",
      announcesIssuer: false,
      accessTokenSeconds: entry.expiresInSeconds ?? 3600,
      rotatesRefreshToken: entry.rotatesRefreshToken,
      refreshTokenOnLogin: manner.forGood !== true,
      refreshTokenOnRefresh: false,
      refreshInvalidatesAccessToken: entry.refreshInvalidatesAccessToken,
      reuseGraceSeconds: 0,
      revocationScope: entry.revocationScope,
      scopeSeparator: entry.scopeSeparator,
      shape: (answer) => (manner.shape ?? ((plain: Answer) => plain))(answer, clock.unsafeCurrentTimeMillis()),
      quirks: {
        ...entry,
        ...(manner.invalidGrant !== undefined && { invalidGrant: reply(manner.invalidGrant) })
      }
    })
    const provider = localised(entry, server.url)
    const layer = Service.layerMemory({
      providers: [provider],
      clients: () =>
        Option.some({
          id: server.clientId,
          ...(server.clientSecret !== undefined && { secret: Redacted.make(server.clientSecret) })
        }),
      allowLoopback: true,
      sweeper: false,
      flow: { publicUrl: "https://us.example", redirectUri, returnUrls: [] }
    })
    return { server, provider, layer, manner }
  })

const scopes = ["one:read", "two:write"]

/** What the browser comes back with beside the standard. */
const brought = (provider: Provider) =>
  Object.fromEntries(["unknown", ...provider.keptParameters].map((name) => [name, `the ${name}`]))

/** Logs in as a browser would; answers with the link's parameters and the new credential. */
const login = (provider: Provider) =>
  Effect.gen(function* () {
    const flow = yield* OAuthFlow
    const values = Object.fromEntries(variables(provider).map((name) => [name, "acme"]))
    const begun = yield* flow.authorize(userId, provider.id, { scopes, variables: values })
    const link = new URL(Redacted.value(begun.authorizationUrl))
    const returned = yield* Effect.promise(() => fetch(link, { redirect: "manual" }))
    const back = new URL(returned.headers.get("location") ?? assert.fail(`the link does not lead on: ${link}`))
    const code = back.searchParams.get("code") ?? assert.fail(back.href)
    const metadata = yield* flow.callback(
      { state: begun.state, code: Redacted.make(code), others: brought(provider) },
      { userId, provider: provider.id }
    )
    return { link, metadata }
  })

const checkLink = (provider: Provider, link: URL) => {
  const { code_challenge, state, ...rest } = Object.fromEntries(link.searchParams)
  assert.match(state ?? "", /^[\w-]{43}$/)
  assert.strictEqual(code_challenge === undefined, provider.pkce === "unsupported")
  const names = Object.fromEntries(variables(provider).map((name) => [name, "acme"]))
  assert.deepStrictEqual(rest, {
    ...names,
    response_type: "code",
    client_id: "the-client_1.x",
    redirect_uri: redirectUri,
    [provider.scopeParam]: scopes.join(provider.scopeSeparator),
    ...(code_challenge !== undefined && { code_challenge_method: "S256" }),
    ...provider.authorizationParams
  })
}

const live = (entry: Provider) =>
  Effect.gen(function* () {
    const { layer, manner, provider, server } = yield* world(entry)
    yield* Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const { link, metadata } = yield* login(provider)
      checkLink(provider, link)
      const { id } = metadata
      const read = Effect.map(manager.get(userId, id), ({ accessToken }) =>
        Redacted.value(accessToken ?? assert.fail("an access token"))
      )
      const sent = Effect.map(manager.get(userId, id), ({ headers }) =>
        Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Redacted.value(value)]))
      )
      const of = (kind: string) => server.ledger.filter((request) => request.kind === kind)

      // the exchange
      const exchange = of("authorization_code")[0] ?? assert.fail("a code was exchanged")
      assert.strictEqual(exchange.outcome, "issued", exchange.error)
      assert.strictEqual(exchange.clientAuth, entry.clientAuth)
      const challenge = link.searchParams.get("code_challenge")
      const verifier = exchange.parameters["code_verifier"]
      if (challenge !== null) assert.strictEqual(challengeOf(verifier ?? ""), challenge)
      assert.strictEqual(yield* read, exchange.issued?.accessToken)
      assert.deepStrictEqual(metadata.scopes, scopes)
      assert.deepStrictEqual(
        yield* sent,
        entry.id === "shopify" ? { "X-Shopify-Access-Token": yield* read } : { Authorization: `Bearer ${yield* read}` }
      )
      for (const name of entry.keptParameters) assert.strictEqual(metadata.metadata?.[name], `the ${name}`)
      assert.notProperty(metadata.metadata ?? {}, "unknown")
      for (const field of entry.keptFields) {
        const shaped = Object(manner.shape?.({}, 0))
        if (field in shaped) assert.deepStrictEqual(metadata.metadata?.[field], shaped[field], field)
      }

      if (manner.forGood === true) {
        yield* TestClock.adjust("30 days")
        assert.strictEqual(yield* read, exchange.issued?.accessToken)
        assert.strictEqual(server.refreshes, 0)
      } else {
        // two renewals: each presents what the one before left
        const seconds = entry.expiresInSeconds ?? 3600
        assert.deepStrictEqual(metadata.accessTokenExpiresAt, DateTime.unsafeMake(exchange.receivedAt + seconds * 1000))
        let refreshToken = exchange.issued?.refreshToken
        const ends = Effect.map(manager.metadata(userId, id), ({ refreshTokenExpiresAt }) => refreshTokenExpiresAt)
        const firstEnd = yield* ends
        for (const round of [1, 2]) {
          yield* TestClock.adjust(`${seconds} seconds`)
          const renewed = yield* read
          const refresh = of("refresh_token").at(-1)
          assert.strictEqual(refresh?.outcome, entry.rotatesRefreshToken ? "rotated" : "kept", refresh?.error)
          assert.strictEqual(refresh?.path, entry.refreshUrl === undefined ? "/token" : "/refresh")
          assert.strictEqual(refresh?.clientAuth, entry.clientAuth)
          assert.strictEqual(refresh?.refreshToken, refreshToken)
          assert.strictEqual(renewed, refresh?.issued?.accessToken)
          assert.isTrue(server.isLive(renewed))
          refreshToken = refresh?.issued?.refreshToken ?? refreshToken
          assert.strictEqual(server.refreshes, round)
        }
        assert.strictEqual(server.reuses, 0)
        // what lives from the login on is not prolonged
        const lastEnd = yield* ends
        if (!entry.refreshTokenLifetimeRenews) {
          assert.deepStrictEqual(lastEnd, firstEnd ?? assert.fail("an end"))
        } else if (entry.refreshTokenLifetimeSeconds !== undefined) {
          assert.isTrue(DateTime.greaterThan(lastEnd ?? assert.fail("an end"), firstEnd ?? assert.fail("an end")))
        }

        // the user disconnects the app
        server.endGrant(refreshToken ?? "")
        yield* TestClock.adjust(`${seconds} seconds`)
        const gone = yield* Effect.flip(read)
        assert.strictEqual(gone._tag, "NeedsReauth")
        if (gone._tag === "NeedsReauth") assert.strictEqual(gone.reason, "grant_revoked")
        assert.strictEqual((yield* manager.metadata(userId, id)).status, "needs_reauth")
      }
      yield* manager.delete(userId, id, { revoke: false })

      // the end of a credential that lives
      const second = yield* login(provider)
      const issued = of("authorization_code").at(-1)?.issued
      const { revoked } = yield* manager.delete(userId, second.metadata.id)
      const asked = of("revocation")
      assert.isTrue(
        asked.every(({ outcome }) => outcome === "revoked"),
        JSON.stringify(asked)
      )
      assert.strictEqual(revoked, entry.revocationUrl === undefined ? null : true)
      assert.strictEqual(server.isLive(issued?.accessToken ?? ""), entry.revocationUrl === undefined)
    }).pipe(Effect.provide(layer))
  })

/** The same where nobody logs in. */
const work = (entry: Provider) =>
  Effect.gen(function* () {
    const pair = generateKeyPairSync("rsa", { modulusLength: 2048 })
    const issuer = "robot@acme.example"
    const server = yield* ScriptedProvider.make({
      clients: [{ clientId: "" }],
      clientAuth: ["none"],
      issuers: { [issuer]: String(pair.publicKey.export({ type: "spki", format: "pem" })) },
      accessTokenSeconds: entry.expiresInSeconds ?? 3600
    })
    const provider = localised(entry, server.url)
    const layer = Service.layerMemory({
      providers: [provider],
      clients: () => Option.none(),
      allowLoopback: true,
      sweeper: false
    })
    yield* Effect.gen(function* () {
      const flow = yield* MachineFlow
      const manager = yield* CredentialsManager
      const privateKey = Redacted.make(String(pair.privateKey.export({ type: "pkcs8", format: "pem" })))
      const { id } = yield* flow.connect(userId, provider.id, { privateKey, issuer, scopes })
      yield* TestClock.adjust("1 hour")
      const { accessToken } = yield* manager.get(userId, id)
      assert.isTrue(server.isLive(Redacted.value(accessToken ?? assert.fail())))
      const asked = server.ledger.map(({ kind, outcome, parameters }) => [kind, outcome, Object.keys(parameters)])
      const expected = ["machine", "issued", ["assertion", "grant_type"]]
      assert.deepStrictEqual(asked, [expected, expected])
      assert.strictEqual((yield* manager.delete(userId, id)).revoked, null)
    }).pipe(Effect.provide(layer))
  })

describe("the life of a credential", () => {
  for (const entry of builtin) it.scoped(`of ${entry.id}`, () => (isMachine(entry.grant) ? work(entry) : live(entry)))
})

describe("the built-in providers", () => {
  const src = fileURLToPath(new URL("../src", import.meta.url))
  const files = Fs.readdirSync(src, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))

  it("are fifty-two, each with the documentation that its facts are from", () => {
    assert.lengthOf(builtin, 52)
    assert.lengthOf(new Set(builtin.map(({ id }) => id)), 52)
    for (const { docs, id } of builtin) assert.match(docs ?? "", /^https:\/\//, id)
  })

  it("are named in their data, and nowhere else in the code", () => {
    const named = builtin.flatMap(({ id }) => {
      const quoted = new RegExp(`["'\`]${id}["'\`]`)
      return files
        .filter((file) => !file.startsWith("ProviderCatalogue"))
        .filter((file) =>
          quoted.test(Fs.readFileSync(Path.join(src, file), "utf8").replace(/\/\*[^]*?\*\/|\/\/.*/g, ""))
        )
        .map((file) => `${file}: ${id}`)
    })
    assert.deepStrictEqual(named, [])
  })

  it("send no variable where a whole host could be filled in without a list of hosts", () => {
    for (const entry of builtin) {
      for (const template of [entry.authorizationUrl ?? entry.tokenUrl, entry.tokenUrl]) {
        const host = new URL(template.replaceAll(/[{}]/g, "")).hostname
        const open = /\{[a-z_]+\}$/.test(/^https:\/\/([^/]*)/.exec(template)?.[1] ?? "")
        assert.strictEqual(open, entry.allowedHosts !== undefined, `${entry.id}: ${host}`)
      }
    }
  })
})
