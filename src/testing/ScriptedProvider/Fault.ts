/**
 * What goes wrong with one request to a `ScriptedProvider`. A fault is plain data; its fields combine, in the order in
 * which a request meets them: `delayBefore`, `reset: "before"`, `refuse`, *the request is processed*, `tokens`, `reply`,
 * `delayAfter`, `reset: "after"`, `cut`, `onAnswered`.
 *
 * Whatever happens before the request is processed spends nothing; whatever happens after has spent the refresh token.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** What a request is, told from its path and `grant_type`. */
export type RequestKind =
  | "authorization"
  | "authorization_code"
  | "refresh_token"
  | "machine"
  | "device_authorization"
  | "device_code"
  | "revocation"
  | "userinfo"
  | "metadata"
  | "other"

/** A whole HTTP answer. */
export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** The fields of a token answer (RFC 6749 5.1), before they are encoded. */
export type TokenAnswer = Readonly<Record<string, unknown>>

/** One request's misfortune. An empty one changes nothing. */
export interface Fault {
  /** The requests that take it; `token` is both grants. Default: `token`. */
  readonly on?: RequestKind | "token"
  /** How long the request lies unprocessed. */
  readonly delayBefore?: Duration.DurationInput
  /** How long the answer is held back after the request was processed. */
  readonly delayAfter?: Duration.DurationInput
  /** The connection is reset (RST) instead of an answer. */
  readonly reset?: "before" | "after"
  /** Answered without looking at the request: nothing is spent. */
  readonly refuse?: Reply
  /** Changes the fields of a token answer. */
  readonly tokens?: (answer: TokenAnswer) => unknown
  /** Changes the answer as it goes out. */
  readonly reply?: (reply: Reply) => Reply
  /** Half the body is written, then the connection ends. */
  readonly cut?: boolean
  /** Changes what an authorization answers in the redirect. */
  readonly redirect?: (parameters: URLSearchParams) => void
  /** Runs when the request was processed and before it is answered. */
  readonly onProcessed?: Effect.Effect<unknown>
  /** Runs `after` the answer was handed to the kernel; kills a client's process, for instance. */
  readonly onAnswered?: { readonly after?: Duration.DurationInput; readonly run: Effect.Effect<unknown> }
}

const json = (status: number, body: unknown, headers: Record<string, string> = {}): Reply => ({
  status,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(body)
})

/** The same fault for another kind of request. */
export const on = (kind: RequestKind | "token", fault: Fault): Fault => ({ ...fault, on: kind })

/** Several faults as one: `tokens` and `reply` are applied in order, of other fields the last wins. */
export const combine = (...faults: ReadonlyArray<Fault>): Fault => {
  const changes = faults.flatMap((fault) => fault.tokens ?? [])
  const replies = faults.flatMap((fault) => fault.reply ?? [])
  return {
    ...Object.assign({}, ...faults),
    ...(changes.length === 0
      ? {}
      : {
          tokens: (answer: TokenAnswer) =>
            changes.reduce<unknown>((value, change) => (isRecord(value) ? change(value) : value), answer)
        }),
    ...(replies.length === 0
      ? {}
      : { reply: (reply: Reply) => replies.reduce((value, change) => change(value), reply) })
  }
}

const isRecord = (value: unknown): value is TokenAnswer =>
  typeof value === "object" && value !== null && !Array.isArray(value)

// ── before the request is processed: nothing is spent ──

/** Answers this, without processing the request. */
export const refuse = (reply: {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}): Fault => ({ refuse: { headers: {}, body: "", ...reply } })

/** The connection is reset before anything was processed. */
export const resetBefore: Fault = { reset: "before" }

/** 429; `retryAfter` is sent as it is given: seconds or an HTTP date. */
export const throttled = (retryAfter: number | string = 1): Fault => ({
  refuse: json(429, { error: "rate_limited" }, { "retry-after": String(retryAfter) })
})

/** 500, 502, 503 or 504 with a JSON body. */
export const down = (status = 503, headers: Record<string, string> = {}): Fault => ({
  refuse: json(status, { message: "Service unavailable" }, headers)
})

