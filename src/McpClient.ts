/**
 * Conversations with MCP servers, led by the official SDK over `Outbound`.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { OutboundRefused, ProviderError } from "./CredentialsError.ts"
import type { FailureReason } from "./Credential.ts"
import { type Challenge, readChallenge } from "./McpDiscovery.ts"
import * as Outbound from "./Outbound.ts"

/**
 * The server wants another token: none was sent or this one does not serve (401), or it lacks scopes (403).
 *
 * @since 0.1.0
 * @category errors
 */
export class Challenged extends Data.TaggedError("Challenged")<{
  readonly status: 401 | 403
  readonly challenge: Challenge
}> {
  override get message() {
    return `The MCP server refused the call (${this.status}).`
  }
}

/**
 * @since 0.1.0
 * @category errors
 */
export type ConversationError = Challenged | OutboundRefused | ProviderError

/**
 * @since 0.1.0
 * @category models
 */
export interface Tool {
  readonly name: string
  readonly description?: string
  /** A JSON Schema. */
  readonly inputSchema: Readonly<Record<string, unknown>>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ToolResult {
  readonly content: ReadonlyArray<unknown>
  readonly structuredContent?: Readonly<Record<string, unknown>>
  readonly isError: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Conversation {
  readonly serverName: string
  readonly protocolVersion: string
  /** All of them, over as many pages as there are, within reason. */
  readonly tools: Effect.Effect<ReadonlyArray<Tool>, ConversationError>
  readonly call: (
    name: string,
    parameters: Readonly<Record<string, unknown>>
  ) => Effect.Effect<ToolResult, ConversationError>
}

const mostPages = 100

/** Longer than what `Outbound` allows a call, which therefore says how it ended. */
const timeout = 125_000

/** Loaded when first needed: it takes longer than the rest of the service. */
const sdk = Effect.promise(async () => {
  const [{ Client }, { StreamableHTTPClientTransport }] = await Promise.all([
    import("@modelcontextprotocol/sdk/client/index.js"),
    import("@modelcontextprotocol/sdk/client/streamableHttp.js")
  ])
  return { Client, StreamableHTTPClientTransport }
})

const reasonOf = (cause: unknown): FailureReason => {
  const code = cause instanceof Error && "code" in cause && typeof cause.code === "number" ? cause.code : undefined
  // what is not HTTP's is JSON-RPC's: the SDK's own codes for a closed connection and for a timeout are -32000, -32001
  if (code === 429) return "throttled"
  if (code === -32_001) return "timeout"
  if (code === -32_000 || (code !== undefined && code >= 500)) return "unreachable"
  return code === undefined ? "malformed_response" : "rejected"
}

/**
 * Opens a conversation for as long as the scope lives. Fails with `Challenged` when the server asks for a token, with
 * `OutboundRefused` when the service does not call such a URL, and with `ProviderError` when there is no MCP server.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = Effect.fn("McpClient.open")(function* (
  outbound: Outbound.Outbound["Type"],
  server: string,
  headers: Readonly<Record<string, Redacted.Redacted>>
): Effect.fn.Return<Conversation, ConversationError, Scope.Scope> {
  const send = yield* outbound.fetch(Outbound.mcp)
  const { Client, StreamableHTTPClientTransport } = yield* sdk
  let challenged: Challenged | undefined

  const transport = new StreamableHTTPClientTransport(new URL(server), {
    requestInit: {
      headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Redacted.value(value)]))
    },
    // a stream of the server's own messages is nothing to come back to
    reconnectionOptions: {
      maxRetries: 0,
      initialReconnectionDelay: 1_000,
      maxReconnectionDelay: 1_000,
      reconnectionDelayGrowFactor: 1
    },
    fetch: async (url, init) => {
      const response = await send(url, init)
      if (init?.method === "POST" && (response.status === 401 || response.status === 403)) {
        const challenge = readChallenge(response.headers.get("www-authenticate"))
        challenged ??= new Challenged({ status: response.status, challenge })
      }
      return response
    }
  })
  const client = new Client({ name: "effect-credentials", version: "0.1.0" })

  const attempt = <A>(run: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, ConversationError> =>
    Effect.tryPromise({
      try: run,
      catch: (cause) => {
        if (challenged !== undefined) return challenged
        if (cause instanceof OutboundRefused) return cause
        const reason = cause instanceof Outbound.OutboundFailure ? cause.failure : reasonOf(cause)
        return new ProviderError({ provider: "mcp", reason })
      }
    })

  yield* Effect.acquireReleaseInterruptible(
    attempt((signal) => client.connect(transport as Parameters<typeof client.connect>[0], { signal, timeout })),
    () =>
      Effect.ignore(
        Effect.timeout(
          Effect.tryPromise(() => transport.terminateSession()),
          "2 seconds"
        )
      ).pipe(Effect.interruptible, Effect.ensuring(Effect.promise(() => client.close().catch(() => {}))))
  )

  const page = (cursor: string | undefined) =>
    attempt((signal) => client.listTools(cursor === undefined ? {} : { cursor }, { signal, timeout }))

  return {
    serverName: client.getServerVersion()?.name ?? new URL(server).host,
    protocolVersion: transport.protocolVersion ?? "unknown",
    tools: Effect.gen(function* () {
      const all: Array<Tool> = []
      let cursor: string | undefined
      for (let pages = 0; pages < mostPages; pages++) {
        const { nextCursor, tools } = yield* page(cursor)
        for (const { description, inputSchema, name } of tools) {
          all.push({ name, inputSchema, ...(description !== undefined && { description }) })
        }
        if (nextCursor === undefined || nextCursor === cursor) break
        cursor = nextCursor
      }
      return all
    }),
    call: (name, parameters) =>
      attempt((signal) => client.callTool({ name, arguments: { ...parameters } }, undefined, { signal, timeout })).pipe(
        Effect.map(({ content, isError, structuredContent }) => ({
          content: Array.isArray(content) ? content : [],
          isError: isError === true,
          ...(structuredContent !== undefined && {
            structuredContent: structuredContent as Readonly<Record<string, unknown>>
          })
        }))
      )
  }
})

/**
 * What a server wants before it serves: none when it needs no token. Asks for its tools, since some servers greet
 * everybody.
 *
 * @since 0.1.0
 */
export const probe = (
  outbound: Outbound.Outbound["Type"],
  server: string
): Effect.Effect<Option.Option<Challenge>, OutboundRefused | ProviderError> =>
  open(outbound, server, {}).pipe(
    Effect.flatMap(({ tools }) => tools),
    Effect.as(Option.none<Challenge>()),
    Effect.catchTag("Challenged", ({ challenge }) => Effect.succeed(Option.some(challenge))),
    Effect.scoped
  )
