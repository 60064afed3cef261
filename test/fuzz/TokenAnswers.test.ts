/**
 * Whatever a token endpoint answers: it is read without an exception, its tokens are not lost, and what it says of time
 * stays within bounds.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { CredentialsManager } from "../../src/CredentialsManager.ts"
import type { Answer } from "../../src/Outbound.ts"
import { Provider } from "../../src/Provider.ts"
import * as TokenEndpoint from "../../src/TokenEndpoint.ts"
import { accessToken, given, userId, world } from "../ScriptedHandler.ts"
import { damaged, holds, holdsEffect, number, text, value } from "./Inputs.ts"

const now = Date.parse("2026-01-01T00:00:00Z")
const tenYears = 10 * 365 * 86_400

const provider = Schema.decodeUnknownSync(Provider)({
  id: "acme",
  authorizationUrl: "https://acme.test/authorize",
  tokenUrl: "https://acme.test/token",
  tokenPath: "authed_user.inner",
  keptFields: ["team", "__proto__", "constructor", "instance_url"],
  invalidGrantAliases: ["bad_refresh_token", "constructor", { errors: [{ code: "constructor" }] }]
})

const lifetimes = FastCheck.oneof(
  FastCheck.constantFrom(3600, "3600", 0, -1, 1e18, "1e400", "NaN", "", null, {}, [], "0x10", true, "١٢"),
  number,
  text
)

const tokenText = FastCheck.oneof(
  text.filter((token) => token !== ""),
  FastCheck.string({ minLength: 1, maxLength: 5_000 })
)

/** The fields that a reader looks at, and some that it does not, each with anything. */
const anyFields = FastCheck.dictionary(
  FastCheck.oneof(
    FastCheck.constantFrom(
      ..."access_token refresh_token expires_in expires_at refresh_token_expires_in scope scopes id_token error".split(
        " "
      ),
      ..."error_description ok success token_type status code authed_user device_code user_code interval".split(" "),
      ..."verification_uri request_uri constructor toString".split(" ")
    ),
    text
  ),
  FastCheck.oneof(value, FastCheck.dictionary(FastCheck.constantFrom("code", "type", "inner", "access_token"), value)),
  { maxKeys: 12 }
)

const status = FastCheck.oneof(
  { weight: 3, arbitrary: FastCheck.constantFrom(200, 200, 201, 400, 401, 403, 429, 500, 503) },
  { weight: 1, arbitrary: FastCheck.integer({ min: 100, max: 599 }) }
)

