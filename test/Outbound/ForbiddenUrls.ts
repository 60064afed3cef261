/**
 * URLs that nobody may have called, by kind. All are refused; those of a kind that is `onLoopback` are called where the
 * loopback is allowed, and all others are refused there too.
 */

export interface Kind {
  readonly kind: string
  readonly onLoopback?: boolean
  readonly urls: ReadonlyArray<string>
}

const octetsOf = (address: string) => address.split(".").map(Number)

const numberOf = (address: string) => octetsOf(address).reduce((sum, octet) => sum * 256 + octet, 0)

const hex = (value: number, digits = 0) => value.toString(16).padStart(digits, "0")

const spelled = (address: string) => octetsOf(address).map(String)

/** One IPv4 address in all the ways in which the WHATWG parser reads it as an IPv4 address. */
const spellings = (address: string): ReadonlyArray<string> => {
  const [a = 0, b = 0, c = 0, d = 0] = octetsOf(address)
  const octal = (value: number) => `0${value.toString(8)}`
  return [
    address,
    `${address}.`,
    String(numberOf(address)),
    `0x${hex(numberOf(address), 8)}`,
    `0${numberOf(address).toString(8)}`,
    spelled(address)
      .map((octet) => octal(Number(octet)))
      .join("."),
    spelled(address)
      .map((octet) => `0x${hex(Number(octet))}`)
      .join("."),
    `0X${hex(a).toUpperCase()}.${b}.${octal(c)}.0x${hex(d)}`,
    `${a}.${(b * 256 + c) * 256 + d}`,
    `${a}.${b}.${c * 256 + d}`,
    `000${a.toString(8)}.${b}.${c}.${d}`,
    [...address].map((char) => (char === "." ? "." : `%${hex(char.charCodeAt(0))}`)).join(""),
    [...address].map((char) => `%${hex(char.charCodeAt(0))}`).join(""),
    [...address].map((char) => (char === "." ? "." : String.fromCodePoint(0xff10 + Number(char)))).join(""),
    address.replaceAll(".", "。"),
    address.replaceAll(".", "．")
  ].map((host) => `https://${host}/`)
}

/** The same address inside an IPv6 one that stands for it. */
const mapped = (address: string): ReadonlyArray<string> => {
  const [a = 0, b = 0, c = 0, d = 0] = octetsOf(address)
  const high = hex(a * 256 + b)
  const low = hex(c * 256 + d)
  return [
    `https://[::ffff:${address}]/`,
    `https://[::ffff:${high}:${low}]/`,
    `https://[::FFFF:${address}]/`,
    `https://[0:0:0:0:0:ffff:${high}:${low}]/`,
    `https://[0000:0000:0000:0000:0000:ffff:${hex(a * 256 + b, 4)}:${hex(c * 256 + d, 4)}]/`
  ]
}

/** And inside ones that a gateway would turn back into it. */
const translated = (address: string): ReadonlyArray<string> => {
  const [a = 0, b = 0, c = 0, d = 0] = octetsOf(address)
  const high = hex(a * 256 + b)
  const low = hex(c * 256 + d)
  return [
    `https://[64:ff9b::${address}]/`,
    `https://[64:ff9b:1::${address}]/`,
    `https://[::${address}]/`,
    `https://[::ffff:0:${address}]/`,
    `https://[2002:${high}:${low}::]/`,
    `https://[2001:0:${high}:${low}::]/`
  ]
}

const metadataAddress = "169.254.169.254"

const others = ["0.0.0.0", "10.0.0.1", metadataAddress, "192.168.0.1", "100.100.100.200", "168.63.129.16"]

/** First, last, and one between. */
const insideV4 = [
  ["0.255.255.255", "0.0.0.1"],
  ["10.0.0.0", "10.255.255.255", "10.96.0.1"],
  ["100.64.0.0", "100.127.255.255", "100.96.0.1"],
  ["169.254.0.0", "169.254.255.255", "169.254.170.2"],
  ["172.16.0.0", "172.31.255.255", "172.17.0.1"],
  ["192.0.0.0", "192.0.0.255", "192.0.0.192"],
  ["192.0.2.0", "192.0.2.255", "192.0.2.1"],
  ["192.88.99.0", "192.88.99.255", "192.88.99.1"],
  ["192.168.0.0", "192.168.255.255", "192.168.1.1"],
  ["198.18.0.0", "198.19.255.255", "198.18.1.1"],
  ["198.51.100.0", "198.51.100.255", "198.51.100.1"],
  ["203.0.113.0", "203.0.113.255", "203.0.113.1"],
  ["224.0.0.0", "239.255.255.255", "224.0.0.251"],
  ["240.0.0.0", "255.255.255.255", "250.1.2.3"]
].flat()

