/**
 * What the contract's OpenAPI form says beyond what is derived from it.
 *
 * @since 0.1.0
 */

type Node = { readonly [name: string]: unknown }

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && !Array.isArray(value)

const prefix = "#/components/schemas/"

/** The platform's own error of decoding, and what it is made of: the server answers `InvalidRequest` instead. */
const foreign = new Set(["HttpApiDecodeError", "Issue", "PropertyKey"])

const nameOf = (schema: unknown): string | undefined =>
  isNode(schema) && typeof schema["$ref"] === "string" ? schema["$ref"].slice(prefix.length) : undefined

const isForeign = (schema: unknown) => foreign.has(nameOf(schema) ?? "")

const namesOf = (schema: unknown): ReadonlyArray<string> => {
  const members = isNode(schema) && Array.isArray(schema["anyOf"]) ? schema["anyOf"] : [schema]
  return members.flatMap((member) => nameOf(member) ?? [])
}

/** An answer is described by the names of what it may hold. */
const described = (node: Node): Node => {
  const content = isNode(node["content"]) ? node["content"]["application/json"] : undefined
  const names = isNode(content) ? namesOf(content["schema"]) : []
  return names.length > 0 && "description" in node ? { ...node, description: names.join(", ") } : node
}

/** A choice among choices is one choice. */
const flat = (member: unknown): ReadonlyArray<unknown> =>
  isNode(member) && Array.isArray(member["anyOf"]) && Object.keys(member).length === 1 ? member["anyOf"] : [member]

/** An answer that only the platform would give is none. */
const answers = (responses: Node): Node =>
  Object.fromEntries(
    Object.entries(responses).filter(([, response]) => {
      const content = isNode(response) && isNode(response["content"]) ? response["content"]["application/json"] : {}
      return !isNode(content) || !isForeign(content["schema"])
    })
  )

const rewritten = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(rewritten)
  if (!isNode(value)) return value
  const node = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, rewritten(inner)]))
  if (isNode(node["responses"])) return { ...node, responses: answers(node["responses"]) }
  if (!Array.isArray(node["anyOf"])) return described(node)
  const members = node["anyOf"].filter((member) => !isForeign(member)).flatMap(flat)
  return members.length === 1 ? members[0] : { ...node, anyOf: members }
}

const withoutForeign = (spec: Node): Node => {
  const components = isNode(spec["components"]) ? spec["components"] : {}
  const schemas = isNode(components["schemas"]) ? components["schemas"] : {}
  const own = Object.fromEntries(Object.entries(schemas).filter(([name]) => !foreign.has(name)))
  return { ...spec, components: { ...components, schemas: own } }
}

/**
 * The specification as it is published.
 *
 * @since 0.1.0
 */
export const publish = (spec: Node): Node => {
  const whole = rewritten(withoutForeign(spec))
  return isNode(whole) ? whole : spec
}
