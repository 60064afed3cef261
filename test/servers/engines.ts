/**
 * Has what the tests' servers need before files that start some run side by side: two downloads at once are in each other's
 * way. A `globalSetup`.
 */
import * as Effect from "effect/Effect"
import * as Redis from "./Redis.ts"

export const setup = (): Promise<void> => Effect.runPromise(Effect.asVoid(Redis.program))
