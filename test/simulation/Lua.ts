/**
 * Runs the text of a Lua script: compiled once to JavaScript, whose numbers are those of Redis's Lua 5.1 (doubles). A virtual
 * machine of a later Lua has whole numbers of another kind; one for 5.1 is a hundred times slower.
 */
import * as Library from "./Lua/Library.ts"
import { type Block, type Expression, type FunctionBody, parse, type Statement } from "./Lua/Syntax.ts"

/** The names of a block: each local is another one in JavaScript, as Lua may declare a name twice. */
class Names {
  readonly #outer: Names | undefined
  readonly #own = new Map<string, string>()
  readonly #counter: { count: number }

  constructor(outer: Names | undefined) {
    this.#outer = outer
    this.#counter = outer === undefined ? { count: 0 } : outer.#counter
  }

  declare(name: string): string {
    const made = `${name}$${this.#counter.count++}`
    this.#own.set(name, made)
    return made
  }

  find(name: string): string | undefined {
    return this.#own.get(name) ?? this.#outer?.find(name)
  }
}

const constantOf = (value: string | number | boolean | undefined): string =>
  value === undefined ? "undefined" : JSON.stringify(value)

const arithmetic: Readonly<Record<string, (one: string, other: string) => string>> = {
  "+": (one, other) => `(${one} + ${other})`,
  "-": (one, other) => `(${one} - ${other})`,
  "*": (one, other) => `(${one} * ${other})`,
  "/": (one, other) => `(${one} / ${other})`,
  "%": (one, other) => `L.modulo(${one}, ${other})`,
  "^": (one, other) => `(${one} ** ${other})`
}

const binary = (sign: string, left: Expression, right: Expression, names: Names): string => {
  const one = single(left, names)
  if (sign === "()") return one
  const other = single(right, names)
  const calculate = arithmetic[sign]
  if (calculate !== undefined) return calculate(`L.number(${one})`, `L.number(${other})`)
  switch (sign) {
    // the second is looked at only when it counts
    case "and":
      return `(($ = ${one}), L.isTrue($) ? ${other} : $)`
    case "or":
      return `(($ = ${one}), L.isTrue($) ? $ : ${other})`
    case "==":
      return `(${one} === ${other})`
    case "~=":
      return `(${one} !== ${other})`
    case "<":
      return `L.less(${one}, ${other})`
    case ">":
      return `L.less(${other}, ${one})`
    case "<=":
      return `L.lessOrEqual(${one}, ${other})`
    case ">=":
      return `L.lessOrEqual(${other}, ${one})`
    case "..":
      return `(L.text(${one}) + L.text(${other}))`
    default:
      throw new SyntaxError(`Lua: the operator ${sign} is not known here`)
  }
}

/** An expression's one value. */
const single = (expression: Expression, names: Names): string => {
  switch (expression.is) {
    case "constant":
      return constantOf(expression.value)
    case "name":
      return names.find(expression.name) ?? `G[${JSON.stringify(expression.name)}]`
    case "index":
      return `L.index(${single(expression.of, names)}, ${single(expression.key, names)})`
    case "call":
      return `${many(expression, names)}[0]`
    case "rest":
      return "rest[0]"
    case "function":
      return functionOf(expression.body, names)
    case "unary": {
      const of = single(expression.of, names)
      if (expression.sign === "not") return `!L.isTrue(${of})`
      return expression.sign === "#" ? `L.length(${of})` : `(-L.number(${of}))`
    }
    case "binary":
      return binary(expression.sign, expression.left, expression.right, names)
    case "table":
      return `new L.Table(${list(expression.items, names)})`
  }
}

/** All values of what may have several. */
const many = (expression: Expression, names: Names): string => {
  if (expression.is === "rest") return "rest"
  if (expression.is !== "call") return `[${single(expression, names)}]`
  return `L.call(${single(expression.of, names)}, ${list(expression.parameters, names)})`
}

/** The values of a list, of whose last one all count. */
const list = (expressions: ReadonlyArray<Expression>, names: Names): string => {
  const parts = expressions.map((expression, at) => {
    const isOpen = at === expressions.length - 1 && (expression.is === "call" || expression.is === "rest")
    return isOpen ? `...${many(expression, names)}` : single(expression, names)
  })
  return `[${parts.join(", ")}]`
}

