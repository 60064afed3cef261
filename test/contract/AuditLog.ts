import { assert, layer as withLayer } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import type { AuditEvent } from "../../src/AuditEvent.ts"
import { actor, AuditLog, record } from "../../src/AuditLog.ts"
import { CredentialId, ProviderId, UserId } from "../../src/Credential.ts"

const event = (fields: Partial<AuditEvent> = {}): AuditEvent => ({
  at: DateTime.unsafeMake("2024-05-06T07:08:09.123Z"),
  kind: "credential_created",
  actor: "service",
  ...fields
})

/** What every engine does as an `AuditLog`. */
export const suite = <E>(name: string, layer: Layer.Layer<AuditLog, E>) =>
  withLayer(layer, { timeout: "60 seconds" })(`AuditLog: ${name}`, (it) => {
    it.effect("an event is read back as it was appended, whatever it leaves out", () =>
      Effect.gen(function* () {
        const log = yield* AuditLog
        const bare = event()
        const full = event({
          kind: "needs_reauth",
          userId: UserId.make(`user ${randomUUID()}`),
          credentialId: CredentialId.to.make(randomUUID()),
          provider: Schema.decodeSync(ProviderId)("github"),
          generation: 7,
          actor: randomUUID(),
          detail: "response_lost",
          attemptId: randomUUID()
        })
        yield* log.append(bare)
        yield* log.append(full)
        assert.deepStrictEqual(yield* log.recent(2), [full, bare])
      })
    )

    it.effect("the newest comes first, by when it was appended, and no more than asked for", () =>
      Effect.gen(function* () {
        const log = yield* AuditLog
        const events = Array.from({ length: 5 }, (_, index) =>
          event({ detail: String(index), at: DateTime.unsafeMake(1_000_000 - index) })
        )
        yield* Effect.forEach(events, log.append)
        for (const limit of [0, 1, 3, 5]) {
          assert.deepStrictEqual(yield* log.recent(limit), events.toReversed().slice(0, limit))
        }
      })
    )

    it.effect("none is lost when many are appended at once", () =>
      Effect.gen(function* () {
        const log = yield* AuditLog
        const mark = randomUUID()
        const details = Array.from({ length: 100 }, (_, index) => String(index))
        yield* Effect.forEach(details, (detail) => log.append(event({ actor: mark, detail })), {
          concurrency: "unbounded",
          discard: true
        })
        const found = (yield* log.recent(100)).filter((each) => each.actor === mark)
        assert.sameMembers(
          found.map(({ detail }) => detail),
          details
        )
      })
    )

    it.effect("what is recorded has the time and the actor of its fiber", () =>
      Effect.gen(function* () {
        const log = yield* AuditLog
        const now = yield* DateTime.now
        yield* Effect.locally(record({ kind: "lease_taken" }), actor, "a key's id")
        yield* record({ kind: "lease_released" })
        assert.deepStrictEqual(yield* log.recent(2), [
          { at: now, actor: "service", kind: "lease_released" },
          { at: now, actor: "a key's id", kind: "lease_taken" }
        ])
      })
    )
  })
