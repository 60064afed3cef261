/**
 * The tools of MCP servers, listed and called with the user's credential under a lease.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { CredentialId, Metadata, Secret, UserId } from "./Credential.ts"
import {
  CredentialNotFound,
  InvalidRequest,
  type OutboundRefused,
  ProviderError,
  ScopeMismatch,
  type StoreUnavailable
} from "./CredentialsError.ts"
import { CredentialsManager, type RenewalError } from "./CredentialsManager.ts"
import { providerId } from "./HandlerRegistry/Mcp.ts"
import * as McpClient from "./McpClient.ts"
import * as McpServer from "./McpServer.ts"
import { Outbound } from "./Outbound.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Target {
  readonly serverUrl: string
  /** Default: the user's credential for this server, if there is one. */
  readonly credentialId?: CredentialId | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ToolList {
  readonly serverName: string
  readonly protocolVersion: string
  readonly tools: ReadonlyArray<McpClient.Tool>
}

/**
 * @since 0.1.0
 * @category errors
 */
export type ToolError = RenewalError | InvalidRequest | OutboundRefused | ProviderError | ScopeMismatch

/**
 * A server that wants a token from a user who has no credential for it is `CredentialNotFound`; one that wants more scopes
 * than were granted is `ScopeMismatch`, which names them: a new login asks for them too. A token that the server refuses
 * is reported, and the call made once more with the renewed one.
 *
 * @since 0.1.0
 * @category use cases
 */
export class McpTools extends Context.Tag("effect-credentials/McpTools")<
  McpTools,
  {
    readonly list: (userId: UserId, target: Target) => Effect.Effect<ToolList, ToolError>
    /** The call may have been acted on whenever it fails with `ProviderError`. */
    readonly call: (
      userId: UserId,
      target: Target,
      name: string,
      parameters: Readonly<Record<string, unknown>>
    ) => Effect.Effect<McpClient.ToolResult, ToolError>
  }
>() {}

/** A server may name what it was sent as the scope that it wants. */
const isNoEchoOf = (secret: Secret) => {
  const token = Option.fromNullable(secret.accessToken)
  return (scope: string) => !Option.exists(token, (sent) => scope.includes(Redacted.value(sent)))
}

type Use<A> = (conversation: McpClient.Conversation) => Effect.Effect<A, McpClient.ConversationError>

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<McpTools, never, CredentialsManager | Outbound> = Layer.effect(
  McpTools,
  Effect.gen(function* () {
    const credentials = yield* CredentialsManager
    const outbound = yield* Outbound

    /** The credential to call with: of this server's own login, and of no other's. */
    const credentialFor = Effect.fnUntraced(function* (
      userId: UserId,
      server: string,
      asked: CredentialId | undefined
    ): Effect.fn.Return<Option.Option<Metadata>, CredentialNotFound | StoreUnavailable> {
      const requirement = { name: server, provider: providerId, serverUrl: server }
      const { matches } = yield* credentials.match(userId, [requirement])
      const candidates = matches.flatMap((match) => match.candidates)
      if (asked === undefined) {
        const best = matches.map((match) => match.credentialId).find((id) => id !== null)
        return Option.fromNullable(candidates.find(({ id }) => id === best) ?? candidates[0])
      }
      const named = candidates.find(({ id }) => id === asked)
      return named === undefined ? yield* new CredentialNotFound({ credentialId: asked }) : Option.some(named)
    })

    /** One conversation under a lease. */
    const once = <A>(userId: UserId, server: string, id: CredentialId, use: Use<A>) =>
      Effect.scoped(
        Effect.flatMap(credentials.acquire(userId, id, { mode: "shared" }), ({ secret }) =>
          Effect.either(Effect.flatMap(McpClient.open(outbound, server, secret.headers), use)).pipe(
            Effect.map((result) => ({ result, secret }))
          )
        )
      )

    const withToken = Effect.fnUntraced(function* <A>(
      userId: UserId,
      server: string,
      id: CredentialId,
      use: Use<A>
    ): Effect.fn.Return<A, ToolError> {
      const first = yield* once(userId, server, id, use)
      const isRefused =
        Either.isLeft(first.result) && first.result.left._tag === "Challenged" && first.result.left.status === 401
      if (isRefused) yield* credentials.report(userId, id, { generation: first.secret.generation, status: 401 })
      const { result, secret } = isRefused ? yield* once(userId, server, id, use) : first
      if (Either.isRight(result)) return result.right
      if (result.left._tag !== "Challenged") return yield* result.left
      const missing = Option.getOrElse(result.left.challenge.scopes, () => []).filter(isNoEchoOf(secret))
      return yield* result.left.status === 403 && missing.length > 0
        ? new ScopeMismatch({ credentialId: id, missing })
        : new ProviderError({ provider: providerId, reason: "rejected" })
    })

    const withoutToken = <A>(server: string, use: Use<A>): Effect.Effect<A, ToolError> =>
      Effect.scoped(Effect.flatMap(McpClient.open(outbound, server, {}), use)).pipe(
        Effect.catchTag("Challenged", () => new CredentialNotFound({}))
      )

    const converse = Effect.fnUntraced(function* <A>(userId: UserId, { credentialId, serverUrl }: Target, use: Use<A>) {
      const server = yield* Effect.mapError(
        McpServer.canonical(serverUrl),
        () => new InvalidRequest({ issues: [{ field: "serverUrl", expected: McpServer.expected }] })
      )
      return yield* Option.match(yield* credentialFor(userId, server, credentialId), {
        onNone: () => withoutToken(server, use),
        onSome: ({ id }) => withToken(userId, server, id, use)
      })
    })

    return McpTools.of({
      list: Effect.fn("McpTools.list")((userId, target) =>
        converse(userId, target, ({ protocolVersion, serverName, tools }) =>
          Effect.map(tools, (all) => ({ serverName, protocolVersion, tools: all }))
        )
      ),
      call: Effect.fn("McpTools.call")((userId, target, name, parameters) =>
        converse(userId, target, (conversation) => conversation.call(name, parameters))
      )
    })
  })
)
