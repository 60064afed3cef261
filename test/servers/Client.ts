/**
 * A small typed client of the server's contract, on `fetch`. An answer is a value whatever its status: check `ok`, or let
 * `body` do it. Only a connection that fails fails the Effect; interrupting the Effect cuts the connection.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

/** An answer: `A` when it is a 2xx, else the error's JSON. */
export type Answer<A> =
  | { readonly ok: true; readonly status: number; readonly headers: Headers; readonly body: A }
  | { readonly ok: false; readonly status: number; readonly headers: Headers; readonly body: ErrorBody }

export interface ErrorBody {
  readonly _tag: string
  readonly message: string
  readonly retryable: boolean
  readonly reason?: string
  readonly [field: string]: unknown
}

/** Any answer, read as JSON where it is JSON, else as text. */
export interface RawAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: unknown
}

export interface Metadata {
  readonly id: string
  readonly userId: string
  readonly type: "oauth2" | "api_key" | "user_password" | "host_scoped"
  readonly provider: string
  readonly status: "active" | "needs_reauth" | "undecryptable"
  readonly generation: number
  readonly createdAt: string
  readonly updatedAt: string
  readonly title?: string
  readonly scopes?: ReadonlyArray<string>
  readonly username?: string
  readonly host?: string
  readonly metadata?: Readonly<Record<string, unknown>>
  readonly accessTokenExpiresAt?: string
  readonly refreshTokenExpiresAt?: string
  readonly expiresAt?: string
  readonly statusReason?: string
  readonly reauthSoonAt?: string
  readonly system?: boolean
}

export interface Secret {
  readonly credentialId: string
  readonly generation: number
  readonly type: Metadata["type"]
  readonly headers: Readonly<Record<string, string>>
  readonly expiresAt?: string
  readonly accessToken?: string
  readonly apiKey?: string
  readonly username?: string
  readonly password?: string
  readonly host?: string
}

export interface Lease {
  readonly leaseId: string
  readonly mode: "exclusive" | "shared"
  readonly fencingToken: number
  readonly expiresAt: string
  readonly secret: Secret
}

export interface RenewedLease {
  readonly leaseId: string
  readonly fencingToken: number
  readonly expiresAt: string
}

export interface ListPage {
  readonly items: ReadonlyArray<Metadata>
  readonly nextCursor?: string
}

export interface Authorization {
  readonly authorizationUrl: string
  readonly state: string
  readonly expiresAt: string
}

export interface ApiKey {
  readonly keyId: string
  readonly key?: string
  readonly name: string
  readonly scopes: ReadonlyArray<string>
  readonly userId?: string
  readonly createdAt: string
}

export interface Match {
  readonly matches: ReadonlyArray<{
    readonly name: string
    readonly credentialId: string | null
    readonly candidates: ReadonlyArray<Metadata>
  }>
  readonly missing: ReadonlyArray<string>
}

export interface ProviderItem {
  readonly id: string
  readonly name: string
  readonly configured: boolean
  readonly defaultScopes: ReadonlyArray<string>
}

/** A create or replace body of the contract. */
export type Body = Readonly<Record<string, unknown>>

/** Query parameters; absent ones are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>

export interface RawOptions {
  /** Sent as JSON; a string is sent as it is. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly query?: Query
  readonly signal?: AbortSignal
}

/** No answer came: nobody listens, or the connection was cut. */
export class ConnectionError extends Data.TaggedError("ConnectionError")<{
  readonly method: string
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return `${this.method} ${this.path}: ${this.reason}`
  }
}

type Call<A> = Effect.Effect<Answer<A>, ConnectionError>

export interface Client {
  readonly url: string
  /** The same client with another key, or with none. */
  readonly withKey: (apiKey: string | undefined) => Client
  readonly raw: (method: string, path: string, options?: RawOptions) => Effect.Effect<RawAnswer, ConnectionError>

