/**
 * Requests for a route of the OpenAPI document, made from what the document says of it, so that a new route needs nothing
 * here: mostly such that fit, with one thing or many things wrong.
 */
import * as FastCheck from "effect/FastCheck"
import { damaged, number, text, value } from "./Inputs.ts"

type Json = { readonly [name: string]: unknown }

export interface Route {
  readonly method: string
  /** With its parameters in braces. */
  readonly path: string
  readonly parameters: ReadonlyArray<{ readonly in: string; readonly name: string; readonly schema: Json }>
  readonly body: Json | undefined
  /** The statuses that the document names. */
  readonly statuses: ReadonlyArray<number>
}

export interface Request {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | undefined
}

/** Stands in a request for what is known when it is sent: the id of a living credential, of a lease … */
export const live = (name: string) => `<<${name}>>`

/** What is given where a secret belongs. */
export const secret = "canary-5e97c1"

const isJson = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)
const at = (node: unknown, ...names: ReadonlyArray<string>): unknown =>
  names.reduce<unknown>((inner, name) => (isJson(inner) ? inner[name] : undefined), node)
const list = (node: unknown): ReadonlyArray<unknown> => (Array.isArray(node) ? node : [])

export const routesOf = (document: unknown): ReadonlyArray<Route> =>
  Object.entries(at(document, "paths") ?? {}).flatMap(([path, methods]) =>
    Object.entries(methods as object).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      parameters: list(at(operation, "parameters")).map((parameter) => ({
        in: String(at(parameter, "in")),
        name: String(at(parameter, "name")),
        schema: (at(parameter, "schema") ?? {}) as Json
      })),
      body: at(operation, "requestBody", "content", "application/json", "schema") as Json | undefined,
      statuses: Object.keys(at(operation, "responses") ?? {}).map(Number)
    }))
  )

const secrets = /token|secret|password|apikey|^key|privatekey|headers|^code$|assertion/i

const mostly = <A>(right: FastCheck.Arbitrary<A>, wrong: FastCheck.Arbitrary<A>) =>
  FastCheck.oneof({ weight: 6, arbitrary: right }, { weight: 1, arbitrary: wrong })

/** What fits a field, by its name: the schema alone cannot say which credential there is. */
const known: Readonly<Record<string, FastCheck.Arbitrary<unknown>>> = {
  userId: FastCheck.constantFrom(..."uuuuuuuuu", "other", "ü;#/?"),
  id: FastCheck.uuid(),
  credentialId: mostly(
    FastCheck.constantFrom(live("oauth2"), live("oauth2"), live("api_key"), live("user_password"), live("host_scoped")),
    FastCheck.uuid()
  ),
  leaseId: mostly(FastCheck.constant(live("lease")), FastCheck.uuid()),
  keyId: mostly(FastCheck.constant(live("key")), FastCheck.uuid()),
  state: mostly(FastCheck.constant(live("state")), FastCheck.constant("no-such-state")),
  cursor: FastCheck.constant(live("cursor")),
  provider: FastCheck.constantFrom(
    ..."acme acme github unknown mcp device-code client-credentials jwt-bearer token-exchange".split(" ")
  ),
  host: FastCheck.constantFrom("example.com", "*.example.com", "127.0.0.1", "[::1]", "xn--a.example"),
  serverUrl: FastCheck.constantFrom(
    ..."https://mcp.example/mcp https://mcp.example/ https://127.0.0.1/ http://mcp.example https://[::1]/".split(" ")
  ),
  returnTo: FastCheck.constantFrom("https://app.example/done", "https://app.example/other"),
  generation: FastCheck.integer({ min: 1, max: 3 }),
  ifGeneration: FastCheck.integer({ min: 1, max: 3 }),
  // what waits for another would make these tests wait
  waitSeconds: FastCheck.constant(0),
  metadata: FastCheck.dictionary(FastCheck.constantFrom("a", "note", "client_secret", "__proto__"), value, {
    maxKeys: 3
  })
}

const date = FastCheck.date({ noInvalidDate: true }).map((time) => time.toISOString())

const ofSchema = (document: unknown, schema: Json, name: string): FastCheck.Arbitrary<unknown> => {
  const given = known[name]
  if (given !== undefined) return given
  const reference = schema["$ref"]
  if (typeof reference === "string") {
    return ofSchema(document, at(document, ...reference.slice(2).split("/")) as Json, name)
  }
  const choices = list(schema["anyOf"] ?? schema["oneOf"]).filter(isJson)
  if (choices.length > 0) return FastCheck.oneof(...choices.map((choice) => ofSchema(document, choice, name)))
  const literals = list(schema["enum"])
  if (literals.length > 0) return FastCheck.constantFrom(...literals)
  switch (schema["type"]) {
    case "object":
      return ofObject(document, schema, name)
    case "array": {
      const items = isJson(schema["items"]) ? ofSchema(document, schema["items"], name) : value
      return FastCheck.array(items, { maxLength: 4 })
    }
    case "integer":
    case "number": {
      const [least, most] = [schema["minimum"], schema["maximum"]].map(Number)
      return FastCheck.integer({
        min: Number.isFinite(least) ? Number(least) : 0,
        max: Number.isFinite(most) ? Math.min(Number(most), 2 ** 31 - 1) : 3600
      })
    }
    case "boolean":
      return FastCheck.boolean()
    case "string":
      if (schema["format"] === "date-time" || name.endsWith("At")) return date
      return FastCheck.string({ unit: FastCheck.constantFrom(..."abcXYZ019-_.:"), minLength: 1, maxLength: 20 })
    default:
      return value
  }
}

