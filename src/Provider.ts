/**
 * A provider is data: its endpoints, how a client authenticates there, and each of its quirks as a typed field. Absent
 * fields have the safe default, so that an entry says only what is known.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import type { Provider } from "./Provider/Definition.ts"

export { Assertion, ClientAuth, fields, Grant, Provider, Revocation } from "./Provider/Definition.ts"
export { forClient, resolve, variables } from "./Provider/Template.ts"

/**
 * The name to show.
 *
 * @since 0.1.0
 */
export const displayName = (provider: Provider): string => provider.name ?? provider.id

/**
 * The environment variables that hold a provider's client: `GITHUB_CLIENT_ID`, `GITHUB_CLIENT_SECRET`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const clientVariables = (provider: Provider) => {
  const stem = provider.id.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")
  return {
    id: `${stem}_CLIENT_ID`,
    secret: `${stem}_CLIENT_SECRET`,
    privateKey: `${stem}_PRIVATE_KEY`,
    privateKeyId: `${stem}_PRIVATE_KEY_ID`
  } as const
}

/**
 * The variables without which this provider's client cannot authenticate.
 *
 * @since 0.1.0
 * @category configuration
 */
export const requiredVariables = (provider: Provider): ReadonlyArray<string> => {
  const names = clientVariables(provider)
  switch (provider.clientAuth) {
    case "none":
      // an assertion says by itself who asks (RFC 7521 4.1)
      return provider.grant === "jwt_bearer" ? [] : [names.id]
    case "private_key_jwt":
      return [names.id, names.privateKey]
    default:
      return [names.id, names.secret]
  }
}

/**
 * The provider as it answers a refresh: a lifetime that counts from the login is not given anew.
 *
 * @since 0.1.0
 * @category templates
 */
export const forRefresh = (provider: Provider): Provider => {
  const { refreshTokenLifetimeSeconds: _, ...rest } = provider
  return provider.refreshTokenLifetimeRenews ? provider : rest
}

/**
 * When a spent refresh token may still be presented again, counted from its spending.
 *
 * @since 0.1.0
 */
export const reuseGrace = (provider: Provider): Option.Option<number> =>
  Option.fromNullable(provider.reuseGraceSeconds).pipe(Option.filter((seconds) => seconds > 0))
