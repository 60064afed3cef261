/**
 * How far a long piece of work is: a bar that moves on a terminal, a line now and then where there is none.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/**
 * @since 0.1.0
 * @category models
 */
export interface Output {
  readonly isTerminal: boolean
  readonly write: (text: string) => void
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ProgressBar {
  readonly show: (at: { readonly name: string; readonly done: number; readonly total: number }) => Effect.Effect<void>
  /** Writes a line where the bar was, which then goes on below it. */
  readonly line: (text: string) => void
  /** Leaves what it showed last. */
  readonly end: Effect.Effect<void>
}

const width = 24
const betweenLines = 5_000
const betweenFrames = 80

const clear = "\r\u001b[2K"

const number = new Intl.NumberFormat("en-US")

/** As one says it: 45 s, 3 min, 2 h. */
const duration = (seconds: number): string => {
  if (seconds < 90) return `${Math.max(1, Math.ceil(seconds))} s`
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3_600)} h`
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ isTerminal, write }: Output): Effect.Effect<ProgressBar> =>
  Effect.map(Clock.currentTimeMillis, (startedAt) => {
    let shownAt = Number.NEGATIVE_INFINITY
    let bar = ""

    const words = (done: number, total: number, now: number) => {
      const perMilli = done / Math.max(1, now - startedAt)
      return [
        `${number.format(done)} of ${number.format(total)} rows`,
        `${total === 0 ? 100 : Math.floor((100 * done) / total)} %`,
        ...(done > 0 && now > startedAt ? [`${number.format(Math.round(perMilli * 1_000))} a second`] : []),
        ...(done > 0 && done < total ? [`${duration((total - done) / perMilli / 1_000)} left`] : [])
      ].join(", ")
    }

    return {
      show: ({ done, name, total }) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const isLast = done >= total
          if (!isLast && now - shownAt < (isTerminal ? betweenFrames : betweenLines)) return
          shownAt = now
          if (!isTerminal) return write(`${name}: ${words(done, total, now)}\n`)
          const filled = total === 0 ? width : Math.floor((width * done) / total)
          bar = `${"█".repeat(filled)}${"░".repeat(width - filled)} ${words(done, total, now)} (${name})`
          write(`${clear}${bar}`)
        }),
      line: (text) => write(isTerminal && bar !== "" ? `${clear}${text}\n${bar}` : `${text}\n`),
      end: Effect.sync(() => {
        if (isTerminal && bar !== "") write("\n")
        bar = ""
      })
    }
  })
