/**
 * `deepStrictEqual` tells `Option.some` from `Option.none`: chai takes two things that can be iterated for equal when they
 * have as many entries, and an Option iterates over itself.
 */
import * as Option from "effect/Option"
import { chai } from "vitest"

const comparator = (left: unknown, right: unknown): boolean | null =>
  Option.isOption(left) && Option.isOption(right) && left._tag !== right._tag ? false : null

chai.config.deepEqual = (expected, actual) => chai.util.eql(expected, actual, { comparator })
