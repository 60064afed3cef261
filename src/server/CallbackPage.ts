/**
 * The page that a browser sees at the end of a login: static, without scripts, and nothing loaded from anywhere.
 *
 * @since 0.1.0
 */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { createHash } from "node:crypto"

const style = `
  :root { color-scheme: light dark; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif; }
  main { max-width: 28rem; padding: 2rem; text-align: center; }
  h1 { font-size: 1.4rem; font-weight: 600; margin: 0 0 .5rem; }
  p { margin: 0; opacity: .8; }
`

const styleHash = createHash("sha256").update(style, "utf8").digest("base64")

const security = {
  "content-security-policy": `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  "cache-control": "no-store",
  "referrer-policy": "no-referrer"
} as const

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" }

/** Long enough for every text of this service's own. */
const longestText = 1_000

/** No markup, and nothing that cannot be seen or turns the direction of reading: some of it may be a stranger's. */
const plain = (text: string) =>
  text
    .replaceAll(/\p{C}+/gu, " ")
    .slice(0, longestText)
    .replaceAll(/[&<>"']/g, (character) => entities[character] ?? "")

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly status: number
  readonly title: string
  readonly text: string
}): HttpServerResponse.HttpServerResponse => {
  const title = plain(options.title)
  return HttpServerResponse.text(
    `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${style}</style>
</head>
<body><main><h1>${title}</h1><p>${plain(options.text)}</p></main></body>
</html>
`,
    { status: options.status, contentType: "text/html; charset=utf-8", headers: security }
  )
}
