import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { inspect } from "node:util"
import { type Rules, vet } from "../../src/Outbound/Destination.ts"

const canary = "canary-5f0c2e9a"

const strict: Rules = { allowLoopback: false, anyPort: false }

const verdict = (url: string, rules: Partial<Rules> = {}) =>
  Either.match(vet(url, { ...strict, ...rules }), {
    onLeft: ({ rule }) => `refused: ${rule}`,
    onRight: ({ addresses, host, url }) =>
      [url.href, host, ...Option.getOrElse(addresses, () => ["looked up"])].join(" ")
  })

describe("vet", () => {
  it("https is called, whatever the case of its letters; a name is looked up, an address is not", () => {
    assert.strictEqual(
      verdict("https://acme.example/token?a=b"),
      "https://acme.example/token?a=b acme.example looked up"
    )
    assert.strictEqual(verdict("HTTPS://ACME.example/token"), "https://acme.example/token acme.example looked up")
    assert.strictEqual(verdict("https://1.1.1.1/"), "https://1.1.1.1/ 1.1.1.1 1.1.1.1")
    assert.strictEqual(verdict("https://[2606::1]/"), "https://[2606::1]/ 2606::1 2606::1")
    assert.strictEqual(
      verdict("https://bücher.example/"),
      "https://xn--bcher-kva.example/ xn--bcher-kva.example looked up"
    )
  })

  it("names that only look like forbidden ones are called", () => {
    for (const name of [
      "localhost.example",
      "mylocalhost.example",
      "local.example",
      "internal.example",
      "xn--local-.example",
      "thelocal.se",
      "notinternal.io",
      "lan.example",
      "metadata.example",
      "mymetadata.goog",
      "127.0.0.1.example",
      "10.0.0.1.nip.io"
    ]) {
      assert.match(verdict(`https://${name}/`), /looked up$/, name)
    }
  })

  it("says which rule was broken", () => {
    assert.deepStrictEqual(
      [
        "nothing",
        "ftp://acme.example/",
        "http://acme.example/",
        "https://a:b@acme.example/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://acme.example./",
        "https://db.internal/",
        "https://metadata.goog/",
        "https://acme.example:444/"
      ].map((url) => verdict(url)),
      [
        "refused: it is not an absolute URL",
        "refused: only https is called",
        "refused: only https is called",
        "refused: it holds a user name or password",
        "refused: it is on this machine (OUTBOUND_ALLOW_LOOPBACK=1 allows that, for development)",
        "refused: its address is not a public one",
        "refused: its host is not a plain name",
        "refused: its host is a name of a local network",
        "refused: its host is a cloud's metadata service",
        "refused: it names another port than 443"
      ]
    )
  })

  it("another port is called only where the URL may name one; 443 may always be named", () => {
    assert.match(verdict("https://acme.example:443/"), /looked up$/)
    assert.match(verdict("https://acme.example:8443/", { anyPort: true }), /looked up$/)
    assert.match(verdict("https://1.1.1.1:8443/", { anyPort: true }), / 1\.1\.1\.1$/)
  })

  it("a named port opens nothing else", () => {
    for (const url of [
      "http://acme.example:8080/",
      "https://10.0.0.1:8443/",
      "https://localhost:8443/",
      "https://db.internal:8443/",
      "https://a:b@acme.example:8443/"
    ]) {
      assert.match(verdict(url, { anyPort: true }), /^refused/, url)
    }
  })

  it("the loopback, where it is allowed: 127.0.0.0/8, ::1 and localhost, over http and any port, in any spelling", () => {
    for (const [url, host, addresses] of [
      ["http://localhost:3000/", "localhost", "127.0.0.1 ::1"],
      ["http://LOCALHOST/", "localhost", "127.0.0.1 ::1"],
      ["https://localhost/", "localhost", "127.0.0.1 ::1"],
      ["http://127.0.0.1:3000/", "127.0.0.1", "127.0.0.1"],
      ["http://127.1.2.3/", "127.1.2.3", "127.1.2.3"],
      ["http://[::1]:3000/", "::1", "::1"],
      ["http://127.1/", "127.0.0.1", "127.0.0.1"],
      ["http://0x7f.1/", "127.0.0.1", "127.0.0.1"],
      ["http://2130706433/", "127.0.0.1", "127.0.0.1"],
      ["http://0177.0.0.1/", "127.0.0.1", "127.0.0.1"],
      ["http://[0:0:0:0:0:0:0:1]/", "::1", "::1"]
    ] as const) {
      assert.match(verdict(url), /^refused/, url)
      assert.strictEqual(verdict(url, { allowLoopback: true }), `${new URL(url).href} ${host} ${addresses}`)
    }
  })

  it("a refusal holds nothing of the URL", () => {
    for (const url of [
      `http://${canary}.example/`,
      `https://${canary}:x@acme.example/`,
      canary,
      `http://localhost/${canary}`,
      `https://${canary}.internal/`,
      `https://acme.example:444/?${canary}`
    ]) {
      const refused = Either.flip(vet(url, strict))
      assert.isTrue(Either.isRight(refused), url)
      assert.notInclude(inspect(refused, false, 9) + (Either.isRight(refused) ? refused.right.message : ""), canary)
    }
  })
})
