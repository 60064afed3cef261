/**
 * Receipts as files of a directory, each written whole or not at all, and on the disk before anybody relies on it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises"
import { join } from "node:path"
import type { Cipher } from "../Cipher.ts"
import * as Receipts from "../Receipts.ts"

const suffix = ".receipt"

const attempt = <A>(doing: "write" | "read", run: () => Promise<A>) =>
  Effect.tryPromise({ try: run, catch: () => new Receipts.SpoolUnavailable({ doing }) })

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

const writeDurably = async (directory: string, name: string, bytes: Uint8Array) => {
  const path = join(directory, name + suffix)
  const temporary = `${path}.${process.pid}.tmp`
  const handle = await open(temporary, "w", 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
  await sync(directory)
}

/**
 * The directory is made, with mode 0700, if it is not there. Several processes may share it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  readonly directory: string
}): Layer.Layer<Receipts.Receipts, Receipts.SpoolUnavailable, Cipher> => {
  const { directory } = options
  return Receipts.layer(
    Effect.as(
      attempt("write", () => mkdir(directory, { recursive: true, mode: 0o700 })),
      {
        write: (name, bytes) => attempt("write", () => writeDurably(directory, name, bytes)),
        read: (name) =>
          attempt("read", () =>
            readFile(join(directory, name + suffix)).then(Option.some, (error: unknown) => {
              if (isMissing(error)) return Option.none()
              throw error
            })
          ),
        names: attempt("read", async () => {
          const files = await readdir(directory)
          return files.filter((file) => file.endsWith(suffix)).map((file) => file.slice(0, -suffix.length))
        }),
        remove: (name) =>
          attempt("write", async () => {
            await rm(join(directory, name + suffix), { force: true })
            await sync(directory)
          })
      } satisfies Receipts.Spool
    )
  )
}
