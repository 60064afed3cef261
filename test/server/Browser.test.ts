import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createHash } from "node:crypto"
import type { Metadata } from "../../src/Credential.ts"
import {
  AccountMismatch,
  AuthorizationDenied,
  AuthorizationExpired,
  ProviderError
} from "../../src/CredentialsError.ts"
import type { CallbackError, CallbackParameters, OAuthFlow } from "../../src/OAuthFlow.ts"
import { SecureCookies } from "../../src/server/Browser.ts"
import * as CallbackPage from "../../src/server/CallbackPage.ts"
import { Serving, standIn } from "./Serving.ts"

const credential = { id: "11111111-1111-4111-8111-111111111111", provider: "<b>acme</b>" } as unknown as Metadata

interface Seen {
  parameters: CallbackParameters | undefined
  browserSecret: Option.Option<string>
}

const flow = (
  result: Either.Either<Metadata, CallbackError>,
  returnTo: Option.Option<string> = Option.none(),
  seen: Seen = { parameters: undefined, browserSecret: Option.none() },
  withheld: ReadonlyArray<string> = []
): Partial<OAuthFlow["Type"]> => ({
  browserCallback: (parameters, browserSecret) =>
    Effect.sync(() => {
      Object.assign(seen, { parameters, browserSecret: Option.map(browserSecret, Redacted.value) })
      return { returnTo, result, withheld }
    }),
  start: (state) =>
    Redacted.value(state) === "good"
      ? Effect.succeed({
          authorizationUrl: Redacted.make("https://acme.example/authorize?state=good"),
          browserSecret: Redacted.make("browser-secret")
        })
      : Effect.fail(new AuthorizationExpired())
})

const browsing = { key: null } as const

describe("the page at the end of a login", () => {
  it.scopedLive("says that the account is connected, runs nothing and loads nothing", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { headers, status, text } = yield* call("GET", "/oauth/callback?code=c&state=s", browsing)
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-type"], "text/html; charset=utf-8")
      assert.strictEqual(headers["cache-control"], "no-store")
      assert.strictEqual(headers["referrer-policy"], "no-referrer")
      assert.strictEqual(headers["x-content-type-options"], "nosniff")
      assert.include(text, "Your &lt;b&gt;acme&lt;/b&gt; account is connected.")
      assert.notMatch(text, /<script|<img|<link|https?:|\son\w+=|<b>/i)
      const style = /<style>([^]*)<\/style>/.exec(text)?.[1] ?? ""
      const hash = createHash("sha256").update(style).digest("base64")
      assert.strictEqual(
        headers["content-security-policy"],
        `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
      )
    }).pipe(Effect.provide(standIn({ flow: flow(Either.right(credential)) })))
  )

  const connected = (withheld: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { status, text } = yield* call("GET", "/oauth/callback?code=c&state=s", browsing)
      assert.strictEqual(status, 200)
      return /<p>([^]*)<\/p>/.exec(text)?.[1] ?? ""
    }).pipe(
      Effect.provide(standIn({ flow: flow(Either.right(credential), Option.none(), undefined, withheld) })),
      Effect.scoped
    )

  it.live("says which scopes the user did not grant, and nothing of them where all were granted", () =>
    Effect.gen(function* () {
      assert.notInclude(yield* connected([]), "granted")
      assert.include(yield* connected(["write"]), "It granted less than was asked for: write is missing.")
      assert.include(yield* connected(["write", "admin"]), ": write, admin are missing.")
    })
  )

  it.live("shows the scopes that a server made up without markup, without what cannot be seen, and not for ever", () =>
    Effect.gen(function* () {
      const hostile = ["<img/src=x>", "a&b", "\u202eevil", "call me: +1 555", "x".repeat(500), "read"]
      const text = yield* connected(hostile)
      assert.include(text, ": &lt;img/src=x&gt;, a&amp;b, read and 3 more are missing.")
      assert.notMatch(text, /<|\p{C}|evil|call|x{9}/u)
      const many = yield* connected(Array.from({ length: 5_000 }, (_, index) => `scope-${index}`))
      assert.include(many, "scope-9 and 4990 more are missing.")
      assert.include(yield* connected(["\u0000"]), "It granted less than was asked for.")
    })
  )

  it("holds no markup and no unseen character of a text, whoever wrote it", () => {
    for (const text of [
      `"'><script>alert(1)</script>`,
      "a\u202eb\u200bc\u0000d\r\ne",
      "&lt;b&gt;",
      "x".repeat(100_000)
    ]) {
      const { body } = CallbackPage.make({ status: 200, title: text, text })
      const page = body._tag === "Uint8Array" ? Buffer.from(body.body).toString("utf8") : assert.fail(body._tag)
      assert.notMatch(page, /<script|<b>|[^\P{C}\n]/u)
      assert.isBelow(page.length, 20_000)
    }
  })

  const failures: ReadonlyArray<readonly [CallbackError, number]> = [
    [new AuthorizationExpired(), 410],
    [new AuthorizationDenied({ provider: "<script>", error: "access_denied" }), 422],
    [new AccountMismatch({ credentialId: credential.id }), 409],
    [new ProviderError({ provider: "acme", reason: "throttled", retryAfterSeconds: 9 }), 502]
  ]
  for (const [error, expected] of failures) {
    it.scopedLive(`has the status of ${error._tag}, and its text escaped`, () =>
      Effect.gen(function* () {
        const { call } = yield* Serving
        const { headers, status, text } = yield* call("GET", "/oauth/callback?state=s&error=x", browsing)
        assert.strictEqual(status, expected)
        assert.include(text, "<h1>Not connected</h1>")
        assert.notInclude(text, "<script>")
        assert.strictEqual(headers["retry-after"], expected === 502 ? "9" : undefined)
      }).pipe(Effect.provide(standIn({ flow: flow(Either.left(error)) })))
    )
  }

  it.scopedLive("is for those who come without a state, or with two", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      for (const query of ["", "?state=", "?state=a&state=b", "?code=c"]) {
        const { headers, status } = yield* call("GET", `/oauth/callback${query}`, browsing)
        assert.strictEqual(status, 410, query)
        assert.strictEqual(headers["content-type"], "text/html; charset=utf-8")
      }
    }).pipe(Effect.provide(standIn({ flow: flow(Either.right(credential)) })))
  )
})

