/**
 * The Lua that the scripts are written in, read into a tree. What they do not use (`goto`, `repeat`, methods, long comments)
 * is not known here: it is a syntax error, and never another meaning.
 */

export type Expression =
  | { readonly is: "constant"; readonly value: string | number | boolean | undefined }
  | { readonly is: "rest" }
  | { readonly is: "name"; readonly name: string }
  | { readonly is: "index"; readonly of: Expression; readonly key: Expression }
  | { readonly is: "call"; readonly of: Expression; readonly parameters: ReadonlyArray<Expression> }
  | { readonly is: "function"; readonly body: FunctionBody }
  | { readonly is: "unary"; readonly sign: "not" | "-" | "#"; readonly of: Expression }
  | { readonly is: "binary"; readonly sign: string; readonly left: Expression; readonly right: Expression }
  | { readonly is: "table"; readonly items: ReadonlyArray<Expression> }

export interface FunctionBody {
  readonly parameters: ReadonlyArray<string>
  readonly hasRest: boolean
  readonly body: Block
}

export type Block = ReadonlyArray<Statement>

export type Statement =
  | { readonly is: "local"; readonly names: ReadonlyArray<string>; readonly values: ReadonlyArray<Expression> }
  | { readonly is: "function"; readonly name: string; readonly body: FunctionBody }
  | { readonly is: "assign"; readonly targets: ReadonlyArray<Expression>; readonly values: ReadonlyArray<Expression> }
  | { readonly is: "call"; readonly call: Expression }
  | { readonly is: "do"; readonly body: Block }
  | { readonly is: "while"; readonly condition: Expression; readonly body: Block }
  | {
      readonly is: "if"
      readonly branches: ReadonlyArray<{ readonly condition: Expression; readonly body: Block }>
      readonly otherwise: Block | undefined
    }
  | {
      readonly is: "count"
      readonly name: string
      readonly from: Expression
      readonly to: Expression
      readonly step: Expression | undefined
      readonly body: Block
    }
  | {
      readonly is: "each"
      readonly names: ReadonlyArray<string>
      readonly values: ReadonlyArray<Expression>
      readonly body: Block
    }
  | { readonly is: "return"; readonly values: ReadonlyArray<Expression> }
  | { readonly is: "break" }

interface Token {
  readonly kind: "name" | "word" | "number" | "string" | "sign" | "end"
  readonly text: string
}

const words = new Set(
  "and break do else elseif end false for function if in local nil not or repeat return then true until while".split(
    " "
  )
)

