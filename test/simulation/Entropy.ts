/**
 * What this thread's code takes from the machine beside Effect's services: ids, and steps after the present one. During a
 * schedule both come from it, so that the same seed gives the same schedule.
 */
import * as Crypto from "node:crypto"
import { syncBuiltinESMExports } from "node:module"
import type { Chance } from "./Chance.ts"
import { microtask } from "./Machine.ts"

let source: Chance | undefined

const hex = (bytes: Buffer) => bytes.toString("hex")

const install = (): void => {
  const { default: crypto } = Crypto as unknown as { readonly default: typeof Crypto }
  const { queueMicrotask: later, setInterval: each } = globalThis
  const { randomBytes, randomUUID } = crypto
  Object.assign(crypto, {
    randomBytes: (length: number) => (source === undefined ? randomBytes(length) : source.bytes(length)),
    randomUUID: () => {
      if (source === undefined) return randomUUID()
      const text = hex(source.bytes(16))
      return `${text.slice(0, 8)}-${text.slice(8, 12)}-4${text.slice(13, 16)}-a${text.slice(17, 20)}-${text.slice(20)}`
    }
  })
  syncBuiltinESMExports()
  Object.assign(globalThis, {
    queueMicrotask: (run: () => void) => (source === undefined ? later(run) : microtask(run)),
    // what waits for ever keeps the thread alive with it, and would beyond its schedule
    setInterval: (...given: Parameters<typeof each>) => (source === undefined ? each(...given) : undefined)
  })
}

let isInstalled = false

/** Runs with ids from this source. */
export const during = (chance: Chance, run: () => void): void => {
  if (!isInstalled) {
    isInstalled = true
    install()
  }
  source = chance
  try {
    run()
  } finally {
    source = undefined
  }
}
