/**
 * Every way of being a client, against a provider that nobody here wrote: each connects, is renewed twice and revoked, so that
 * every kind of request has authenticated.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { generateKeyPairSync, type KeyObject } from "node:crypto"
import { type CredentialId, ProviderId, UserId } from "../../src/Credential.ts"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import { DeviceFlow } from "../../src/DeviceFlow.ts"
import { MachineFlow } from "../../src/MachineFlow.ts"
import { OAuthFlow } from "../../src/OAuthFlow.ts"
import { Provider } from "../../src/Provider.ts"
import * as Service from "../../src/Service.ts"
import * as OidcProvider from "../servers/OidcProvider.ts"

const userId = UserId.make("ada")
const provider = ProviderId.to.make("oidc")
const redirectUri = "https://us.example/oauth/callback"

const pems = (pair: { readonly privateKey: KeyObject; readonly publicKey: KeyObject }) => ({
  privateKey: String(pair.privateKey.export({ type: "pkcs8", format: "pem" })),
  publicKey: String(pair.publicKey.export({ type: "spki", format: "pem" }))
})

const rsa = pems(generateKeyPairSync("rsa", { modulusLength: 2048 }))
const ec = pems(generateKeyPairSync("ec", { namedCurve: "P-256" }))
const ed25519 = pems(generateKeyPairSync("ed25519"))

/** A running provider with one client, and everything over it in memory. */
const world = (
  client: OidcProvider.Client,
  privateKey: string | undefined,
  options: OidcProvider.Options = {},
  fields: (server: OidcProvider.OidcProvider) => Readonly<Record<string, unknown>> = () => ({})
) =>
  Effect.map(
    OidcProvider.make({ clients: [client], redirectUris: [redirectUri], accessTokenSeconds: 600, ...options }),
    (server) => ({
      server,
      layer: Service.layerMemory({
        providers: [Schema.decodeUnknownSync(Provider)(server.definition("oidc", fields(server)))],
        clients: () =>
          Option.some({
            id: client.clientId,
            ...(client.clientSecret !== undefined && { secret: Redacted.make(client.clientSecret) }),
            ...(privateKey !== undefined && { privateKey: Redacted.make(privateKey) })
          }),
        allowLoopback: true,
        sweeper: false,
        flow: { publicUrl: "https://us.example", redirectUri, returnUrls: [] }
      })
    })
  )