const shape =
  /\s*(?:--[^\n]*\s*)*(?:([A-Za-z_]\w*)|(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|(\.\.\.|\.\.|==|~=|<=|>=|[-+*/%^#<>=(){}[\];,.]))/y

const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", "\\": "\\", "'": "'", '"': '"' }

const unescape = (text: string): string =>
  text.replace(/\\(.)/g, (_, letter: string) => {
    const meant = escapes[letter]
    if (meant === undefined) throw new SyntaxError(`Lua: the escape \\${letter} is not known here`)
    return meant
  })

const tokensOf = (source: string): ReadonlyArray<Token> => {
  const text = source.trimEnd()
  const tokens: Array<Token> = []
  shape.lastIndex = 0
  while (shape.lastIndex < text.length) {
    const at = shape.lastIndex
    const found = shape.exec(text)
    if (found === null) {
      // nothing but comments may be left
      if (/^\s*(?:--[^\n]*\s*)*$/.test(text.slice(at))) break
      throw new SyntaxError(`Lua: not known here: ${text.slice(at, at + 40)}`)
    }
    const [, name, number, single, double, sign] = found
    if (name !== undefined) tokens.push({ kind: words.has(name) ? "word" : "name", text: name })
    else if (number !== undefined) tokens.push({ kind: "number", text: number })
    else if (sign !== undefined) tokens.push({ kind: "sign", text: sign })
    else tokens.push({ kind: "string", text: unescape(single ?? double ?? "") })
  }
  return tokens
}

/** How strongly operators bind, to their left and to their right. */
const strengths: Readonly<Record<string, readonly [number, number]>> = {
  or: [1, 1],
  and: [2, 2],
  "<": [3, 3],
  ">": [3, 3],
  "<=": [3, 3],
  ">=": [3, 3],
  "~=": [3, 3],
  "==": [3, 3],
  "..": [5, 4],
  "+": [6, 6],
  "-": [6, 6],
  "*": [7, 7],
  "/": [7, 7],
  "%": [7, 7],
  "^": [10, 9]
}
const unaryStrength = 8

class Reader {
  readonly #tokens: ReadonlyArray<Token>
  #at = 0

  constructor(tokens: ReadonlyArray<Token>) {
    this.#tokens = tokens
  }

  get #next(): Token {
    return this.#tokens[this.#at] ?? { kind: "end", text: "" }
  }

  #is(text: string): boolean {
    const { kind, text: found } = this.#next
    return (kind === "word" || kind === "sign") && found === text
  }

  #take(text: string): boolean {
    if (!this.#is(text)) return false
    this.#at++
    return true
  }

  #need(text: string): void {
    if (!this.#take(text)) throw new SyntaxError(`Lua: expected ${text}, found ${this.#next.text}`)
  }

  #name(): string {
    const { kind, text } = this.#next
    if (kind !== "name") throw new SyntaxError(`Lua: expected a name, found ${text}`)
    this.#at++
    return text
  }

  #names(): ReadonlyArray<string> {
    const names = [this.#name()]
    while (this.#take(",")) names.push(this.#name())
    return names
  }

  #expressions(): ReadonlyArray<Expression> {
    const all = [this.#expression()]
    while (this.#take(",")) all.push(this.#expression())
    return all
  }

  chunk(): Block {
    const body = this.#block()
    if (this.#next.kind !== "end") throw new SyntaxError(`Lua: not expected: ${this.#next.text}`)
    return body
  }

  #block(): Block {
    const statements: Array<Statement> = []
    while (this.#next.kind !== "end" && !["end", "else", "elseif"].some((word) => this.#is(word))) {
      const isLast = this.#is("return") || this.#is("break")
      statements.push(this.#statement())
      this.#take(";")
      if (isLast) break
    }
    return statements
  }

  #ended(): Block {
    const body = this.#block()
    this.#need("end")
    return body
  }

  #statement(): Statement {
    if (this.#take("break")) return { is: "break" }
    if (this.#take("do")) return { is: "do", body: this.#ended() }
    if (this.#take("if")) return this.#conditional()
    if (this.#take("for")) return this.#loop()
    if (this.#take("while")) {
      const condition = this.#expression()
      this.#need("do")
      return { is: "while", condition, body: this.#ended() }
    }
    if (this.#take("return")) {
      const over = this.#next.kind === "end" || ["end", "else", "elseif", ";"].some((word) => this.#is(word))
      return { is: "return", values: over ? [] : this.#expressions() }
    }
    if (this.#take("local")) {
      if (this.#take("function")) return { is: "function", name: this.#name(), body: this.#function() }
      const names = this.#names()
      return { is: "local", names, values: this.#take("=") ? this.#expressions() : [] }
    }
    const first = this.#suffixed()
    if (first.is === "call") return { is: "call", call: first }
    const targets: Array<Expression> = [first]
    while (this.#take(",")) targets.push(this.#suffixed())
    this.#need("=")
    return { is: "assign", targets, values: this.#expressions() }
  }

  #conditional(): Statement {
    const branches: Array<{ readonly condition: Expression; readonly body: Block }> = []
    do {
      const condition = this.#expression()
      this.#need("then")
      branches.push({ condition, body: this.#block() })
    } while (this.#take("elseif"))
    const otherwise = this.#take("else") ? this.#block() : undefined
    this.#need("end")
    return { is: "if", branches, otherwise }
  }

  #loop(): Statement {
    const names = this.#names()
    const [name = ""] = names
    if (names.length === 1 && this.#take("=")) {
      const from = this.#expression()
      this.#need(",")
      const to = this.#expression()
      const step = this.#take(",") ? this.#expression() : undefined
      this.#need("do")
      return { is: "count", name, from, to, step, body: this.#ended() }
    }
    this.#need("in")
    const values = this.#expressions()
    this.#need("do")
    return { is: "each", names, values, body: this.#ended() }
  }

  #function(): FunctionBody {
    this.#need("(")
    const parameters: Array<string> = []
    let hasRest = false
    while (!this.#is(")") && !hasRest) {
      if (this.#take("...")) hasRest = true
      else parameters.push(this.#name())
      if (!this.#take(",")) break
    }
    this.#need(")")
    return { parameters, hasRest, body: this.#ended() }
  }

  #expression(above = 0): Expression {
    let left = this.#unary()
    for (;;) {
      const { kind, text } = this.#next
      const strength = kind === "sign" || kind === "word" ? strengths[text] : undefined
      if (strength === undefined || strength[0] <= above) return left
      this.#at++
      left = { is: "binary", sign: text, left, right: this.#expression(strength[1]) }
    }
  }

  #unary(): Expression {
    for (const sign of ["not", "-", "#"] as const) {
      if (this.#take(sign)) return { is: "unary", sign, of: this.#expression(unaryStrength) }
    }
    const { kind, text } = this.#next
    if (kind === "number") return this.#constant(Number(text))
    if (kind === "string") return this.#constant(text)
    if (this.#is("nil")) return this.#constant(undefined)
    if (this.#is("true")) return this.#constant(true)
    if (this.#is("false")) return this.#constant(false)
    if (this.#take("...")) return { is: "rest" }
    if (this.#take("function")) return { is: "function", body: this.#function() }
    if (this.#take("{")) return this.#table()
    return this.#suffixed()
  }

  #constant(value: string | number | boolean | undefined): Expression {
    this.#at++
    return { is: "constant", value }
  }

  #table(): Expression {
    const items: Array<Expression> = []
    while (!this.#is("}")) {
      items.push(this.#expression())
      if (!this.#take(",") && !this.#take(";")) break
    }
    this.#need("}")
    return { is: "table", items }
  }

  #suffixed(): Expression {
    let of: Expression
    if (this.#take("(")) {
      // one value, of however many
      of = { is: "binary", sign: "()", left: this.#expression(), right: { is: "constant", value: undefined } }
      this.#need(")")
    } else of = { is: "name", name: this.#name() }
    for (;;) {
      if (this.#take(".")) of = { is: "index", of, key: { is: "constant", value: this.#name() } }
      else if (this.#take("[")) {
        of = { is: "index", of, key: this.#expression() }
        this.#need("]")
      } else if (this.#take("(")) {
        const parameters = this.#is(")") ? [] : this.#expressions()
        this.#need(")")
        of = { is: "call", of, parameters }
      } else return of
    }
  }
}

export const parse = (source: string): Block => new Reader(tokensOf(source)).chunk()
