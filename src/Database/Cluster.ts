/**
 * The files of a new and empty embedded database.
 *
 * @since 0.1.0
 */
import { PGlite } from "@electric-sql/pglite"
import * as Fs from "node:fs"
import * as File from "node:fs/promises"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Zlib from "node:zlib"

/**
 * Made by the build next to the compiled modules; `../../dist` leads there from the sources as well. Each version of the
 * engine has its own, because another one may refuse it.
 */
const templateFile = async () => {
  const engine = Path.dirname(createRequire(import.meta.url).resolve("@electric-sql/pglite"))
  const manifest = await File.readFile(Path.join(engine, "..", "package.json"), "utf8")
  const { version } = JSON.parse(manifest) as { readonly version: string }
  return fileURLToPath(new URL(`../../dist/Database/cluster-${version}.tar.gz`, import.meta.url))
}

/**
 * Gives the folder of `directory`'s database files, and makes them when there are none: unpacked from the template in a
 * quarter of a second, or without one by `initdb` in some three. They are flushed to disk and then appear all at once,
 * so a process that dies in between leaves nothing half made. The caller owns the directory.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = async (directory: string): Promise<string> => {
  const folder = Path.join(directory, "pgdata")
  if (Fs.existsSync(folder)) return folder
  const draft = Path.join(directory, "pgdata.new")
  await File.rm(draft, { recursive: true, force: true })
  await File.mkdir(draft, { mode: 0o700 })
  const template = await templateFile()
  await (Fs.existsSync(template) ? unpack(template, draft) : initialize(draft))
  await flushTree(draft)
  await File.rename(draft, folder)
  await flushFolder(directory)
  return folder
}

/**
 * Makes the template unless it is there, for the build.
 *
 * @since 0.1.0
 * @category constructors
 */
export const writeTemplate = async (): Promise<void> => {
  const template = await templateFile()
  if (Fs.existsSync(template)) return
  const folder = await File.mkdtemp(Path.join(Os.tmpdir(), "effect-credentials-"))
  try {
    await initialize(folder)
    const packer = await PGlite.create({ dataDir: folder, noInitDb: true })
    const archive = await packer.dumpDataDir("none")
    const packed = await promisify(Zlib.gzip)(await archive.arrayBuffer(), { level: 9 })
    await File.mkdir(Path.dirname(template), { recursive: true })
    await File.writeFile(`${template}.new`, packed)
    await File.rename(`${template}.new`, template)
  } finally {
    await File.rm(folder, { recursive: true, force: true })
  }
}

/** Small log segments, for a small store; no template databases, two thirds of the files, for which there is no use. */
const initialize = async (folder: string) => {
  const engine = await PGlite.create({ dataDir: folder, initDbStartParams: ["--wal-segsize=1"] })
  await engine.exec("update pg_database set datistemplate = false")
  await engine.exec("drop database template0")
  await engine.exec("drop database template1")
  await engine.exec("vacuum (freeze)")
  await engine.close()
}

/** Reads a tar: a header of 512 bytes with name, size and kind, then the bytes in blocks of 512. */
const unpack = async (template: string, folder: string) => {
  const archive = await promisify(Zlib.gunzip)(await File.readFile(template))
  const text = (start: number, length: number) =>
    archive.toString("latin1", start, start + length).split("\0", 1)[0] ?? ""
  const writes: Array<Promise<void>> = []
  for (let header = 0; header + 512 <= archive.length && archive[header] !== 0;) {
    const path = Path.join(folder, text(header, 100))
    const size = Number.parseInt(text(header + 124, 12), 8)
    const start = header + 512
    if (text(header + 156, 1) === "5") Fs.mkdirSync(path, { recursive: true, mode: 0o700 })
    else writes.push(File.writeFile(path, archive.subarray(start, start + size), { mode: 0o600 }))
    header = start + Math.ceil(size / 512) * 512
  }
  await Promise.all(writes)
}

const flushTree = async (folder: string): Promise<void> => {
  const entries = await File.readdir(folder, { withFileTypes: true })
  await Promise.all(
    entries.map((entry) => {
      const path = Path.join(folder, entry.name)
      return entry.isDirectory() ? flushTree(path) : flush(path, "r+")
    })
  )
  await flushFolder(folder)
}

const flush = async (path: string, flags: string) => {
  const file = await File.open(path, flags)
  await file.sync().finally(() => file.close())
}

/** Windows opens no folders, and needs no such flush. */
const flushFolder = async (folder: string) => {
  if (process.platform !== "win32") await flush(folder, "r")
}
