/** The folder of receipts of one machine: what was written is there as soon as the write has ended, whoever dies then. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Spool, SpoolUnavailable } from "../../src/Receipts.ts"
import type { Machine } from "./Machine.ts"

export type Folder = Map<string, Uint8Array>

const failed = (doing: "write" | "read") => new SpoolUnavailable({ doing, place: "DATA_DIR" })

export interface Options {
  readonly failing: number
  /** Told of each write when it has ended, for which attempt. */
  readonly written: (attempt: string, isKept: boolean) => void
}

export const make = (folder: Folder, machine: Machine, { failing, written }: Options): Spool => {
  const act = <A>(
    step: string,
    doing: "write" | "read",
    run: () => A,
    ended = (_fails: boolean): void => {}
  ): Effect.Effect<A, SpoolUnavailable> =>
    Effect.async((resume) =>
      machine.takes(`spool ${step}`, () => {
        const { chance } = machine.world
        const fails = machine.world.fails(failing)
        machine.world.after(chance.between(0.1, 20), undefined, () => {
          // a process that ends while it writes leaves nothing whole
          if (machine.isGone && chance.happens(0.5)) return
          const result = fails ? Effect.fail(failed(doing)) : Effect.succeed(run())
          ended(fails)
          machine.step(() => resume(result))
        })
      })
    )
  return {
    write: (name, bytes) =>
      act(
        "write",
        "write",
        () => {
          machine.tell(() => `keeps the receipt of ${name.slice(0, 4)}`)
          folder.set(name, bytes)
        },
        (fails) => written(name, !fails)
      ),
    read: (name) => act("read", "read", () => Option.fromNullable(folder.get(name))),
    names: act("names", "read", () => [...folder.keys()]),
    remove: (name) =>
      act("remove", "write", () => {
        if (folder.delete(name)) machine.tell(() => `drops the receipt of ${name.slice(0, 4)}`)
      }),
    replace: () => Effect.die("no keys are rotated here")
  }
}
