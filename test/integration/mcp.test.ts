/**
 * MCP servers by their URLs alone: the official SDK's example server, with its own authorization server and without. The
 * service is a process of its own.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Browser from "../servers/Browser.ts"
import { ok } from "../servers/Client.ts"
import * as McpServer from "../servers/McpServer.ts"
import * as Service from "../servers/Service.ts"

const user = "ada"

const post = (service: Service.Service, path: string, body: unknown) =>
  service.client.raw("POST", `/v1/users/${user}/mcp/${path}`, { body })

interface Begun {
  readonly authorizationRequired: boolean
  readonly authorizationUrl: string
}

const login = (service: Service.Service, serverUrl: string) =>
  Effect.gen(function* () {
    const begun = yield* post(service, "authorize", { serverUrl })
    assert.strictEqual(begun.status, 200)
    const { authorizationRequired, authorizationUrl } = begun.body as Begun
    assert.isTrue(authorizationRequired)
    const page = yield* Browser.make().follow(authorizationUrl)
    assert.strictEqual(page.status, 200, page.body)
    const { items } = yield* ok(service.client.list(user))
    return { authorizationUrl: new URL(authorizationUrl), items }
  })

describe("an MCP server with a login", () => {
  it.scopedLive(
    "is connected by its URL: discovered, registered at, its tools listed and called with the user's own token",
    () =>
      Effect.gen(function* () {
        const { serverUrl } = yield* McpServer.start({ login: "strict" })
        const service = yield* Service.start()

        const before = yield* post(service, "tools", { serverUrl })
        assert.strictEqual(before.status, 404)
        assert.strictEqual((before.body as { _tag: string })._tag, "CredentialNotFound")

        const { authorizationUrl, items } = yield* login(service, serverUrl)
        assert.strictEqual(authorizationUrl.searchParams.get("resource"), serverUrl)
        assert.strictEqual(authorizationUrl.searchParams.get("code_challenge_method"), "S256")
        assert.strictEqual(items.length, 1)
        assert.strictEqual(items[0]?.provider, "mcp")
        assert.strictEqual(items[0]?.metadata?.["mcp_server_url"], serverUrl)

        const listed = yield* post(service, "tools", { serverUrl })
        assert.strictEqual(listed.status, 200)
        const { tools } = listed.body as { tools: ReadonlyArray<{ name: string; inputSchema: { type: string } }> }
        assert.strictEqual(tools.find(({ name }) => name === "greet")?.inputSchema.type, "object")

        const called = yield* post(service, "tools/greet/call", { serverUrl, arguments: { name: "Ada" } })
        assert.strictEqual(called.status, 200)
        assert.deepStrictEqual(called.body, { content: [{ type: "text", text: "Hello, Ada!" }], isError: false })
      }),
    60_000
  )

  it.scopedLive(
    "has one credential a user: a second login takes the place of the first",
    () =>
      Effect.gen(function* () {
        const { serverUrl } = yield* McpServer.start({ login: "strict" })
        const service = yield* Service.start()
        const first = yield* login(service, serverUrl)
        const second = yield* login(service, `${serverUrl}#again`)
        assert.strictEqual(second.items.length, 1)
        assert.strictEqual(second.items[0]?.id, first.items[0]?.id)
        assert.strictEqual(second.items[0]?.generation, 2)
        const listed = yield* post(service, "tools", { serverUrl, credentialId: second.items[0]?.id })
        assert.strictEqual(listed.status, 200)
      }),
    60_000
  )
})

describe("an MCP server without a login", () => {
  it.scopedLive(
    "needs no credential",
    () =>
      Effect.gen(function* () {
        const { serverUrl } = yield* McpServer.start({ login: "none" })
        const service = yield* Service.start()
        const begun = yield* post(service, "authorize", { serverUrl })
        assert.deepStrictEqual(begun.body, { authorizationRequired: false })
        const called = yield* post(service, "tools/greet/call", { serverUrl, arguments: { name: "Ada" } })
        assert.deepStrictEqual(called.body, { content: [{ type: "text", text: "Hello, Ada!" }], isError: false })
      }),
    60_000
  )
})
