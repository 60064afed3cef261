/**
 * A browser as far as logins need one: it keeps cookies, follows redirects across provider and service, and submits the
 * forms that submit themselves. Cookies are kept by host, not by port, as real ones are: all servers on 127.0.0.1 share
 * them.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

/** Where following ended. */
export interface Page {
  readonly status: number
  readonly url: string
  readonly headers: Headers
  readonly body: string
  /** Every answer on the way here, the last one included. */
  readonly history: ReadonlyArray<{ readonly method: string; readonly url: string; readonly status: number }>
}

/** One cookie of the jar. */
export interface Cookie {
  readonly name: string
  readonly value: string
  readonly host: string
  readonly path: string
  readonly secure: boolean
  readonly httpOnly: boolean
  readonly sameSite: string | undefined
  /** Milliseconds since 1970; infinite for a session cookie. */
  readonly expiresAt: number
}

export interface FollowOptions {
  /** Ends without requesting a URL that passes: `page.url` is that URL, `page.status` the redirect's. */
  readonly stopAt?: (url: URL) => boolean
  readonly headers?: Readonly<Record<string, string>>
}

export interface Browser {
  /** GETs a URL and follows redirects (and forms that submit themselves). */
  readonly follow: (url: string, options?: FollowOptions) => Effect.Effect<Page, BrowserError>
  /** Submits the page's first form, with these fields added to its hidden ones, and follows from there. */
  readonly submit: (
    page: Page,
    fields?: Readonly<Record<string, string>>,
    options?: FollowOptions
  ) => Effect.Effect<Page, BrowserError>
  readonly cookies: ReadonlyArray<Cookie>
}

/** A page could not be loaded, or redirects had no end. */
export class BrowserError extends Data.TaggedError("BrowserError")<{
  readonly url: string
  readonly reason: string
}> {
  override get message() {
    return `${this.url}: ${this.reason}`
  }
}

interface Step {
  readonly method: string
  readonly url: URL
  readonly form: URLSearchParams | undefined
}

const loopback = (host: string) => host === "localhost" || host === "[::1]" || host.startsWith("127.")

const defaultPath = (pathname: string) => pathname.slice(0, Math.max(pathname.lastIndexOf("/"), 1))

const parseCookie = (header: string, url: URL): Cookie => {
  const [pair = "", ...rest] = header.split(";").map((part) => part.trim())
  const attributes = new Map(
    rest.map((part) => {
      const [name = "", ...value] = part.split("=")
      return [name.toLowerCase(), value.join("=")]
    })
  )
  const maxAge = attributes.get("max-age")
  const expires = attributes.get("expires")
  const path = attributes.get("path")
  return {
    name: pair.slice(0, pair.indexOf("=")),
    value: pair.slice(pair.indexOf("=") + 1),
    host: url.hostname,
    path: path?.startsWith("/") ? path : defaultPath(url.pathname),
    secure: attributes.has("secure"),
    httpOnly: attributes.has("httponly"),
    sameSite: attributes.get("samesite"),
    expiresAt:
      maxAge !== undefined
        ? Date.now() + Number(maxAge) * 1000
        : expires !== undefined
          ? Date.parse(expires)
          : Number.POSITIVE_INFINITY
  }
}

const pathMatches = (cookie: Cookie, pathname: string) =>
  pathname === cookie.path ||
  (pathname.startsWith(cookie.path) && (cookie.path.endsWith("/") || pathname[cookie.path.length] === "/"))

const unescape = (text: string) =>
  text.replaceAll("&quot;", `"`).replaceAll("&#39;", "'").replaceAll("&lt;", "<").replaceAll("&amp;", "&")

const attribute = (tag: string, name: string): string | undefined => {
  const match = new RegExp(`\\s${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s>]+))`, "i").exec(tag)
  const value = match?.[1] ?? match?.[2] ?? match?.[3]
  return value === undefined ? undefined : unescape(value)
}

