/** Loads modules without what one tooth is about. Runs in the loader's thread (`node:module`'s `register`). */
import type { LoadHook } from "node:module"
import type { Edit } from "./Teeth.ts"

let edits: ReadonlyArray<Edit> = []

export const initialize = (given: ReadonlyArray<Edit>): void => {
  edits = given
}

/** The text without it: an edit whose place is not there, or there twice, is an error. */
export const removed = (url: string, text: string, all: ReadonlyArray<Edit>): string =>
  all
    .filter(({ file }) => url.endsWith(`/src/${file}`))
    .reduce((before, { file, find, put }) => {
      const parts = before.split(find)
      if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times: ${find}`)
      return parts.join(put)
    }, text)

export const load: LoadHook = async (url, context, next) => {
  const loaded = await next(url, context)
  if (loaded.format !== "module" || loaded.source === undefined) return loaded
  const { source } = loaded
  const text = typeof source === "string" ? source : Buffer.from(source as Uint8Array).toString("utf8")
  return { ...loaded, source: removed(url, text, edits) }
}
