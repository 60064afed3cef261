/** Whatever URL, redirect or DNS answer is given, no connection is opened to anything that is not public. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { measured } from "../Measured.ts"
import * as Outbound from "../../src/Outbound.ts"
import * as PublicNetwork from "../servers/PublicNetwork.ts"
import { kinds } from "./ForbiddenUrls.ts"

const publicAddress = "93.184.216.34"
const anotherPublicAddress = "2606:2800:220:1::1"

/** Answers each name with its lists, one after the other, the last one for ever. Time to live: 0. */
const names = (answers: Readonly<Record<string, ReadonlyArray<ReadonlyArray<string>>>>) => {
  const asked: Array<string> = []
  const resolve = (name: string) =>
    Effect.suspend(() => {
      const lists = answers[name] ?? []
      const times = asked.filter((other) => other === name).length
      asked.push(name)
      const answer = lists[Math.min(times, lists.length - 1)]
      return answer === undefined ? Effect.fail("ENOTFOUND") : Effect.succeed(answer)
    })
  return { asked, resolve }
}

const isPublic = (address: string) =>
  address.startsWith(`${publicAddress}:`) || address.startsWith(`[${anotherPublicAddress}]:`)

/** How many connections were tried to what is not public. */
const forbidden = ({ tried }: { readonly tried: ReadonlyArray<string> }) =>
  tried.filter((address) => !isPublic(address)).length

/** One more chain of names and redirects came to its end. */
const chain = (network: { readonly tried: ReadonlyArray<string> }) =>
  measured("ssrf", { chains: 1, "forbidden connections": forbidden(network) })

const get = (url: string): Outbound.OutboundRequest => ({ method: "GET", url, headers: {} })

const outboundOver = (resolve: ReturnType<typeof names>["resolve"], allowLoopback = false) =>
  Effect.provide(
    Outbound.Outbound,
    Outbound.layer({ allowLoopback, resolve, certificateAuthorities: [PublicNetwork.certificate] })
  )

/** What a call came to: `refused`, the reason why it failed, or its status. */
const outcome = (calling: Effect.Effect<Outbound.Answer, { readonly _tag: string; readonly reason?: string }>) =>
  Effect.match(calling, {
    onSuccess: ({ status }) => status,
    onFailure: (error) => (error._tag === "OutboundRefused" ? "refused" : error.reason)
  })

describe("URLs", () => {
  it("are three hundred at least, each of them once", () => {
    const urls = kinds.flatMap(({ urls }) => urls)
    assert.isAtLeast(urls.length, 300)
    assert.lengthOf(new Set(urls), urls.length)
  })

  for (const { kind, urls } of kinds) {
    it.scoped(`${kind}: refused, with no connection and no question to the DNS`, () =>
      Effect.gen(function* () {
        const network = yield* PublicNetwork.watch
        const { asked, resolve } = names({})
        const outbound = yield* outboundOver(resolve)
        const fetch = yield* outbound.fetch(Outbound.mcp)
        for (const url of urls) {
          for (const profile of [Outbound.metadata, Outbound.token, Outbound.mcp]) {
            assert.strictEqual(yield* outcome(outbound.send(get(url), profile)), "refused", url)
          }
          const error = yield* Effect.flip(Effect.tryPromise({ try: () => fetch(url), catch: (error) => error }))
          assert.propertyVal(error, "_tag", "OutboundRefused", url)
        }
        assert.deepStrictEqual({ tried: network.tried, asked }, { tried: [], asked: [] })
        yield* measured("ssrf", { urls: urls.length, "forbidden connections": forbidden(network) })
      })
    )
  }

  for (const { kind, onLoopback = false, urls } of kinds) {
    it.scoped(`${kind}: ${onLoopback ? "called" : "refused"} where the loopback is allowed`, () =>
      Effect.gen(function* () {
        const network = yield* PublicNetwork.watch
        const { asked, resolve } = names({})
        const outbound = yield* outboundOver(resolve, true)
        for (const url of urls) {
          const expected = onLoopback ? "unreachable" : "refused"
          assert.strictEqual(yield* outcome(outbound.send(get(url), Outbound.token)), expected, url)
        }
        assert.deepStrictEqual(asked, [])
        for (const address of network.tried)
          assert.match(address, /^(?:127(?:\.\d+){3}|\[::1\]|\[::ffff:7f\w\w:\w+\]):/)
        assert.strictEqual(network.tried.length > 0, onLoopback)
      })
    )
  }
})

