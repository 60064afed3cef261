/**
 * A service is driven through its life with secrets that are known here, logging all that it can. Then everything that it gave
 * out is searched for each of them: logs, answers, traces, metrics, audit, files, Redis, and what it says when it crashes.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import type * as Http from "node:http"
import * as Path from "node:path"
import * as RedisClient from "../../src/Redis.ts"
import * as Canary from "../Canary.ts"
import { measured } from "../Measured.ts"
import * as Browser from "../servers/Browser.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as LoopbackServer from "../servers/LoopbackServer.ts"
import * as ScriptedMcp from "../servers/ScriptedMcp.ts"
import * as ScriptedProvider from "../servers/ScriptedProvider.ts"
import * as Service from "../servers/Service.ts"

const { Fault } = ScriptedProvider

type Json = Readonly<Record<string, unknown>>

const textOf = (value: unknown, ...names: ReadonlyArray<string>): string => {
  const found = names.reduce<unknown>((inner, name) => (inner as Json | undefined)?.[name], value)
  return typeof found === "string" ? found : ""
}

/** Calls of the HTTP API; every answer that is not meant to carry a secret is kept. */
const recorder = (outputs: Map<string, string | Buffer>, url: string, adminKey: string) => {
  let count = 0
  const call = (
    method: string,
    path: string,
    options: {
      readonly body?: unknown
      readonly key?: string | null
      readonly headers?: Readonly<Record<string, string>>
      /** It is what the answer is for. */
      readonly carries?: boolean
    } = {}
  ) =>
    Effect.promise(async () => {
      const { body, headers, key = adminKey } = options
      const response = await fetch(`${url}${path}`, {
        method,
        redirect: "manual",
        headers: {
          connection: "close",
          ...(key !== null && { authorization: `Bearer ${key}` }),
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers
        },
        ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) })
      })
      const text = await response.text()
      if (options.carries !== true) {
        const place = `answer ${++count} ${method} ${path.split("?")[0]} → ${response.status}`
        outputs.set(place, JSON.stringify([...response.headers]) + text)
      }
      let json: unknown
      try {
        json = JSON.parse(text)
      } catch {}
      return { status: response.status, headers: response.headers, text, json }
    })
  return { call, user: (path: string) => `/v1/users/ada${path}` }
}

