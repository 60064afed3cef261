/**
 * A cipher that seals nothing, but opens only what was sealed for the very same subject: what is stored can be looked at, and
 * a schedule does not spend its time on AES.
 */
import * as Effect from "effect/Effect"
import { type Cipher, DoesNotOpen, type Subject } from "../../src/Cipher.ts"
import type { CredentialRow } from "../../src/Store/Driver.ts"

const keyId = "simulated"

const labelOf = (subject: Subject) => Buffer.from(`${JSON.stringify(subject)}\n`, "utf8")

export const cipher: Cipher["Type"] = {
  keyIds: [keyId],
  seal: (plain, subject) => Effect.sync(() => ({ keyId, bytes: Buffer.concat([labelOf(subject), plain]) })),
  open: ({ bytes }, subject) =>
    Effect.suspend(() => {
      const label = labelOf(subject)
      return label.equals(bytes.subarray(0, label.length))
        ? Effect.succeed(bytes.subarray(label.length))
        : Effect.fail(new DoesNotOpen({ keyId }))
    }),
  rewrap: (sealed) => Effect.succeed(sealed)
}

/** The tokens in a stored row. */
export const tokensOf = (
  row: CredentialRow
): { readonly access: string; readonly refresh: string; readonly expiresAt: number } => {
  const text = Buffer.from(row.sealed).toString("utf8")
  const { variant } = JSON.parse(text.slice(text.indexOf("\n") + 1))
  return {
    access: variant.accessToken,
    refresh: variant.refreshToken,
    expiresAt: Date.parse(variant.accessTokenExpiresAt)
  }
}
