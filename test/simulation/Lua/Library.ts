/** What Lua 5.1 does with values, and as much of its libraries as the scripts use. All numbers are doubles, as in Redis. */

export type Value = undefined | boolean | number | string | Table | Callable
/** Takes any number of values, gives any number. */
export type Callable = (...parameters: ReadonlyArray<Value>) => ReadonlyArray<Value>

/** An array from 1 on, and named fields. */
export class Table {
  readonly list: Array<Value>
  readonly fields = new Map<Value, Value>()

  constructor(list: Array<Value> = []) {
    // a list ends where there is nothing
    while (list.length > 0 && list[list.length - 1] === undefined) list.pop()
    this.list = list
  }

  get(key: Value): Value {
    return typeof key === "number" && key >= 1 && key <= this.list.length ? this.list[key - 1] : this.fields.get(key)
  }

  set(key: Value, value: Value): void {
    if (typeof key === "number" && key >= 1 && key <= this.list.length + 1) {
      this.list[key - 1] = value
      while (this.list.length > 0 && this.list[this.list.length - 1] === undefined) this.list.pop()
    } else if (value === undefined) this.fields.delete(key)
    else this.fields.set(key, value)
  }
}

export class LuaError extends Error {}

const fail = (message: string): never => {
  throw new LuaError(message)
}

const kindOf = (value: Value): string =>
  value === undefined
    ? "nil"
    : value instanceof Table
      ? "table"
      : typeof value === "function"
        ? "function"
        : typeof value

/** `%.14g`, as Lua prints a number. */
const printed = (value: number): string => {
  if (Number.isInteger(value) && Math.abs(value) < 1e14) return String(value)
  const text = value.toPrecision(14)
  const [digits = "", exponent] = text.split("e")
  const short = digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits
  if (exponent === undefined) return short
  return `${short}e${exponent.startsWith("-") ? "-" : "+"}${exponent.slice(1).padStart(2, "0")}`
}

const numeral = /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i

export const tonumber = (value: Value): number | undefined => {
  if (typeof value === "number") return value
  return typeof value === "string" && numeral.test(value) ? Number(value) : undefined
}

export const number = (value: Value): number =>
  typeof value === "number" ? value : (tonumber(value) ?? fail(`arithmetic on a ${kindOf(value)} value`))

export const text = (value: Value): string =>
  typeof value === "string" ? value : typeof value === "number" ? printed(value) : fail(`a ${kindOf(value)} as text`)

export const isTrue = (value: Value): boolean => value !== undefined && value !== false

export const less = (one: Value, other: Value): boolean => {
  if (typeof one === "number" && typeof other === "number") return one < other
  if (typeof one === "string" && typeof other === "string") return one < other
  return fail(`compared a ${kindOf(one)} with a ${kindOf(other)}`)
}

export const lessOrEqual = (one: Value, other: Value): boolean => {
  if (typeof one === "number" && typeof other === "number") return one <= other
  if (typeof one === "string" && typeof other === "string") return one <= other
  return fail(`compared a ${kindOf(one)} with a ${kindOf(other)}`)
}

export const modulo = (one: number, other: number): number => one - Math.floor(one / other) * other

export const length = (value: Value): number =>
  value instanceof Table ? value.list.length : typeof value === "string" ? value.length : fail("the length of nothing")

export const index = (of: Value, key: Value): Value =>
  of instanceof Table ? of.get(key) : fail(`an index of a ${kindOf(of)}`)

export const setIndex = (of: Value, key: Value, value: Value): void =>
  of instanceof Table ? of.set(key, value) : fail(`an index of a ${kindOf(of)}`)

export const call = (of: Value, parameters: ReadonlyArray<Value>): ReadonlyArray<Value> =>
  typeof of === "function" ? of(...parameters) : fail(`called a ${kindOf(of)}`)

const classes: Readonly<Record<string, string>> = { d: "\\d", a: "A-Za-z", s: "\\s", w: "A-Za-z0-9" }

const patterns = new Map<string, RegExp>()