const filesBelow = (directory: string): ReadonlyArray<string> =>
  Fs.readdirSync(directory, { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile() ? [Path.join(entry.parentPath, entry.name)] : []
  )

const noHits = (canaries: Canary.Canaries, outputs: ReadonlyMap<string, string | Buffer>) =>
  assert.deepStrictEqual(
    canaries.find(outputs).map(({ encoding, place, secret, text }) => `${secret} (${encoding}) in ${place}: …${text}`),
    []
  )

/** The first word of a place is what kind of output it is. */
const searched = (canaries: Canary.Canaries, outputs: ReadonlyMap<string, string | Buffer>) => {
  const kinds: Record<string, number> = {}
  for (const place of outputs.keys()) {
    const kind = `of kind ${/^\w+/.exec(place)?.[0] ?? place}`
    kinds[kind] = (kinds[kind] ?? 0) + 1
  }
  const secrets = canaries.count()
  return measured("canaries", {
    secrets,
    "least secrets of a check": secrets,
    "least encodings": Object.keys(Canary.spellings("")).length,
    hits: 0,
    outputs: outputs.size,
    ...kinds
  })
}

describe("the search", () => {
  it("finds a secret in each of its encodings, whatever stands around it", () => {
    const canaries = Canary.make()
    const secrets = [canaries.make("plain"), canaries.make("odd", "odd")]
    for (const secret of secrets) {
      const spelled: ReadonlyArray<readonly [string, string | Buffer]> = [
        ["plain", `a${secret}b`],
        ...["", "a", "ab", "abc"].map(
          (before) => ["base64", Buffer.from(`${before}:${secret}:more`).toString("base64")] as const
        ),
        ["base64url", Buffer.from(`{"a":"${secret}"}`).toString("base64url")],
        ["hex", Buffer.from(`x${secret}`).toString("hex")],
        ["escaped", `?a=${encodeURIComponent(secret)}`],
        ["escaped", JSON.stringify({ a: JSON.stringify({ b: secret }) })],
        ["bytes", Buffer.concat([Buffer.from([0, 255]), Buffer.from(secret), Buffer.from([200])])]
      ]
      for (const [encoding, output] of spelled) {
        assert.isAtLeast(canaries.find(new Map([["there", output]])).length, 1, `${encoding} ${String(output)}`)
      }
    }
    assert.lengthOf(canaries.find(new Map([["there", "nothing of the kind"]])), 0)
  })
})

/** A body of every kind of credential, and what replaces it. */
const bodiesOf = (canaries: Canary.Canaries, headerValue: string): ReadonlyArray<readonly [Json, Json]> => [
  [
    { type: "api_key", provider: "a", apiKey: canaries.make("api key", "odd") },
    { type: "api_key", apiKey: canaries.make("replaced api key", "odd") }
  ],
  [
    { type: "user_password", provider: "a", username: "u", password: canaries.make("password", "odd") },
    { type: "user_password", password: canaries.make("replaced password", "odd") }
  ],
  [
    { type: "host_scoped", provider: "a", host: "a.example", headers: { "X-Key": headerValue } },
    { type: "host_scoped", headers: { "X-Key": canaries.make("replaced header") } }
  ],
  [
    {
      type: "oauth2",
      provider: "elsewhere",
      accessToken: canaries.make("access token", "odd"),
      refreshToken: canaries.make("refresh token", "odd"),
      metadata: {
        client_secret: canaries.make("secret in metadata", "odd"),
        nested: { access_token: canaries.make("token deep in metadata", "odd") }
      }
    },
    { type: "oauth2", accessToken: canaries.make("replaced access token", "odd") }
  ]
]

/** All that a provider and its clients told each other. */
const learnOf = (canaries: Canary.Canaries, provider: ScriptedProvider.ScriptedProvider["Type"]) => {
  for (const { issued, parameters, path } of provider.ledger) {
    canaries.learn(`access token of ${path}`, issued?.accessToken)
    canaries.learn(`refresh token of ${path}`, issued?.refreshToken)
    for (const name of [
      "code",
      "code_verifier",
      "refresh_token",
      "client_secret",
      "assertion",
      "subject_token",
      "state"
    ]) {
      canaries.learn(`${name} of ${path}`, parameters[name])
    }
  }
}

describe("nothing that a service gives out holds a secret", () => {
  it.scopedLive(
    "on the embedded store: logs, answers, traces, metrics, files, and what it says as it crashes",
    () =>
      Effect.gen(function* () {
        const canaries = Canary.make()
        const outputs = new Map<string, string | Buffer>()

        const collector = yield* LoopbackServer.listen
        let exported = 0
        collector.server.on("request", (request: Http.IncomingMessage, response: Http.ServerResponse) => {
          const chunks: Array<Buffer> = []
          request
            .on("data", (chunk: Buffer) => chunks.push(chunk))
            .on("end", () => {
              outputs.set(`export ${++exported} to ${request.url}`, Buffer.concat(chunks))
              response.writeHead(200, { "content-type": "application/json" }).end("{}")
            })
        })

        const clientSecret = canaries.make("client secret", "odd")
        const provider = yield* ScriptedProvider.make({
          clients: [{ clientId: "scripted-client", clientSecret }],
          revocationScope: "token",
          clientAuth: ["client_secret_basic", "client_secret_post"]
        })
        const { privateKey } = Crypto.generateKeyPairSync("ec", {
          namedCurve: "P-256",
          privateKeyEncoding: { type: "pkcs8", format: "pem" },
          publicKeyEncoding: { type: "spki", format: "pem" }
        })
        canaries.learn("private key of a client", privateKey.split("\n")[1])
        canaries.learn("private key of a client, whole", privateKey)
        const posting = { clientAuth: "client_secret_post" }
        const keyBytes = Crypto.randomBytes(32)
        canaries.learn("encryption key", keyBytes.toString("base64"))
        canaries.learn("encryption key in hex", keyBytes.toString("hex"))
        canaries.learn("encryption key in bytes", keyBytes.toString("latin1"))
        const adminApiKey = canaries.make("admin key")

        // an error that nobody foresaw, with a secret in it, thrown when a test says so
        const directory = yield* Service.temporaryDirectory
        const crasher = Path.join(directory, "crash.mjs")
        const crashText = canaries.make("in an error's message", "odd")
        Fs.writeFileSync(
          crasher,
          `process.once("SIGUSR2", () => { throw new Error(${JSON.stringify(crashText)}, { cause: new Error(${JSON.stringify(crashText)}) }) })`
        )
        const service = yield* Service.start({
          adminApiKey,
          command: [process.execPath, "--import", crasher, "dist/main.js"],
          providers: [
            provider.definition("fake"),
            provider.definition("posting", posting),
            provider.definition("device", {
              grant: "device_code",
              deviceAuthorizationUrl: provider.deviceAuthorizationUrl
            }),
            provider.definition("machine", { grant: "client_credentials" }),
            provider.definition("asserted", { grant: "jwt_bearer" }),
            provider.definition("exchanged", { grant: "token_exchange" }),
            provider.definition("keyed", { clientAuth: "private_key_jwt" })
          ],
          systemCredentials: [
            {
              id: Crypto.randomUUID(),
              type: "api_key",
              provider: "system",
              apiKey: canaries.make("system credential's key", "odd")
            },
            {
              id: Crypto.randomUUID(),
              type: "user_password",
              provider: "system",
              username: "system",
              password: canaries.make("system credential's password", "odd")
            }
          ],
          env: {
            ...Object.assign(
              {},
              ...["fake", "posting", "device", "machine", "asserted", "exchanged"].map((id) => provider.environment(id))
            ),
            KEYED_CLIENT_ID: "scripted-client",
            KEYED_PRIVATE_KEY: privateKey,
            ENCRYPTION_KEYS: `k1:${keyBytes.toString("base64")}`,
            LOG_LEVEL: "all",
            LOG_FORMAT: "json",
            OTEL_EXPORTER_OTLP_ENDPOINT: collector.url
          }
        })
        const { call, user } = recorder(outputs, service.url, adminApiKey)
        const credentials = user("/credentials")
        const create = (body: Json) =>
          Effect.map(call("POST", credentials, { body }), (reply) => {
            assert.strictEqual(reply.status, 201, reply.text)
            return textOf(reply.json, "id")
          })

        // every kind, created, read, replaced
        const headerValue = canaries.make("header")
        for (const [body, replacement] of bodiesOf(canaries, headerValue)) {
          const one = `${credentials}/${yield* create(body)}`
          for (const path of [one, `${one}/explain`, credentials]) yield* call("GET", path)
          yield* call("GET", `${one}/secret`, { carries: true })
          yield* call("PUT", one, { body: replacement })
          const lease = yield* call("POST", `${one}/leases`, { body: {}, carries: true })
          const leaseId = textOf(lease.json, "leaseId")
          canaries.learn("id of a lease", leaseId)
          yield* call("POST", `/v1/leases/${leaseId}/renew`, { body: {}, carries: true })
          yield* call("GET", `${one}/explain`)
          yield* call("DELETE", `/v1/leases/${leaseId}`)
          yield* call("DELETE", `/v1/leases/${leaseId}`)
          yield* call("POST", `${one}/refresh`, { body: {} })
        }

        // failures of each kind at a provider that repeats what it was sent
        const echo: ScriptedProvider.Fault.Fault["reply"] = (reply) => ({
          ...reply,
          status: 400,
          headers: { "content-type": "application/json", "www-authenticate": `Bearer error="${headerValue}"` },
          body: JSON.stringify({ error: "invalid_scope", error_description: `${clientSecret} ${reply.body}` })
        })
        const faults: ReadonlyArray<ScriptedProvider.Fault.Fault> = [
          { reply: echo },
          Fault.error("invalid_grant", 400, clientSecret),
          Fault.error("invalid_client", 401, clientSecret),
          Fault.html(200),
          Fault.html(502),
          Fault.body(`<p>${clientSecret}</p>`, "text/html"),
          Fault.tokens((answer) => ({
            ...answer,
            expires_in: clientSecret,
            error: clientSecret,
            id_token: clientSecret
          })),
          Fault.throttled(clientSecret),
          Fault.down(503, { "x-debug": headerValue }),
          Fault.truncated,
          Fault.empty,
          Fault.resetAfter,
          Fault.resetBefore,
          Fault.nested("data")
        ]
        for (const fault of faults) {
          const issued = provider.issue({ accessTokenSeconds: 1 })
          canaries.learn("issued access token", issued.accessToken)
          canaries.learn("issued refresh token", issued.refreshToken)
          const id = yield* create({
            type: "oauth2",
            provider: "posting",
            accessToken: issued.accessToken,
            refreshToken: issued.refreshToken,
            accessTokenExpiresAt: new Date(Date.now() - 60_000).toISOString()
          })
          provider.next(fault)
          const reply = yield* call("GET", `${credentials}/${id}/secret?waitSeconds=1`, { carries: true })
          // a refusal carries nothing
          if (reply.status >= 300) outputs.set(`error ${id}`, reply.text)
          yield* call("GET", `${credentials}/${id}/explain`)
          yield* call("POST", `${credentials}/${id}/report`, { body: { generation: 1, status: 401 } })
          yield* call("POST", `${credentials}/${id}/refresh?waitSeconds=1`, { body: {} })
          yield* call("DELETE", `${credentials}/${id}?waitSeconds=0`)
        }

        // logins, finished, refused, forged
        const begin = (body: Json, id = "fake") =>
          Effect.map(call("POST", user(`/oauth/${id}/authorize`), { body, carries: true }), ({ json }) => {
            canaries.learn("state", textOf(json, "state"))
            return textOf(json, "authorizationUrl")
          })
        for (const fault of [
          {},
          Fault.on("authorization", Fault.denied()),
          { reply: echo },
          Fault.error("invalid_grant")
        ]) {
          const url = yield* begin({ bindBrowser: true, scopes: ["openid"] })
          provider.next(fault)
          const browser = Browser.make()
          const page = yield* Effect.orDie(browser.follow(url))
          outputs.set(`page ${page.status} ${page.url.split("?")[0]}`, JSON.stringify([...page.headers]) + page.body)
          for (const { name, value } of browser.cookies) canaries.learn(`cookie ${name}`, value)
        }
        const forged = canaries.make("forged code", "odd")
        const forgedState = canaries.make("forged state")
        yield* call("POST", user("/oauth/fake/callback"), { body: { code: forged, state: forgedState } })
        yield* call("GET", `/oauth/callback?code=${encodeURIComponent(forged)}&state=${forgedState}`, { key: null })
        yield* call("GET", `/oauth/start/${forgedState}`, { key: null })
        yield* begin({}, "device")
        yield* call("POST", user("/oauth/machine/connect"), { body: {} })
        yield* call("POST", user("/oauth/asserted/connect"), { body: { privateKey, issuer: "issuer" } })
        yield* call("POST", user("/oauth/exchanged/connect"), {
          body: { subjectToken: canaries.make("subject token", "odd"), actorToken: canaries.make("actor token", "odd") }
        })
        yield* call("POST", user("/oauth/keyed/authorize"), { body: {}, carries: true })

        // an MCP server's login and tools
        const mcp = yield* ScriptedMcp.start
        const begun = yield* call("POST", user("/mcp/authorize"), { body: { serverUrl: mcp.serverUrl }, carries: true })
        canaries.learn("state of MCP", textOf(begun.json, "state"))
        const back = yield* mcp.login(textOf(begun.json, "authorizationUrl"))
        canaries.learn("code of MCP", back.searchParams.get("code"))
        yield* call("GET", back.href.slice(service.url.length), { key: null })
        yield* call("POST", user("/mcp/tools"), { body: { serverUrl: mcp.serverUrl } })
        const argument = canaries.make("tool's argument", "odd")
        const tool = { serverUrl: mcp.serverUrl, arguments: { text: argument } }
        yield* call("POST", user("/mcp/tools/echo/call"), { body: tool, carries: true })
        for (const { authorization, form } of mcp.seen) {
          canaries.learn("access token of MCP", authorization?.replace(/^\S+ /, ""))
          for (const name of ["code_verifier", "refresh_token", "client_secret"])
            canaries.learn(`${name} of MCP`, form.get(name))
        }

        // keys, wrong ones, and requests that do not fit
        for (const scopes of [["read"], ["admin"]]) {
          const made = yield* call("POST", "/v1/api-keys", { body: { name: "n", scopes }, carries: true })
          const key = textOf(made.json, "key")
          canaries.learn(`key for ${scopes.join()}`, key)
          yield* call("GET", credentials, { key })
          yield* call("GET", `${credentials}/${Crypto.randomUUID()}/secret`, { key })
          yield* call("DELETE", `/v1/api-keys/${textOf(made.json, "keyId")}`)
          yield* call("GET", credentials, { key })
        }
        const wrong = canaries.make("wrong key")
        yield* call("GET", credentials, { key: wrong })
        yield* call("GET", credentials, { key: null, headers: { authorization: `Basic ${btoa(`a:${wrong}`)}` } })
        const given = canaries.make("in a request that does not fit", "odd")
        const escaped = encodeURIComponent(given)
        yield* call("GET", `${credentials}?limit=${escaped}&cursor=${escaped}`)
        yield* call("GET", `${credentials}/${escaped}/secret`)
        yield* call("GET", `/no/such/${escaped}?token=${escaped}`)
        yield* call("POST", credentials, {
          body: { type: "api_key", provider: given, apiKey: { a: given }, expiresAt: given }
        })
        yield* call("POST", credentials, { body: `{"apiKey": "${given}` })
        yield* call("POST", credentials, { body: { type: given, headers: { a: given } } })
        yield* call("POST", user("/mcp/tools"), { body: { serverUrl: `https://u:${escaped}@mcp.example/${escaped}` } })
        yield* call("POST", user("/mcp/authorize"), {
          body: { serverUrl: `https://127.0.0.1:1/${escaped}?key=${escaped}` }
        })

        for (const path of [
          "/metrics",
          "/docs",
          "/openapi.json",
          "/v1/providers",
          "/v1/api-keys",
          "/healthz",
          "/readyz"
        ]) {
          yield* call("GET", path)
        }
        yield* call("GET", credentials)
        learnOf(canaries, provider)

        // what is stored is sealed; what ends it says nothing
        yield* service.stop()
        for (const file of filesBelow(service.dataDir)) outputs.set(`file ${file}`, Fs.readFileSync(file))
        yield* service.restart()
        yield* call("DELETE", user(""))
        yield* service.kill("SIGUSR2")
        yield* service.exited
        for (const file of filesBelow(service.dataDir)) outputs.set(`file afterwards ${file}`, Fs.readFileSync(file))
        assert.match(service.stdout + service.stderr, /crash\.mjs/)

        // a start that fails
        const bad: ReadonlyArray<Readonly<Record<string, string>>> = [
          { ENCRYPTION_KEYS: `k1:${canaries.make("bad key ring")}` },
          { DATABASE_URL: `postgres://user:${canaries.make("database password")}@127.0.0.1:1/nowhere` },
          { DATABASE_URL: `mysql://user:${canaries.make("password of another database")}@127.0.0.1:1/nowhere` },
          { REDIS_URL: `redis://:${canaries.make("redis password")}@127.0.0.1:1` },
          { KEYED_PRIVATE_KEY: canaries.make("bad private key") },
          { ADMIN_API_KEY: `${canaries.make("bad admin key")} ä` },
          { ENCRYPTION_KEYS: `other:${Crypto.randomBytes(32).toString("base64")}` }
        ]
        for (const [index, env] of bad.entries()) {
          const failed = yield* Effect.either(Effect.timeout(service.restart(env), "40 seconds"))
          outputs.set(`start ${index} with ${Object.keys(env).join()} ${failed._tag}`, String(failed))
        }
        outputs.set("log stdout", service.stdout)
        outputs.set("log stderr", service.stderr)

        assert.isAtLeast(exported, 1)
        assert.isAtLeast(canaries.count(), 40)
        assert.isAbove(service.stdout.length, 10_000)
        noHits(canaries, outputs)
        yield* searched(canaries, outputs)
      }),
    240_000
  )

  it.scopedLive(
    "on Postgres and Redis: what is said to Redis and kept there, every table, receipts of an outage",
    () =>
      Effect.gen(function* () {
        const canaries = Canary.make()
        const outputs = new Map<string, string | Buffer>()
        const cluster = yield* Cluster.make({ servers: 2, proxied: true, env: { LOG_LEVEL: "all" } })
        const { dataDir, provider, redis, services, toPostgres } = {
          ...cluster,
          dataDir: cluster.env["DATA_DIR"] ?? ""
        }
        canaries.learn("encryption key", cluster.env["ENCRYPTION_KEYS"]?.slice("k1:".length))
        canaries.learn("admin key", cluster.env["ADMIN_API_KEY"])
        canaries.learn("client secret", provider.clientSecret)

        // everything that any client says to Redis from now on
        const said: Array<Buffer> = []
        const monitor = yield* Effect.acquireRelease(
          Effect.promise(async () => {
            const { connect } = await import("node:net")
            const socket = connect(redis.port, "127.0.0.1")
            socket.on("data", (chunk) => said.push(chunk)).on("error", () => undefined)
            await new Promise((resolve) => socket.write("MONITOR\r\n", resolve))
            return socket
          }),
          (socket) => Effect.sync(() => socket.destroy())
        )
        assert.isFalse(monitor.destroyed)

        const [first, second] = services
        if (first === undefined || second === undefined) return assert.fail("there are two servers")
        const { call, user } = recorder(outputs, first.url, first.adminApiKey)
        const other = recorder(outputs, second.url, second.adminApiKey)
        const path = (id: string) => user(`/credentials/${id}`)
        const make = () =>
          Effect.map(
            cluster.create("ada", { metadata: { client_secret: canaries.make("in metadata", "odd") } }),
            ({ id }) => id
          )

        for (const [body, replacement] of bodiesOf(canaries, canaries.make("header"))) {
          const made = yield* call("POST", user("/credentials"), { body })
          const id = textOf(made.json, "id")
          for (const each of [call, other.call]) {
            yield* each("GET", path(id))
            yield* each("GET", `${path(id)}/secret`, { carries: true })
            const lease = yield* each("POST", `${path(id)}/leases`, { body: { mode: "shared" }, carries: true })
            canaries.learn("id of a lease", textOf(lease.json, "leaseId"))
            yield* each("DELETE", `/v1/leases/${textOf(lease.json, "leaseId")}`)
            yield* each("PUT", path(id), { body: replacement })
            yield* each("GET", `${path(id)}/explain`)
          }
        }
        const [one = ""] = yield* Effect.forEach(Array.from({ length: 5 }), make)
        yield* Effect.all(
          [call, other.call].map((each) => each("GET", `${path(one)}/secret`, { carries: true })),
          { concurrency: 2 }
        )
        const lease = yield* call("POST", `${path(one)}/leases`, { body: {}, carries: true })
        canaries.learn("id of a lease", textOf(lease.json, "leaseId"))
        yield* other.call("POST", `${path(one)}/leases`, { body: { waitSeconds: 1 } })
        yield* call("DELETE", `/v1/leases/${textOf(lease.json, "leaseId")}`)
        const begun = yield* call("POST", user("/oauth/fake/authorize"), { body: {}, carries: true })
        canaries.learn("state", textOf(begun.json, "state"))
        const back = yield* Effect.orDie(
          Browser.make().follow(textOf(begun.json, "authorizationUrl"), {
            stopAt: (url) => url.href.startsWith(first.redirectUri)
          })
        )
        canaries.learn("code", new URL(back.url).searchParams.get("code"))
        // the login ends at the other server
        yield* other.call("GET", `/oauth/callback${new URL(back.url).search}`, { key: null })
        const made = yield* call("POST", "/v1/api-keys", { body: { name: "n", scopes: ["read"] }, carries: true })
        canaries.learn("api key", textOf(made.json, "key"))

        // the store goes away between the provider's answer and the save: the answer is spooled, here and in Redis
        const two = yield* make()
        provider.next({ onProcessed: Effect.zipRight(toPostgres.pause, toPostgres.cut) })
        yield* call("GET", `${path(two)}/secret?waitSeconds=3`, { carries: true })
        const receipts = yield* Cluster.eventually(
          Effect.sync(() => {
            const files = filesBelow(dataDir).filter((file) => file.endsWith(".receipt"))
            assert.isNotEmpty(files)
            return files
          }),
          "30 seconds"
        )
        for (const file of receipts) outputs.set(`receipt ${file}`, Fs.readFileSync(file))
        const client = yield* RedisClient.make({ url: redis.url })
        const keys = yield* client.command("KEYS", "*")
        for (const key of Array.isArray(keys) ? keys.map(String) : []) {
          const type = String(yield* client.command("TYPE", key))
          const reading: Readonly<Record<string, ReadonlyArray<string | number>>> = {
            string: ["GET", key],
            hash: ["HGETALL", key],
            zset: ["ZRANGE", key, 0, -1],
            set: ["SMEMBERS", key],
            list: ["LRANGE", key, 0, -1]
          }
          const [command = "GET", ...parameters] = reading[type] ?? []
          outputs.set(`redis ${key}`, JSON.stringify(yield* client.command(String(command), ...parameters)))
        }
        assert.isNotEmpty(keys as ReadonlyArray<unknown>)
        yield* toPostgres.resume
        yield* call("DELETE", path(one))

        const tables = yield* cluster.query(
          "select table_name from information_schema.tables where table_schema = 'public'"
        )
        for (const { table_name: table } of tables) {
          const rows = yield* cluster.query(`select t::text as row from "${String(table)}" t`)
          outputs.set(`table ${String(table)}`, rows.map(({ row }) => String(row)).join("\n"))
        }
        assert.isAbove(String(outputs.get("table audit_events")).length, 100)
        learnOf(canaries, provider)
        for (const [index, service] of services.entries()) {
          yield* service.stop()
          outputs.set(`log ${index}`, service.stdout + service.stderr)
        }

        // the commands of an operator
        const newKey = Crypto.randomBytes(32).toString("base64")
        canaries.learn("new encryption key", newKey)
        const run = (name: string, env: Readonly<Record<string, string | undefined>>, ...parameters: Array<string>) =>
          Effect.promise(
            () =>
              new Promise<void>((resolve) => {
                const given = { ...cluster.env, PATH: process.env["PATH"], ...env }
                ChildProcess.execFile(
                  process.execPath,
                  ["dist/cli.js", ...parameters],
                  { env: given },
                  (_, out, err) => {
                    outputs.set(`command ${name}`, out + err)
                    resolve()
                  }
                )
              })
          )
        const wrong = canaries.make("wrong database password")
        const elsewhere = `postgres://user:${wrong}@127.0.0.1:${cluster.postgres.port}/nowhere`
        const both = `k2:${newKey},${cluster.env["ENCRYPTION_KEYS"]}`
        yield* run("rotate-keys without the key", { ENCRYPTION_KEYS: `k2:${newKey}` }, "rotate-keys")
        yield* run("rotate-keys", { ENCRYPTION_KEYS: both }, "rotate-keys")
        yield* run("rotate-keys elsewhere", { DATABASE_URL: elsewhere }, "rotate-keys")
        yield* run("hold-back", { ENCRYPTION_KEYS: both }, "hold-back")
        assert.match(String(outputs.get("command rotate-keys")), /Nothing is left under k1/)

        outputs.set("redis: all that it was told", Buffer.concat(said))
        assert.isAbove(Buffer.concat(said).length, 1_000)
        assert.isAtLeast(canaries.count(), 40)
        noHits(canaries, outputs)
        yield* searched(canaries, outputs)
      }),
    180_000
  )
})
