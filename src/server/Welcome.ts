/**
 * What is said when the server is ready: at its first start how to go on, later where it listens.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly publicUrl: string
  /** Where the server is reached from this machine. */
  readonly localUrl: string
  readonly keyFile: Option.Option<string>
  readonly dataDirectory: string
}

/** As a shell takes it for one word. */
const quoted = (path: string) => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`)

/**
 * A call that works as it is pasted.
 *
 * @since 0.1.0
 */
export const example = (options: Options): string => {
  const key = Option.match(options.keyFile, {
    onNone: () => "$ADMIN_API_KEY",
    onSome: (file) => `$(cat ${quoted(file)})`
  })
  return `curl -H "Authorization: Bearer ${key}" ${options.localUrl}/v1/providers`
}

/**
 * @since 0.1.0
 */
export const text = (options: Options): string =>
  `
effect-credentials is ready at ${options.publicUrl}

  Docs        ${options.localUrl}/docs
  Data        ${options.dataDirectory}
  Admin key   ${Option.getOrElse(options.keyFile, () => "as set in ADMIN_API_KEY")}

Try it:

  ${example(options)}

`
