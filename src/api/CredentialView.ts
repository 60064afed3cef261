/**
 * Credentials as answers: metadata, which holds no secret, and the secret itself.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { CredentialId, Extra, ProviderId, ReauthReason, Status, Type, UserId } from "../Credential.ts"
import { optional, Timestamp } from "./Parameter.ts"

/**
 * @since 0.1.0
 * @category answers
 */
export const Metadata = Schema.Struct({
  id: CredentialId,
  userId: UserId,
  type: Type,
  provider: ProviderId,
  title: optional(Schema.String),
  username: optional(Schema.String),
  host: optional(Schema.String),
  scopes: optional(Schema.Array(Schema.String)),
  expiresAt: optional(Timestamp),
  accessTokenExpiresAt: optional(Timestamp),
  refreshTokenExpiresAt: optional(Timestamp),
  metadata: optional(Extra),
  status: Status,
  statusReason: optional(ReauthReason),
  reauthSoonAt: optional(Timestamp),
  generation: Schema.Number,
  system: optional(Schema.Literal(true)),
  createdAt: Timestamp,
  updatedAt: Timestamp
}).annotations({ identifier: "Metadata" })

const SecretText = Schema.Redacted(Schema.String)

/**
 * The one answer, with that of a lease, that carries a secret: `headers` is ready to send.
 *
 * @since 0.1.0
 * @category answers
 */
export const Secret = Schema.Struct({
  credentialId: CredentialId,
  generation: Schema.Number,
  type: Type,
  expiresAt: optional(Timestamp),
  accessToken: optional(SecretText),
  apiKey: optional(SecretText),
  username: optional(Schema.String),
  password: optional(SecretText),
  host: optional(Schema.String),
  headers: Schema.Record({ key: Schema.String, value: SecretText })
}).annotations({ identifier: "Secret" })