const headers = FastCheck.dictionary(
  FastCheck.constantFrom("retry-after", "content-type", "www-authenticate", "date", "x-y"),
  FastCheck.oneof(text, FastCheck.constantFrom("1", "0", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT", "-5", "9".repeat(40)))
)

const anyAnswer: FastCheck.Arbitrary<Answer> = FastCheck.record({
  status,
  headers,
  body: damaged(
    FastCheck.oneof(
      anyFields.map((fields) => JSON.stringify(fields)),
      value.map((given) => JSON.stringify(given)),
      FastCheck.dictionary(text, text).map((fields) => new URLSearchParams(fields).toString()),
      FastCheck.constantFrom("<!doctype html><h1>502</h1>", "", "[".repeat(60_000), `{"access_token":`.repeat(3_000))
    )
  ).map((body) => Redacted.make<Uint8Array>(body))
})

const isSeconds = (seconds: Option.Option<number>, longest = tenYears) =>
  Option.isNone(seconds) || (Number.isInteger(seconds.value) && seconds.value >= 1 && seconds.value <= longest)

describe("an answer of any kind", () => {
  it.effect("is tokens or a denial, and its times are whole seconds within bounds", () =>
    holds("token answers", 1_000, anyAnswer, (answer) => {
      const read = TokenEndpoint.readTokens(provider, answer, now)
      if (Either.isRight(read)) {
        const { accessToken, lifetimeSeconds, refreshLifetimeSeconds, refreshToken, scopes, subject } = read.right
        assert.isTrue(answer.status >= 200 && answer.status < 300)
        assert.notStrictEqual(Redacted.value(accessToken), "")
        assert.isTrue(Option.isNone(refreshToken) || Redacted.value(refreshToken.value) !== "")
        assert.isTrue(isSeconds(lifetimeSeconds) && isSeconds(refreshLifetimeSeconds))
        assert.isTrue(Option.isNone(scopes) || scopes.value.every((scope) => typeof scope === "string" && scope !== ""))
        assert.isTrue(Option.isNone(subject) || typeof subject.value === "string")
      } else {
        assert.include(["Refused", "Failed", "Unclear"], read.left._tag)
        if (read.left._tag === "Failed") assert.isTrue(isSeconds(read.left.retryAfterSeconds, 86_400))
      }
    })
  )

  it.effect("is read as any other kind of answer without an exception", () =>
    holds("token answers", 1_000, anyAnswer, (answer) => {
      const begun = TokenEndpoint.readDeviceAuthorization(provider, answer, now)
      if (Either.isRight(begun)) {
        assert.isTrue(isSeconds(Option.some(begun.right.lifetimeSeconds), 3600))
        assert.isTrue(isSeconds(Option.some(begun.right.intervalSeconds), 300))
        assert.match(begun.right.verificationUri, /^https?:\/\//i)
      }
      assert.isTrue(Option.isOption(TokenEndpoint.deviceProgress(provider, answer)))
      assert.isTrue(Either.isEither(TokenEndpoint.readPushed(provider, answer, now)))
      assert.isTrue(Either.isEither(TokenEndpoint.readRevocation(provider, answer)))
    })
  )
})

describe("tokens that can be read", () => {
  const granted = FastCheck.record({
    status: FastCheck.constantFrom(200, 201, 203, 206, 299),
    headers,
    access: tokenText,
    refresh: FastCheck.option(tokenText),
    others: anyFields,
    lifetime: lifetimes,
    as: FastCheck.constantFrom("json", "form", "nested", "pretty", "bom")
  })

  it.effect("are not lost, whatever stands beside them and however they are written down", () =>
    holds("token answers", 1_000, granted, ({ access, as, headers, lifetime, others, refresh, status }) => {
      const tokens = { access_token: access, ...(refresh !== null && { refresh_token: refresh }), expires_in: lifetime }
      // a form has no null, no list and no half of a character; a text of spaces is trimmed away at its edge
      const isForm = as === "form" && [access, refresh ?? ""].every((token) => Buffer.from(token).toString() === token)
      const rest = Object.fromEntries(
        Object.entries(others).filter(([name]) => !["access_token", "authed_user", "refresh_token"].includes(name))
      )
      const body = isForm
        ? `access_token=${encodeURIComponent(access)}${refresh === null ? "" : `&refresh_token=${encodeURIComponent(refresh)}`}`
        : as === "nested"
          ? JSON.stringify({ ...rest, authed_user: { inner: tokens } })
          : JSON.stringify({ ...rest, ...tokens }, undefined, as === "pretty" ? "\t" : undefined)
      const answer = {
        status,
        headers,
        body: Redacted.make<Uint8Array>(Buffer.from(as === "bom" ? `\ufeff${body}` : body))
      }
      const read = TokenEndpoint.readTokens(provider, answer, now)
      assert.isTrue(Either.isRight(read), body)
      if (Either.isLeft(read)) return
      assert.strictEqual(Redacted.value(read.right.accessToken), access)
      assert.deepStrictEqual(Option.getOrNull(Option.map(read.right.refreshToken, Redacted.value)), refresh)
    })
  )
})

describe("a renewal whose provider answers anything", () => {
  it.effect("ends in a typed way, spends a token once, and keeps what it was given", () =>
    holdsEffect("token answers", 60, anyAnswer, (answer) => {
      const { layer, provider: scripted } = world()
      return Effect.gen(function* () {
        const manager = yield* CredentialsManager
        const id = yield* given()
        scripted.always(() => Effect.succeed(answer))
        const exit = yield* Effect.exit(Effect.timeout(manager.get(userId, id), "1 hour"))
        if (Exit.isFailure(exit))
          assert.isTrue(Option.isSome(Cause.failureOption(exit.cause)), Cause.pretty(exit.cause))
        const read = TokenEndpoint.readTokens(provider, answer, now)
        if (Either.isRight(read) && Exit.isSuccess(exit)) {
          assert.strictEqual(accessToken(exit.value), Redacted.value(read.right.accessToken))
        }
        assert.isAtMost(scripted.spent.length, 2)
      }).pipe(Effect.provide(layer), Effect.orDie)
    })
  )
})
