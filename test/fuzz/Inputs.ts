/**
 * What the fuzzing tests share: how many inputs, from which seed, and the texts and values that break parsers.
 *
 * `npm test` tries a few hundred inputs, always the same; `FUZZ_INPUTS=10000` tries that many, from a seed of its own that a
 * failure names. `FUZZ_SEED` repeats them.
 */
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Runtime from "effect/Runtime"
import { measured } from "../Measured.ts"

const given = (name: string): number | undefined => {
  const value = process.env[name]
  return value === undefined ? undefined : Number(value)
}

/** How many inputs to try: `few` of them in `npm test`. */
export const inputs = (few: number): number => given("FUZZ_INPUTS") ?? few

const isLong = process.env["FUZZ_INPUTS"] !== undefined

const seed = given("FUZZ_SEED") ?? (isLong ? Math.floor(Math.random() * 2 ** 31) : 1)

const parameters = <A>(few: number): FastCheck.Parameters<A> => ({
  numRuns: inputs(few),
  seed,
  endOnFailure: !isLong
})

const counted = (row: string, few: number) =>
  measured(row, { checks: 1, inputs: inputs(few), "least of a check": inputs(few), failures: 0, seed: String(seed) })

/** Holds for every input, or fails with the input and the seed that repeats it. The row is that of the reliability table. */
export const holds = <A>(
  row: string,
  few: number,
  arbitrary: FastCheck.Arbitrary<A>,
  check: (input: A) => void
): Effect.Effect<void> =>
  Effect.sync(() => FastCheck.assert(FastCheck.property(arbitrary, check), parameters<[A]>(few))).pipe(
    Effect.zipRight(counted(row, few))
  )

/** The same for a check that takes its time. */
export const holdsEffect = <A, E, R>(
  row: string,
  few: number,
  arbitrary: FastCheck.Arbitrary<A>,
  check: (input: A) => Effect.Effect<void, E, R>
): Effect.Effect<void, never, R> =>
  Effect.flatMap(Effect.runtime<R>(), (runtime) =>
    Effect.promise((signal) =>
      FastCheck.assert(
        FastCheck.asyncProperty(arbitrary, (input) => Runtime.runPromise(runtime)(check(input), { signal })),
        parameters<[A]>(few)
      )
    )
  ).pipe(Effect.zipRight(counted(row, few)))

/** Names that an object has without anybody giving them to it. */
export const inherited = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf"] as const

const nasty: ReadonlyArray<string> = [
  "",
  " ",
  "\t\r\n",
  "\u0000",
  "\u0000admin",
  "a\u0000b",
  "\ud800",
  "\udc00a",
  "\ufeff",
  "\u202e\u2066",
  "a\u0300".repeat(40),
  "💥",
  "Ⅷ．．／",
  "../../etc/passwd",
  "..%2f..%2f",
  "%00",
  "%",
  "%zz",
  "%c3%28",
  "%ud800",
  "%252e%252e",
  "+",
  "null",
  "undefined",
  "NaN",
  "Infinity",
  "true",
  "[object Object]",
  "0",
  "-0",
  "-1",
  "1e400",
  "0x10",
  "9007199254740993",
  "9".repeat(400),
  "1970-01-01T00:00:00Z",
  "+275760-09-13T00:00:00.001Z",
  "-271821-04-19T23:59:59.999Z",
  "' OR 1=1 --",
  '"; DROP TABLE credentials; --',
  "${7*7}{{7*7}}",
  "<script>alert(1)</script>",
  "a\r\nSet-Cookie: x=1",
  "a,b;c=d",
  'W/"1"',
  "*",
  "a".repeat(1025),
  ...inherited
]

/** A text of any kind. */
export const text: FastCheck.Arbitrary<string> = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.constantFrom(...nasty) },
  { weight: 2, arbitrary: FastCheck.string({ maxLength: 40 }) },
  { weight: 2, arbitrary: FastCheck.string({ unit: "binary", maxLength: 40 }) },
  { weight: 1, arbitrary: FastCheck.string({ unit: "grapheme", maxLength: 20 }) }
)

