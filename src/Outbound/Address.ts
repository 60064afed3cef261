/**
 * Which addresses belong to the public internet. Everything that is not known to is refused, so that a name or a literal
 * leads to no machine of this network, however it is spelled.
 *
 * @since 0.1.0
 */
import { BlockList, isIP } from "node:net"

/** Node's own list: what is judged is read as what is connected to, and IPv4 within IPv6 (`::ffff:`) counts as IPv4. */
const ranges = (...cidrs: ReadonlyArray<string>) => {
  const list = new BlockList()
  for (const cidr of cidrs) {
    const [network = "", prefix] = cidr.split("/")
    list.addSubnet(network, Number(prefix), isIP(network) === 4 ? "ipv4" : "ipv6")
  }
  return list
}

const loopback = ranges("127.0.0.0/8", "::1/128")

/** Of IPv6 only global unicast (RFC 4291): NAT64 (64:ff9b::/96), unique local and link-local addresses are outside. */
const routed = ranges("0.0.0.0/0", "2000::/3")

/** Beside the loopback. */
const setApart = ranges(
  "0.0.0.0/8", // this network, RFC 1122; Linux takes 0.0.0.0 for itself
  "10.0.0.0/8", // private, RFC 1918
  "100.64.0.0/10", // carrier-grade NAT, RFC 6598; a cloud's metadata at 100.100.100.200
  "169.254.0.0/16", // link-local, RFC 3927; most clouds' metadata at 169.254.169.254
  "172.16.0.0/12", // private
  "192.0.0.0/24", // protocol assignments, RFC 6890; a cloud's metadata at 192.0.0.192
  "192.0.2.0/24", // documentation, RFC 5737
  "192.88.99.0/24", // 6to4 relays, RFC 7526
  "192.168.0.0/16", // private
  "198.18.0.0/15", // benchmarks, RFC 2544
  "198.51.100.0/24", // documentation
  "203.0.113.0/24", // documentation
  "224.0.0.0/4", // multicast
  "240.0.0.0/4", // reserved, RFC 1112; broadcast
  "168.63.129.16/32", // a cloud's host agent, at an address that looks public
  "2001::/23", // protocol assignments, RFC 2928; Teredo, which holds an IPv4 address
  "2001:db8::/32", // documentation, RFC 3849
  "2002::/16", // 6to4, which holds an IPv4 address
  "3fff::/20" // documentation, RFC 9637
)

/**
 * Where an address leads: to the public internet, to this machine, or to somewhere else, where nothing is called. An IPv4
 * address within an IPv6 one is judged as what it is. What is no plain address, or one of a network interface (`%eth0`), is
 * `elsewhere`.
 *
 * @since 0.1.0
 */
export const reach = (text: string): "public" | "loopback" | "elsewhere" => {
  const version = isIP(text)
  if (version === 0 || text.includes("%")) return "elsewhere"
  const family = version === 4 ? "ipv4" : "ipv6"
  if (loopback.check(text, family)) return "loopback"
  return routed.check(text, family) && !setApart.check(text, family) ? "public" : "elsewhere"
}
