/**
 * A secret that is made once and kept in a file for the next start: readable by its owner alone, on the disk before it is
 * used, and the same for all who make it at once.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { randomUUID } from "node:crypto"
import { link, mkdir, open, readFile, unlink } from "node:fs/promises"
import { dirname } from "node:path"

/**
 * @since 0.1.0
 * @category models
 */
export interface KeptSecret {
  readonly file: string
  readonly text: Redacted.Redacted
  /** It was made by this call. */
  readonly fresh: boolean
}

const isCode = (error: unknown, code: string) => error instanceof Error && "code" in error && error.code === code

const readKept = async (file: string): Promise<string | undefined> => {
  try {
    return (await readFile(file, "utf8")).trim()
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined
    throw error
  }
}

const syncDirectory = async (directory: string) => {
  const handle = await open(directory, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Whoever links first wins; a file that has its name is whole. */
const place = async (file: string, text: string): Promise<boolean> => {
  const draft = `${file}.${randomUUID()}`
  const handle = await open(draft, "wx", 0o600)
  try {
    await handle.writeFile(`${text}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  try {
    await link(draft, file)
    return true
  } catch (error) {
    if (isCode(error, "EEXIST")) return false
    throw error
  } finally {
    await unlink(draft)
    await syncDirectory(dirname(file))
  }
}

/**
 * What a file keeps; what `make` makes, when there is no such file yet.
 *
 * @since 0.1.0
 */
export const getOrMake = (file: string, make: () => string): Effect.Effect<KeptSecret, NodeJS.ErrnoException> =>
  Effect.tryPromise({
    try: async () => {
      const kept = await readKept(file)
      if (kept !== undefined) return { file, text: Redacted.make(kept), fresh: false }
      await mkdir(dirname(file), { recursive: true, mode: 0o700 })
      const fresh = await place(file, make())
      return { file, text: Redacted.make((await readKept(file)) ?? ""), fresh }
    },
    catch: (error) => error as NodeJS.ErrnoException
  })

/**
 * What a file keeps; fails when there is no such file.
 *
 * @since 0.1.0
 */
export const get = (file: string): Effect.Effect<KeptSecret, NodeJS.ErrnoException> =>
  Effect.tryPromise({
    try: async () => ({ file, text: Redacted.make((await readFile(file, "utf8")).trim()), fresh: false }),
    catch: (error) => error as NodeJS.ErrnoException
  })