/** A number of any kind, those that JSON cannot say among them. */
export const number: FastCheck.Arbitrary<number> = FastCheck.oneof(
  FastCheck.constantFrom(0, -0, -1, 1, 0.5, 1e18, 1e308, -1e308, 5e-324, 2 ** 31, 2 ** 53, 2 ** 53 + 2, 8.64e15 + 1),
  FastCheck.integer(),
  FastCheck.double({ noNaN: true, noDefaultInfinity: true })
)

const nested = (depth: number, leaf: unknown, isList: boolean): unknown => {
  let value = leaf
  for (let level = 0; level < depth; level++) value = isList ? [value] : { a: value }
  return value
}

/** A value that JSON can say, flat or deep, with names that objects have already. */
export const value: FastCheck.Arbitrary<unknown> = FastCheck.oneof(
  { weight: 5, arbitrary: text },
  { weight: 3, arbitrary: number },
  { weight: 2, arbitrary: FastCheck.constantFrom(null, true, false, [], {}, [[]], [null], { "": null }) },
  { weight: 2, arbitrary: FastCheck.jsonValue({ maxDepth: 4 }) },
  {
    weight: 1,
    arbitrary: FastCheck.tuple(FastCheck.integer({ min: 1, max: 200 }), text, FastCheck.boolean()).map(
      ([depth, leaf, isList]) => nested(depth, leaf, isList)
    )
  },
  {
    weight: 1,
    arbitrary: FastCheck.array(FastCheck.tuple(FastCheck.constantFrom(...inherited), text), { maxLength: 4 }).map(
      (entries) => Object.fromEntries(entries)
    )
  },
  { weight: 1, arbitrary: FastCheck.array(text, { maxLength: 30 }) }
)

/** Bytes that are no UTF-8, or half of it. */
export const bytes: FastCheck.Arbitrary<Buffer> = FastCheck.oneof(
  FastCheck.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
  FastCheck.tuple(text, FastCheck.nat()).map(([whole, at]) => {
    const buffer = Buffer.from(whole, "utf8")
    return buffer.subarray(0, at % (buffer.length + 1))
  })
)

/** JSON as it was meant, and damaged: cut, doubled, with comments, with a name twice, in another case, behind a BOM. */
export const damaged = (json: FastCheck.Arbitrary<string>): FastCheck.Arbitrary<Buffer> =>
  FastCheck.oneof(
    { weight: 6, arbitrary: json.map((whole) => Buffer.from(whole)) },
    {
      weight: 2,
      arbitrary: FastCheck.tuple(json, FastCheck.nat()).map(([whole, at]) => {
        const buffer = Buffer.from(whole)
        return buffer.subarray(0, at % (buffer.length + 1))
      })
    },
    { weight: 1, arbitrary: json.map((whole) => Buffer.from(whole + whole)) },
    { weight: 1, arbitrary: json.map((whole) => Buffer.from(`\ufeff${whole}`)) },
    { weight: 1, arbitrary: json.map((whole) => Buffer.from(`/* */ ${whole} // x`)) },
    { weight: 1, arbitrary: json.map((whole) => Buffer.from(whole, "utf16le")) },
    { weight: 1, arbitrary: json.map((whole) => Buffer.from(whole.replace("{", '{"__proto__":{"a":1},"a":1,"a":2,'))) },
    {
      weight: 1,
      arbitrary: FastCheck.tuple(json, bytes, FastCheck.nat()).map(([whole, noise, at]) => {
        const buffer = Buffer.from(whole)
        const middle = at % (buffer.length + 1)
        return Buffer.concat([buffer.subarray(0, middle), noise, buffer.subarray(middle)])
      })
    },
    { weight: 1, arbitrary: bytes }
  )
