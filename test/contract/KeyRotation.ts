import * as SqlClient from "@effect/sql/SqlClient"
import { assert, layer as withLayer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import { randomBytes, randomUUID } from "node:crypto"
import * as AuthorizationStore from "../../src/AuthorizationStore.ts"
import * as SqlAuthorizationStore from "../../src/AuthorizationStore/Sql.ts"
import * as Cipher from "../../src/Cipher.ts"
import * as Credential from "../../src/Credential.ts"
import * as KeyRotation from "../../src/KeyRotation.ts"
import * as Receipts from "../../src/Receipts.ts"
import * as Store from "../../src/Store.ts"
import type { CredentialRow, Driver } from "../../src/Store/Driver.ts"
import { RowChange } from "../../src/Store/Driver.ts"
import * as Memory from "../../src/Store/Memory.ts"
import * as Sql from "../../src/Store/Sql.ts"

const { Change } = Store

/** The engine under test. */
export class Drivers extends Context.Tag("effect-credentials/test/Drivers")<
  Drivers,
  { readonly store: Driver; readonly authorizations: AuthorizationStore.Driver; readonly receipts: Receipts.Spool }
>() {}

const key = (id: string): Cipher.Key => ({ id, bytes: Redacted.make(randomBytes(32)) })

const [k1, k2, k3] = [key("k1"), key("k2"), key("k3")]

/** Everything as a process with this ring has it. */
const ring = (...keys: readonly [Cipher.Key, ...ReadonlyArray<Cipher.Key>]) =>
  Effect.flatMap(Drivers, (drivers) =>
    Layer.build(
      KeyRotation.layer.pipe(
        Layer.provideMerge(
          Layer.mergeAll(
            Store.layer(Effect.succeed(drivers.store)),
            AuthorizationStore.layer(Effect.succeed(drivers.authorizations)),
            Receipts.layer(Effect.succeed(drivers.receipts))
          )
        ),
        Layer.provide(Cipher.layer(keys))
      )
    )
  ).pipe(
    Effect.map((context) => ({
      store: Context.get(context, Store.Store),
      authorizations: Context.get(context, AuthorizationStore.AuthorizationStore),
      receipts: Context.get(context, Receipts.Receipts),
      rotation: Context.get(context, KeyRotation.KeyRotation)
    }))
  )

const time = DateTime.unsafeMake("2024-05-06T07:08:09.123Z")
const provider = Credential.providerId("github")

const oauth2 = (): Credential.OAuth2 => ({
  type: "oauth2",
  accessToken: Redacted.make(`access-${randomUUID()}`),
  refreshToken: Redacted.make(`refresh-${randomUUID()}`),
  scopes: []
})

const newCredential = (userId: string): Credential.Credential => ({
  userId: Credential.UserId.make(userId),
  id: Credential.CredentialId.to.make(randomUUID()),
  provider,
  title: Option.none(),
  generation: 1,
  variant: oauth2(),
  extra: Redacted.make({ tenant: "acme" }),
  renewal: Credential.settled,
  system: false,
  createdAt: time,
  updatedAt: time,
  storedAt: time
})

const create = (credential: Credential.Credential) => Change.Create({ credential, unlessForgottenSince: Option.none() })

const newRow = (count: number, userId = `user "${randomUUID()}" \\ ünï 🔑`) =>
  Array.from({ length: count }, () => newCredential(userId))

const accessToken = (credential: Credential.Credential) =>
  credential.variant.type === "oauth2" ? Redacted.value(credential.variant.accessToken) : ""

const rowOf = (credential: Credential.Credential) =>
  Effect.flatMap(Drivers, ({ store }) => Effect.map(store.find(credential.userId, credential.id), Option.getOrThrow))

const opens = (store: Store.Store["Type"], credentials: ReadonlyArray<Credential.Credential>) =>
  Effect.forEach(credentials, (credential) =>
    Effect.map(store.get(credential.userId, credential.id), (stored) =>
      assert.strictEqual(accessToken(stored), accessToken(credential))
    )
  )

const open = (row: CredentialRow) => ({ ...row, keyId: "", sealed: "" })

const rewrapped = (results: ReadonlyArray<KeyRotation.Result>) =>
  Object.fromEntries(results.map((result) => [result.name, result.rewrapped]))

export const memory = Layer.effect(
  Drivers,
  Effect.all({ store: Memory.make, authorizations: AuthorizationStore.makeMemory, receipts: Receipts.makeMemory })
)

/** With nothing in the tables. */
export const sql = (options: Sql.Options) =>
  Layer.effect(
    Drivers,
    Effect.zipRight(
      Effect.flatMap(SqlClient.SqlClient, (sql) =>
        Effect.forEach(
          ["credentials", "revocations", "settings", "authorizations"],
          (table) => sql`delete from ${sql(table)}`
        )
      ),
      Effect.all({
        store: Sql.make(options),
        authorizations: SqlAuthorizationStore.make,
        receipts: Receipts.makeMemory
      })
    )
  )

/** What every engine does when keys are rotated. Each test has drivers of its own, over one database. */
export const suite = <R, E1, E2>(
  name: string,
  database: Layer.Layer<R, E1>,
  engine: Layer.Layer<Drivers, E2, NoInfer<R>>
) =>
  withLayer(database, { timeout: "60 seconds", excludeTestServices: true })(`KeyRotation: ${name}`, (it) => {
    it.scoped("everything that is sealed comes under the first key, and opens without the others", () =>
      Effect.gen(function* () {
        const before = yield* ring(k1)
        const credentials = newRow(23)
        const [first, second] = credentials
        assert.isDefined(first)
        assert.isDefined(second)
        yield* before.store.commit([
          ...credentials.map(create),
          Change.Enqueue({ revocation: { id: "revocation", credential: second, dueAt: time, tries: 2 } }),
          Change.Note({ credential: first, renewal: { failures: 3 } })
        ])
        const now = yield* DateTime.now
        const state = Redacted.make(randomUUID())
        const authorization: AuthorizationStore.Authorization = {
          userId: first.userId,
          provider,
          createdAt: now,
          expiresAt: DateTime.add(now, { minutes: 10 }),
          authorizationUrl: Redacted.make("https://github.com/login/oauth/authorize"),
          redirectUri: "http://127.0.0.1:8787/oauth/callback",
          scopes: [],
          extra: Redacted.make({})
        }
        yield* before.authorizations.put(state, authorization)
        const attempt: Store.Attempt = {
          id: randomUUID(),
          userId: first.userId,
          provider,
          grant: "grant",
          processId: "process",
          startedAt: time,
          deadline: time,
          probeOf: Option.none()
        }
        const answer = { status: 200, headers: {}, body: Redacted.make<Uint8Array>(Buffer.from("the answer")) }
        yield* before.receipts.keep({ attempt, answer, receivedAt: time })
        const rows = yield* Effect.forEach(credentials, rowOf)

        const during = yield* ring(k2, k1)
        assert.deepStrictEqual(
          yield* during.rotation.left,
          ["settings", "credentials", "revocations", "authorizations", "receipts"].map((kind) => ({
            name: kind,
            left: [{ keyId: "k1", count: kind === "credentials" ? 23 : 1 }]
          }))
        )
        const progress: Array<KeyRotation.Progress> = []
        const results = yield* during.rotation.run({
          batchSize: 4,
          onProgress: (step) => Effect.sync(() => void progress.push(step))
        })
        assert.deepStrictEqual(
          results,
          ["settings", "credentials", "revocations", "authorizations", "receipts"].map((kind) => ({
            name: kind,
            rewrapped: kind === "credentials" ? 23 : 1,
            closed: 0,
            closedIds: [],
            left: []
          }))
        )
        assert.deepStrictEqual(progress[0], { name: "settings", rewrapped: 0, total: 27 })
        assert.deepStrictEqual(progress.at(-1), { name: "receipts", rewrapped: 27, total: 27 })
        assert.isAbove(progress.filter((step) => step.name === "credentials").length, 5)

        // what is not the key is as it was: generation, times, the state of renewal
        const resealed = yield* Effect.forEach(credentials, rowOf)
        assert.deepStrictEqual(resealed.map(open), rows.map(open))
        const after = yield* ring(k2)
        assert.deepStrictEqual(yield* after.store.keyIds, ["k2"])
        yield* opens(after.store, credentials)
        assert.deepStrictEqual(after.store.grantOf(first), before.store.grantOf(first))
        const [revocation] = yield* after.store.revocations(10)
        assert.strictEqual(accessToken(revocation?.credential ?? first), accessToken(second))
        assert.strictEqual(revocation?.tries, 2)
        assert.isTrue(Option.isSome(yield* after.authorizations.take(state, {})))
        const receipt = Option.getOrThrow(yield* after.receipts.find(attempt.id))
        assert.strictEqual(Buffer.from(Redacted.value(receipt.answer.body)).toString(), "the answer")
      }).pipe(Effect.provide(engine))
    )

    it.scoped("where everything is under the first key there is nothing to do", () =>
      Effect.gen(function* () {
        const { rotation, store } = yield* ring(k1, k2)
        const [credential] = newRow(1)
        assert.isDefined(credential)
        yield* store.commit([create(credential)])
        const row = yield* rowOf(credential)
        assert.deepStrictEqual(yield* rotation.left, [])
        for (const result of yield* rotation.run()) assert.deepInclude(result, { rewrapped: 0, closed: 0, left: [] })
        assert.deepStrictEqual(yield* rowOf(credential), row)
      }).pipe(Effect.provide(engine))
    )

    it.scoped("rows that do not open are named and left as they are, and all others are done", () =>
      Effect.gen(function* () {
        const before = yield* ring(k1)
        const credentials = newRow(12)
        yield* before.store.commit(credentials.map(create))
        const { store: driver } = yield* Drivers
        const damaged = [credentials[3], credentials[4], credentials[9]].filter(
          (credential) => credential !== undefined
        )
        const rows = yield* Effect.forEach(damaged, rowOf)
        for (const row of rows) {
          const sealed = Buffer.from(row.sealed)
          sealed.writeUInt8(sealed.readUInt8(20) ^ 1, 20)
          yield* driver.commit([
            RowChange.Remove(row),
            RowChange.Create({ row: { ...row, sealed }, unlessForgottenSince: null })
          ])
        }
        const during = yield* ring(k2, k1)
        for (const done of [9, 0]) {
          const results = yield* during.rotation.run({ batchSize: 2 })
          const result = results.find((kind) => kind.name === "credentials")
          assert.deepInclude(result, { rewrapped: done, closed: 3, left: [{ keyId: "k1", count: 3 }] })
          assert.deepStrictEqual(
            result?.closedIds.map(([, id]) => id),
            damaged.map(({ id }) => String(id)).sort()
          )
        }
        yield* opens(
          during.store,
          credentials.filter((credential) => !damaged.includes(credential))
        )
        // gone, they hold up nothing
        yield* during.store.commit(damaged.map((credential) => Change.Remove(credential)))
        assert.deepStrictEqual(yield* during.rotation.left, [])
      }).pipe(Effect.provide(engine))
    )

    it.scoped("what is written between the reading of a row and its new bytes stays", () =>
      Effect.gen(function* () {
        const before = yield* ring(k1)
        const credentials = newRow(4)
        const [renewed, recreated, noted, removed] = credentials
        assert.isDefined(renewed)
        assert.isDefined(recreated)
        assert.isDefined(noted)
        assert.isDefined(removed)
        yield* before.store.commit(credentials.map(create))

        const { store: driver } = yield* Drivers
        const cipher = Cipher.make([k2, k1])
        const { credentials: rows } = driver.sealed
        const page = yield* rows.page("k1", Option.none(), 10)
        assert.lengthOf(page, 4)
        const next = { ...renewed, generation: 2, variant: oauth2() }
        const another = { ...recreated, variant: oauth2() }
        yield* before.store.commit([Change.Replace({ credential: next })])
        yield* before.store.commit([Change.Remove(recreated), create(another)])
        yield* before.store.commit([Change.Note({ credential: noted, renewal: { failures: 7 } })])
        yield* before.store.commit([Change.Remove(removed)])
        const fresh = yield* Effect.forEach(page, (row) =>
          Effect.map(cipher.seal(Buffer.from("from another time"), [row.id]), (sealed) => ({ row, sealed }))
        )
        assert.strictEqual(yield* rows.reseal(fresh), 1)
        yield* opens(before.store, [next, another])
        const row = yield* rowOf(noted)
        assert.deepInclude(row, { keyId: "k2", failures: 7, generation: 1 })
        assert.isTrue(Option.isNone(yield* driver.find(removed.userId, removed.id)))
      }).pipe(Effect.provide(engine))
    )

    it.scoped("interrupted, it has done whole batches, and run again it does the rest", () =>
      Effect.gen(function* () {
        const before = yield* ring(k1)
        const credentials = newRow(40)
        yield* before.store.commit(credentials.map(create))
        const during = yield* ring(k2, k1)
        const seen = yield* Deferred.make<void>()
        const running = yield* Effect.fork(
          during.rotation.run({
            batchSize: 8,
            pause: "10 millis",
            onProgress: ({ rewrapped }) => (rewrapped > 10 ? Deferred.succeed(seen, undefined) : Effect.void)
          })
        )
        yield* Deferred.await(seen)
        yield* Fiber.interrupt(running)
        yield* opens(during.store, credentials)
        const rows = yield* Effect.forEach(credentials, rowOf)
        const done = rows.filter(({ keyId }) => keyId === "k2").length
        assert.isTrue(done > 8 && done < 40 && done % 8 === 0, `${done}`)
        const { credentials: rest } = rewrapped(yield* during.rotation.run({ batchSize: 8 }))
        assert.strictEqual(rest, 40 - done)
        yield* opens((yield* ring(k2)).store, credentials)
      }).pipe(Effect.provide(engine))
    )

    it.scoped("of several that run at once each row is brought under the key by one", () =>
      Effect.gen(function* () {
        const before = yield* ring(k1)
        const credentials = newRow(60)
        yield* before.store.commit(credentials.map(create))
        const runs = yield* Effect.all(
          Array.from({ length: 4 }, () =>
            Effect.flatMap(ring(k2, k1), ({ rotation }) => rotation.run({ batchSize: 7 }))
          ),
          { concurrency: "unbounded" }
        )
        const total = runs.map((results) => rewrapped(results)["credentials"] ?? 0).reduce((sum, done) => sum + done, 0)
        assert.strictEqual(total, 60)
        for (const results of runs) for (const { left } of results) assert.deepStrictEqual(left, [])
        yield* opens((yield* ring(k2)).store, credentials)
      }).pipe(Effect.provide(engine))
    )

    it.scoped("while renewals are stored: each stays, no generation is passed over, and every read opens", () =>
      Effect.gen(function* () {
        const before = yield* ring(k1)
        const credentials = newRow(30)
        yield* before.store.commit(credentials.map(create))
        const during = yield* ring(k3, k2, k1)
        const stop = yield* Ref.make(false)
        const seen = { reads: 0 }
        const renewing = yield* Effect.fork(
          Effect.forEach(
            credentials,
            (credential, index) =>
              Effect.gen(function* () {
                // half of them by a process that still seals with the key before
                const { store } = index % 2 === 0 ? during : yield* ring(k2, k3, k1)
                let current = credential
                do {
                  const next = { ...current, generation: current.generation + 1, variant: oauth2() }
                  yield* store.commit([Change.Replace({ credential: next })])
                  current = next
                  yield* opens(during.store, [current])
                  seen.reads++
                  yield* Effect.sleep("1 millis")
                } while (!(yield* Ref.get(stop)))
                return current
              }),
            { concurrency: "unbounded" }
          )
        )
        do {
          yield* during.rotation.run({ batchSize: 5 })
          yield* Effect.sleep("1 millis")
        } while (seen.reads < 60)
        yield* Ref.set(stop, true)
        const last = yield* Fiber.join(renewing)
        yield* during.rotation.run()
        const { store } = yield* ring(k3)
        yield* opens(store, last)
        for (const credential of last) assert.strictEqual((yield* rowOf(credential)).generation, credential.generation)
      }).pipe(Effect.provide(engine))
    )

    it.scoped("rows under several old keys all come under the first", () =>
      Effect.gen(function* () {
        const [one, two, three] = [newRow(3), newRow(3), newRow(3)]
        yield* (yield* ring(k1)).store.commit(one.map(create))
        yield* (yield* ring(k2, k1)).store.commit(two.map(create))
        const { rotation, store } = yield* ring(k3, k2, k1)
        yield* store.commit(three.map(create))
        assert.deepInclude(yield* rotation.left, {
          name: "credentials",
          left: [
            { keyId: "k1", count: 3 },
            { keyId: "k2", count: 3 }
          ]
        })
        assert.deepStrictEqual(rewrapped(yield* rotation.run({ batchSize: 2 }))["credentials"], 6)
        yield* opens((yield* ring(k3)).store, [...one, ...two, ...three])
      }).pipe(Effect.provide(engine))
    )
  })