  readonly providers: Call<{ readonly items: ReadonlyArray<ProviderItem> }>
  readonly createCredential: (userId: string, body: Body) => Call<Metadata>
  readonly list: (userId: string, query?: Query) => Call<ListPage>
  readonly deleteUser: (userId: string) => Call<{ readonly deleted: number }>
  readonly get: (userId: string, id: string) => Call<Metadata>
  /** Whether HEAD answers 200. */
  readonly exists: (userId: string, id: string) => Effect.Effect<boolean, ConnectionError>
  /** `minValidSeconds`, `refresh`, `leaseId`, `waitSeconds`. */
  readonly secret: (userId: string, id: string, query?: Query) => Call<Secret>
  /** `ifMatch`: a generation; `waitSeconds` and `leaseId` go into the query. */
  readonly put: (
    userId: string,
    id: string,
    body: Body,
    options?: { readonly ifMatch?: number; readonly query?: Query }
  ) => Call<Metadata>
  /** `revoke`, `waitSeconds`, `leaseId`. */
  readonly delete: (
    userId: string,
    id: string,
    query?: Query
  ) => Call<{ readonly deleted: boolean; readonly revoked: boolean | null }>
  /** `ifGeneration`, `leaseId`. */
  readonly refresh: (userId: string, id: string, body?: Body, query?: Query) => Call<Metadata>
  readonly report: (
    userId: string,
    id: string,
    body: { readonly generation: number; readonly status: number }
  ) => Call<unknown>
  readonly explain: (userId: string, id: string) => Call<Readonly<Record<string, unknown>>>
  /** `mode`, `ttlSeconds`, `waitSeconds`, `minValidSeconds`. */
  readonly acquire: (userId: string, id: string, body?: Body) => Call<Lease>
  readonly renewLease: (leaseId: string, body?: { readonly ttlSeconds?: number }) => Call<RenewedLease>
  readonly releaseLease: (leaseId: string) => Call<undefined>
  readonly match: (userId: string, requirements: ReadonlyArray<Body>) => Call<Match>

  /** `scopes`, `returnTo`, `credentialId`, `variables`, `bindBrowser`. */
  readonly authorize: (userId: string, provider: string, body?: Body) => Call<Authorization>
  readonly callback: (
    userId: string,
    provider: string,
    body: { readonly code: string; readonly state: string; readonly iss?: string }
  ) => Call<Metadata>

  /** `serverUrl`, `scopes`, `returnTo`, `bindBrowser`. */
  readonly mcpAuthorize: (
    userId: string,
    body: Body
  ) => Call<Partial<Authorization> & { readonly authorizationRequired: boolean }>
  readonly mcpTools: (userId: string, body: Body) => Call<Readonly<Record<string, unknown>>>
  readonly mcpCall: (userId: string, toolName: string, body: Body) => Call<Readonly<Record<string, unknown>>>

  readonly createApiKey: (body: {
    readonly name: string
    readonly scopes: ReadonlyArray<string>
    readonly userId?: string
  }) => Call<ApiKey & { readonly key: string }>
  readonly listApiKeys: Call<{ readonly items: ReadonlyArray<ApiKey> }>
  readonly deleteApiKey: (keyId: string) => Call<undefined>
}

/** The body of a 2xx; any other answer is a defect that shows the answer. */
export const body = <A>(answer: Answer<A>): A => {
  if (answer.ok) return answer.body
  throw new Error(`expected a 2xx, got ${answer.status} ${JSON.stringify(answer.body)}`)
}

/** Calls, and gives the body of the 2xx; any other answer dies and shows itself: `yield* ok(client.secret(…))`. */
export const ok = <A, E>(call: Effect.Effect<Answer<A>, E>): Effect.Effect<A, E> => Effect.map(call, body)

/** Calls, and gives the error of an answer that is no 2xx; a 2xx dies and shows itself. */
export const refused = <A, E>(
  call: Effect.Effect<Answer<A>, E>
): Effect.Effect<{ readonly status: number; readonly headers: Headers; readonly body: ErrorBody }, E> =>
  Effect.map(call, (answer) => {
    if (!answer.ok) return answer
    throw new Error(`expected an error, got ${answer.status} ${JSON.stringify(answer.body)}`)
  })

const search = (query: Query) => {
  const fields = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]))
  const text = new URLSearchParams(Object.fromEntries(fields)).toString()
  return text === "" ? "" : `?${text}`
}

const parse = (text: string, headers: Headers): unknown => {
  if (text === "") return undefined
  return headers.get("content-type")?.includes("json") === true ? JSON.parse(text) : text
}

const reasonOf = (cause: unknown): string =>
  cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : String(cause)

