/**
 * Whatever is down, every route answers in time: a route that waits within its `waitSeconds` and two more, any other
 * within the time that the engines themselves are given.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { RawAnswer } from "../servers/Client.ts"
import { ok } from "../servers/Client.ts"
import * as Browser from "../servers/Browser.ts"
import * as Cluster from "../servers/Cluster.ts"
import * as LoopbackServer from "../servers/LoopbackServer.ts"

const user = "ada"

const waitSeconds = 1

/** The body is read once the caller's key was looked up, which may take this long. */
const lookUpMillis = 6_000

const longest = ({ waits }: Call) =>
  waits === "query" ? (waitSeconds + 2) * 1000 : waits === "body" ? lookUpMillis + 2_000 : 32_000

/** What a machine that is busy with other tests adds. */
const slack = 1_500

interface Ids {
  readonly fresh: string
  readonly due: string
  readonly spare: string
  readonly leaseId: string
  readonly otherLeaseId: string
  readonly keyId: string
  readonly login: { readonly code: string; readonly state: string; readonly iss: string }
  readonly otherLogin: { readonly code: string; readonly state: string; readonly iss: string }
}

interface Call {
  /** As the contract names it. */
  readonly route: string
  readonly path?: (ids: Ids) => string
  readonly query?: (ids: Ids) => Readonly<Record<string, string | number>>
  readonly body?: (ids: Ids) => unknown
  /** Where it says how long it waits; another one waits the default. */
  readonly waits?: "query" | "body"
}

const one = (id: keyof Ids) => (ids: Ids) => `/v1/users/${user}/credentials/${String(ids[id])}`
const renewable = { type: "oauth2", provider: "fake" }

/** Each route of the contract that works with the store, the locks or a provider, before all that deletes. */
const calls: ReadonlyArray<Call> = [
  { route: "GET /healthz" },
  { route: "GET /readyz" },
  { route: "GET /v1/providers" },
  { route: "GET /v1/users/{userId}/credentials" },
  {
    route: "POST /v1/users/{userId}/credentials",
    body: () => ({ type: "api_key", provider: "openai", apiKey: "key" })
  },
  {
    route: "POST /v1/users/{userId}/credentials/match",
    body: () => ({ requirements: [{ name: "n", provider: "fake" }] })
  },
  { route: "GET /v1/users/{userId}/credentials/{credentialId}", path: one("fresh") },
  { route: "HEAD /v1/users/{userId}/credentials/{credentialId}", path: one("fresh") },
  {
    route: "GET /v1/users/{userId}/credentials/{credentialId}/secret",
    path: (ids) => `${one("due")(ids)}/secret`,
    waits: "query"
  },
  {
    route: "GET /v1/users/{userId}/credentials/{credentialId}/secret",
    path: (ids) => `${one("fresh")(ids)}/secret`,
    query: ({ leaseId }) => ({ refresh: "force", leaseId }),
    waits: "query"
  },
  {
    route: "PUT /v1/users/{userId}/credentials/{credentialId}",
    path: one("due"),
    body: () => renewable,
    waits: "query"
  },
  {
    route: "POST /v1/users/{userId}/credentials/{credentialId}/refresh",
    path: (ids) => `${one("due")(ids)}/refresh`,
    body: () => ({}),
    waits: "query"
  },
  {
    route: "POST /v1/users/{userId}/credentials/{credentialId}/report",
    path: (ids) => `${one("fresh")(ids)}/report`,
    body: () => ({ generation: 1, status: 401 })
  },
  {
    route: "GET /v1/users/{userId}/credentials/{credentialId}/explain",
    path: (ids) => `${one("fresh")(ids)}/explain`
  },
  {
    route: "POST /v1/users/{userId}/credentials/{credentialId}/leases",
    path: (ids) => `${one("due")(ids)}/leases`,
    body: () => ({ waitSeconds }),
    waits: "body"
  },
  { route: "POST /v1/leases/{leaseId}/renew", path: ({ leaseId }) => `/v1/leases/${leaseId}/renew`, body: () => ({}) },
  { route: "DELETE /v1/leases/{leaseId}", path: ({ otherLeaseId }) => `/v1/leases/${otherLeaseId}` },
  {
    route: "POST /v1/users/{userId}/oauth/{provider}/authorize",
    path: () => `/v1/users/${user}/oauth/fake/authorize`,
    body: () => ({})
  },
  {
    route: "POST /v1/users/{userId}/oauth/{provider}/callback",
    path: () => `/v1/users/${user}/oauth/fake/callback`,
    body: ({ login }) => login
  },
  {
    route: "POST /v1/users/{userId}/oauth/{provider}/connect",
    path: () => `/v1/users/${user}/oauth/machines/connect`,
    body: () => ({})
  },
  { route: "GET /oauth/callback", query: ({ otherLogin }) => ({ ...otherLogin }) },
  { route: "GET /oauth/start/{state}", path: () => "/oauth/start/nothing" },
  { route: "POST /v1/api-keys", body: () => ({ name: "n", scopes: ["read"] }) },
  { route: "GET /v1/api-keys" },
  { route: "DELETE /v1/api-keys/{keyId}", path: ({ keyId }) => `/v1/api-keys/${keyId}` },
  { route: "DELETE /v1/users/{userId}/credentials/{credentialId}", path: one("spare"), waits: "query" },
  { route: "DELETE /v1/users/{userId}", path: () => "/v1/users/grace", waits: "query" }
]

/** Those whose time is that of a server that somebody else named, and those that are pages. */
const others = [/mcp/, /^GET \/(metrics|docs|openapi\.json|oauth\/client-metadata\.json)/]

