/**
 * Credentials that no user logs in for: connected, renewed by asking anew, and never asked for twice at once.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { generateKeyPairSync, type KeyObject } from "node:crypto"
import { ProviderId, UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { type ConnectOptions, MachineFlow } from "../src/MachineFlow.ts"
import { OAuthFlow } from "../src/OAuthFlow.ts"
import { Provider } from "../src/Provider.ts"
import * as Service from "../src/Service.ts"
import { Store } from "../src/Store.ts"
import type { Client } from "../src/TokenEndpoint.ts"
import * as ScriptedProvider from "./servers/ScriptedProvider.ts"

const userId = UserId.make("ada")
const providerId = ProviderId.to.make("acme")

const pems = (pair: { readonly privateKey: KeyObject; readonly publicKey: KeyObject }) => ({
  privateKey: String(pair.privateKey.export({ type: "pkcs8", format: "pem" })),
  publicKey: String(pair.publicKey.export({ type: "spki", format: "pem" }))
})

const keys = {
  rsa: pems(generateKeyPairSync("rsa", { modulusLength: 2048 })),
  ec: pems(generateKeyPairSync("ec", { namedCurve: "P-256" })),
  ed25519: pems(generateKeyPairSync("ed25519"))
}

/** A server, and everything over it in memory. */
const world = (
  fields: Readonly<Record<string, unknown>>,
  options: ScriptedProvider.Options = {},
  client: Partial<Client> = {}
) =>
  Effect.map(ScriptedProvider.make({ accessTokenSeconds: 600, ...options }), (server) => {
    const { authorizationUrl: _, ...definition } = server.definition("acme", fields)
    const provider = Schema.decodeUnknownSync(Provider)(definition)
    const configured = {
      id: server.clientId,
      ...(server.clientSecret !== undefined && { secret: Redacted.make(server.clientSecret) }),
      ...client
    }
    const layer = Service.layerMemory({
      providers: [provider],
      clients: () => (configured.id === "" ? Option.none() : Option.some(configured)),
      allowLoopback: true,
      sweeper: false
    })
    return { server, provider, layer }
  })

const connect = (options: ConnectOptions = {}) =>
  Effect.flatMap(MachineFlow, (flow) => flow.connect(userId, providerId, options))

const read = (id: Parameters<CredentialsManager["Type"]["get"]>[1], refresh: "auto" | "force" = "auto") =>
  Effect.flatMap(CredentialsManager, (manager) =>
    Effect.map(manager.get(userId, id, { refresh }), ({ accessToken }) => Redacted.value(accessToken ?? assert.fail()))
  )

const requests = (server: ScriptedProvider.ScriptedProvider["Type"]) =>
  server.ledger.filter(({ kind }) => kind === "machine")

const claimsOf = (assertion = ""): Readonly<Record<string, unknown>> =>
  Object(JSON.parse(Buffer.from(assertion.split(".")[1] ?? "", "base64url").toString()))

