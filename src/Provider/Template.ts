/**
 * URLs with `{variables}`: a user's value fills one label of the host or one segment of the path, and leads nowhere else.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import type { Provider } from "./Definition.ts"

const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i
const pathSegment = /^(?!\.{1,2}$)[a-z0-9._~-]{1,128}$/i
const hostName = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/i

/** The one placeholder that is not the user's to fill. */
const clientId = "client_id"

const placeholders = (template: string) =>
  [...template.matchAll(/\{([a-z0-9_]+)\}/gi)].map((match) => match[1] ?? "").filter((name) => name !== clientId)

const endpoints = [
  "authorizationUrl",
  "tokenUrl",
  "deviceAuthorizationUrl",
  "pushedAuthorizationRequestUrl",
  "refreshUrl",
  "revocationUrl",
  "issuer"
] as const

/**
 * The names of the `{variables}` in a provider's URLs.
 *
 * @since 0.1.0
 * @category templates
 */
export const variables = (provider: Provider): ReadonlyArray<string> => [
  ...new Set(endpoints.flatMap((field) => placeholders(provider[field] ?? "")))
]

/**
 * Fills the `{variables}` of a provider's URLs. A value fills one DNS label or one path segment and cannot break out of
 * it; a URL of a provider that lists `allowedHosts` must have one of those. Left: which variable is wrong, and what was
 * expected of it.
 *
 * @since 0.1.0
 * @category templates
 */
export const resolve = (
  provider: Provider,
  values: Readonly<Record<string, string>>
): Either.Either<Provider, { readonly variable: string; readonly expected: string }> => {
  const known = variables(provider)
  const foreign = Object.keys(values).find((name) => !known.includes(name))
  if (foreign !== undefined) {
    return Either.left({
      variable: foreign,
      expected: known.length === 0 ? "no variables: this provider has none" : `one of ${known.join(", ")}`
    })
  }
  if (known.length === 0) return Either.right(provider)
  const filled: Record<string, string> = {}
  for (const field of endpoints) {
    const template = provider[field]
    if (template === undefined) continue
    const host = /^https?:\/\/([^/?#]*)/.exec(template)?.[1] ?? ""
    let text = template
    for (const name of placeholders(template)) {
      const value = values[name]
      const inHost = host.includes(`{${name}}`)
      // a whole host of the user's choosing is no provider's
      if (inHost && provider.allowedHosts === undefined && !/\.[a-z0-9-]+(:\d+)?$/i.test(host)) {
        return Either.left({ variable: name, expected: "a provider that lists its allowedHosts" })
      }
      const shape = inHost ? (provider.allowedHosts === undefined ? label : hostName) : pathSegment
      if (value === undefined || !shape.test(value)) {
        return Either.left({ variable: name, expected: inHost ? "one label of a host name" : "one segment of a path" })
      }
      text = text.replaceAll(`{${name}}`, value)
    }
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (provider.allowedHosts !== undefined && (url === undefined || !provider.allowedHosts.includes(url.hostname))) {
      return Either.left({
        variable: placeholders(template)[0] ?? field,
        expected: `a host out of ${provider.allowedHosts.join(", ")}`
      })
    }
    filled[field] = text
  }
  return Either.right({ ...provider, ...filled })
}

/**
 * The provider as this client sees it: its id stands where a URL has `{client_id}`.
 *
 * @since 0.1.0
 * @category templates
 */
export const forClient = (provider: Provider, id: string): Provider => ({
  ...provider,
  ...Object.fromEntries(
    endpoints.flatMap((field) => {
      const url = provider[field]
      return url === undefined ? [] : [[field, url.replaceAll(`{${clientId}}`, encodeURIComponent(id))]]
    })
  )
})
