/** What the bare servers answer: as much as the real one does, of a row whose secret they cannot open. */
import type { CredentialRow } from "../../src/Store/Driver.ts"

export interface Options {
  readonly databaseUrl: string
  readonly key: string
}

export const answerOf = (row: CredentialRow) => {
  const token = Buffer.from(row.sealed.subarray(0, 32)).toString("base64url")
  return {
    credentialId: row.id,
    generation: row.generation,
    type: row.type,
    expiresAt: row.updatedAt.toISOString(),
    accessToken: token,
    headers: { Authorization: `Bearer ${token}` }
  }
}
