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

const work = [
  { callers: 1, different: 1 },
  { callers: 16, different: 100 },
  { callers: 16, different: 1 }
]

/** One after the other, and from the beginning again. */
const taking = <A>(all: ReadonlyArray<A>) => {
  let taken = 0
  return () => all[taken++ % all.length] as A
}

export const measure = async (world: World.World): Promise<Report.Section> => {
  const options = await Effect.runPromise(world.library)
  const runtime = ManagedRuntime.make(Library.layer(options))
  const pool = new Pg.Pool({ connectionString: options.databaseUrl, max: poolSize })
  try {
    const manager = await runtime.runPromise(CredentialsManager)
    const user = UserId.make("ada")
    const created = await runtime.runPromise(
      Effect.forEach(Array.from({ length: 100 }), () => manager.create(user, World.credential(world, 86_400)))
    )
    const ids = created.map(({ id }) => id)
    const rows: Array<Report.Row> = []
    const millis = world.quick ? 400 : 2000
    for (const { callers, different } of work) {
      const next = taking(ids.slice(0, different))
      const rates = {
        get: () =>
          runtime.runPromise(
            Library.rate(
              Effect.suspend(() => manager.get(user, next())),
              callers,
              millis
            )
          ),
        select: () => bareRate(() => pool.query(pointSelect, [user, next()]), callers, millis)
      }
      await Turns.take(1, rates)
      const measured = await Turns.take(world.quick ? 3 : 9, rates)
      const here = Turns.median(measured.get)
      const base = Turns.median(measured.select)
      rows.push({
        work: `get of a fresh token, ${callers === 1 ? "1 caller" : `${callers} callers`}, ${different === 1 ? "the same all the time" : `${different} by turns`}`,
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