/** A web page where JSON was expected, as gateways (502) and login walls (200) answer. */
export const html = (status = 502): Fault => ({
  refuse: {
    status,
    headers: { "content-type": "text/html; charset=utf-8" },
    body: `<!doctype html><html><head><title>${status}</title></head><body><h1>Something went wrong</h1></body></html>`
  }
})

/** An error answer of RFC 6749 5.2: `invalid_grant`, `invalid_client` (401), and so on. */
export const error = (code: string, status = code === "invalid_client" ? 401 : 400, description?: string): Fault => ({
  refuse: json(status, { error: code, ...(description === undefined ? {} : { error_description: description }) })
})

/** `{"error": …}` with status 200, as GitHub does. */
export const errorIn200 = (code = "bad_refresh_token"): Fault => error(code, 200)

/** `{"ok": false, "error": …}` with status 200, as Slack does. */
export const notOk = (code = "token_expired"): Fault => ({ refuse: json(200, { ok: false, error: code }) })

// ── after the request was processed: the refresh token is spent ──

/** The same answer, but after the request was processed: the refresh token is spent, and its successor never shown. */
export const spent = (fault: Fault): Fault => {
  const { refuse, reset, ...rest } = fault
  return {
    ...rest,
    ...(refuse === undefined ? {} : { reply: () => refuse }),
    ...(reset === undefined ? {} : { reset: "after" as const })
  }
}

/** The connection is reset after the refresh token was spent. */
export const resetAfter: Fault = { reset: "after" }

/** Half the body arrives, then the connection ends. */
export const truncated: Fault = { cut: true }

/** The answer has no body. */
export const empty: Fault = { reply: (reply) => ({ ...reply, body: "" }) }

/** Lets the request lie unprocessed, or the answer late. */
export const slow = (times: {
  readonly before?: Duration.DurationInput
  readonly after?: Duration.DurationInput
}): Fault => ({
  ...(times.before === undefined ? {} : { delayBefore: times.before }),
  ...(times.after === undefined ? {} : { delayAfter: times.after })
})

/** Another status on the same answer: 201, for instance. */
export const status = (code: number): Fault => ({ reply: (reply) => ({ ...reply, status: code }) })

/** Another body on the same answer. */
export const body = (text: string, contentType = "application/json"): Fault => ({
  reply: (reply) => ({ ...reply, headers: { ...reply.headers, "content-type": contentType }, body: text })
})

/** Changes the fields of the token answer. */
export const tokens = (change: (answer: TokenAnswer) => unknown): Fault => ({ tokens: change })

/** Sets fields of the token answer. */
export const having = (fields: TokenAnswer): Fault => tokens((answer) => ({ ...answer, ...fields }))

/** Leaves fields out of the token answer: `token_type`, `expires_in`, `refresh_token`… */
export const without = (...fields: ReadonlyArray<string>): Fault =>
  tokens((answer) => Object.fromEntries(Object.entries(answer).filter(([name]) => !fields.includes(name))))

/** `scope` as an array. */
export const scopeArray: Fault = tokens((answer) => ({ ...answer, scope: String(answer["scope"] ?? "").split(" ") }))

/** The token answer one level down, as Slack's `authed_user`. */
export const nested = (field: string): Fault => tokens((answer) => ({ ok: true, [field]: answer }))

const notANumber = "effect-credentials:NaN"

/**
 * Any `expires_in`: `"3600"`, `-1`, `0`, `1e18`. A number that is no number goes out as the bare word `NaN`, which is not
 * JSON.
 */
export const expiresIn = (value: unknown): Fault =>
  typeof value === "number" && Number.isNaN(value)
    ? {
        ...having({ expires_in: notANumber }),
        reply: (reply) => ({ ...reply, body: reply.body.replace(`"${notANumber}"`, "NaN") })
      }
    : having({ expires_in: value })

// ── authorizations ──

/** The user says no (RFC 6749 4.1.2.1). */
export const denied = (code = "access_denied"): Fault => ({
  on: "authorization",
  redirect: (parameters) => {
    parameters.delete("code")
    parameters.set("error", code)
  }
})

/** The redirect names another `iss` (RFC 9207), or none. */
export const issuedBy = (iss: string | undefined): Fault => ({
  on: "authorization",
  redirect: (parameters) => {
    if (iss === undefined) parameters.delete("iss")
    else parameters.set("iss", iss)
  }
})
