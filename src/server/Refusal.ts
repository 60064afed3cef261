/**
 * What a request that does not fit its schema is told: each field that is wrong and what was expected there, in words
 * that the service chose. What was given is never repeated, since it may be a secret in the wrong place.
 *
 * @since 0.1.0
 */
import type * as ParseResult from "effect/ParseResult"
import { InvalidRequest } from "../CredentialsError.ts"

type Issue = Pick<ParseResult.ArrayFormatterIssue, "_tag" | "path" | "message">

const mostIssues = 20

/** A name that a programmer would choose; anything else may be a value that took its place. */
const plainName = /^[A-Za-z_$][A-Za-z0-9_$-]{0,49}$/

const fieldOf = (issue: Issue): string => {
  if (issue.path.length === 0) return "body"
  return issue.path
    .map((step) => (typeof step === "number" || plainName.test(String(step)) ? String(step) : "?"))
    .join(".")
}

/** `Expected <schema>, actual <value>`: the default text of a schema that has none of its own. */
const defaultText = /^Expected ([^]*?), actual /

const plainWords: Record<string, string> = { string: "text", number: "a number", boolean: "true or false" }

/** `"a" | "b"`: how a schema names its literals. */
const literals = /^"[^"]*"(?: \| "[^"]*")*$/

const inWords = (expected: string): string =>
  literals.test(expected)
    ? `one of ${expected.replaceAll('"', "").replaceAll(" | ", ", ")}`
    : (plainWords[expected] ?? expected)

const expectedOf = (issue: Issue): string => {
  switch (issue._tag) {
    case "Missing":
      return "a value"
    case "Unexpected":
      return "nothing of this name"
    default: {
      const expected = defaultText.exec(issue.message)?.[1] ?? issue.message
      return /^Unable to|\n/.test(expected) ? "another value" : inWords(expected)
    }
  }
}

/**
 * The first twenty fields that are wrong.
 *
 * @since 0.1.0
 */
export const make = (found: ReadonlyArray<Issue>): InvalidRequest => {
  const issues = new Map<string, InvalidRequest["issues"][number]>()
  for (const issue of found) {
    if (issues.size === mostIssues) break
    const field = fieldOf(issue)
    if (!issues.has(field)) issues.set(field, { field, expected: expectedOf(issue) })
  }
  return new InvalidRequest({ issues: [...issues.values()] })
}