const user = (userId: string) => `/v1/users/${encodeURIComponent(userId)}`
const credential = (userId: string, id: string) => `${user(userId)}/credentials/${encodeURIComponent(id)}`
const flow = (userId: string, provider: string) => `${user(userId)}/oauth/${encodeURIComponent(provider)}`
const lease = (leaseId: string) => `/v1/leases/${encodeURIComponent(leaseId)}`

/** A client of the service at `url`. Every call has a connection of its own, so that no killed server haunts the next. */
export const make = (options: { readonly url: string; readonly apiKey?: string | undefined }): Client => {
  const { apiKey, url } = options

  const raw: Client["raw"] = (method, path, request = {}) =>
    Effect.tryPromise({
      try: async (interrupted) => {
        const { signal } = request
        const response = await fetch(`${url}${path}${search(request.query ?? {})}`, {
          method,
          redirect: "manual",
          signal: signal === undefined ? interrupted : AbortSignal.any([interrupted, signal]),
          headers: {
            connection: "close",
            ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
            ...(request.body === undefined ? {} : { "content-type": "application/json" }),
            ...request.headers
          },
          ...(request.body === undefined
            ? {}
            : { body: typeof request.body === "string" ? request.body : JSON.stringify(request.body) })
        })
        const { headers, status } = response
        return { status, headers, body: parse(await response.text(), headers) }
      },
      catch: (cause) => new ConnectionError({ method, path, reason: reasonOf(cause) })
    })

  const call = <A>(method: string, path: string, request?: RawOptions): Call<A> =>
    Effect.map(
      raw(method, path, request),
      // the contract is what these tests are about: a body of another shape fails where it is used
      ({ body, headers, status }) => ({ ok: status >= 200 && status < 300, status, headers, body }) as Answer<A>
    )

  return {
    url,
    withKey: (other) => make({ url, apiKey: other }),
    raw,
    providers: call("GET", "/v1/providers"),
    createCredential: (userId, body) => call("POST", `${user(userId)}/credentials`, { body }),
    list: (userId, query = {}) => call("GET", `${user(userId)}/credentials`, { query }),
    deleteUser: (userId) => call("DELETE", user(userId)),
    get: (userId, id) => call("GET", credential(userId, id)),
    exists: (userId, id) => Effect.map(raw("HEAD", credential(userId, id)), (answer) => answer.status === 200),
    secret: (userId, id, query = {}) => call("GET", `${credential(userId, id)}/secret`, { query }),
    put: (userId, id, body, { ifMatch, query = {} } = {}) =>
      call("PUT", credential(userId, id), {
        body,
        query,
        ...(ifMatch === undefined ? {} : { headers: { "if-match": `"${ifMatch}"` } })
      }),
    delete: (userId, id, query = {}) => call("DELETE", credential(userId, id), { query }),
    refresh: (userId, id, body = {}, query = {}) => call("POST", `${credential(userId, id)}/refresh`, { body, query }),
    report: (userId, id, body) => call("POST", `${credential(userId, id)}/report`, { body }),
    explain: (userId, id) => call("GET", `${credential(userId, id)}/explain`),
    acquire: (userId, id, body = {}) => call("POST", `${credential(userId, id)}/leases`, { body }),
    renewLease: (leaseId, body = {}) => call("POST", `${lease(leaseId)}/renew`, { body }),
    releaseLease: (leaseId) => call("DELETE", lease(leaseId)),
    match: (userId, requirements) => call("POST", `${user(userId)}/credentials/match`, { body: { requirements } }),
    authorize: (userId, provider, body = {}) => call("POST", `${flow(userId, provider)}/authorize`, { body }),
    callback: (userId, provider, body) => call("POST", `${flow(userId, provider)}/callback`, { body }),
    mcpAuthorize: (userId, body) => call("POST", `${user(userId)}/mcp/authorize`, { body }),
    mcpTools: (userId, body) => call("POST", `${user(userId)}/mcp/tools`, { body }),
    mcpCall: (userId, toolName, body) =>
      call("POST", `${user(userId)}/mcp/tools/${encodeURIComponent(toolName)}/call`, { body }),
    createApiKey: (body) => call("POST", "/v1/api-keys", { body }),
    listApiKeys: call("GET", "/v1/api-keys"),
    deleteApiKey: (keyId) => call("DELETE", `/v1/api-keys/${encodeURIComponent(keyId)}`)
  }
}