/** A pattern of Lua as the regular expression that means the same: those that have none are refused. */
const pattern = (source: string): RegExp => {
  const known = patterns.get(source)
  if (known !== undefined) return known
  let made = ""
  let at = 0
  let isItem = false
  let inSet = false
  const item = (piece: string) => {
    made += piece
    isItem = !inSet
  }
  while (at < source.length) {
    const letter = source[at++] ?? ""
    if (letter === "%") {
      const escaped = source[at++] ?? ""
      const named = classes[escaped]
      if (named !== undefined) item(inSet ? named : `[${named}]`)
      else if (/[A-Za-z0-9]/.test(escaped)) fail(`the class %${escaped} is not known here`)
      else item(`\\${escaped}`)
    } else if (inSet) {
      if (letter === "]") {
        inSet = false
        item("]")
      } else if (letter === "-") fail("a range in a set is not known here")
      else made += /[\\[]/.test(letter) ? `\\${letter}` : letter
    } else if (letter === "[") {
      inSet = true
      made += "["
      if (source[at] === "^") {
        made += "^"
        at++
      }
    } else if (letter === "(" || letter === ")") {
      made += letter
      isItem = false
    } else if (letter === "^" && at === 1) made += "^"
    else if (letter === "$" && at === source.length) made += "$"
    else if (letter === ".") item("[\\s\\S]")
    else if (isItem && "*+?".includes(letter)) {
      made += letter
      isItem = false
    } else if (isItem && letter === "-") {
      made += "*?"
      isItem = false
    } else item(/[\\^$.*+?|{}/]/.test(letter) ? `\\${letter}` : letter)
  }
  const compiled = new RegExp(made)
  patterns.set(source, compiled)
  return compiled
}

const lib = (functions: Readonly<Record<string, Callable>>): Table => {
  const table = new Table()
  for (const [name, run] of Object.entries(functions)) table.fields.set(name, run)
  return table
}

const place = (value: Value, size: number, otherwise: number): number => {
  const at = value === undefined ? otherwise : number(value)
  return at < 0 ? size + at + 1 : at
}

const string = lib({
  match: (given, source) => {
    const found = pattern(text(source)).exec(text(given))
    if (found === null) return [undefined]
    return found.length === 1 ? [found[0]] : found.slice(1)
  },
  find: (given, wanted, from, isPlain) => {
    if (!isTrue(isPlain)) return fail("string.find with a pattern is not known here")
    const start = text(given).indexOf(text(wanted), place(from, text(given).length, 1) - 1)
    return start < 0 ? [undefined] : [start + 1, start + text(wanted).length]
  },
  sub: (given, from, to) => {
    const all = text(given)
    return [all.slice(Math.max(place(from, all.length, 1), 1) - 1, Math.max(place(to, all.length, -1), 0))]
  },
  format: (form, ...values) => {
    let next = 0
    return [
      text(form).replace(/%(\.0f|s|d|%)/g, (_, kind: string) => {
        if (kind === "%") return "%"
        const value = values[next++]
        if (kind === "s") return text(value)
        const whole = kind === "d" ? Math.trunc(number(value)) : number(value)
        // halves go to the even one, in C
        const rounded = Math.abs(whole % 1) === 0.5 ? 2 * Math.round(whole / 2) : Math.round(whole)
        return BigInt(rounded).toString()
      })
    ]
  },
  len: (given) => [text(given).length]
})

const math = lib({
  floor: (value) => [Math.floor(number(value))],
  ceil: (value) => [Math.ceil(number(value))],
  max: (...values) => [Math.max(...values.map(number))],
  min: (...values) => [Math.min(...values.map(number))]
})

const listOf = (value: Value): Array<Value> => (value instanceof Table ? value.list : fail("a table is expected"))

const table = lib({
  insert: (of, value) => {
    listOf(of).push(value)
    return []
  },
  concat: (of, between) => [
    listOf(of)
      .map(text)
      .join(between === undefined ? "" : text(between))
  ]
})

const step: Callable = (of, at) => {
  const next = number(at) + 1
  const value = index(of, next)
  return value === undefined ? [undefined] : [next, value]
}

/** The names that a script finds around it, beside `redis`, `KEYS` and `ARGV`. */
export const globals: Readonly<Record<string, Value>> = {
  string,
  math,
  table,
  tonumber: (value) => [tonumber(value)],
  tostring: (value) => [value === undefined ? "nil" : typeof value === "boolean" ? String(value) : text(value)],
  type: (value) => [kindOf(value)],
  ipairs: (of) => [step, of, 0],
  unpack: (of) => listOf(of)
}
