import { assert, describe, it } from "@effect/vitest"
import { reach } from "../../src/Outbound/Address.ts"

const reached = (addresses: ReadonlyArray<string>) => addresses.map((address) => `${address} ${reach(address)}`)

const all = (addresses: ReadonlyArray<string>, verdict: string) => addresses.map((address) => `${address} ${verdict}`)

const isReached = (verdict: string, addresses: ReadonlyArray<string>) =>
  assert.deepStrictEqual(reached(addresses), all(addresses, verdict))

describe("reach", () => {
  it("IPv4: each range that is not public ends where it should, and its neighbours are public", () => {
    const ranges: ReadonlyArray<readonly [before: string | null, first: string, last: string, after: string | null]> = [
      [null, "0.0.0.0", "0.255.255.255", "1.0.0.0"],
      ["9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"],
      ["100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"],
      ["169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"],
      ["172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"],
      ["191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"],
      ["192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"],
      ["192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"],
      ["192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"],
      ["198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"],
      ["198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"],
      ["203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"],
      ["168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"],
      ["223.255.255.255", "224.0.0.0", "239.255.255.255", null],
      [null, "240.0.0.0", "255.255.255.255", null]
    ]
    for (const [before, first, last, after] of ranges) {
      isReached("elsewhere", [first, last])
      isReached(
        "public",
        [before, after].filter((address) => address !== null)
      )
    }
  })

  it("IPv6: only 2000::/3, without what is set apart in it", () => {
    isReached("public", [
      "2000::",
      "2001:200::",
      "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
      "2001:db9::",
      "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
      "2003::",
      "2606:2800:220:1::1",
      "3ffe:ffff::1",
      "3fff:1000::"
    ])
    isReached("elsewhere", [
      "::",
      "::2",
      "64:ff9b::808:808",
      "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
      "2001::",
      "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
      "2001:db8::",
      "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
      "2002::",
      "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
      "3fff::",
      "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
      "4000::",
      "fc00::1",
      "fe80::1",
      "ff02::1"
    ])
  })

  it("the loopback is 127.0.0.0/8 and ::1, no more", () => {
    isReached("loopback", ["127.0.0.0", "127.0.0.1", "127.255.255.255", "::1", "0:0:0:0:0:0:0:1"])
    isReached("public", ["126.255.255.255", "128.0.0.0"])
  })

  it("IPv4 within IPv6 is what it is", () => {
    isReached("loopback", ["::ffff:127.0.0.1", "::ffff:7f00:1"])
    isReached("elsewhere", ["::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0.0.0.0"])
    isReached("public", ["::ffff:8.8.8.8"])
    isReached("elsewhere", ["::127.0.0.1", "::8.8.8.8", "::ffff:0:8.8.8.8"])
  })

  it("what Node would not take for an address is none", () => {
    isReached("elsewhere", [
      "",
      "localhost",
      "acme.example",
      "127.1",
      "8.8",
      "0x8.8.8.8",
      "010.8.8.8",
      "134744072",
      " 8.8.8.8",
      "8.8.8.8 ",
      "8.8.8.8:443",
      "8.8.8.8/32",
      "[2606::1]",
      "2606::1%eth0",
      "2606::1::1"
    ])
  })
})
