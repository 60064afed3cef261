import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import type { CredentialId } from "../../src/Credential.ts"
import * as CredentialsError from "../../src/CredentialsError.ts"
import { InternalError, ServiceUnavailable } from "../../src/api/PublicError.ts"
import * as ErrorAnswer from "../../src/server/ErrorAnswer.ts"
import { Serving, standIn } from "./Serving.ts"

const {
  AccountMismatch,
  AuthorizationDenied,
  AuthorizationExpired,
  AuthorizationPending,
  CredentialExists,
  CredentialNotFound,
  Forbidden,
  GenerationConflict,
  InvalidRequest,
  LeaseLost,
  LockTimeout,
  LockUnavailable,
  MissingConfig,
  MissingTokenUrl,
  NeedsReauth,
  NotFound,
  OutboundRefused,
  PayloadTooLarge,
  ProviderError,
  RateLimited,
  ReadOnlyCredential,
  ScopeMismatch,
  StoreUnavailable,
  TypeMismatch,
  Unauthorized,
  Undecryptable,
  UnknownProvider
} = CredentialsError

const id = "11111111-1111-4111-8111-111111111111" as CredentialId

type Row = readonly [
  error: ErrorAnswer.PublicError,
  status: number,
  retryable: boolean,
  fields: Record<string, unknown>,
  retryAfter?: string
]

const table: ReadonlyArray<Row> = [
  [
    new InvalidRequest({ issues: [{ field: "a", expected: "b" }] }),
    400,
    false,
    { issues: [{ field: "a", expected: "b" }] }
  ],
  [new Unauthorized(), 401, false, {}],
  [new Forbidden({ requires: 'the scope "read"' }), 403, false, { requires: 'the scope "read"' }],
  [new ReadOnlyCredential({ credentialId: id }), 403, false, { credentialId: id }],
  [new CredentialNotFound({ credentialId: id }), 404, false, { credentialId: id }],
  [new CredentialNotFound({}), 404, false, {}],
  [new UnknownProvider({ provider: "x" }), 404, false, { provider: "x" }],
  [new NotFound(), 404, false, {}],
  [new CredentialExists({ credentialId: id }), 409, false, { credentialId: id }],
  [
    new GenerationConflict({ credentialId: id, expected: 1, actual: 2 }),
    409,
    false,
    { credentialId: id, expected: 1, actual: 2 }
  ],
  [new AccountMismatch({ credentialId: id }), 409, false, { credentialId: id }],
  [new LeaseLost(), 410, false, {}],
  [new AuthorizationExpired(), 410, false, {}],
  [
    new AuthorizationPending({ provider: "x", retryAfterSeconds: 5 }),
    202,
    true,
    { provider: "x", retryAfterSeconds: 5 },
    "5"
  ],
  [new PayloadTooLarge({ limitBytes: 65_536 }), 413, false, { limitBytes: 65_536 }],
  [new RateLimited({ retryAfterSeconds: 7 }), 429, true, { retryAfterSeconds: 7 }, "7"],
  [new MissingTokenUrl({ credentialId: id, provider: "mcp" }), 422, false, { credentialId: id, provider: "mcp" }],
  [new ScopeMismatch({ credentialId: id, missing: ["repo"] }), 422, false, { credentialId: id, missing: ["repo"] }],
  [
    new TypeMismatch({ credentialId: id, expected: "oauth2", actual: "api_key" }),
    422,
    false,
    { credentialId: id, expected: "oauth2", actual: "api_key" }
  ],
  [new OutboundRefused({ rule: "only https is called" }), 422, false, { rule: "only https is called" }],
  [
    new AuthorizationDenied({ provider: "x", error: "access_denied" }),
    422,
    false,
    { provider: "x", error: "access_denied" }
  ],
  [new LockTimeout({ retryAfterSeconds: 0.2 }), 423, true, { retryAfterSeconds: 0.2 }, "1"],
  [
    new NeedsReauth({ credentialId: id, provider: "x", reason: "grant_revoked" }),
    424,
    false,
    { credentialId: id, provider: "x", reason: "grant_revoked" }
  ],
  [new Undecryptable({ credentialId: id, keyId: "k1" }), 500, false, { credentialId: id, keyId: "k1" }],
  [new InternalError(), 500, false, {}],
  [
    new MissingConfig({ provider: "x", variables: ["X_CLIENT_ID"] }),
    501,
    false,
    { provider: "x", variables: ["X_CLIENT_ID"] }
  ],
  [new ProviderError({ provider: "x", reason: "rejected" }), 502, false, { provider: "x", reason: "rejected" }],
  [
    new ProviderError({ provider: "x", reason: "throttled", retryAfterSeconds: 30 }),
    502,
    true,
    { provider: "x", reason: "throttled", retryAfterSeconds: 30 },
    "30"
  ],
  [new StoreUnavailable({ retryAfterSeconds: 1 }), 503, true, { retryAfterSeconds: 1 }, "1"],
  [new LockUnavailable({ retryAfterSeconds: 2 }), 503, true, { retryAfterSeconds: 2 }, "2"],
  [
    new ServiceUnavailable({ phase: "stopping", retryAfterSeconds: 1 }),
    503,
    true,
    { phase: "stopping", retryAfterSeconds: 1 },
    "1"
  ]
]

it("every error of the contract is in the table", () => {
  const shown = new Set(table.map(([error]) => error._tag as string))
  assert.deepStrictEqual(
    Object.keys(CredentialsError).filter((tag) => !shown.has(tag)),
    []
  )
})

it("every error has its status, tag, message, retryable and fields, and says when to try again", () => {
  for (const [error, status, retryable, fields, retryAfter] of table) {
    const response = ErrorAnswer.make(error)
    assert.strictEqual(response.status, status, error._tag)
    assert.strictEqual(response.headers["retry-after"], retryAfter, error._tag)
    assert.deepStrictEqual(
      response.body._tag === "Uint8Array" ? JSON.parse(new TextDecoder().decode(response.body.body)) : undefined,
      { _tag: error._tag, message: error.message, retryable, ...fields },
      error._tag
    )
  }
})

it.scopedLive("what a use case fails with is what the caller reads", () => {
  let next: ErrorAnswer.PublicError = new NotFound()
  return Effect.gen(function* () {
    const { call } = yield* Serving
    for (const [error, status, , fields, retryAfter] of table) {
      next = error
      const reply = yield* call("GET", `/v1/users/u/credentials/${id}/secret`)
      assert.strictEqual(reply.status, status, error._tag)
      assert.deepInclude(reply.json as object, { _tag: error._tag, ...fields })
      assert.strictEqual(reply.headers["retry-after"], retryAfter, error._tag)
      assert.strictEqual(reply.headers["cache-control"], "no-store")
    }
  }).pipe(Effect.provide(standIn({ credentials: { get: () => Effect.suspend(() => Effect.fail(next as never)) } })))
})

it.scopedLive("a defect is a plain 500 that tells nothing of itself", () =>
  Effect.gen(function* () {
    const { call } = yield* Serving
    const reply = yield* call("GET", `/v1/users/u/credentials/${id}/secret`)
    assert.strictEqual(reply.status, 500)
    assert.deepStrictEqual(reply.json, {
      _tag: "InternalError",
      message: "The service failed in a way that it should not: its log says more.",
      retryable: false
    })
  }).pipe(
    Effect.provide(
      standIn({ credentials: { get: () => Effect.die(new Error("canary-secret")) } }).pipe(
        Layer.provide(Logger.minimumLogLevel(LogLevel.None))
      )
    )
  )
)