const firstForm = (page: Page, added: Readonly<Record<string, string>>): Step | undefined => {
  const form = /<form\b[^>]*>/i.exec(page.body)
  if (form === null) return undefined
  const inside = page.body.slice(form.index).split(/<\/form>/i)[0] ?? ""
  const fields = new URLSearchParams()
  for (const [input] of inside.matchAll(/<input\b[^>]*>/gi)) {
    const name = attribute(input, "name")
    if (name !== undefined && attribute(input, "type") !== "submit") fields.set(name, attribute(input, "value") ?? "")
  }
  for (const [name, value] of Object.entries(added)) fields.set(name, value)
  const url = new URL(attribute(form[0], "action") ?? page.url, page.url)
  const method = (attribute(form[0], "method") ?? "get").toUpperCase()
  if (method === "POST") return { method, url, form: fields }
  url.search = fields.toString()
  return { method, url, form: undefined }
}

const submitsItself = (body: string) => /\.forms\[0\]\.submit\(\)|\.submit\(\)/.test(body)

/** A browser without cookies. At most `limit` requests (20) a call. */
export const make = (options: { readonly limit?: number } = {}): Browser => {
  const limit = options.limit ?? 20
  let jar: ReadonlyArray<Cookie> = []

  const keep = (cookie: Cookie) => {
    jar = [
      ...jar.filter((other) => other.name !== cookie.name || other.host !== cookie.host || other.path !== cookie.path),
      cookie
    ].filter((kept) => kept.expiresAt > Date.now())
  }

  const cookiesFor = (url: URL) =>
    jar
      .filter(
        (cookie) =>
          cookie.host === url.hostname &&
          cookie.expiresAt > Date.now() &&
          pathMatches(cookie, url.pathname) &&
          (!cookie.secure || url.protocol === "https:" || loopback(url.hostname))
      )
      .sort((left, right) => right.path.length - left.path.length)
      .map((cookie) => `${cookie.name}=${cookie.value}`)
      .join("; ")

  const load = (step: Step, headers: Readonly<Record<string, string>>) =>
    Effect.tryPromise({
      try: async (signal) => {
        const cookie = cookiesFor(step.url)
        const response = await fetch(step.url, {
          method: step.method,
          redirect: "manual",
          signal,
          headers: { accept: "text/html", ...(cookie === "" ? {} : { cookie }), ...headers },
          ...(step.form === undefined ? {} : { body: step.form })
        })
        for (const header of response.headers.getSetCookie()) keep(parseCookie(header, step.url))
        return { status: response.status, headers: response.headers, body: await response.text() }
      },
      catch: (cause) =>
        new BrowserError({
          url: step.url.href,
          reason: cause instanceof Error ? String(cause.cause ?? cause.message) : String(cause)
        })
    })

  const nextOf = (step: Step, page: Page): Step | undefined => {
    const location = page.headers.get("location")
    if (page.status >= 300 && page.status < 400 && location !== null) {
      const url = new URL(location, step.url)
      const keepsMethod = page.status === 307 || page.status === 308
      return keepsMethod ? { ...step, url } : { method: "GET", url, form: undefined }
    }
    return submitsItself(page.body) ? firstForm(page, {}) : undefined
  }

  const walk = (first: Step, options: FollowOptions): Effect.Effect<Page, BrowserError> =>
    Effect.gen(function* () {
      const history: Array<Page["history"][number]> = []
      let step = first
      while (history.length < limit) {
        const answer = yield* load(step, options.headers ?? {})
        history.push({ method: step.method, url: step.url.href, status: answer.status })
        const page: Page = { ...answer, url: step.url.href, history: [...history] }
        const next = nextOf(step, page)
        if (next === undefined) return page
        if (options.stopAt?.(next.url) === true) return { ...page, url: next.url.href }
        step = next
      }
      return yield* new BrowserError({ url: step.url.href, reason: `more than ${limit} requests` })
    })

  return {
    follow: (url, options = {}) => walk({ method: "GET", url: new URL(url), form: undefined }, options),
    submit: (page, fields = {}, options = {}) => {
      const form = firstForm(page, fields)
      return form === undefined
        ? Effect.fail(new BrowserError({ url: page.url, reason: "the page has no form" }))
        : walk(form, options)
    },
    get cookies() {
      return jar
    }
  }
}
