/** `rotate-keys` as operators run it: a process of its own beside real servers, on Postgres and on the embedded database. */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes, randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Pg from "pg"
import { measured } from "../Measured.ts"
import * as Cipher from "../../src/Cipher.ts"
import * as Credential from "../../src/Credential.ts"
import * as Server from "../../src/Database/Server.ts"
import * as migrations from "../../src/migrations.ts"
import * as EncryptionKeys from "../../src/Settings/EncryptionKeys.ts"
import { Change, Store } from "../../src/Store.ts"
import * as Sql from "../../src/Store/Sql.ts"
import * as Client from "../servers/Client.ts"
import * as Postgres from "../servers/Postgres.ts"
import * as Service from "../servers/Service.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

const key = (id: string) => `${id}:${randomBytes(32).toString("base64")}`
const [k1, k2] = [key("k1"), key("k2")]

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The command from `dist`, which ends with the scope at the latest. */
const start = (env: Record<string, string>, ...parameters: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child: ChildProcess = spawn(process.execPath, ["dist/cli.js", "rotate-keys", ...parameters], {
        cwd: root,
        env: { PATH: process.env["PATH"], ADMIN_API_KEY: "long-enough-for-a-key", ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
      let [stdout, stderr] = ["", ""]
      child.stdout?.on("data", (chunk) => (stdout += String(chunk)))
      child.stderr?.on("data", (chunk) => (stderr += String(chunk)))
      const ended = new Promise<Ended>((resolve) => child.once("close", (code) => resolve({ code, stdout, stderr })))
      return { child, ended: Effect.promise(() => ended) }
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

const rotateKeys = (env: Record<string, string>, ...parameters: ReadonlyArray<string>) =>
  Effect.flatMap(start(env, ...parameters), ({ ended }) => ended)

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "rotate-keys-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
)

const query = (url: string, text: string, values: ReadonlyArray<unknown> = []) =>
  Effect.promise(async () => {
    const client = new Pg.Client({ connectionString: url })
    await client.connect()
    try {
      return (await client.query<Record<string, unknown>>(text, [...values])).rows
    } finally {
      await client.end()
    }
  })

/** The store of a process with that ring. */
const storeOn = (url: string, ring: string) =>
  Layer.build(
    Sql.layer({ clock: "database" }).pipe(
      Layer.provide(
        Layer.provideMerge(migrations.layer, Server.layer({ url: Redacted.make(url), patience: "1 minute" }))
      ),
      Layer.provide(Cipher.layer(Option.getOrThrow(EncryptionKeys.parse(ring))))
    )
  ).pipe(Effect.flatMap((context) => Effect.provide(Store, context)))

const users = 20
const at = new Date("2024-05-06T07:08:09Z")
const provider = Credential.providerId("acme")

/** API keys, each of which tells its own number. */
const seed = Effect.fnUntraced(function* (url: string, count: number) {
  const store = yield* storeOn(url, k1)
  const time = DateTime.unsafeMake(at)
  const credentials = Array.from({ length: count }, (_, index): Credential.Credential => ({
    userId: Credential.UserId.make(`user ${index % users}`),
    id: Credential.CredentialId.to.make(randomUUID()),
    provider,
    title: Option.none(),
    generation: 1,
    variant: { type: "api_key", apiKey: Redacted.make(`key number ${index}`) },
    extra: Redacted.make({ padding: "x".repeat(500) }),
    renewal: Credential.settled,
    system: false,
    createdAt: time,
    updatedAt: time,
    storedAt: time
  }))
  for (let from = 0; from < count; from += 250) {
    yield* store.commit(
      credentials
        .slice(from, from + 250)
        .map((credential) => Change.Create({ credential, unlessForgottenSince: Option.none() }))
    )
  }
  return credentials.map(({ id, userId }, index) => ({ id, userId, apiKey: `key number ${index}` }))
}, Effect.scoped)

type Seeded = Effect.Effect.Success<ReturnType<typeof seed>>

const countUnder = (url: string, keyId: string) =>
  Effect.map(query(url, "select count(*)::int as count from credentials where key_id = $1", [keyId]), ([row]) =>
    Number(row?.["count"])
  )

/** Every row by a store with the new key alone. */
const allOpen = Effect.fnUntraced(function* (url: string, ring: string, seeded: Seeded) {
  const store = yield* storeOn(url, ring)
  for (const { apiKey, id, userId } of seeded) {
    const { variant } = yield* store.get(userId, id)
    assert.strictEqual(variant.type === "api_key" ? Redacted.value(variant.apiKey) : "", apiKey)
  }
}, Effect.scoped)

const reading = (client: Client.Client, seeded: Seeded, failures: Array<string>, seen: { reads: number }) =>
  Effect.forever(
    Effect.suspend(() => {
      const wanted = seeded[Math.floor(Math.random() * seeded.length)]
      assert.isDefined(wanted)
      return Effect.match(client.secret(wanted.userId, wanted.id), {
        onFailure: (error) => void failures.push(error.message),
        onSuccess: (answer) => {
          seen.reads++
          if (!answer.ok) failures.push(`${answer.status} ${JSON.stringify(answer.body)}`)
          else if (answer.body.apiKey !== wanted.apiKey) failures.push(`${wanted.id}: another secret`)
        }
      })
    })
  )

describe("rotate-keys on Postgres", () => {
  it.scopedLive(
    "under load no read fails, what is written meanwhile stays, and afterwards the new key opens everything",
    () =>
      Effect.gen(function* () {
        // ROTATION_ROWS=50000 measures
        const count = Number(process.env["ROTATION_ROWS"] ?? 2_000)
        const url = yield* Postgres.database
        const seeded = yield* seed(url, count)
        const service = yield* Service.start({
          env: { DATABASE_URL: url, ENCRYPTION_KEYS: `${k2},${k1}`, LOG_LEVEL: "warning" }
        })
        const { client } = service
        const failures: Array<string> = []
        const seen = { reads: 0 }
        const readers = yield* Effect.fork(
          Effect.all(
            Array.from({ length: 4 }, () => reading(client, seeded, failures, seen)),
            { concurrency: "unbounded" }
          )
        )
        const written: Array<Client.Metadata> = []
        const writer = yield* Effect.fork(
          Effect.forever(
            Effect.gen(function* () {
              const body = { type: "api_key", provider: "acme", apiKey: "first" }
              const { id } = yield* Client.ok(client.createCredential("writer", body))
              const replaced = yield* Client.ok(client.put("writer", id, { type: "api_key", apiKey: "second" }))
              written.push(replaced)
            })
          )
        )
        yield* Effect.sleep("500 millis")
        const before = seen.reads
        const begun = performance.now()
        const ended = yield* rotateKeys(
          { DATABASE_URL: url, ENCRYPTION_KEYS: `${k2},${k1}`, DATA_DIR: service.dataDir },
          "--batch-size=200"
        )
        const millis = performance.now() - begun
        const during = seen.reads - before
        yield* Fiber.interrupt(readers)
        yield* Fiber.interrupt(writer)
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.match(ended.stdout, new RegExp(`credentials +${count.toLocaleString("en-US")}\n`))
        assert.include(ended.stdout, "Nothing is left under k1.")
        assert.match(ended.stderr, new RegExp(`^settings: 0 of ${(count + 1).toLocaleString("en-US")} rows, 0 %`))
        assert.deepStrictEqual(failures, [])
        assert.isAbove(during, 20)
        assert.isNotEmpty(written)
        assert.strictEqual(yield* countUnder(url, "k1"), 0)
        yield* measured("rotation", {
          rows: count,
          milliseconds: Math.round(millis),
          "reads meanwhile": during,
          "failed reads": failures.length
        })
        if (process.env["ROTATION_ROWS"] !== undefined) {
          yield* Effect.log(
            `${count} rows in ${Math.round(millis)} ms; ${during} reads meanwhile, ${failures.length} failed`
          )
        }

        // generations and times are as they were
        const [changed] = yield* query(
          url,
          "select count(*)::int as count from credentials where user_id <> 'writer' and (generation <> 1 or updated_at <> $1)",
          [at]
        )
        assert.strictEqual(changed?.["count"], 0)

        yield* service.restart({ DATABASE_URL: url, ENCRYPTION_KEYS: k2 })
        for (const { id, generation } of written) {
          const secret = yield* Client.ok(client.secret("writer", id))
          assert.deepInclude(secret, { apiKey: "second", generation })
        }
        yield* allOpen(url, k2, seeded)
        const again = yield* rotateKeys({ DATABASE_URL: url, ENCRYPTION_KEYS: k2, DATA_DIR: service.dataDir })
        assert.strictEqual(again.code, 0)
        assert.match(again.stdout, /^The ring holds one key, and everything stored is under it\./)
      }),
    600_000
  )

  for (const signal of ["SIGINT", "SIGKILL"] as const) {
    it.scopedLive(
      `stopped by ${signal} half-way it leaves everything readable, and run again it does the rest`,
      () =>
        Effect.gen(function* () {
          const url = yield* Postgres.database
          const seeded = yield* seed(url, 1_000)
          const env = { DATABASE_URL: url, ENCRYPTION_KEYS: `${k2},${k1}`, DATA_DIR: yield* temporary }
          const { child, ended } = yield* start(env, "--batch-size=50", "--pause=20")
          yield* Effect.repeat(Effect.zipRight(Effect.sleep("20 millis"), countUnder(url, "k2")), {
            until: (rows) => rows >= 200 || child.exitCode !== null
          })
          child.kill(signal)
          const { code, stderr } = yield* ended
          if (signal === "SIGINT") {
            assert.strictEqual(code, 130)
            assert.match(stderr, /Stopped after the batch that was under way: [\d,]+ of 1,001 rows came under k2\./)
          }
          const done = yield* countUnder(url, "k2")
          assert.isTrue(done >= 200 && done < 1_000 && done % 50 === 0, String(done))
          yield* allOpen(url, `${k1},${k2}`, seeded)
          const again = yield* rotateKeys(env)
          assert.strictEqual(again.code, 0, again.stderr)
          assert.match(again.stdout, new RegExp(`credentials +${(1_000 - done).toLocaleString("en-US")}\n`))
          yield* allOpen(url, k2, seeded)
        }),
      120_000
    )
  }

  it.scopedLive(
    "rows that do not open are listed, and end it with 2; the others are done",
    () =>
      Effect.gen(function* () {
        const url = yield* Postgres.database
        const seeded = yield* seed(url, 10)
        const [damaged] = seeded
        assert.isDefined(damaged)
        yield* query(
          url,
          "update credentials set sealed = set_byte(sealed, 30, 255 - get_byte(sealed, 30)) where id = $1",
          [damaged.id]
        )
        const env = { DATABASE_URL: url, ENCRYPTION_KEYS: `${k2},${k1}`, DATA_DIR: yield* temporary }
        const { code, stderr, stdout } = yield* rotateKeys(env)
        assert.strictEqual(code, 2)
        assert.match(stdout, /credentials +9 {3}1 left\n/)
        assert.include(stderr, "1 row does not open with any key of the ring, and was left alone:")
        assert.include(stderr, `  credentials "user 0" "${damaged.id}"\n`)
        assert.include(stderr, "Keep in the ring: k1.")
      }),
    60_000
  )

  it.scopedLive(
    "what cannot be is refused with what to do",
    () =>
      Effect.gen(function* () {
        const url = yield* Postgres.database
        yield* seed(url, 1)
        const directory = yield* temporary
        const refused = (env: Record<string, string>, ...parameters: ReadonlyArray<string>) =>
          Effect.map(rotateKeys({ DATA_DIR: join(directory, "none"), ...env }, ...parameters), (ended) => {
            assert.deepInclude(ended, { code: 1, stdout: "" })
            return ended.stderr
          })
        assert.strictEqual(
          yield* refused({ DATABASE_URL: url, ENCRYPTION_KEYS: k2 }),
          "ENCRYPTION_KEYS: expected to hold the key k1, as it was when the stored credentials were sealed with it: put it back, after the first one.\n"
        )
        assert.match(
          yield* refused({ DATABASE_URL: "postgres://127.0.0.1:1/none", ENCRYPTION_KEYS: k1 }),
          /^The database 127\.0\.0\.1:1\/none does not answer: start it, or correct the host and port in DATABASE_URL \(ECONNREFUSED\)\.\n$/
        )
        assert.match(yield* refused({ DATABASE_URL: url }), /ENCRYPTION_KEYS: expected the keys/)
        assert.match(
          yield* refused({}),
          /DATA_DIR: encryption\.keys in .* cannot be read \(ENOENT\): expected the directory/
        )
        assert.match(
          yield* refused({ ENCRYPTION_KEYS: k1 }),
          /^DATA_DIR: .* holds no database: set it, or DATABASE_URL/
        )
        assert.isFalse(Fs.existsSync(join(directory, "none", "database")))
        assert.match(
          yield* refused({ DATABASE_URL: url, ENCRYPTION_KEYS: k1 }, "--batch-size=0"),
          /--batch-size: expected a whole number from 1 to 5000/
        )
      }),
    60_000
  )
})

describe("rotate-keys on the embedded database", () => {
  it.scopedLive(
    "a server brings everything under its first key by itself; beside it the command says so, and without it does the same",
    () =>
      Effect.gen(function* () {
        const service = yield* Service.start({ env: { ENCRYPTION_KEYS: k1 } })
        const body = { type: "api_key", provider: "acme", apiKey: "precious" }
        const ids: Array<string> = []
        for (let index = 0; index < 60; index++) {
          ids.push((yield* Client.ok(service.client.createCredential("user", body))).id)
        }
        const env = { DATA_DIR: service.dataDir, ENCRYPTION_KEYS: `${k2},${k1}` }
        const beside = yield* rotateKeys(env)
        assert.deepInclude(beside, { code: 1, stdout: "" })
        assert.match(
          beside.stderr,
          /^A server works in .*\/database\. It brings everything under its first key by itself/
        )

        yield* service.restart({ ENCRYPTION_KEYS: `${k2},${k1}` })
        const done = () => service.stdout.includes('"message":"Stored rows were brought under the first key","rows":61')
        yield* Effect.repeat(Effect.sleep("20 millis"), { until: done })
        yield* service.restart({ ENCRYPTION_KEYS: k2 })
        for (const id of ids) {
          assert.strictEqual((yield* Client.ok(service.client.secret("user", id))).apiKey, "precious")
        }

        yield* service.stop()
        const without = yield* rotateKeys({ DATA_DIR: service.dataDir, ENCRYPTION_KEYS: `${k1},${k2}` })
        assert.strictEqual(without.code, 0, without.stderr)
        assert.match(without.stdout, /^Brought under k1:\n {2}settings +1\n {2}credentials +60\n/)
        assert.include(without.stdout, "Nothing is left under k2.")
        yield* service.restart({ ENCRYPTION_KEYS: k1 })
        assert.strictEqual((yield* Client.ok(service.client.secret("user", ids[0] ?? ""))).apiKey, "precious")
      }),
    60_000
  )
})