const insideV6 = [
  "::",
  "::2",
  "64:ff9b::808:808",
  "100::1",
  "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
  "2001::1",
  "2001:1::1",
  "2001:2::1",
  "2001:10::1",
  "2001:20::1",
  "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
  "2001:db8::1",
  "2001:0db8:0000:0000:0000:0000:0000:0001",
  "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
  "2002::1",
  "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
  "3fff::1",
  "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
  "4000::1",
  "5f00::1",
  "fc00::1",
  "fd00:ec2::254",
  "fd20:ce::254",
  "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
  "fe80::1",
  "fe80::a9fe:a9fe",
  "febf::1",
  "fec0::1",
  "ff02::1",
  "ff0e::1",
  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
]

export const kinds: ReadonlyArray<Kind> = [
  {
    kind: "this machine, as it is usually called",
    onLoopback: true,
    urls: [
      "https://localhost/",
      "https://LOCALHOST/",
      "https://localhost:8443/",
      "https://%6c%6f%63alhost/",
      "https://ｌｏｃａｌｈｏｓｔ/",
      "https://loc\talhost/",
      "https://[::1]/",
      "https://[0:0:0:0:0:0:0:1]/",
      "https://[0000::0001]:6379/",
      "http://localhost/",
      "http://127.0.0.1:8080/",
      "http://[::1]:9200/",
      "https://127.0.0.0/",
      "https://127.255.255.255/",
      "https://127.53.0.53/"
    ]
  },
  { kind: "127.0.0.1 in other spellings", onLoopback: true, urls: spellings("127.0.0.1") },
  { kind: "127.0.0.1 within IPv6", onLoopback: true, urls: mapped("127.0.0.1") },
  { kind: "127.0.0.1 behind a translation", urls: translated("127.0.0.1") },
  { kind: "private and metadata addresses in other spellings", urls: others.flatMap(spellings) },
  { kind: "private and metadata addresses within IPv6", urls: others.flatMap(mapped) },
  { kind: "private and metadata addresses behind a translation", urls: others.flatMap(translated) },
  { kind: "IPv4 ranges that are not public", urls: insideV4.map((address) => `https://${address}/`) },
  { kind: "IPv6 ranges that are not public", urls: insideV6.map((address) => `https://[${address}]/`) },
  {
    kind: "names of this machine that nobody needs",
    urls: [
      "https://localhost./",
      "https://a.localhost/",
      "https://a.b.LocalHost/",
      "https://localhost.localdomain/",
      "https://localhost6.localdomain/",
      "http://a.localhost:3000/"
    ]
  },
  {
    kind: "names of local networks",
    urls: [
      "https://printer.local/",
      "https://a.b.local/",
      "https://PRINTER.LOCAL/",
      "https://printer.local./",
      "https://db.internal/",
      "https://vault.service.internal/",
      "https://api.corp/",
      "https://nas.home/",
      "https://router.lan/",
      "https://nas.home.arpa/",
      "https://wiki.intranet/",
      "https://x.private/",
      "https://redis/",
      "https://postgres:5432/",
      "https://kubernetes/",
      "https://metadata/",
      "https://instance-data/",
      "https://com/",
      "https://example.com./",
      "https://example.com../"
    ]
  },
  {
    kind: "names of metadata services",
    urls: [
      "https://metadata.google.internal/computeMetadata/v1/",
      "https://METADATA.google.INTERNAL/",
      "https://metadata.google.internal./",
      "https://metadata.goog/",
      "https://x.metadata.goog/",
      "https://instance-data.ec2.internal/latest/meta-data/",
      "https://metadata.azure.internal/",
      "https://metadata.packet.net/",
      "https://metadata.platformequinix.com/",
      "https://metadata.tencentyun.com/",
      "https://api.metadata.cloud.ibm.com/",
      "https://metadata.oraclecloud.com/",
      "https://metadata%2egoogle%2einternal/",
      "https://ｍetadata.google.internal/",
      "https://metadata。google。internal/"
    ]
  },
  {
    kind: "other schemes",
    urls: [
      "http://acme.example/",
      "HTTP://acme.example/",
      "http://93.184.216.34/",
      "http://acme.example:443/",
      "ftp://acme.example/",
      "ws://acme.example/",
      "wss://acme.example/",
      "gopher://127.0.0.1:6379/_FLUSHALL",
      "dict://127.0.0.1:11211/stats",
      "file:///etc/passwd",
      "file://127.0.0.1/etc/passwd",
      "data:application/json,{}",
      "javascript:alert(1)",
      "blob:https://acme.example/1",
      "about:blank",
      "ldap://127.0.0.1/",
      "ssh://127.0.0.1/",
      "unix:/var/run/docker.sock",
      "jar:https://127.0.0.1!/",
      "urn:uuid:0",
      "mailto:a@acme.example",
      "view-source:https://127.0.0.1/",
      "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
      "//acme.example/"
    ]
  },
  {
    kind: "http to what only looks like this machine",
    urls: [
      "http://localhost.evil.example/",
      "http://127.0.0.1.evil.example/",
      "http://evil.example/127.0.0.1",
      "http://evil.example#localhost",
      "http://evil.example?localhost",
      "http://xlocalhost/",
      "http://128.0.0.1/",
      "http://126.255.255.255/",
      "http://[::2]/",
      "http://0.0.0.0/",
      "http://0/",
      "http://[::]/"
    ]
  },
  {
    kind: "a user name or a password",
    urls: [
      "https://user:pass@acme.example/",
      "https://user@acme.example/",
      "https://:pass@acme.example/",
      "https://acme.example:443@127.0.0.1/",
      "https://acme.example%40127.0.0.1@10.0.0.1/",
      "https://a@b@127.0.0.1/",
      "http://user:pass@localhost/",
      "https://acme.example%5c@127.0.0.1@evil.example/",
      "https://user:pass@[::1]/"
    ]
  },
  {
    kind: "tricks with what surrounds the host",
    urls: [
      "https://10.0.0.1#@acme.example/",
      "https://10.0.0.1?@acme.example/",
      "https://10.0.0.1\\@acme.example/",
      "https:\\\\10.0.0.1\\",
      "https:10.0.0.1",
      "https:/10.0.0.1/",
      "https:////10.0.0.1/",
      " https://10.0.0.1/ ",
      "https://10.0.\n0.1/",
      "\thttps://10.0.0.1/",
      "https://10.0.0.1:443/",
      "https://10.0.0.1:0443/"
    ]
  },
  {
    kind: "other ports",
    urls: [
      "https://acme.example:80/",
      "https://acme.example:22/",
      "https://acme.example:8443/",
      "https://acme.example:6379/",
      "https://acme.example:65535/",
      "https://acme.example:0/",
      "https://acme.example:00444/",
      "https://93.184.216.34:8443/",
      "https://[2606:2800:220:1::1]:8443/"
    ]
  },
  {
    kind: "what is no URL",
    urls: [
      "",
      " ",
      "acme.example",
      "/token",
      "?q",
      "https://",
      "https:///",
      "https://:443/",
      "https://a b/",
      "https://acme.example:65536/",
      "https://acme.example:-1/",
      "https://acme.example:port/",
      "https://[::1/",
      "https://::1/",
      "https://[::1%25lo]/",
      "https://[fe80::1%25eth0]/",
      "https://[fe80::1%eth0]/",
      "https://[v1.fe80::1]/",
      "https://[127.0.0.1]/",
      "https://[::ffff:127.0.0.256]/",
      "https://[::ffff:127.1]/",
      "https://256.256.256.256/",
      "https://1.2.3.4.5/",
      "https://4294967296/",
      "https://0x100000000/",
      "https://08.0.0.1/",
      "https://%00/",
      "https://127.0.0.1%00.acme.example/",
      "https://acme.example%2f@10.0.0.1",
      "https://exa%23mple.com/",
      "https://a%/"
    ]
  }
]
