/**
 * An explanation as an answer.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { CredentialId, FailureReason, ProviderId, ReauthReason, Status, Type } from "../Credential.ts"
import { optional, Timestamp } from "./Parameter.ts"

const DueReason = Schema.Literal("forced", "reported", "expired", "expiring")

const Renewal = Schema.Struct({
  renewable: Schema.Boolean,
  verdict: optional(Schema.Literal("fresh", "due", "dead")),
  reason: optional(Schema.Union(DueReason, ReauthReason)),
  nextAt: optional(Timestamp),
  aheadAt: optional(Timestamp),
  marginSeconds: optional(Schema.Number),
  backOffUntil: optional(Timestamp),
  failures: Schema.Number,
  lastError: optional(Schema.Struct({ reason: FailureReason })),
  blockedBy: optional(Schema.Literal("unknown_provider", "missing_config", "missing_token_url")),
  circuit: optional(Schema.Struct({ state: Schema.Literal("open", "half_open"), until: optional(Timestamp) })),
  attempt: optional(
    Schema.Struct({ id: Schema.String, startedAt: Timestamp, deadline: Timestamp, processId: Schema.String })
  )
})

const Holder = Schema.Struct({
  mode: Schema.Literal("exclusive", "shared"),
  fencingToken: Schema.Number,
  expiresAt: optional(Timestamp),
  mine: optional(Schema.Literal(true))
})

const Leases = Schema.Union(
  Schema.Struct({ available: Schema.Literal(true), holders: Schema.Array(Holder), waiting: Schema.Number }),
  Schema.Struct({ available: Schema.Literal(false) })
)

/**
 * @since 0.1.0
 * @category answers
 */
export const Explanation = Schema.Struct({
  credentialId: CredentialId,
  type: Type,
  provider: ProviderId,
  system: optional(Schema.Literal(true)),
  generation: Schema.Number,
  status: Status,
  statusReason: optional(ReauthReason),
  expiresAt: optional(Timestamp),
  reauthSoonAt: optional(Timestamp),
  renewal: Renewal,
  leases: Leases,
  nextAction: Schema.Struct({
    action: Schema.Literal("none", "wait", "renew", "reconnect", "replace", "configure", "restore"),
    message: Schema.String
  })
}).annotations({ identifier: "Explanation" })