describe("a browser that is to return", () => {
  const returnTo = Option.some("https://app.example/done?tab=1")

  it.scopedLive("goes on with the credential's id", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { headers, status, text } = yield* call("GET", "/oauth/callback?code=c&state=s", browsing)
      assert.deepStrictEqual(
        [status, headers.location, text],
        [303, `https://app.example/done?tab=1&credentialId=${credential.id}`, ""]
      )
      assert.strictEqual(headers["referrer-policy"], "no-referrer")
      assert.strictEqual(headers["cache-control"], "no-store")
    }).pipe(Effect.provide(standIn({ flow: flow(Either.right(credential), returnTo) })))
  )

  it.scopedLive("goes on with the error's tag", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { headers, status } = yield* call("GET", "/oauth/callback?error=access_denied&state=s", browsing)
      assert.deepStrictEqual(
        [status, headers.location],
        [303, "https://app.example/done?tab=1&error=AuthorizationDenied"]
      )
    }).pipe(
      Effect.provide(
        standIn({
          flow: flow(Either.left(new AuthorizationDenied({ provider: "p", error: "access_denied" })), returnTo)
        })
      )
    )
  )
})

describe("a login that is bound to a browser", () => {
  const seen: Seen = { parameters: undefined, browserSecret: Option.none() }

  it.scopedLive("gives it a cookie that scripts and other sites cannot use, and takes it back at the end", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const started = yield* call("GET", "/oauth/start/good", browsing)
      assert.deepStrictEqual(
        [started.status, started.headers.location],
        [303, "https://acme.example/authorize?state=good"]
      )
      const cookie = started.headers["set-cookie"]?.[0] ?? ""
      assert.match(
        cookie,
        /^ec_login_[0-9a-f]{16}=browser-secret; Max-Age=600; Path=\/oauth\/callback; HttpOnly; Secure; SameSite=Lax$/
      )
      const ended = yield* call("GET", "/oauth/callback?code=c&state=good&iss=https%3A%2F%2Facme.example", {
        ...browsing,
        headers: { cookie: `other=1; ${cookie.split(";")[0]}` }
      })
      assert.strictEqual(ended.status, 200)
      assert.match(
        ended.headers["set-cookie"]?.[0] ?? "",
        /^ec_login_[0-9a-f]{16}=; Max-Age=0; Path=\/oauth\/callback;/
      )
      assert.deepStrictEqual(seen.browserSecret, Option.some("browser-secret"))
      assert.strictEqual(seen.parameters?.iss, "https://acme.example")
      assert.strictEqual(Redacted.value(seen.parameters?.code ?? Redacted.make("")), "c")
    }).pipe(
      Effect.provide(
        standIn({ flow: flow(Either.right(credential), Option.none(), seen) }).pipe(
          Layer.provide(Layer.succeed(SecureCookies, true))
        )
      )
    )
  )

  it.scopedLive("does not take another login's cookie", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const started = yield* call("GET", "/oauth/start/good", browsing)
      const cookie = started.headers["set-cookie"]?.[0]?.split(";")[0] ?? ""
      yield* call("GET", "/oauth/callback?code=c&state=another", { ...browsing, headers: { cookie } })
      assert.deepStrictEqual(seen.browserSecret, Option.none())
    }).pipe(Effect.provide(standIn({ flow: flow(Either.right(credential), Option.none(), seen) })))
  )

  it.scopedLive("that nobody began is a page", () =>
    Effect.gen(function* () {
      const { call } = yield* Serving
      const { headers, status } = yield* call("GET", "/oauth/start/unknown", browsing)
      assert.deepStrictEqual([status, headers["content-type"]], [410, "text/html; charset=utf-8"])
    }).pipe(Effect.provide(standIn({ flow: flow(Either.right(credential)) })))
  )
})
