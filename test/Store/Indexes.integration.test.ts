/**
 * Each read that is done as a user waits, and each regular removal, finds its rows by an index: told by what Postgres
 * counts as the very statements of the adapters run over 100,000 rows a table.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import * as ApiKeys from "../../src/ApiKeys/Sql.ts"
import * as AuditLog from "../../src/AuditLog/Sql.ts"
import * as AuthorizationStore from "../../src/AuthorizationStore/Sql.ts"
import { CredentialId, UserId } from "../../src/Credential.ts"
import * as Server from "../../src/Database/Server.ts"
import * as LeaseStore from "../../src/LeaseStore/Sql.ts"
import * as migrations from "../../src/migrations.ts"
import { RowChange } from "../../src/Store/Driver.ts"
import * as Sql from "../../src/Store/Sql.ts"
import * as Postgres from "../servers/Postgres.ts"

const now = DateTime.unsafeMake("2024-05-06T07:08:09Z")
const at = DateTime.toDateUtc(now)
const userId = UserId.make("user 1")
const sealedWith = "credentials_sealed_with"

it.scopedLive(
  "each index is used by its read, no read goes through a whole table, and no index is without a read",
  () =>
    Effect.gen(function* () {
      // one session, so that what it counts is flushed when it is asked to
      const sql = yield* Server.make({
        url: Redacted.make(yield* Postgres.database),
        poolSize: 1,
        patience: "1 minute"
      })
      const withSql = Effect.provideService(SqlClient.SqlClient, sql)
      yield* withSql(migrations.run)
      const store = yield* withSql(Sql.make({ clock: "database" }))
      const logins = yield* withSql(AuthorizationStore.make)
      const leases = yield* withSql(LeaseStore.make)
      const keys = yield* withSql(ApiKeys.make)
      const audit = yield* withSql(AuditLog.make)

      // one row a table, by the adapters themselves
      const credential = {
        userId,
        id: "0",
        provider: "github",
        type: "oauth2",
        title: null,
        generation: 1,
        grant: "grant 0",
        reauthReason: null,
        reauthAttemptId: null,
        reportedGeneration: null,
        reportStreak: 0,
        failures: 0,
        retryAt: null,
        lastFailure: null,
        reauthSoonSaid: false,
        sweepAt: null,
        createdAt: at,
        updatedAt: at,
        storedAt: at,
        keyId: "k1",
        sealed: randomBytes(32)
      }
      const attempt = {
        id: "0",
        userId,
        provider: "github",
        grant: "grant 0",
        processId: "test",
        startedAt: at,
        deadline: at,
        probeOf: null
      }
      const revocation = { ...credential, id: "0", credentialId: "0", dueAt: at, tries: 0 }
      yield* store.commit([
        RowChange.Create({ row: credential, unlessForgottenSince: null }),
        RowChange.OpenAttempt({ row: attempt }),
        RowChange.Enqueue({ row: revocation }),
        RowChange.Forget({ userId: "somebody", at })
      ])
      yield* store.commit([RowChange.CloseAttempt({ id: "0", outcome: "saved" })])
      yield* logins.put({
        stateHash: "0",
        userId,
        provider: "github",
        expiresAt: at,
        keyId: "k1",
        sealed: randomBytes(32)
      })
      const lease = {
        idHash: "0",
        userId,
        credentialId: CredentialId.to.make("00000000-0000-4000-8000-000000000000"),
        owner: "owner",
        mode: "shared",
        fencingToken: 1,
        expiresAt: now
      } as const
      yield* leases.put(lease)
      yield* keys.insert(
        { keyId: "0", name: "key", scopes: ["read"], userId: Option.none(), createdAt: now },
        randomBytes(32)
      )
      yield* audit.append({ at: now, kind: "credential_created", actor: "test" })

      // and 100,000 like it, of 20 users, over the years to come
      const many = {
        credentials: "id",
        attempts: "id",
        revocations: "id",
        forgotten_users: "user_hash",
        authorizations: "state_hash",
        leases: "id_hash",
        api_keys: "key_id"
      }
      for (const [table, key] of Object.entries(many)) {
        yield* sql`
          insert into ${sql(table)}
          select r.* from ${sql(table)} t, generate_series(1, 100000) g, jsonb_populate_record(t, jsonb_build_object(
            ${key}::text, g::text,
            'user_id', 'user ' || g % 20,
            'grant_fingerprint', 'grant ' || g,
            'created_at', ${at}::timestamptz + g * interval '1 minute',
            'finished_at', now() - g * interval '1 second',
            'due_at', ${at}::timestamptz + g * interval '1 minute',
            'at', now() - g * interval '1 second',
            'sweep_at', ${at}::timestamptz + g * interval '1 minute',
            'expires_at', ${at}::timestamptz + g * interval '1 minute'
          )) r`
      }
      yield* sql`insert into audit_events (at, kind, actor) select at, kind, actor from audit_events, generate_series(1, 100000)`
      yield* sql`vacuum analyze`
      yield* store.commit([RowChange.OpenAttempt({ row: { ...attempt, id: "open", grant: "open" } })])

      const scans = Effect.gen(function* () {
        yield* sql`select pg_stat_force_next_flush()`
        const rows = yield* sql<{ readonly name: string; readonly scans: number }>`
          select indexrelname as name, idx_scan::int as scans from pg_stat_user_indexes
          union all select 'all of ' || relname, seq_scan::int from pg_stat_user_tables`
        return new Map(rows.map((row) => [row.name, row.scans]))
      })
      const used = (read: Effect.Effect<unknown, unknown>) =>
        Effect.gen(function* () {
          const before = yield* scans
          yield* read
          const after = yield* scans
          return [...after].filter(([name, count]) => count > (before.get(name) ?? 0)).map(([name]) => name)
        })

      const list = { userId, provider: null, type: null, after: null, limit: 50 }
      const minutesOn = (minutes: number) => DateTime.toDateUtc(DateTime.add(now, { minutes }))
      const due = { provider: "github", until: minutesOn(1_000_000), limit: 50 }
      const prune = withSql(Sql.prune({ clock: "database" }))
      // of several indexes any will do
      const reads: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>, ReadonlyArray<string>]> = [
        ["find", store.find(userId, "1"), ["credentials_pkey"]],
        ["list", store.list(list), ["credentials_listed"]],
        ["list of a provider", store.list({ ...list, provider: "github", type: "oauth2" }), ["credentials_listed"]],
        ["list on", store.list({ ...list, after: { createdAt: at, id: "1" } }), ["credentials_listed"]],
        ["sharing", store.sharing(userId, "grant 1"), ["credentials_granted"]],
        ["credentials to renew", store.claimDue({ ...due, by: minutesOn(1_000) }), ["credentials_swept"]],
        ["credentials to renew, when there are none", store.claimDue({ ...due, by: at }), ["credentials_swept"]],
        ["grants", store.grants("grant 1", 100), ["credentials_granted"]],
        ["openAttempt", store.openAttempt("open"), ["attempts_open"]],
        ["openAttempts", store.openAttempts, ["attempts_open"]],
        ["outcome", store.outcome("open"), ["attempts_pkey"]],
        ["revocations", store.revocations(at, 100), ["revocations_due"]],
        ["rows under a key", store.sealed.credentials.page("k0", Option.some([userId, "1"]), 100), [sealedWith]],
        ["rows under other keys", store.sealed.credentials.besides("k1"), [sealedWith]],
        ["closed attempts that are old", prune, ["attempts_finished"]],
        ["users who went long ago", prune, ["forgotten_users_at"]],
        ["login", logins.find("1"), ["authorizations_pkey"]],
        ["logins of a user", logins.removeUser(userId), ["authorizations_user"]],
        ["logins that expired", logins.prune(at), ["authorizations_expiry"]],
        ["lease", leases.find("1"), ["leases_pkey"]],
        ["leases of a user", leases.ofUser(userId), ["leases_user"]],
        ["leases that expired", leases.prune(now), ["leases_expiry"]],
        ["key", keys.find("1"), ["api_keys_pkey"]],
        ["audit", audit.recent(50), ["audit_events_pkey"]],
        [
          "create unless the user is gone",
          store.commit([RowChange.Create({ row: { ...credential, id: "new" }, unlessForgottenSince: at })]),
          ["forgotten_users_pkey"]
        ]
      ]
      for (const [name, read, indexes] of reads) {
        const found = yield* used(read)
        assert.isTrue(
          indexes.some((index) => found.includes(index)),
          `${name}: ${found.join()}`
        )
        assert.deepStrictEqual(
          found.filter((index) => index.startsWith("all of")),
          [],
          name
        )
      }
      // of the few settings and revocations there are, all are read
      const keyIds = yield* used(store.keyIds)
      assert.include(keyIds, sealedWith)
      assert.notInclude(keyIds, "all of credentials")

      const all = yield* sql<{ readonly name: string }>`
        select i.relname as name from pg_index join pg_class i on i.oid = indexrelid
        where not indisprimary and i.relnamespace = 'public'::regnamespace`
      const named = new Set([...reads.flatMap(([, , indexes]) => indexes), sealedWith])
      assert.deepStrictEqual(
        all.map(({ name }) => name).filter((name) => !named.has(name)),
        []
      )
    }),
  60_000
)
