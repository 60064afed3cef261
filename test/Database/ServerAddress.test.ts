import { assert, describe, it } from "@effect/vitest"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { userInfo } from "node:os"
import * as ServerAddress from "../../src/Database/ServerAddress.ts"

const parse = (text: string) => Option.getOrThrow(ServerAddress.parse(text))

describe("ServerAddress", () => {
  it("a URL says everything", () => {
    const address = parse(
      "postgres://m%40x:p%2F%3A%23%C3%A4@db.example.com:6432/cred%20s?sslmode=verify-full&options=-c%20a%3Db"
    )
    assert.strictEqual(address.host, "db.example.com")
    assert.strictEqual(address.port, 6432)
    assert.strictEqual(address.database, "cred s")
    assert.strictEqual(address.user, "m@x")
    assert.strictEqual(Redacted.value(address.password), "p/:#ä")
    assert.strictEqual(address.encryption, "verify")
    assert.strictEqual(address.options, "-c a=b")
  })

  it("what it leaves out is as in libpq, and never from the environment", () => {
    const address = parse("postgresql://")
    assert.strictEqual(address.host, "localhost")
    assert.strictEqual(address.port, 5432)
    assert.strictEqual(address.user, userInfo().username)
    assert.strictEqual(address.database, userInfo().username)
    assert.strictEqual(Redacted.value(address.password), "")
    assert.strictEqual(address.encryption, "none")
    assert.strictEqual(parse("postgres://mona@db").database, "mona")
  })

  it("a socket's folder stands in the host, or in a parameter", () => {
    assert.strictEqual(parse("postgres://mona@%2Fvar%2Frun%2Fpostgresql/credentials").host, "/var/run/postgresql")
    const address = parse("postgres:///credentials?host=/var/run/postgresql")
    assert.strictEqual(address.host, "/var/run/postgresql")
    assert.strictEqual(address.database, "credentials")
    assert.strictEqual(ServerAddress.show(address), "/var/run/postgresql (credentials)")
  })

  it("an IPv6 address loses its brackets, and is shown in them", () => {
    const address = parse("postgres://mona:secret@[::1]:5433/credentials")
    assert.strictEqual(address.host, "::1")
    assert.strictEqual(ServerAddress.show(address), "[::1]:5433/credentials")
  })

  it("how the connection is encrypted", () => {
    const encryption = (mode: string) => parse(`postgres://db/x?sslmode=${mode}`).encryption
    assert.deepStrictEqual(["disable", "no-verify", "prefer", "require", "verify-ca", "verify-full"].map(encryption), [
      "none",
      "encrypt",
      "verify",
      "verify",
      "verify-authority",
      "verify"
    ])
  })

  it("anything else is no address", () => {
    for (const text of [
      "",
      "localhost:5432/x",
      "mysql://db/x",
      "https://db/x",
      "postgres://mona:p#ss@db/x",
      "postgres://mona:%zz@db/x",
      "postgres://db:0/x",
      "postgres://db:99999/x",
      "postgres://db/x?sslmode=maybe"
    ]) {
      assert.isTrue(Option.isNone(ServerAddress.parse(text)), text)
    }
  })
})