describe("client credentials", () => {
  const grant = { grant: "client_credentials", defaultScopes: ["read"], tokenParams: { audience: "all" } }

  it.scoped("connect without a user, and are renewed by asking anew", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant)
      yield* Effect.gen(function* () {
        const { id, ...metadata } = yield* connect()
        assert.deepStrictEqual([metadata.type, metadata.status, metadata.generation], ["oauth2", "active", 1])
        assert.deepStrictEqual(metadata.scopes, ["read"])
        assert.notProperty(metadata, "refreshTokenExpiresAt")
        const [first] = requests(server)
        assert.deepStrictEqual<unknown>(first?.parameters, {
          grant_type: "client_credentials",
          audience: "all",
          scope: "read"
        })
        assert.strictEqual(first?.clientAuth, "client_secret_basic")
        assert.strictEqual(yield* read(id), first?.issued?.accessToken)
        for (const round of [2, 3]) {
          yield* TestClock.adjust("10 minutes")
          const token = yield* read(id)
          assert.lengthOf(requests(server), round)
          assert.strictEqual(token, requests(server).at(-1)?.issued?.accessToken)
          assert.strictEqual(requests(server).at(-1)?.parameters["scope"], "read")
        }
        assert.strictEqual((yield* Effect.flatMap(CredentialsManager, (m) => m.metadata(userId, id))).generation, 3)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("outlive whatever the provider says of refresh tokens", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world({ ...grant, refreshTokenLifetimeSeconds: 900 })
      yield* Effect.gen(function* () {
        const brought = ScriptedProvider.Fault.on("machine", {
          tokens: (answer) => ({ ...answer, refresh_token: "unasked", refresh_token_expires_in: 60 })
        })
        server.always(brought)
        const { id } = yield* connect()
        for (const _ of [1, 2, 3]) {
          yield* TestClock.adjust("10 minutes")
          yield* read(id)
        }
        assert.lengthOf(requests(server), 4)
        assert.strictEqual(server.refreshes, 0)
        assert.notProperty(
          yield* Effect.flatMap(CredentialsManager, (manager) => manager.metadata(userId, id)),
          "refreshTokenExpiresAt"
        )
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("are asked for once, however many readers find them expired", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant)
      yield* Effect.gen(function* () {
        const { id } = yield* connect()
        yield* TestClock.adjust("10 minutes")
        const tokens = yield* Effect.all(
          Array.from({ length: 50 }, () => read(id)),
          { concurrency: "unbounded" }
        )
        assert.lengthOf(new Set(tokens), 1)
        assert.lengthOf(requests(server), 2)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("whose answer was lost are asked for again at once: nothing was spent", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant)
      yield* Effect.gen(function* () {
        const { id } = yield* connect()
        yield* TestClock.adjust("10 minutes")
        server.next(ScriptedProvider.Fault.on("machine", ScriptedProvider.Fault.resetAfter))
        assert.strictEqual((yield* Effect.flip(read(id)))._tag, "ProviderError")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* read(id), requests(server).at(-1)?.issued?.accessToken)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("refused for the client are the operator's affair: nobody is asked to log in", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant)
      yield* Effect.gen(function* () {
        const { id } = yield* connect()
        yield* TestClock.adjust("10 minutes")
        server.next(
          ScriptedProvider.Fault.on(
            "machine",
            ScriptedProvider.Fault.refuse({ status: 401, body: `{"error":"invalid_client"}` })
          )
        )
        const error = yield* Effect.flip(read(id))
        assert.strictEqual(error._tag, "ProviderError")
        if (error._tag === "ProviderError") assert.strictEqual(error.reason, "invalid_client")
        const { status } = yield* Effect.flatMap(CredentialsManager, (m) => m.metadata(userId, id))
        assert.strictEqual(status, "active")
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("reconnect in place, with other scopes", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant)
      yield* Effect.gen(function* () {
        const { id } = yield* connect()
        const again = yield* connect({ credentialId: id, scopes: ["read", "write"] })
        assert.deepStrictEqual([again.id, again.generation], [id, 2])
        assert.deepStrictEqual(again.scopes, ["read", "write"])
        yield* TestClock.adjust("10 minutes")
        yield* read(id)
        assert.strictEqual(requests(server).at(-1)?.parameters["scope"], "read write")
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("are everybody's grant: only a revocation of one token alone is sent", () =>
    Effect.gen(function* () {
      for (const revocationScope of ["grant", "token"] as const) {
        const { layer, server } = yield* world({ ...grant, revocationScope }, { revocationScope })
        yield* Effect.gen(function* () {
          const { id } = yield* connect()
          const manager = yield* CredentialsManager
          const { revoked } = yield* manager.delete(userId, id)
          assert.strictEqual(revoked, revocationScope === "token" ? true : null)
          const asked = server.ledger.filter(({ kind }) => kind === "revocation")
          assert.deepStrictEqual(
            asked.map(({ parameters }) => parameters["token"]),
            revocationScope === "token" ? [requests(server)[0]?.issued?.accessToken] : []
          )
        }).pipe(Effect.provide(layer))
      }
    })
  )

  it.scoped("work with every way of authenticating", () =>
    Effect.gen(function* () {
      const ways = [
        ["client_secret_basic", {}, {}],
        ["client_secret_post", {}, {}],
        ["private_key_jwt", { publicKey: keys.ec.publicKey }, { privateKey: Redacted.make(keys.ec.privateKey) }]
      ] as const
      for (const [clientAuth, registered, client] of ways) {
        const { layer, server } = yield* world(
          { ...grant, clientAuth },
          { clientAuth: [clientAuth], clients: [{ clientId: "c", clientSecret: "s", ...registered }] },
          client
        )
        yield* Effect.gen(function* () {
          const { id } = yield* connect()
          yield* read(id, "force")
          assert.deepStrictEqual(
            requests(server).map(({ clientAuth, outcome }) => [clientAuth, outcome]),
            [
              [clientAuth, "issued"],
              [clientAuth, "issued"]
            ]
          )
        }).pipe(Effect.provide(layer))
      }
    })
  )
})

describe("a signed assertion", () => {
  const grant = { grant: "jwt_bearer", clientAuth: "none", scopeSeparator: " " }
  const issuer = "robot@acme.example"

  it.scoped("of the credential's own key connects without a client, and again for each renewal", () =>
    Effect.gen(function* () {
      for (const { privateKey, publicKey } of Object.values(keys)) {
        const { layer, server } = yield* world(
          { ...grant, assertion: { scopeClaim: true, subjectIsIssuer: false, lifetimeSeconds: 3600 } },
          { issuers: { [issuer]: publicKey }, clients: [{ clientId: "" }], clientAuth: ["none"] }
        )
        yield* Effect.gen(function* () {
          const own = { privateKey: Redacted.make(privateKey), privateKeyId: "key-1", issuer, scopes: ["a", "b"] }
          const metadata = yield* connect(own)
          assert.deepStrictEqual(metadata.scopes, ["a", "b"])
          assert.notInclude(JSON.stringify(metadata), "PRIVATE KEY")
          yield* TestClock.adjust("10 minutes")
          yield* read(metadata.id)
          const [first, second] = requests(server)
          assert.deepStrictEqual([first?.outcome, second?.outcome], ["issued", "issued"])
          const { jti, iat, exp, nbf: __, ...claims } = claimsOf(first?.parameters["assertion"])
          assert.deepStrictEqual(claims, { iss: issuer, aud: server.tokenUrl, scope: "a b" })
          assert.strictEqual(Number(exp) - Number(iat), 3600)
          assert.notStrictEqual(claimsOf(second?.parameters["assertion"])["jti"], jti)
          assert.notProperty(first?.parameters, "scope")
          assert.notProperty(first?.parameters, "client_id")
          const header = Buffer.from(first?.parameters["assertion"]?.split(".")[0] ?? "", "base64url").toString()
          assert.strictEqual(JSON.parse(header).kid, "key-1")
        }).pipe(Effect.provide(layer))
      }
    })
  )

  it.scoped("may speak for somebody with a key of its own", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant, {
        issuers: { [issuer]: keys.ec.publicKey },
        clients: [{ clientId: "" }],
        clientAuth: ["none"]
      })
      yield* Effect.gen(function* () {
        const own = { privateKey: Redacted.make(keys.ec.privateKey), issuer, scopes: ["a"] }
        yield* connect({ ...own, subject: "bob@acme.example" })
        yield* connect(own)
        const [named, unnamed] = requests(server)
        assert.strictEqual(claimsOf(named?.parameters["assertion"])["sub"], "bob@acme.example")
        assert.strictEqual(claimsOf(unnamed?.parameters["assertion"])["sub"], issuer)
        assert.strictEqual(named?.parameters["scope"], "a")
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("of the operator's key says what the definition says, and no caller makes it say more", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(
        {
          ...grant,
          clientAuth: "client_secret_basic",
          assertion: { claims: { sub: "user-{user_id}@acme.example", tenant: "t" } }
        },
        { issuers: { "scripted-client": keys.rsa.publicKey } },
        { privateKey: Redacted.make(keys.rsa.privateKey), privateKeyId: "operator" }
      )
      yield* Effect.gen(function* () {
        yield* connect()
        const { iss, sub, tenant } = claimsOf(requests(server)[0]?.parameters["assertion"])
        assert.deepStrictEqual([iss, sub, tenant], ["scripted-client", "user-ada@acme.example", "t"])
        for (const field of ["subject", "issuer", "privateKeyId"] as const) {
          const error = yield* Effect.flip(connect({ [field]: "somebody" }))
          assert.strictEqual(error._tag, "InvalidRequest")
          if (error._tag === "InvalidRequest") assert.strictEqual(error.issues[0]?.field, field)
        }
        assert.lengthOf(requests(server), 1)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("that is not taken any more needs somebody: NeedsReauth, and nothing is sent again", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant, {
        issuers: { [issuer]: keys.ec.publicKey },
        clients: [{ clientId: "" }],
        clientAuth: ["none"]
      })
      yield* Effect.gen(function* () {
        const { id } = yield* connect({ privateKey: Redacted.make(keys.ec.privateKey), issuer })
        yield* TestClock.adjust("10 minutes")
        server.always(
          ScriptedProvider.Fault.on(
            "machine",
            ScriptedProvider.Fault.refuse({ status: 400, body: `{"error":"invalid_grant"}` })
          )
        )
        for (const _ of [1, 2]) assert.strictEqual((yield* Effect.flip(read(id)))._tag, "NeedsReauth")
        assert.lengthOf(requests(server), 2)
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("with a key that cannot be read, or nobody's, is refused before anything is sent", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant, { clients: [{ clientId: "" }] })
      yield* Effect.gen(function* () {
        const canary = "canary-9c1e"
        const wrong: ReadonlyArray<readonly [ConnectOptions, string]> = [
          [{ privateKey: Redacted.make(canary), issuer }, "privateKey"],
          [{ privateKey: Redacted.make(keys.ec.publicKey), issuer }, "privateKey"],
          [{ privateKey: Redacted.make(keys.ec.privateKey) }, "issuer"],
          [{ subjectToken: Redacted.make(canary) }, "subjectToken"]
        ]
        for (const [options, field] of wrong) {
          const error = yield* Effect.flip(connect(options))
          assert.strictEqual(error._tag, "InvalidRequest")
          if (error._tag === "InvalidRequest") assert.strictEqual(error.issues[0]?.field, field)
          assert.notInclude(JSON.stringify(error) + error.message, canary)
        }
        assert.strictEqual((yield* Effect.flip(connect()))._tag, "OutboundRefused")
        assert.lengthOf(requests(server), 0)
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("a token in exchange", () => {
  const grant = { grant: "token_exchange" }

  it.scoped("is got with another token, which is kept for the renewals and shown to nobody", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant)
      yield* Effect.gen(function* () {
        const subjectToken = server.issue({ account: "bob", accessTokenSeconds: 86_400 }).accessToken
        const metadata = yield* connect({
          subjectToken: Redacted.make(subjectToken),
          audience: "https://api.acme.example",
          scopes: ["read"]
        })
        assert.notInclude(JSON.stringify(metadata), subjectToken)
        yield* TestClock.adjust("10 minutes")
        yield* read(metadata.id)
        for (const request of requests(server)) {
          assert.strictEqual(request.outcome, "issued")
          assert.deepStrictEqual<unknown>(request.parameters, {
            grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
            subject_token: subjectToken,
            subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
            audience: "https://api.acme.example",
            scope: "read"
          })
        }
        assert.lengthOf(requests(server), 2)
        // the token that was given has its own end
        yield* TestClock.adjust("1 day")
        assert.strictEqual((yield* Effect.flip(read(metadata.id)))._tag, "NeedsReauth")
      }).pipe(Effect.provide(layer))
    })
  )

  it.scoped("that brings a refresh token is refreshed with that", () =>
    Effect.gen(function* () {
      const { layer, server } = yield* world(grant)
      yield* Effect.gen(function* () {
        const { accessToken, refreshToken } = server.issue({ accessTokenSeconds: 60 })
        server.next(
          ScriptedProvider.Fault.on("machine", { tokens: (answer) => ({ ...answer, refresh_token: refreshToken }) })
        )
        const { id } = yield* connect({ subjectToken: Redacted.make(accessToken) })
        yield* TestClock.adjust("10 minutes")
        yield* read(id)
        assert.strictEqual(server.spends, 1)
        assert.lengthOf(requests(server), 1)
        const stored = yield* Effect.flatMap(Store, (store) => store.get(userId, id))
        assert.notProperty(Redacted.value(stored.extra), "grant")
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("a grant", () => {
  it.scoped("that needs a user is not connected to, and one that needs none has no link", () =>
    Effect.gen(function* () {
      const { layer } = yield* world({ grant: "client_credentials" })
      yield* Effect.gen(function* () {
        const flow = yield* OAuthFlow
        const error = yield* Effect.flip(flow.authorize(userId, providerId, {}))
        assert.strictEqual(error._tag, "InvalidRequest")
        const machines = yield* MachineFlow
        const github = ProviderId.to.make("github")
        assert.strictEqual((yield* Effect.flip(machines.connect(userId, github, {})))._tag, "InvalidRequest")
      }).pipe(Effect.provide(layer))
    })
  )
})