const ofObject = (document: unknown, schema: Json, name: string): FastCheck.Arbitrary<unknown> => {
  const properties = isJson(schema["properties"]) ? schema["properties"] : {}
  const names = Object.keys(properties)
  if (names.length === 0) {
    const values = secrets.test(name) ? FastCheck.constant(secret) : FastCheck.oneof(FastCheck.constant("x"), text)
    return FastCheck.dictionary(FastCheck.constantFrom("X-Key", "tenant", "a", "Cookie"), values, { maxKeys: 3 })
  }
  const required = list(schema["required"]).map(String)
  const fields = Object.fromEntries(
    Object.entries(properties).map(([field, inner]) => {
      const fits = ofSchema(document, isJson(inner) ? inner : {}, field)
      const isText = at(inner, "type") === "string" && at(inner, "enum") === undefined
      return [field, secrets.test(field) && isText ? FastCheck.constantFrom(secret, `${secret}-other`) : fits]
    })
  )
  return FastCheck.record(fields, { requiredKeys: [...required, ...names.filter((field) => field === "waitSeconds")] })
}

/** The same with something wrong in it. */
const spoilt = (fits: FastCheck.Arbitrary<unknown>, fields: ReadonlyArray<string>): FastCheck.Arbitrary<unknown> =>
  FastCheck.oneof(
    FastCheck.tuple(
      fits,
      FastCheck.array(
        FastCheck.tuple(
          FastCheck.oneof(FastCheck.constantFrom(...fields, "waitSeconds", "unknown", "__proto__"), text),
          FastCheck.oneof({ weight: 4, arbitrary: value }, { weight: 1, arbitrary: FastCheck.constant(secret) })
        ),
        { minLength: 1, maxLength: 3 }
      )
    ).map(([whole, wrong]) => ({ ...(isJson(whole) ? whole : {}), ...Object.fromEntries(wrong) })),
    fits.map((whole) => [whole]),
    value
  )

/** What fits, and what most likely does not. */
interface Part<A> {
  readonly fits: FastCheck.Arbitrary<A>
  readonly wrong: FastCheck.Arbitrary<A>
}

const contentType: Part<string> = {
  fits: FastCheck.constantFrom("application/json", "application/json; charset=utf-8"),
  wrong: FastCheck.oneof(
    FastCheck.constantFrom(
      ..."text/plain application/xml */* application/x-www-form-urlencoded multipart/form-data".split(" "),
      ..."application/json;charset=utf-16 application/json;;".split(" "),
      "application/json;".repeat(100),
      ""
    ),
    text
  )
}

const moreHeaders: Part<Readonly<Record<string, string>>> = {
  fits: FastCheck.constant({}),
  wrong: FastCheck.dictionary(
    FastCheck.constantFrom(
      ..."if-match accept cookie origin referer x-forwarded-for x-forwarded-host range content-encoding".split(" "),
      ..."accept-encoding traceparent b3 x-http-method-override forwarded te expect".split(" ")
    ),
    FastCheck.oneof(text, FastCheck.constantFrom("gzip", "1", "bytes=0-", `00-${"a".repeat(32)}-${"b".repeat(16)}-01`)),
    { minKeys: 1, maxKeys: 3 }
  )
}

const authorization: Part<string> = {
  fits: FastCheck.constant(`Bearer ${live("admin")}`),
  wrong: FastCheck.oneof(
    FastCheck.constantFrom(
      "",
      "Bearer",
      `Bearer ${secret}`,
      `Basic ${secret}`,
      "Bearer a b",
      `Bearer ${live("reader")}`
    ),
    text
  )
}

