/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { Api } from "../api/Api.ts"
import type { ProviderId, UserId } from "../Credential.ts"
import { InvalidRequest } from "../CredentialsError.ts"
import { DeviceFlow } from "../DeviceFlow.ts"
import { type ConnectOptions, MachineFlow } from "../MachineFlow.ts"
import { type AuthorizeOptions, OAuthFlow } from "../OAuthFlow.ts"
import { ProviderCatalogue } from "../ProviderCatalogue.ts"
import * as Generation from "./Generation.ts"
import * as Waiting from "./Waiting.ts"

interface OfLogin {
  readonly path: { readonly userId: UserId; readonly provider: ProviderId }
}

/** A login that the provider keeps waiting for longer is ended, and stored, behind its caller's back. */
const bounded = <A, E, R>(effect: Effect.Effect<A, E, R>, { path }: OfLogin) =>
  Waiting.boundedFor(path.provider)(effect)

/** Whether a login at this provider is one with a code that the user is shown. */
const showsCode = (id: ProviderId) =>
  Effect.map(ProviderCatalogue, (catalogue) =>
    Option.exists(catalogue.find(id), ({ grant }) => grant === "device_code")
  )

const invalid = (field: string, expected: string) => new InvalidRequest({ issues: [{ field, expected }] })

/**
 * @since 0.1.0
 * @category handlers
 */
export const authorize = Effect.fnUntraced(function* ({
  path,
  payload
}: OfLogin & { readonly payload: AuthorizeOptions }) {
  const { provider, userId } = path
  if (!(yield* showsCode(provider))) {
    return yield* Effect.flatMap(OAuthFlow, (flow) => flow.authorize(userId, provider, payload))
  }
  const { bindBrowser, returnTo, ...options } = payload
  const foreign = returnTo === undefined ? bindBrowser && "bindBrowser" : "returnTo"
  return typeof foreign === "string"
    ? yield* invalid(foreign, "nothing, since no browser comes back")
    : yield* Effect.flatMap(DeviceFlow, (flow) => flow.authorize(userId, provider, options))
}, bounded)

/**
 * @since 0.1.0
 * @category handlers
 */
export const callback = Effect.fnUntraced(function* ({
  path,
  payload
}: OfLogin & {
  readonly payload: {
    readonly code?: Redacted.Redacted
    readonly state: Redacted.Redacted
    readonly iss?: string
    readonly others?: Readonly<Record<string, string>>
  }
}) {
  if (yield* showsCode(path.provider)) {
    return yield* Effect.flatMap(DeviceFlow, (flow) => Generation.tagged(flow.callback(payload.state, path)))
  }
  if (payload.code === undefined) return yield* invalid("code", "the code of the provider's answer")
  return yield* Effect.flatMap(OAuthFlow, (flow) => Generation.tagged(flow.callback(payload, path)))
}, bounded)

/**
 * @since 0.1.0
 * @category handlers
 */
export const connect = (request: OfLogin & { readonly payload: ConnectOptions }) =>
  Effect.flatMap(MachineFlow, (flow) =>
    Generation.tagged(flow.connect(request.path.userId, request.path.provider, request.payload))
  ).pipe((effect) => bounded(effect, request))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "oauth", (handlers) =>
  handlers.handle("authorize", authorize).handle("callback", callback).handle("connect", connect)
)