const privateAnswers: ReadonlyArray<readonly [what: string, answer: string]> = [
  ["loopback", "127.0.0.1"],
  ["another loopback address", "127.8.8.8"],
  ["IPv6 loopback", "::1"],
  ["every address", "0.0.0.0"],
  ["every IPv6 address", "::"],
  ["private 10/8", "10.0.0.5"],
  ["private 172.16/12", "172.31.0.9"],
  ["private 192.168/16", "192.168.1.1"],
  ["carrier-grade NAT", "100.64.0.1"],
  ["link-local metadata", "169.254.169.254"],
  ["metadata over IPv6", "fd00:ec2::254"],
  ["a cloud's host agent", "168.63.129.16"],
  ["link-local IPv6", "fe80::1"],
  ["link-local IPv6 of an interface", "fe80::1%lo"],
  ["unique local IPv6", "fd12::1"],
  ["multicast", "224.0.0.1"],
  ["broadcast", "255.255.255.255"],
  ["loopback within IPv6", "::ffff:127.0.0.1"],
  ["metadata within IPv6", "::ffff:a9fe:a9fe"],
  ["metadata behind NAT64", "64:ff9b::a9fe:a9fe"],
  ["loopback behind 6to4", "2002:7f00:1::"],
  ["a short spelling", "127.1"],
  ["a number", "2130706433"],
  ["an octal spelling", "0177.0.0.1"],
  ["no address at all", "localhost"]
]

describe("rebinding", () => {
  it("and redirects are fifty chains at least", () => {
    assert.isAtLeast(privateAnswers.length * 4, 50)
  })

  for (const [what, answer] of privateAnswers) {
    it.scoped(`a name that resolves to ${what} (${answer}): refused, nothing opened, the loopback allowed or not`, () =>
      Effect.gen(function* () {
        const network = yield* PublicNetwork.watch
        for (const allowLoopback of [false, true]) {
          const { asked, resolve } = names({ "rebind.example": [[answer]] })
          const outbound = yield* outboundOver(resolve, allowLoopback)
          for (const profile of [Outbound.metadata, Outbound.listed(Outbound.token)]) {
            assert.strictEqual(yield* outcome(outbound.send(get("https://rebind.example/"), profile)), "refused")
          }
          assert.lengthOf(asked, 2)
        }
        assert.deepStrictEqual(network.tried, [])
        yield* chain(network)
      })
    )

    it.scoped(`public first, then ${what}: the first answer alone is used`, () =>
      Effect.gen(function* () {
        const network = yield* PublicNetwork.watch
        const server = yield* PublicNetwork.serve((_, response) => response.end("{}"))
        network.lead(publicAddress, server.port)
        const { asked, resolve } = names({ "public.example": [[publicAddress], [answer]] })
        const outbound = yield* outboundOver(resolve)
        const calling = outbound.send(get("https://public.example/"), Outbound.token)
        assert.strictEqual(yield* outcome(calling), 200)
        assert.deepStrictEqual(asked, ["public.example"])
        // and for the next call the name is asked anew, and refused
        assert.strictEqual(yield* outcome(calling), "refused")
        assert.deepStrictEqual(network.tried, [`${publicAddress}:443`])
        yield* chain(network)
      })
    )

    it.scoped(`public and ${what} in one answer, in any order: refused as a whole`, () =>
      Effect.gen(function* () {
        const network = yield* PublicNetwork.watch
        for (const mixed of [
          [publicAddress, answer],
          [answer, publicAddress],
          [anotherPublicAddress, publicAddress, answer]
        ]) {
          const outbound = yield* outboundOver(names({ "mixed.example": [mixed] }).resolve)
          assert.strictEqual(yield* outcome(outbound.send(get("https://mixed.example/"), Outbound.token)), "refused")
        }
        assert.deepStrictEqual(network.tried, [])
        yield* chain(network)
      })
    )

    it.scoped(`public, a redirect to itself, then ${what}: the second hop is refused`, () =>
      Effect.gen(function* () {
        const network = yield* PublicNetwork.watch
        const server = yield* PublicNetwork.serve((_, response) =>
          response.writeHead(302, { location: "/again" }).end()
        )
        network.lead(publicAddress, server.port)
        const { resolve } = names({ "public.example": [[publicAddress], [answer]] })
        const outbound = yield* outboundOver(resolve)
        const error = yield* Effect.flip(outbound.send(get("https://public.example/"), Outbound.metadata))
        assert.strictEqual(error._tag, "OutboundRefused")
        assert.deepStrictEqual(network.tried, [`${publicAddress}:443`])
        yield* chain(network)
      })
    )
  }

  it.scoped("an answer without addresses, and one that does not come: unreachable, before sending", () =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const outbound = yield* outboundOver(names({ "empty.example": [[]] }).resolve)
      for (const name of ["empty.example", "unknown.example"]) {
        const error = yield* Effect.flip(outbound.send(get(`https://${name}/`), Outbound.token))
        assert.deepInclude(error, { _tag: "OutboundFailure", sent: false, reason: "unreachable" })
      }
      assert.deepStrictEqual(network.tried, [])
    })
  )
})