const queryOf = (document: unknown, { parameters }: Route): Part<string> => {
  const named = parameters.filter((parameter) => parameter.in === "query")
  const fits = FastCheck.tuple(
    ...named.map(({ name, schema }) => {
      const pair = ofSchema(document, schema, name).map((given) => [name, String(given)] as const)
      return name === "waitSeconds" ? pair : FastCheck.option(pair, { freq: 2 })
    })
  ).map((pairs) => pairs.flatMap((pair) => (pair === null ? [] : [pair])))
  const names = ["unknown", "__proto__", "constructor", ...named.map(({ name }) => name)]
  const name = FastCheck.oneof(FastCheck.constantFrom(...names), text)
  const more = FastCheck.array(FastCheck.tuple(name, text), { minLength: 1, maxLength: 4 })
  const encoded = (pairs: ReadonlyArray<readonly [string, string]>) =>
    pairs.map(([name, given]) => `${encode(name)}=${encode(given)}`).join("&")
  return {
    fits: fits.map(encoded),
    wrong: FastCheck.oneof(
      { weight: 3, arbitrary: FastCheck.tuple(fits, more).map(([right, wrong]) => encoded([...right, ...wrong])) },
      // without this it might wait for whoever holds a lease
      { weight: 1, arbitrary: text.map((given) => `${names.includes("waitSeconds") ? "waitSeconds=0&" : ""}${given}`) }
    )
  }
}

/** Percent signs for all that is not plain; half of a character has none, and is left to the wire. */
const encode = (given: string): string =>
  given.startsWith("<<") ? given : given.replaceAll(/[^A-Za-z0-9._~-]/gu, (part) => encodePart(part))

const encodePart = (part: string) =>
  [...Buffer.from(part, "utf8")].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("")

const pathOf = (document: unknown, { parameters, path }: Route): Part<string> => {
  const filled = (value: (schema: Json, name: string) => FastCheck.Arbitrary<string>) =>
    FastCheck.tuple(
      ...parameters
        .filter((parameter) => parameter.in === "path")
        .map(({ name, schema }) => FastCheck.tuple(FastCheck.constant(name), value(schema, name)))
    ).map((pairs) => pairs.reduce((whole, [name, given]) => whole.replace(`{${name}}`, () => given), path))
  const fits = (schema: Json, name: string) => ofSchema(document, schema, name).map((given) => encode(String(given)))
  return {
    fits: filled(fits),
    wrong: filled((schema, name) => FastCheck.oneof(fits(schema, name), text.map(encode), text))
  }
}

const bodyOf = (document: unknown, { body }: Route): Part<Buffer | undefined> => {
  if (body === undefined) {
    return {
      fits: FastCheck.constant(undefined),
      wrong: value.map((given) => Buffer.from(JSON.stringify(given) ?? ""))
    }
  }
  const fits = ofSchema(document, body, "")
  const fields = [body, ...list(body["anyOf"])].flatMap((choice) => Object.keys(at(choice, "properties") ?? {}))
  const json = (given: FastCheck.Arbitrary<unknown>) => given.map((whole) => JSON.stringify(whole) ?? "")
  return {
    fits: json(fits).map((whole) => Buffer.from(whole)),
    wrong: FastCheck.oneof(
      { weight: 5, arbitrary: json(spoilt(fits, fields)).map((whole) => Buffer.from(whole)) },
      { weight: 3, arbitrary: damaged(json(fits)) },
      { weight: 1, arbitrary: number.map((size) => Buffer.alloc(Math.min(Math.abs(size), 70_000) || 0, "[")) }
    )
  }
}

/** A request for the route: as it should be, with one of its parts wrong, or with all of them. */
export const requestOf = (document: unknown, route: Route): FastCheck.Arbitrary<Request> => {
  const parts = {
    path: pathOf(document, route),
    query: queryOf(document, route),
    authorization,
    contentType,
    more: moreHeaders,
    body: bodyOf(document, route)
  }
  const names = Object.keys(parts)
  const takesIfMatch = route.parameters.some((parameter) => parameter.in === "header")
  return FastCheck.oneof(
    { weight: 6, arbitrary: FastCheck.constant<ReadonlyArray<string>>([]) },
    { weight: 6, arbitrary: FastCheck.constantFrom(...names).map((name) => [name]) },
    { weight: 2, arbitrary: FastCheck.constantFrom("path", "query", "body").map((name) => [name]) },
    { weight: 1, arbitrary: FastCheck.constant(names) }
  )
    .chain((wrong) => {
      const of = <A>(name: string, part: Part<A>) => (wrong.includes(name) ? part.wrong : part.fits)
      return FastCheck.record({
        path: of("path", parts.path),
        query: of("query", parts.query),
        authorization: of("authorization", parts.authorization),
        contentType: of("contentType", parts.contentType),
        more: of("more", parts.more),
        body: of("body", parts.body),
        ifMatch: FastCheck.option(FastCheck.constantFrom('"1"', '"2"'), { freq: 2 })
      })
    })
    .map(({ authorization, body, contentType, ifMatch, more, path, query }) => ({
      path: query === "" ? path : `${path}?${query}`,
      headers: {
        ...(takesIfMatch && ifMatch !== null && { "if-match": ifMatch }),
        ...more,
        authorization,
        ...(body !== undefined && { "content-type": contentType })
      },
      body
    }))
}
