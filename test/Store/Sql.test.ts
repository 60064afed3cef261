import * as SqlClient from "@effect/sql/SqlClient"
import { assert, layer as withLayer } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { randomBytes, randomUUID } from "node:crypto"
import { setTimeout } from "node:timers/promises"
import * as AuditLog from "../../src/AuditLog.ts"
import * as SqlAuditLog from "../../src/AuditLog/Sql.ts"
import { AuthorizationStore } from "../../src/AuthorizationStore.ts"
import * as SqlAuthorizationStore from "../../src/AuthorizationStore/Sql.ts"
import { ApiKeys } from "../../src/ApiKeys.ts"
import * as SqlApiKeys from "../../src/ApiKeys/Sql.ts"
import * as Cipher from "../../src/Cipher.ts"
import { type Credential, CredentialId, ProviderId, settled, UserId } from "../../src/Credential.ts"
import * as migrations from "../../src/migrations.ts"
import { Change, Store } from "../../src/Store.ts"
import * as Sql from "../../src/Store/Sql.ts"
import * as EmbeddedDatabase from "../EmbeddedDatabase.ts"

const services = Layer.mergeAll(
  Sql.layer({ clock: "process" }),
  SqlAuthorizationStore.layer,
  SqlApiKeys.layer({ bootstrap: Redacted.make("bootstrap secret") }),
  SqlAuditLog.layer
).pipe(Layer.provideMerge(Layer.merge(Cipher.layerMemory, EmbeddedDatabase.layer)))

const newUser = () => UserId.make(`user-${randomUUID()}`)
const github = Schema.decodeSync(ProviderId)("github")

const newCredential = (userId: UserId): Effect.Effect<Credential> =>
  Effect.map(DateTime.now, (now) => ({
    userId,
    id: CredentialId.to.make(randomUUID()),
    provider: github,
    title: Option.some("mine"),
    generation: 1,
    variant: {
      type: "oauth2",
      accessToken: Redacted.make(`access-${randomUUID()}`),
      refreshToken: Redacted.make(`refresh-${randomUUID()}`),
      scopes: []
    },
    extra: Redacted.make({ clientSecret: `extra-${randomUUID()}` }),
    renewal: settled,
    system: false,
    createdAt: now,
    updatedAt: now,
    storedAt: now
  }))

const create = (credential: Credential, unlessForgottenSince: Option.Option<DateTime.Utc> = Option.none()) =>
  Change.Create({ credential, unlessForgottenSince })

const tables = [
  "credentials",
  "attempts",
  "revocations",
  "settings",
  "forgotten_users",
  "authorizations",
  "leases",
  "processes",
  "circuits",
  "api_keys",
  "audit_events"
]

const newAttempt = (userId: UserId, grant: string) =>
  Effect.map(DateTime.now, (now) => ({
    id: randomUUID(),
    userId,
    provider: github,
    grant,
    processId: "test",
    startedAt: now,
    deadline: now,
    probeOf: Option.none()
  }))

const count = (rows: ReadonlyArray<unknown>) => rows.length