interface Fault {
  readonly name: string
  readonly begin: (cluster: Cluster.Cluster) => Effect.Effect<unknown>
  readonly end: (cluster: Cluster.Cluster) => Effect.Effect<unknown>
}

/** Whether the provider of machines answers. */
let hanging = false

const redisPaused: Fault = {
  name: "Redis is paused",
  begin: ({ redis }) => redis.pause,
  end: ({ redis }) => redis.resume
}
const postgresPaused: Fault = {
  name: "Postgres is paused",
  begin: ({ postgres }) => postgres.pause,
  end: ({ postgres }) => postgres.resume
}
const faults: ReadonlyArray<Fault> = [
  {
    name: "the provider hangs",
    begin: ({ provider }) =>
      Effect.sync(() => {
        hanging = true
        provider.always({ delayBefore: "10 minutes" })
      }),
    end: ({ provider }) =>
      Effect.sync(() => {
        hanging = false
        provider.always(undefined)
      })
  },
  redisPaused,
  postgresPaused,
  {
    name: "both are paused",
    begin: (cluster) => Effect.zipRight(redisPaused.begin(cluster), postgresPaused.begin(cluster)),
    end: (cluster) => Effect.zipRight(redisPaused.end(cluster), postgresPaused.end(cluster))
  }
]

const callback = "http://127.0.0.1:1/oauth/callback"

describe("every route", () => {
  it.scopedLive(
    "answers in time while the provider hangs, or Redis, Postgres or both are silent, and as before when they are back",
    () =>
      Effect.gen(function* () {
        const machines = yield* LoopbackServer.listen
        machines.server.on("request", (_, response) => {
          if (!hanging) response.writeHead(400, { "content-type": "application/json" }).end("{}")
        })
        const cluster = yield* Cluster.make({
          servers: 1,
          more: [{ id: "machines", grant: "client_credentials", tokenUrl: `${machines.url}/token` }],
          env: { OAUTH_REDIRECT_URI: callback, MACHINES_CLIENT_ID: "id", MACHINES_CLIENT_SECRET: "secret" }
        })
        const admin = cluster.at(0)
        // not the bootstrap key, which is known without the database
        const { key } = yield* ok(admin.createApiKey({ name: "all", scopes: ["admin"] }))
        const client = admin.withKey(key)

        const specification = yield* client.raw("GET", "/openapi.json")
        const { paths } = specification.body as { readonly paths: Record<string, Record<string, unknown>> }
        const routes = Object.entries(paths).flatMap(([path, methods]) =>
          Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`)
        )
        const tested = new Set(calls.map(({ route }) => route))
        assert.deepStrictEqual(
          routes.filter((route) => !tested.has(route) && !others.some((other) => other.test(route))),
          []
        )

        const login = Effect.gen(function* () {
          const { authorizationUrl } = yield* ok(client.authorize(user, "fake", {}))
          const page = yield* Browser.make().follow(authorizationUrl, {
            stopAt: (url) => url.href.startsWith(callback)
          })
          const { searchParams } = new URL(page.url)
          const value = (name: string) => searchParams.get(name) ?? ""
          return { code: value("code"), state: value("state"), iss: value("iss") }
        })

        for (const fault of faults) {
          const fresh = yield* cluster.create(user, { accessTokenExpiresAt: Cluster.inSeconds(3600) })
          const other = yield* cluster.create(user, { accessTokenExpiresAt: Cluster.inSeconds(3600) })
          yield* cluster.create("grace", { accessTokenExpiresAt: Cluster.inSeconds(3600) })
          const ids: Ids = {
            fresh: fresh.id,
            due: (yield* cluster.create(user)).id,
            spare: (yield* cluster.create(user)).id,
            leaseId: (yield* ok(client.acquire(user, fresh.id))).leaseId,
            otherLeaseId: (yield* ok(client.acquire(user, other.id))).leaseId,
            keyId: (yield* ok(client.createApiKey({ name: "one", scopes: ["read"] }))).keyId,
            login: yield* login,
            otherLogin: yield* login
          }
          const ask = ({ body, path, query, route, waits }: Call) => {
            const [method = "", template = ""] = route.split(" ")
            return client.raw(method, path?.(ids) ?? template.replace("{userId}", user), {
              query: { ...query?.(ids), ...(waits === "query" ? { waitSeconds } : {}) },
              ...(body === undefined ? {} : { body: body(ids) })
            })
          }
          yield* fault.begin(cluster)
          const answers = yield* Effect.all(
            calls.map((call) => Effect.map(Cluster.timed(ask(call)), (answer) => [call, ...answer] as const)),
            { concurrency: "unbounded" }
          )
          yield* fault.end(cluster)
          const late = answers.filter(([call, took]) => took > longest(call) + slack)
          const show = (all: typeof answers) =>
            all.map(([{ route }, took, { body, status }]) => `${route}: ${took} ms, ${status} ${tagOf({ body })}`)
          if (process.env["SHOW"] === "1") yield* Effect.logInfo(fault.name, show(answers))
          assert.deepStrictEqual(show(late), [], fault.name)
          // an answer that tells what it is, never a 500
          assert.deepStrictEqual(show(answers.filter(([, , { status }]) => status === 500)), [], fault.name)
          yield* Cluster.eventually(ok(client.secret(user, fresh.id, { refresh: "never" })), "15 seconds")
          yield* Cluster.eventually(
            Effect.filterOrFail(
              client.raw("GET", "/readyz"),
              ({ status }) => status === 200,
              () => "not yet"
            )
          )
        }
      }),
    240_000
  )
})

const tagOf = ({ body }: Pick<RawAnswer, "body">): string =>
  typeof body === "object" && body !== null && "_tag" in body ? String(body._tag) : ""
