/**
 * A provider without a network: a handler that keeps a ledger of what was spent and answers as scripted, so that renewals
 * run under `TestClock`.
 *
 * ```ts
 * const { layer, scripted } = ScriptedHandler.make()
 * const program = Service.layer().pipe(Layer.provideMerge(Layer.merge(Service.layerMemoryEngine, layer)))
 * ```
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { HandlerRegistry } from "../HandlerRegistry.ts"
import type { Handler } from "../HandlerRegistry/Handler.ts"
import * as Outbound from "../Outbound.ts"
import { Provider } from "../Provider.ts"
import * as ProviderCatalogue from "../ProviderCatalogue.ts"
import { readTokens } from "../TokenEndpoint.ts"

/**
 * An answer of a token endpoint; what is no text goes as JSON.
 *
 * @since 0.1.0
 * @category constructors
 */
export const answer = (status: number, body: unknown, headers: Record<string, string> = {}): Outbound.Answer => ({
  status,
  headers,
  body: Redacted.make(Buffer.from(typeof body === "string" ? body : JSON.stringify(body)))
})

/**
 * What becomes of one request: `spend` is what would have.
 *
 * @since 0.1.0
 * @category models
 */
export type Script = (
  spend: () => Outbound.Answer,
  token: string
) => Effect.Effect<Outbound.Answer, Outbound.OutboundFailure>

/**
 * What it was asked, and how it is told what to do.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScriptedHandler {
  /** Every refresh token that was presented, in order. */
  readonly spent: Array<string>
  /** Every code that was presented. */
  readonly exchanged: Array<string>
  readonly revoked: Array<string>
  /** How many presented refresh tokens had been spent before. */
  readonly reuses: () => number
  /** Each befalls one coming refresh or exchange. */
  readonly next: (...scripts: ReadonlyArray<Script>) => void
  readonly always: (script: Script | undefined) => void
  /** What a token answer holds beside the tokens. */
  readonly fields: Record<string, unknown>
}

/**
 * A handler for the provider `acme`, with these fields of a definition; a refresh token that comes back after it was spent
 * is `invalid_grant`, where tokens rotate. `layer` has it as the only one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (definition: Partial<typeof Provider.Encoded> = {}) => {
  const provider = Schema.decodeUnknownSync(Provider)({
    id: "acme",
    authorizationUrl: "https://acme.test/authorize",
    tokenUrl: "https://acme.test/token",
    revocationUrl: "https://acme.test/revoke",
    ...definition
  })
  const spent: Array<string> = []
  const exchanged: Array<string> = []
  const revoked: Array<string> = []
  const queue: Array<Script> = []
  const fields: Record<string, unknown> = { token_type: "bearer", expires_in: 3600 }
  let standing: Script | undefined
  let count = 0
  const used = new Set<string>()
  let reuses = 0

  const spend = (token: string) => () => {
    if (provider.rotatesRefreshToken && used.has(token)) {
      reuses++
      return answer(400, { error: "invalid_grant" })
    }
    used.add(token)
    count++
    return answer(200, {
      access_token: `access-${count}`,
      ...(provider.rotatesRefreshToken && { refresh_token: `refresh-${count}` }),
      ...fields
    })
  }

  const handler: Handler = {
    provider,
    authorizationUrl: ({ codeChallenge, state }) =>
      Redacted.make(`https://acme.test/authorize?state=${Redacted.value(state)}&code_challenge=${codeChallenge}`),
    exchange: ({ code }) =>
      Effect.suspend(() => {
        const token = Redacted.value(code)
        exchanged.push(token)
        const script = queue.shift() ?? standing
        return script === undefined ? Effect.sync(spend(token)) : script(spend(token), token)
      }),
    refresh: (redacted) =>
      Effect.suspend(() => {
        const token = Redacted.value(redacted)
        spent.push(token)
        const script = queue.shift() ?? standing
        return script === undefined ? Effect.sync(spend(token)) : script(spend(token), token)
      }),
    read: (given) => Effect.map(DateTime.now, (now) => readTokens(provider, given, now.epochMillis)),
    revoke: (token) =>
      Effect.sync(() => {
        revoked.push(Redacted.value(token))
        return Either.right(undefined)
      })
  }
  const scripted: ScriptedHandler = {
    spent,
    exchanged,
    revoked,
    reuses: () => reuses,
    next: (...scripts) => void queue.push(...scripts),
    always: (script) => void (standing = script),
    fields
  }
  const layer = Layer.mergeAll(
    Layer.succeed(HandlerRegistry, {
      forLogin: () => Effect.succeed(handler),
      of: () => Effect.succeed(handler),
      isConfigured: ({ id }) => id === provider.id
    }),
    ProviderCatalogue.layer([provider]),
    Outbound.layer({ allowLoopback: false })
  )
  return { scripted, layer, handler }
}