withLayer(services, { timeout: "60 seconds" })("Store/Sql", (it) => {
  it.effect("migrations that were run are not run again", () =>
    Effect.map(migrations.run, (ran) => assert.deepStrictEqual(ran, []))
  )

  it.effect("every table and column is the one that the migrations name", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const found = yield* sql<{ readonly name: string }>`
        select table_name as name from information_schema.tables where table_schema = 'public' order by 1`
      assert.deepStrictEqual(
        found.map(({ name }) => name),
        [...tables, "effect_credentials_migrations"].sort()
      )
    })
  )

  it.effect("no secret, and no deleted user's id in the memory of deletions, is in any column of any table", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const store = yield* Store
      const userId = newUser()
      const gone = newUser()
      const now = yield* DateTime.now
      const credential = yield* newCredential(userId)
      const grant = Option.getOrThrow(store.grantOf(credential))
      yield* store.commit([
        create(credential),
        Change.OpenAttempt({ attempt: yield* newAttempt(userId, grant) }),
        Change.Enqueue({ revocation: { id: randomUUID(), credential, dueAt: now, tries: 0 } }),
        Change.Forget({ userId: gone, at: now })
      ])
      const state = randomBytes(32).toString("base64url")
      const codeVerifier = randomBytes(32).toString("base64url")
      yield* Effect.flatMap(AuthorizationStore, (logins) =>
        logins.put(Redacted.make(state), {
          userId,
          provider: github,
          createdAt: now,
          expiresAt: DateTime.add(now, { minutes: 10 }),
          authorizationUrl: Redacted.make(`https://github.com/?state=${state}`),
          redirectUri: "http://127.0.0.1/",
          codeVerifier: Redacted.make(codeVerifier),
          scopes: [],
          extra: Redacted.make({ clientSecret: "client-secret-of-a-login" })
        })
      )
      const { key } = yield* Effect.flatMap(ApiKeys, (keys) =>
        keys.create({ name: "a key", scopes: ["read"], userId: Option.none() })
      )
      yield* AuditLog.record({ kind: "credential_created", userId, credentialId: credential.id })

      const dumps = yield* Effect.forEach(
        tables,
        (table) => sql<{ readonly row: string }>`select to_jsonb(t)::text as row from ${sql(table)} t`
      )
      const dump = dumps
        .flat()
        .map(({ row }) => row)
        .join("\n")
      assert.include(dump, userId)
      const { variant } = credential
      if (variant.type !== "oauth2" || variant.refreshToken === undefined) return assert.fail("an OAuth2 credential")
      const secrets = [
        Redacted.value(variant.accessToken),
        Redacted.value(variant.refreshToken),
        String(Redacted.value(credential.extra)["clientSecret"]),
        state,
        codeVerifier,
        "client-secret-of-a-login",
        Redacted.value(key).slice(-43),
        "bootstrap secret",
        gone
      ]
      for (const secret of secrets) {
        const bytes = Buffer.from(secret, "utf8")
        for (const spelling of [secret, bytes.toString("hex"), bytes.toString("base64").replace(/=+$/, "")]) {
          assert.isFalse(dump.includes(spelling), spelling)
        }
      }
    })
  )

  it.effect("closed attempts are dropped after 30 days, open ones never", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const store = yield* Store
      const userId = newUser()
      const [closed, open] = [yield* newAttempt(userId, randomUUID()), yield* newAttempt(userId, randomUUID())]
      yield* store.commit([Change.OpenAttempt({ attempt: closed }), Change.OpenAttempt({ attempt: open })])
      yield* store.commit([Change.CloseAttempt({ id: closed.id, outcome: "lost" })])
      const [kept] = yield* sql<{ readonly outcome: string; readonly finished_at: Date }>`
        select outcome, finished_at from attempts where id = ${closed.id}`
      assert.deepStrictEqual(kept, { outcome: "lost", finished_at: DateTime.toDateUtc(yield* DateTime.now) })

      const stored = Effect.map(sql`select 1 from attempts where user_id = ${userId}`, count)
      yield* TestClock.adjust("30 days")
      yield* Sql.prune({ clock: "process" })
      assert.strictEqual(yield* stored, 2)
      yield* TestClock.adjust("1 millis")
      yield* Sql.prune({ clock: "process" })
      assert.strictEqual(yield* stored, 1)
      assert.deepStrictEqual(yield* store.outcome(open.id), Option.some("open"))
    })
  )

  it.effect("who was deleted is forgotten for good after a day", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const userId = newUser()
      const begun = yield* DateTime.now
      yield* store.commit([Change.Forget({ userId, at: begun })])
      const late = create(yield* newCredential(userId), Option.some(begun))
      yield* TestClock.adjust("1 days")
      yield* Sql.prune({ clock: "process" })
      assert.strictEqual((yield* Effect.flip(store.commit([late])))._tag, "Conflict")
      yield* TestClock.adjust("1 millis")
      yield* Sql.prune({ clock: "process" })
      yield* store.commit([late])
    })
  )

  it.effect("a statement that the database refuses is StoreUnavailable, not the end of the request's fiber", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const store = yield* Store
      const credential = yield* newCredential(newUser())
      yield* Effect.acquireUseRelease(
        sql`alter table credentials rename to mislaid`,
        () =>
          Effect.gen(function* () {
            const all: ReadonlyArray<Effect.Effect<void, { readonly _tag: string }>> = [
              Effect.asVoid(store.get(credential.userId, credential.id)),
              store.commit([create(credential)]),
              store.commit([create(credential), Change.Remove(credential)])
            ]
            for (const refused of all) {
              assert.strictEqual((yield* Effect.flip(refused))._tag, "StoreUnavailable")
            }
          }),
        () => Effect.orDie(sql`alter table mislaid rename to credentials`)
      )
      yield* store.commit([create(credential)])
      yield* store.get(credential.userId, credential.id)
    })
  )

  it.effect("a commit that the database takes back at its very end is StoreUnavailable, and nothing of it stays", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const store = yield* Store
      const credential = yield* newCredential(newUser())
      yield* sql`
        create function refuse() returns trigger language plpgsql as $$
        begin raise exception 'not this one' using errcode = '23514'; end $$`
      yield* Effect.acquireUseRelease(
        sql`
          create constraint trigger refuse after insert on credentials
          deferrable initially deferred for each row execute function refuse()`,
        () =>
          Effect.map(
            Effect.flip(
              store.commit([create(credential), Change.Forget({ userId: newUser(), at: credential.createdAt })])
            ),
            (error) => assert.strictEqual(error._tag, "StoreUnavailable")
          ),
        () => Effect.orDie(sql`drop trigger refuse on credentials`)
      )
      assert.strictEqual((yield* Effect.flip(store.get(credential.userId, credential.id)))._tag, "CredentialNotFound")
    })
  )

  for (const sqlState of ["40001", "40P01"]) {
    it.effect(`a commit that fails with ${sqlState} is done again as a whole`, () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const store = yield* Store
        const [one, other] = [yield* newCredential(newUser()), yield* newCredential(newUser())]
        yield* sql`create sequence tries`
        yield* sql`
          create function refuse_twice() returns trigger language plpgsql as $$
          begin
            if nextval('tries') <= 2 then raise exception 'again' using errcode = ${sql.literal(`'${sqlState}'`)}; end if;
            return null;
          end $$`
        yield* Effect.acquireUseRelease(
          sql`
            create constraint trigger refuse_twice after insert on forgotten_users
            deferrable initially deferred for each row execute function refuse_twice()`,
          () =>
            Effect.gen(function* () {
              const committing = yield* Effect.fork(
                store.commit([create(one), create(other), Change.Forget({ userId: newUser(), at: one.createdAt })])
              )
              // it may wait between two tries, by the clock of the tests; the database answers by its own
              while (Option.isNone(yield* Fiber.poll(committing))) {
                yield* Effect.promise(() => setTimeout(5))
                yield* TestClock.adjust("100 millis")
              }
              yield* Fiber.join(committing)
            }),
          () => Effect.orDie(sql`drop trigger refuse_twice on forgotten_users`)
        )
        yield* sql`drop function refuse_twice()`
        yield* sql`drop sequence tries`
        yield* store.get(one.userId, one.id)
        yield* store.get(other.userId, other.id)
      })
    )
  }
})