const functionOf = ({ body, hasRest, parameters }: FunctionBody, outer: Names): string => {
  const names = new Names(outer)
  const declared = parameters.map((name) => names.declare(name))
  return `((${[...declared, ...(hasRest ? ["...rest"] : [])].join(", ")}) => { let $; ${blockOf(body, names)} return [] })`
}

const assign = (target: Expression, value: string, names: Names): string => {
  if (target.is === "index") return `L.setIndex(${single(target.of, names)}, ${single(target.key, names)}, ${value});`
  const name = target.is === "name" ? names.find(target.name) : undefined
  // Redis refuses to make a global, too
  if (name === undefined) throw new SyntaxError("Lua: an assignment to a global")
  return `${name} = ${value};`
}

const statementOf = (statement: Statement, names: Names): string => {
  const inner = (body: Block) => `{ ${blockOf(body, new Names(names))} }`
  switch (statement.is) {
    case "local": {
      const { values } = statement
      const [first] = values
      const given =
        values.length === 1 && statement.names.length === 1 && first !== undefined
          ? single(first, names)
          : list(values, names)
      const declared = statement.names.map((name) => names.declare(name))
      if (values.length === 0) return `let ${declared.join(", ")};`
      if (values.length === 1 && declared.length === 1) return `let ${declared[0]} = ${given};`
      return `let [${declared.join(", ")}] = ${given};`
    }
    case "function": {
      const name = names.declare(statement.name)
      return `const ${name} = ${functionOf(statement.body, names)};`
    }
    case "assign": {
      const [target] = statement.targets
      const [value] = statement.values
      if (statement.targets.length === 1 && statement.values.length === 1 && target && value) {
        return assign(target, single(value, names), names)
      }
      const assigned = statement.targets.map((one, at) => assign(one, `values[${at}]`, names))
      return `{ const values = ${list(statement.values, names)}; ${assigned.join(" ")} }`
    }
    case "call":
      return `${many(statement.call, names)};`
    case "do":
      return inner(statement.body)
    case "while":
      return `while (L.isTrue(${single(statement.condition, names)})) ${inner(statement.body)}`
    case "if": {
      const branches = statement.branches.map(
        ({ body, condition }) => `if (L.isTrue(${single(condition, names)})) ${inner(body)}`
      )
      return `${branches.join(" else ")}${statement.otherwise === undefined ? "" : ` else ${inner(statement.otherwise)}`}`
    }
    case "count": {
      const bounds = [statement.from, statement.to, statement.step ?? ({ is: "constant", value: 1 } as const)]
      const [from, to, step] = bounds.map((bound) => `L.number(${single(bound, names)})`)
      const own = new Names(names)
      const name = own.declare(statement.name)
      const at = `${name}at`
      return `for (let ${at} = ${from}, ${at}end = ${to}, ${at}by = ${step}; ${at}by > 0 ? ${at} <= ${at}end : ${at} >= ${at}end; ${at} += ${at}by) { let ${name} = ${at}; ${blockOf(statement.body, own)} }`
    }
    case "each": {
      const from = list(statement.values, names)
      const own = new Names(names)
      const declared = statement.names.map((name) => own.declare(name))
      const [control = ""] = declared
      const state = `${control}state`
      return `for (let ${state} = ${from};;) { let [${declared.join(", ")}] = L.call(${state}[0], [${state}[1], ${state}[2]]); if (${control} === undefined) break; ${state}[2] = ${control}; ${blockOf(statement.body, own)} }`
    }
    case "return":
      return `return ${list(statement.values, names)};`
    case "break":
      return "break;"
  }
}

const blockOf = (body: Block, names: Names): string => body.map((one) => statementOf(one, names)).join("\n")

/** A script that is ready to run. */
export type Chunk = (surroundings: Readonly<Record<string, Library.Value>>) => ReadonlyArray<Library.Value>

const compiled = new Map<string, Chunk>()

export const compile = (source: string): Chunk => {
  const known = compiled.get(source)
  if (known !== undefined) return known
  const body = blockOf(parse(source), new Names(undefined))
  // oxlint-disable-next-line no-new-func -- this is a compiler
  const run = new Function("L", "G", `"use strict"; let $; ${body} return []`) as (
    library: typeof Library,
    surroundings: Readonly<Record<string, Library.Value>>
  ) => ReadonlyArray<Library.Value>
  const chunk: Chunk = (surroundings) => run(Library, surroundings)
  compiled.set(source, chunk)
  return chunk
}
