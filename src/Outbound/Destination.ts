/**
 * What a URL must be to be called. It is parsed once, by the rules of WHATWG, and only what came of that is used: all
 * spellings of an address (`0x7f.1`, `2130706433`, `%31%32%37.0.0.1`, full-width digits) are one by then.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { isIP } from "node:net"
import { OutboundRefused } from "../CredentialsError.ts"
import { reach } from "./Address.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Destination {
  readonly url: URL
  /** A name, or an address without brackets. */
  readonly host: string
  /** Where to connect, where no name need be looked up for that. */
  readonly addresses: Option.Option<ReadonlyArray<string>>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Rules {
  /** Whether 127.0.0.0/8, `::1` and `localhost` may be called: on any port, over http too. */
  readonly allowLoopback: boolean
  /** Whether another port than 443 may be called. */
  readonly anyPort: boolean
}

/** Names that are answered within a network, not by the public DNS (RFC 6761, 6762, 8375, and what ICANN keeps back). */
const localName = /(?:^|\.)(?:localhost|localdomain|local|internal|intranet|private|corp|home|lan|home\.arpa)$/

/** Names of clouds' metadata services outside `.internal`; some lead to public addresses. */
const metadataName =
  /(?:^|\.)metadata\.(?:goog|packet\.net|platformequinix\.com|tencentyun\.com|cloud\.ibm\.com|oraclecloud\.com)$/

const brokenRule = (name: string): Option.Option<string> => {
  if (name === "" || name.endsWith(".")) return Option.some("its host is not a plain name")
  if (!name.includes(".") || localName.test(name)) return Option.some("its host is a name of a local network")
  return metadataName.test(name) ? Option.some("its host is a cloud's metadata service") : Option.none()
}

/** The loopback needs no look-up (RFC 6761 6.3), so nothing can answer for it. */
const loopbackAddresses = ["127.0.0.1", "::1"]

/**
 * The URL's destination, if this service calls such; what a name resolves to is not judged here. The refusal names the rule,
 * and nothing of the URL.
 *
 * @since 0.1.0
 */
export const vet = (text: string, rules: Rules): Either.Either<Destination, OutboundRefused> => {
  const refuse = (rule: string) => Either.left(new OutboundRefused({ rule }))
  const parsed = Either.try(() => new URL(text))
  if (Either.isLeft(parsed)) return refuse("it is not an absolute URL")
  const url = parsed.right
  if (url.protocol !== "https:" && url.protocol !== "http:") return refuse("only https is called")
  if (url.username !== "" || url.password !== "") return refuse("it holds a user name or password")
  const host = url.hostname.replace(/^\[|\]$/g, "")
  const literal = isIP(host) !== 0
  if (host === "localhost" || (literal && reach(host) === "loopback")) {
    return rules.allowLoopback
      ? Either.right({ url, host, addresses: Option.some(literal ? [host] : loopbackAddresses) })
      : refuse("it is on this machine (OUTBOUND_ALLOW_LOOPBACK=1 allows that, for development)")
  }
  if (url.protocol !== "https:") return refuse("only https is called")
  if (literal && reach(host) !== "public") return refuse("its address is not a public one")
  const broken = literal ? Option.none() : brokenRule(host)
  if (Option.isSome(broken)) return refuse(broken.value)
  if (url.port !== "" && !rules.anyPort) return refuse("it names another port than 443")
  return Either.right({ url, host, addresses: literal ? Option.some([host]) : Option.none() })
}
