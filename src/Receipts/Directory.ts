/**
 * Receipts as files of a directory, each written whole or not at all, and on the disk before anybody relies on it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises"
import { join } from "node:path"
import type { Cipher } from "../Cipher.ts"
import * as Receipts from "../Receipts.ts"

const suffix = ".receipt"

const attempt = <A>(doing: "write" | "read", run: () => Promise<A>) =>
  Effect.tryPromise({ try: run, catch: () => new Receipts.SpoolUnavailable({ doing, place: "DATA_DIR" }) })

const isMissing = (error: unknown) => error instanceof Error && "code" in error && error.code === "ENOENT"

/** `fsync` of a directory makes a name in it durable. */
const sync = async (path: string) => {
  const handle = await open(path, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** `mayTake` is asked when nothing but the file's new name is missing. */
const writeDurably = async (
  directory: string,
  name: string,
  bytes: Uint8Array,
  mayTake: (path: string) => Promise<boolean> = () => Promise.resolve(true)
) => {
  const path = join(directory, name + suffix)
  const temporary = `${path}.${process.pid}.tmp`
  const handle = await open(temporary, "w", 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
  const taken = await mayTake(path)
  await (taken ? rename(temporary, path) : rm(temporary))
  await sync(directory)
  return taken
}

const readIfThere = (path: string) =>
  readFile(path).then(Option.some, (error: unknown) => {
    if (isMissing(error)) return Option.none()
    throw error
  })

/**
 * A spool in the directory, which is made, with mode 0700, if it is not there. Several processes may share it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly directory: string
}): Effect.Effect<Receipts.Spool, Receipts.SpoolUnavailable> => {
  const { directory } = options
  return Effect.as(
    attempt("write", () => mkdir(directory, { recursive: true, mode: 0o700 })),
    {
      write: (name, bytes) => Effect.asVoid(attempt("write", () => writeDurably(directory, name, bytes))),
      read: (name) => attempt("read", () => readIfThere(join(directory, name + suffix))),
      names: attempt("read", async () => {
        const files = await readdir(directory)
        return files.filter((file) => file.endsWith(suffix)).map((file) => file.slice(0, -suffix.length))
      }),
      remove: (name) =>
        attempt("write", async () => {
          await rm(join(directory, name + suffix), { force: true })
          await sync(directory)
        }),
      // one that another process removes between the look and the renaming comes back, as it would have stayed if that
      // process had ended just before
      replace: (name, before, after) =>
        attempt("write", () =>
          writeDurably(directory, name, after, async (path) =>
            Option.exists(await readIfThere(path), (stored) => stored.equals(before))
          )
        )
    }
  )
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  readonly directory: string
}): Layer.Layer<Receipts.Receipts, Receipts.SpoolUnavailable, Cipher> => Receipts.layer(make(options))
