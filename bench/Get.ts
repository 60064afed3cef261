/** `get` of a fresh token beside a bare point select of the same row. */
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Pg from "pg"
import { UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import * as Library from "./Library.ts"
import * as Report from "./Report.ts"
import { pointSelect, poolSize } from "./Select.ts"
import * as Turns from "./Turns.ts"
import * as World from "./World.ts"

const bareRate = async (run: () => Promise<unknown>, callers: number, forMillis: number): Promise<number> => {
  const since = performance.now()
  let runs = 0
  const caller = async () => {
    while (performance.now() - since < forMillis) {
      await run()
      runs++
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return (1000 * runs) / (performance.now() - since)
}

export const measure = async (world: World.World): Promise<Report.Section> => {
  const options = await Effect.runPromise(world.library)
  const runtime = ManagedRuntime.make(Library.layer(options))
  const pool = new Pg.Pool({ connectionString: options.databaseUrl, max: poolSize })
  try {
    const manager = await runtime.runPromise(CredentialsManager)
    const user = UserId.make("ada")
    const { id } = await runtime.runPromise(manager.create(user, World.credential(world, 86_400)))
    const get = manager.get(user, id)
    const rows: Array<Report.Row> = []
    const millis = world.quick ? 400 : 2000
    for (const callers of [1, 16]) {
      const rates = {
        get: () => runtime.runPromise(Library.rate(get, callers, millis)),
        select: () => bareRate(() => pool.query(pointSelect, [user, id]), callers, millis)
      }
      await Turns.take(1, rates)
      const measured = await Turns.take(world.quick ? 3 : 9, rates)
      const here = Turns.median(measured.get)
      const base = Turns.median(measured.select)
      rows.push({
        work: `get of a fresh token, ${callers === 1 ? "1 caller" : `${callers} callers`}`,
        here: Report.perSecond(here),
        base: Report.perSecond(base),
        value: here / base,
        unit: "×",
        goal: { atLeast: 0.8 }
      })
    }
    return {
      title: "Reading a fresh token",
      how: `\`CredentialsManager.get\` over \`Store/Sql\` beside \`pg\`'s own pool selecting all columns of the same row, in the same process and with as many connections (${poolSize}).`,
      rows
    }
  } finally {
    await pool.end()
    await runtime.dispose()
  }
}