describe("redirects", () => {
  const elsewhere = [
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/",
    "http://127.0.0.1/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "http://localhost:6379/",
    "https://10.0.0.1/",
    "https://metadata.google.internal/",
    "//10.0.0.1/",
    "\\\\10.0.0.1\\",
    "https://2130706433/",
    "https://public.example@10.0.0.1/",
    "https://public.example:8443/",
    "http://public.example/",
    "https://sub.public.example/",
    "https://other.example/",
    "https://93.184.216.34/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "data:application/json,{}",
    "https://",
    "https://public.example.:443/"
  ]

  const following = (
    locations: ReadonlyArray<string>,
    profile: Outbound.Profile,
    request: Partial<Outbound.OutboundRequest> = {},
    status = 302
  ) =>
    Effect.gen(function* () {
      const network = yield* PublicNetwork.watch
      const server = yield* PublicNetwork.serve((_, response) => {
        const location = locations[server.requests.length - 1]
        if (location === undefined) response.end("{}")
        else response.writeHead(status, { location }).end()
      })
      network.lead(publicAddress, server.port)
      const { resolve } = names({ "public.example": [[publicAddress]], "sub.public.example": [[publicAddress]] })
      const outbound = yield* outboundOver(resolve)
      const ended = yield* outcome(outbound.send({ ...get("https://public.example/start"), ...request }, profile))
      assert.lengthOf(network.tried, server.requests.length)
      for (const address of network.tried) assert.strictEqual(address, `${publicAddress}:443`)
      yield* chain(network)
      return [ended, ...server.requests.map(({ method, path }) => `${method} ${path}`)]
    }).pipe(Effect.scoped)

  for (const location of elsewhere) {
    it.effect(`to ${location}: not followed, the redirect is the answer`, () =>
      Effect.gen(function* () {
        for (const profile of [Outbound.metadata, Outbound.token, Outbound.mcp]) {
          assert.deepStrictEqual(yield* following([location], profile), [302, "GET /start"])
        }
        // nor at the second hop
        assert.deepStrictEqual(yield* following(["/b", location], Outbound.metadata), [302, "GET /start", "GET /b"])
      })
    )
  }

  it.effect("discovery follows two within the origin, and no third", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* following(["/b?x=1"], Outbound.metadata), [200, "GET /start", "GET /b?x=1"])
      const two = yield* following(["/b", "https://public.example/c"], Outbound.metadata)
      assert.deepStrictEqual(two, [200, "GET /start", "GET /b", "GET /c"])
      const three = yield* following(["/b", "/c", "/d"], Outbound.metadata)
      assert.deepStrictEqual(three, [302, "GET /start", "GET /b", "GET /c"])
    })
  )

  it.effect("token, registration and revocation endpoints follow none", () =>
    Effect.gen(function* () {
      for (const status of [301, 302, 303, 307, 308]) {
        const post = { method: "POST" as const, body: Redacted.make("refresh_token=x") }
        assert.deepStrictEqual(yield* following(["/b"], Outbound.token, post, status), [status, "POST /start"])
        assert.deepStrictEqual(yield* following(["/b"], Outbound.listed(Outbound.token), {}, status), [
          status,
          "GET /start"
        ])
      }
    })
  )

  it.effect("what may change something is sent again only where the redirect keeps the method", () =>
    Effect.gen(function* () {
      const post = { method: "POST" as const, body: Redacted.make("{}") }
      for (const status of [307, 308]) {
        assert.deepStrictEqual(yield* following(["/b"], Outbound.mcp, post, status), [200, "POST /start", "POST /b"])
      }
      for (const status of [300, 301, 302, 303, 304]) {
        assert.deepStrictEqual(yield* following(["/b"], Outbound.mcp, post, status), [status, "POST /start"])
      }
    })
  )
})
