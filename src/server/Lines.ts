/**
 * Text on its way out, written together: a pipe or a file makes the process wait for each write, and a busy server has many
 * lines in one turn of its event loop.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 * @category models
 */
export interface Lines {
  /** Written at the end of this turn. */
  readonly write: (text: string) => void
  /** Writes at once what is left, for the end of the process. */
  readonly flush: () => void
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (write: (text: string) => void): Lines => {
  let waiting = ""
  const flush = () => {
    const text = waiting
    waiting = ""
    if (text !== "") write(text)
  }
  return {
    write: (text) => {
      if (waiting === "") setImmediate(flush)
      waiting += text
    },
    flush
  }
}
