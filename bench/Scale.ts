/** A thousand credentials beside a million: reads, and the sweeper. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import { setTimeout } from "node:timers/promises"
import { type CredentialId, providerId, UserId } from "../src/Credential.ts"
import { CredentialsManager } from "../src/CredentialsManager.ts"
import { Store } from "../src/Store.ts"
import * as Postgres from "../test/servers/Postgres.ts"
import * as Library from "./Library.ts"
import * as Report from "./Report.ts"
import * as Turns from "./Turns.ts"
import * as World from "./World.ts"

const perUser = 10
const read = 1000
const callers = 4

interface Side {
  readonly options: Library.Options
  readonly runtime: ManagedRuntime.ManagedRuntime<CredentialsManager | Store, unknown>
  readonly stored: ReadonlyArray<{ readonly user: UserId; readonly id: CredentialId }>
}

const count = (value: number) => value.toLocaleString("en-US")

const run = (options: Library.Options, text: string) => Effect.runPromise(Postgres.query(options.databaseUrl, text))

const create = (side: Pick<Side, "runtime">, world: World.World, many: number, expiresIn: number, lifetime: number) =>
  side.runtime.runPromise(
    Effect.gen(function* () {
      const manager = yield* CredentialsManager
      const users = Array.from({ length: Math.ceil(many / perUser) }, () => UserId.make(randomUUID()))
      return yield* Effect.forEach(
        Array.from({ length: many }, (_, index) => users[index % users.length] ?? UserId.make("nobody")),
        (user) =>
          Effect.map(manager.create(user, World.credential(world, expiresIn, lifetime)), ({ id }) => ({ user, id })),
        { concurrency: 16 }
      )
    })
  )

/** Copies of a row under users and ids of their own: as large as a real one, found by the same indexes, opened by nobody. */
const multiply = async (options: Library.Options, many: number): Promise<void> => {
  const own: Readonly<Record<string, string>> = {
    user_id: "md5((i / 10)::text || random_seed)",
    id: "gen_random_uuid()::text",
    grant_fingerprint: "md5(i::text || random_seed)",
    sweep_at: "now() + interval '1 day' + i * interval '1 second'",
    created_at: "now() - i * interval '1 second'"
  }
  const columns = await run(
    options,
    "select column_name as name from information_schema.columns where table_name = 'credentials' order by ordinal_position"
  )
  const names = columns.map(({ name }) => String(name))
  await run(
    options,
    `insert into credentials (${names.join(", ")})
     select ${names.map((name) => own[name] ?? `template.${name}`).join(", ")}
     from (select * from credentials limit 1) template, (select gen_random_uuid()::text as random_seed) seed,
       generate_series(1, ${many}) i`
  )
}

/** A thousand that open lie among all the others, not at one end of the table. */
const fill = async (world: World.World, many: number): Promise<Side> => {
  const options = await Effect.runPromise(world.library)
  const runtime = ManagedRuntime.make(Library.layer(options))
  const stored: Array<Side["stored"][number]> = []
  const parts = 10
  for (let part = 0; part < parts; part++) {
    stored.push(...(await create({ runtime }, world, read / parts, 86_400, 86_400)))
    const others = Math.floor((many - read) / parts)
    if (others > 0) await multiply(options, others)
  }
  await run(options, "vacuum (analyze) credentials")
  await run(options, "checkpoint")
  return { options, runtime, stored }
}

/** How long each of many calls took, a few at a time, in milliseconds. */
const timesOf = (
  side: Side,
  call: (of: Side["stored"][number]) => Effect.Effect<unknown, unknown, CredentialsManager>
) =>
  side.runtime.runPromise(
    Effect.forEach(
      Array.from({ length: read }, (_, index) => side.stored[(index * 7919) % side.stored.length]),
      (of) => {
        const since = performance.now()
        return Effect.map(of === undefined ? Effect.void : call(of), () => performance.now() - since)
      },
      { concurrency: callers }
    )
  )

const get = ({ id, user }: Side["stored"][number]) =>
  Effect.flatMap(CredentialsManager, (manager) => manager.get(user, id))
const list = ({ user }: Side["stored"][number]) =>
  Effect.flatMap(CredentialsManager, (manager) => manager.list(user, {}, { limit: 50, after: Option.none() }))

const fake = providerId("fake")

