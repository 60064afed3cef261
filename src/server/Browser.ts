/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createHash } from "node:crypto"
import { Api } from "../api/Api.ts"
import { AuthorizationExpired } from "../CredentialsError.ts"
import { McpLogin } from "../McpLogin.ts"
import { OAuthFlow } from "../OAuthFlow.ts"
import * as CallbackPage from "./CallbackPage.ts"
import * as ErrorAnswer from "./ErrorAnswer.ts"

/**
 * Whether browsers reach the service over https, so that cookies are sent over nothing else.
 *
 * @since 0.1.0
 * @category references
 */
export class SecureCookies extends Context.Reference<SecureCookies>()("effect-credentials/server/SecureCookies", {
  defaultValue: () => false
}) {}

/** One cookie for each login, so that two at once are not in each other's way. */
const cookieName = (state: Redacted.Redacted) =>
  `ec_login_${createHash("sha256").update(Redacted.value(state)).digest("hex").slice(0, 16)}`

const callbackPath = "/oauth/callback"

const cookie = (secure: boolean) => ({ httpOnly: true, sameSite: "lax", path: callbackPath, secure }) as const

const errorPage = (error: ErrorAnswer.PublicError) =>
  HttpServerResponse.setHeaders(
    CallbackPage.make({ status: ErrorAnswer.statusOf(error), title: "Not connected", text: error.message }),
    ErrorAnswer.headersOf(error)
  )

const redirect = (location: string) =>
  HttpServerResponse.empty({
    status: 303,
    headers: { location, "cache-control": "no-store", "referrer-policy": "no-referrer" }
  })

/**
 * Binds a login to this browser, and sends it to the provider.
 *
 * @since 0.1.0
 * @category handlers
 */
export const start = ({ path: { state } }: { readonly path: { readonly state: Redacted.Redacted } }) =>
  Effect.gen(function* () {
    const flow = yield* OAuthFlow
    const secure = yield* SecureCookies
    const { authorizationUrl, browserSecret } = yield* flow.start(state)
    return HttpServerResponse.unsafeSetCookie(
      redirect(Redacted.value(authorizationUrl)),
      cookieName(state),
      Redacted.value(browserSecret),
      { ...cookie(secure), maxAge: "10 minutes" }
    )
  }).pipe(Effect.catchAll((error) => Effect.succeed(errorPage(error))))

type Parameter = string | ReadonlyArray<string>

const single = (parameter: Parameter | undefined): string | undefined =>
  typeof parameter === "string" && parameter !== "" ? parameter : undefined

/** The parameters that no standard names, as far as they are given once and are short. */
const othersOf = (url: string): Readonly<Record<string, string>> => {
  const { searchParams } = new URL(url, "http://localhost")
  return Object.fromEntries(
    [...searchParams].filter(([name, value]) => searchParams.getAll(name).length === 1 && value.length <= 512)
  )
}

/** Of the scopes that are missing: a page, not a list. */
const mostShown = 10

/** A scope as RFC 6749 3.3 writes it; an MCP server may name anything. */
const scopeToken = /^[\x21\x23-\x5b\x5d-\x7e]{1,100}$/

/** What the user granted less than was asked for, as far as it can be shown. */
const shortfall = (withheld: ReadonlyArray<string>) => {
  const shown = withheld.filter((scope) => scopeToken.test(scope)).slice(0, mostShown)
  if (shown.length === 0) return "It granted less than was asked for."
  const more = withheld.length - shown.length
  const names = `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`
  return `It granted less than was asked for: ${names} ${withheld.length === 1 ? "is" : "are"} missing.`
}

const withParameter = (returnTo: string, name: string, value: string) => {
  const url = new URL(returnTo)
  url.searchParams.set(name, value)
  return url.href
}

/**
 * Ends a login for the browser that comes back from the provider: on to where it was to return, else a page.
 *
 * @since 0.1.0
 * @category handlers
 */
export const callback = Effect.fnUntraced(function* ({
  urlParams
}: {
  readonly urlParams: {
    readonly code?: Parameter
    readonly state?: Parameter
    readonly iss?: Parameter
    readonly error?: Parameter
  }
}) {
  const given = single(urlParams.state)
  if (given === undefined) return errorPage(new AuthorizationExpired())
  const flow = yield* OAuthFlow
  const { cookies, url } = yield* HttpServerRequest
  const secure = yield* SecureCookies
  const state = Redacted.make(given)
  const code = single(urlParams.code)
  const name = cookieName(state)
  const { result, returnTo, withheld } = yield* flow.browserCallback(
    {
      state,
      code: code === undefined ? undefined : Redacted.make(code),
      error: single(urlParams.error),
      iss: single(urlParams.iss),
      others: othersOf(url)
    },
    Option.map(Option.fromNullable(cookies[name]), Redacted.make)
  )
  const response = Either.match(result, {
    onLeft: (error) =>
      Option.match(returnTo, {
        onNone: () => errorPage(error),
        onSome: (url) => redirect(withParameter(url, "error", error._tag))
      }),
    onRight: (credential) =>
      Option.match(returnTo, {
        onNone: () =>
          CallbackPage.make({
            status: 200,
            title: "Connected",
            text: [
              `Your ${credential.provider} account is connected. You can close this window.`,
              ...(withheld.length > 0 ? [shortfall(withheld)] : [])
            ].join(" ")
          }),
        onSome: (url) => redirect(withParameter(url, "credentialId", credential.id))
      })
  })
  return cookies[name] === undefined
    ? response
    : HttpServerResponse.unsafeSetCookie(response, name, "", { ...cookie(secure), maxAge: 0 })
})

/**
 * @since 0.1.0
 * @category handlers
 */
export const clientMetadata = () => Effect.map(McpLogin, (login) => login.clientMetadata)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "browser", (handlers) =>
  handlers.handle("start", start).handle("callback", callback).handle("clientMetadata", clientMetadata)
)
