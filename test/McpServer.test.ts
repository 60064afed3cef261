import { assert, describe, it } from "@effect/vitest"
import * as Option from "effect/Option"
import { CredentialId, UserId } from "../src/Credential.ts"
import * as McpServer from "../src/McpServer.ts"
import * as Schema from "effect/Schema"

describe("a server's URL", () => {
  const same: ReadonlyArray<readonly [string, string]> = [
    ["HTTPS://MCP.Example.com:443", "https://mcp.example.com"],
    ["https://mcp.example.com/", "https://mcp.example.com"],
    ["https://mcp.example.com/mcp#part", "https://mcp.example.com/mcp"],
    ["https://mcp.example.com/a/../mcp?tenant=1", "https://mcp.example.com/mcp?tenant=1"]
  ]
  for (const [given, canonical] of same) {
    it(`${given} is ${canonical}`, () => assert.deepStrictEqual(McpServer.canonical(given), Option.some(canonical)))
  }

  for (const other of [
    "mcp.example.com",
    "javascript:alert(1)",
    "https://ada:secret@mcp.example.com",
    "ftp://a.example"
  ]) {
    it(`${other} is none`, () => assert.deepStrictEqual(McpServer.canonical(other), Option.none()))
  }

  it("with a slash at its end is the same server; with another path, host or query it is not", () => {
    assert.isTrue(McpServer.isSame("https://a.example/mcp/", "https://a.example/mcp"))
    assert.isTrue(McpServer.isSame("https://A.example/mcp?x=1", "https://a.example/mcp?x=1"))
    for (const other of ["https://a.example/mcp2", "https://b.example/mcp", "https://a.example/mcp?x=1", "no url"]) {
      assert.isFalse(McpServer.isSame(other, "https://a.example/mcp"), other)
    }
  })
})

describe("a resource", () => {
  const server = "https://a.example/api/mcp"
  it("covers servers at its own path and below it", () => {
    for (const resource of [
      "https://a.example",
      "https://a.example/",
      "https://a.example/api",
      "https://a.example/api/",
      server
    ]) {
      assert.isTrue(McpServer.covers(resource, server), resource)
    }
  })
  it("covers no other: not another origin, not a sibling whose name begins alike, not what is below the server", () => {
    for (const resource of [
      "https://b.example/api/mcp",
      "http://a.example/api/mcp",
      "https://a.example:444/api/mcp",
      "https://a.example/ap",
      "https://a.example/api/mcp2",
      "https://a.example/api/mcp/tenant",
      "https://a.example.b.example/api/mcp",
      "no url"
    ]) {
      assert.isFalse(McpServer.covers(resource, server), resource)
    }
  })
})

it("the id of a user's credential for a server is a UUID, and the same each time for them alone", () => {
  const id = McpServer.credentialId(UserId.make("ada"), "https://a.example/mcp")
  assert.isTrue(Schema.is(CredentialId.to)(id))
  assert.strictEqual(id, McpServer.credentialId(UserId.make("ada"), "https://a.example/mcp"))
  assert.notStrictEqual(id, McpServer.credentialId(UserId.make("bob"), "https://a.example/mcp"))
  assert.notStrictEqual(id, McpServer.credentialId(UserId.make("ada"), "https://a.example/mcp2"))
})