/** A browser that keeps cookies, and follows redirects until they leave the provider. */
const browser = () => {
  const jar = new Map<string, string>()
  const open = async (
    link: string,
    form?: Readonly<Record<string, string>>
  ): Promise<{ url: string; page: string }> => {
    if (link.startsWith(redirectUri)) return { url: link, page: "" }
    const response = await fetch(link, {
      redirect: "manual",
      headers: { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; ") },
      ...(form !== undefined && { method: "POST", body: new URLSearchParams(form) })
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      jar.set(name, value)
    }
    const next = response.headers.get("location")
    return next === null ? { url: link, page: await response.text() } : open(new URL(next, link).href)
  }
  return { open: (link: string, form?: Readonly<Record<string, string>>) => Effect.promise(() => open(link, form)) }
}

const login = Effect.gen(function* () {
  const flow = yield* OAuthFlow
  const { authorizationUrl, state } = yield* flow.authorize(userId, provider, {})
  const { url } = yield* browser().open(Redacted.value(authorizationUrl))
  const { searchParams } = new URL(url)
  const code = searchParams.get("code") ?? assert.fail(`the login ended at ${url}`)
  const iss = searchParams.get("iss") ?? undefined
  const { id } = yield* flow.callback({ state, code: Redacted.make(code), iss }, { userId, provider })
  return { id, link: new URL(Redacted.value(authorizationUrl)) }
})

/** Two renewals, and the end. */
const live = (server: OidcProvider.OidcProvider, id: CredentialId, revokes = true) =>
  Effect.gen(function* () {
    const manager = yield* CredentialsManager
    for (const _ of [1, 2]) yield* manager.refresh(userId, id)
    const { accessToken } = yield* manager.get(userId, id)
    const token = Redacted.value(accessToken ?? assert.fail("an access token"))
    assert.isTrue(yield* server.isLive(token))
    const { revoked } = yield* manager.delete(userId, id)
    assert.strictEqual(revoked, revokes)
    assert.isFalse(yield* server.isLive(token))
    assert.strictEqual(server.reuses, 0)
    assert.deepStrictEqual(server.errors, [])
    assert.deepStrictEqual(server.faults, [])
  })

const secret = { clientId: "a-client_1.x", clientSecret: "s3cr-t_~/+= %" }

const clients: ReadonlyArray<readonly [string, OidcProvider.Client, string | undefined]> = [
  ["client_secret_basic", { ...secret, clientAuth: "client_secret_basic" }, undefined],
  ["client_secret_post", { ...secret, clientAuth: "client_secret_post" }, undefined],
  ["private_key_jwt with RSA", { clientId: "rsa", clientAuth: "private_key_jwt", ...rsa }, rsa.privateKey],
  ["private_key_jwt with EC", { clientId: "ec", clientAuth: "private_key_jwt", ...ec }, ec.privateKey],
  ["private_key_jwt with Ed25519", { clientId: "ed", clientAuth: "private_key_jwt", ...ed25519 }, ed25519.privateKey],
  ["none", { clientId: "public", clientAuth: "none" }, undefined]
]

describe("a login, renewed and revoked, as a client with", () => {
  for (const [name, client, privateKey] of clients) {
    for (const rotatesRefreshToken of [true, false]) {
      it.scopedLive(`${name}, ${rotatesRefreshToken ? "with" : "without"} rotation`, () =>
        Effect.gen(function* () {
          const { layer, server } = yield* world(client, privateKey, { rotatesRefreshToken })
          yield* Effect.gen(function* () {
            const { id } = yield* login
            yield* live(server, id)
            assert.deepStrictEqual([server.exchanges, server.refreshes], [1, 2])
          }).pipe(Effect.provide(layer))
        })
      )
    }

    it.scopedLive(`${name}, whose link is pushed first because it must be`, () =>
      Effect.gen(function* () {
        const { layer, server } = yield* world(client, privateKey, { requiresPushedRequests: true }, (given) => ({
          pushedAuthorizationRequestUrl: given.pushedAuthorizationRequestUrl
        }))
        yield* Effect.gen(function* () {
          const { id, link } = yield* login
          assert.deepStrictEqual([...link.searchParams.keys()].sort(), ["client_id", "request_uri"])
          yield* live(server, id)
        }).pipe(Effect.provide(layer))
      })
    )
  }

  it.scopedLive("a link that was not pushed where it must be, which leads nowhere", () =>
    Effect.gen(function* () {
      const { layer } = yield* world(secret, undefined, { requiresPushedRequests: true })
      yield* Effect.gen(function* () {
        const flow = yield* OAuthFlow
        const { authorizationUrl } = yield* flow.authorize(userId, provider, {})
        const { url } = yield* browser().open(Redacted.value(authorizationUrl))
        assert.include(url, "error=invalid_request")
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("an issuer", () => {
  it.scopedLive("that is another than the provider's ends the login", () =>
    Effect.gen(function* () {
      const { layer } = yield* world(secret, undefined, {}, () => ({ issuer: "https://other.example" }))
      const error = yield* Effect.flip(login).pipe(Effect.provide(layer))
      assert.strictEqual(error._tag, "AuthorizationDenied")
    })
  )
})

describe("without a user", () => {
  for (const [name, client, privateKey] of clients.filter(([name]) => name !== "none")) {
    it.scopedLive(`client credentials are got and renewed with ${name}`, () =>
      Effect.gen(function* () {
        const { layer, server } = yield* world(client, privateKey, {}, () => ({
          grant: "client_credentials",
          defaultScopes: [],
          revocationScope: "token"
        }))
        yield* Effect.gen(function* () {
          const flow = yield* MachineFlow
          const { id } = yield* flow.connect(userId, provider, {})
          const manager = yield* CredentialsManager
          for (const _ of [1, 2]) yield* manager.refresh(userId, id)
          assert.strictEqual((yield* manager.metadata(userId, id)).generation, 3)
          assert.deepStrictEqual(yield* manager.delete(userId, id), { deleted: true, revoked: true })
          assert.deepStrictEqual([server.errors, server.faults], [[], []])
        }).pipe(Effect.provide(layer))
      })
    )
  }
})

describe("a code that the user enters", () => {
  /** What the page would send. */
  const formOf = (page: string) => ({
    action: /action="([^"]+)"/.exec(page)?.[1] ?? "",
    fields: Object.fromEntries(
      [...page.matchAll(/<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"/g)].map(([, name = "", value = ""]) => [
        name,
        value
      ])
    )
  })

  it.scopedLive("connects, and is renewed and revoked like any login", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(secret, undefined, {}, (given) => ({
        grant: "device_code",
        deviceAuthorizationUrl: given.deviceAuthorizationUrl
      }))
      yield* Effect.gen(function* () {
        const flow = yield* DeviceFlow
        const { interval, state, userCode, verificationUri } = yield* flow.authorize(userId, provider, {})
        const user = browser()
        const entry = formOf((yield* user.open(verificationUri)).page)
        const shown = yield* user.open(entry.action, { ...entry.fields, user_code: userCode })
        const confirmation = formOf(shown.page)
        yield* user.open(confirmation.action, { ...confirmation.fields, user_code: userCode, confirm: "yes" })
        yield* Effect.sleep(`${interval} seconds`)
        const { id } = yield* flow.callback(state, { userId, provider })
        yield* live(server, id)
      }).pipe(Effect.provide(layer))
    })
  )
})
