/** From `node dist/main.js` to its first answer that it is ready. */
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { setTimeout } from "node:timers/promises"
import { promisify } from "node:util"
import * as Service from "../test/servers/Service.ts"
import * as Machine from "./Machine.ts"
import * as Report from "./Report.ts"
import * as Turns from "./Turns.ts"
import type { World } from "./World.ts"

const ready = (options: Service.Options, then: (service: Service.Service) => Promise<void> = async () => {}) =>
  Effect.gen(function* () {
    const since = performance.now()
    const service = yield* Service.start(options)
    const took = performance.now() - since
    yield* Effect.promise(() => then(service))
    yield* service.stop()
    return took
  }).pipe(Effect.scoped, Effect.runPromise)

export const measure = (world: World): Promise<Report.Section> =>
  Effect.gen(function* () {
    const { databaseUrl, encryptionKey } = yield* world.library
    const used = yield* Service.temporaryDirectory
    return yield* Effect.promise(async (): Promise<Report.Section> => {
      await ready({ dataDir: used })
      let resident = 0
      const look = async ({ pid }: Service.Service) => {
        await setTimeout(world.quick ? 300 : 3000)
        resident = Machine.residentMegabytes(pid)
      }
      const work = {
        bare: () => Turns.millisOf(() => promisify(execFile)(process.execPath, ["-e", "0"])),
        first: () => ready({}),
        warm: () => ready({ dataDir: used }),
        postgres: () =>
          ready({ env: { DATABASE_URL: databaseUrl, ENCRYPTION_KEYS: `k1:${encryptionKey}` }, dataDir: used })
      }
      const times = await Turns.take(world.quick ? 2 : 9, work)
      await ready({ dataDir: used }, look)
      const row = (what: string, name: keyof typeof work, goal?: Report.Goal): Report.Row => ({
        work: what,
        here: Report.millis(Turns.median(times[name])),
        base: Report.millis(Turns.median(times.bare)),
        value: Turns.median(times[name]) / 1000,
        unit: "s",
        ...(goal !== undefined && { goal })
      })
      return {
        title: "Start",
        how: "From the start of the process to `/readyz` answering 200, asked every 20 ms. Beside it `node -e 0`.",
        rows: [
          row("ready, embedded database", "warm", { atMost: 1.5 }),
          row("ready, embedded database, first start", "first"),
          row("ready, Postgres", "postgres", { atMost: 1.5 }),
          {
            work: "resident when idle, embedded database",
            here: `${Report.number(resident)} MB`,
            base: "",
            value: resident,
            unit: "MB"
          }
        ]
      }
    })
  }).pipe(Effect.scoped, Effect.runPromise)
