/**
 * The statements that a connection runs again and again: the server parses and plans them once. From its fifth run on a
 * statement has a name there, and what is sent is the name and the values.
 *
 * @since 0.1.0
 */

type Query = (...parameters: ReadonlyArray<unknown>) => unknown

/** What runs more seldom is not worth the server's memory. */
const runsWithoutName = 4

/** How many are counted: those that are put together from parts may be very many. */
const mostTexts = 200

/** The columns of its answer have other types by now; the server does not know its name. */
const isForgotten = (error: unknown) =>
  typeof error === "object" && error !== null && "code" in error && (error.code === "0A000" || error.code === "26000")

/**
 * Lets a client of `pg` name what it runs. The names are the connection's, and end with it. A statement that fails because
 * its table was altered in the meantime fails once: then it is parsed anew.
 *
 * @since 0.1.0
 */
export const keep = (client: { readonly query: unknown }): void => {
  const query = (client.query as Query).bind(client)
  const runs = new Map<string, number>()
  const names = new Map<string, string>()
  let named = 0

  const nameOf = (text: string): string | undefined => {
    const before = runs.get(text) ?? 0
    if (before === 0 && runs.size >= mostTexts) return undefined
    runs.set(text, before + 1)
    if (before < runsWithoutName) return undefined
    const name = names.get(text) ?? `s${named++}`
    names.set(text, name)
    return name
  }

  const run: Query = (text, values, done, ...others) => {
    // what has no values begins and ends transactions, and is parsed in no time
    const isStatement = typeof text === "string" && Array.isArray(values) && values.length > 0
    const name = isStatement && typeof done === "function" ? nameOf(text) : undefined
    if (name === undefined || typeof done !== "function") return query(text, values, done, ...others)
    return query({ name, text, values }, (error: unknown, result: unknown) => {
      if (isForgotten(error)) names.delete(String(text))
      done(error, result)
    })
  }
  Object.assign(client, { query: run })
}
