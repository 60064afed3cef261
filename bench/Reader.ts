/** One of several processes that ask for one credential at the same moment. */
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { type CredentialId, UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import * as Child from "./Child.ts"
import * as Library from "./Library.ts"

export interface Asked {
  readonly userId: string
  readonly id: string
  readonly reads: number
  /** By the clock that all processes share, in milliseconds. */
  readonly at: number
}

const runtime = ManagedRuntime.make(Library.layer(JSON.parse(process.argv[2] ?? "")))
const manager = await runtime.runPromise(CredentialsManager)

const read = ({ at, id, reads, userId }: Asked) =>
  Effect.gen(function* () {
    yield* Effect.sleep(Math.max(0, at - Date.now()))
    const since = performance.now()
    return yield* Effect.forEach(
      Array.from({ length: reads }),
      () =>
        Effect.map(manager.get(UserId.make(userId), id as CredentialId), ({ generation }) => ({
          millis: performance.now() - since,
          generation
        })),
      { concurrency: "unbounded" }
    )
  })

process.stdout.write("ready\n")
await Child.answer(async (line) => JSON.stringify(await runtime.runPromise(read(JSON.parse(line)))))
await runtime.dispose()