/** Claims until none is due, a batch at a time, as a round of the sweeper does; how long each took. */
const claims = (side: Side) =>
  side.runtime.runPromise(
    Effect.gen(function* () {
      const store = yield* Store
      const until = DateTime.add(yield* DateTime.now, { minutes: 5 })
      const times: Array<number> = []
      for (;;) {
        const since = performance.now()
        const claimed = yield* store.claimDue(fake, { limit: 50, until })
        times.push(performance.now() - since)
        if (claimed.length === 0) return times
      }
    })
  )

/** All that is due, with nothing that slows the sweeper down on purpose. */
const sweep = async (quick: boolean, { options }: Side, due: number): Promise<number> => {
  const since = performance.now()
  const sweeping = ManagedRuntime.make(
    Library.layer(options, { ahead: { concurrency: 16, perSecond: 1_000_000 }, interval: "1 second" })
  )
  await sweeping.runPromise(Effect.void)
  const left = async () => (await run(options, "select 1 from credentials where generation = 2")).length < due
  while (await left()) await setTimeout(quick ? 10 : 100)
  const took = performance.now() - since
  await sweeping.dispose()
  return took
}

export const measure = async (world: World.World): Promise<ReadonlyArray<Report.Section>> => {
  const many = world.quick ? 20_000 : 1_000_000
  const due = many / 100
  const small = await fill(world, read)
  const large = await fill(world, many)
  try {
    const work = {
      getSmall: () => timesOf(small, get),
      getLarge: () => timesOf(large, get),
      listSmall: () => timesOf(small, list),
      listLarge: () => timesOf(large, list)
    }
    await Turns.take(1, work)
    const times = await Turns.take(world.quick ? 3 : 15, work)
    const p99 = (name: keyof typeof times) => Turns.median(times[name].map((turn) => Turns.quantile(turn, 0.99)))
    const row = (what: string, here: keyof typeof times, base: keyof typeof times): Report.Row => ({
      work: `p99 of ${what}, ${count(many)} credentials beside ${count(read)}`,
      here: Report.millis(p99(here)),
      base: Report.millis(p99(base)),
      value: p99(here) / p99(base),
      unit: "×",
      goal: { atMost: 1.2 }
    })

    await create(small, world, world.quick ? 100 : 500, 5000, 36_000)
    await create(large, world, due, 5000, 36_000)
    const marked = `update credentials set sweep_at = now() where sweep_at < now() + interval '5 minutes 5 seconds'`
    await run(large.options, "vacuum (analyze) credentials")
    const claimed = { small: await claims(small), large: await claims(large) }
    const nothing = await Turns.take(world.quick ? 5 : 25, { large: () => claims(large), small: () => claims(small) })
    const idle = {
      large: Turns.median(nothing.large.map(([only = 0]) => only)),
      small: Turns.median(nothing.small.map(([only = 0]) => only))
    }
    await run(large.options, marked)
    const took = await sweep(world.quick, large, due)
    const claim = { small: Turns.median(claimed.small), large: Turns.median(claimed.large) }
    return [
      {
        title: `${count(read)} credentials and ${count(many)}`,
        how: `${count(read)} calls a turn, ${callers} at a time, for credentials that lie spread over the table; a list is of the ${perUser} that a user has. All that is read is sealed and opens; of the larger table's other rows each has ids of its own and the bytes of a real one.`,
        rows: [row("get", "getLarge", "getSmall"), row("list", "listLarge", "listSmall")]
      },
      {
        title: "The sweeper",
        how: `Over the same tables, of the larger one 1 % due (${count(due)}). A round claims 50 at a time until none is due; by default it begins 10 renewals a second at one provider, and here as many as it can, 16 at a time, against a provider that answers at once.`,
        rows: [
          {
            work: "a round that finds nothing due",
            here: Report.millis(idle.large),
            base: Report.millis(idle.small),
            value: idle.large / idle.small,
            unit: "×"
          },
          {
            work: "claiming 50",
            here: Report.millis(claim.large),
            base: Report.millis(claim.small),
            value: claim.large / claim.small,
            unit: "×"
          },
          {
            work: `a round that renews ${count(due)}`,
            here: `${Report.number(took / 1000)} s, ${Report.perSecond((1000 * due) / took)}`,
            base: "",
            value: took / 1000,
            unit: "s"
          }
        ]
      }
    ]
  } finally {
    await small.runtime.dispose()
    await large.runtime.dispose()
  }
}
