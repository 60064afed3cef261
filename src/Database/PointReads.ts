/**
 * Reads of single rows by their keys, gathered: while as many statements as are useful are under way, the reads that come
 * are put together into the next one, and those of one row are one. So very many readers of a few rows cost the database a
 * few statements, and a reader alone waits for nobody.
 *
 * A read is never answered by a statement that was sent before it was asked for: it sees what was acknowledged until then.
 *
 * @since 0.1.0
 */
import { TransactionConnection } from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"

/** More than one, so that the database works while this process does; more bring nothing but more statements. */
const mostUnderWay = 2

/** Of one statement. */
const mostKeys = 100

interface Asked<Key, Row, E> {
  readonly key: Key
  readonly readers: Set<(answer: Effect.Effect<Option.Option<Row>, E>) => void>
}

/**
 * Within a transaction of its caller's a read is made alone, there. Otherwise it belongs to nobody: an interrupted reader
 * leaves the others theirs. Fails as the statement does, for all who were put together.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Key, Row, E>(options: {
  /** The same for the same row. */
  readonly nameOf: (key: Key) => string
  /** The rows that there are, by name. */
  readonly read: (keys: ReadonlyArray<Key>) => Effect.Effect<ReadonlyMap<string, Row>, E>
}): Effect.Effect<(key: Key) => Effect.Effect<Option.Option<Row>, E>> =>
  Effect.map(Effect.runtime<never>(), (runtime) => {
    const { nameOf, read } = options
    const waiting = new Map<string, Asked<Key, Row, E>>()
    const runFork = Runtime.runFork(runtime)
    let underWay = 0
    let isPlanned = false

    const take = (): ReadonlyMap<string, Asked<Key, Row, E>> => {
      const taken = new Map<string, Asked<Key, Row, E>>()
      for (const [name, asked] of waiting) {
        if (taken.size === mostKeys) break
        waiting.delete(name)
        if (asked.readers.size > 0) taken.set(name, asked)
      }
      return taken
    }

    const send = (): void => {
      const taken = take()
      if (taken.size === 0) return
      underWay++
      runFork(read(Array.from(taken.values(), ({ key }) => key))).addObserver((exit) => {
        underWay--
        send()
        for (const [name, { readers }] of taken) {
          const answer = Exit.map(exit, (rows) => Option.fromNullable(rows.get(name)))
          for (const reader of readers) reader(answer)
        }
      })
    }

    /** With all that are asked for in this step: those whom one statement answered often ask again at once. */
    const sendSoon = (): void => {
      if (isPlanned || underWay >= mostUnderWay) return
      isPlanned = true
      queueMicrotask(() => {
        isPlanned = false
        if (underWay < mostUnderWay) send()
      })
    }

    const together = (key: Key): Effect.Effect<Option.Option<Row>, E> =>
      Effect.async((resume) => {
        const name = nameOf(key)
        const asked = waiting.get(name) ?? { key, readers: new Set() }
        waiting.set(name, asked)
        asked.readers.add(resume)
        sendSoon()
        return Effect.sync(() => void asked.readers.delete(resume))
      })

    const alone = (key: Key) => Effect.map(read([key]), (rows) => Option.fromNullable(rows.get(nameOf(key))))

    return (key) =>
      Effect.withFiberRuntime((fiber) =>
        Option.isSome(Context.getOption(fiber.currentContext, TransactionConnection)) ? alone(key) : together(key)
      )
  })
