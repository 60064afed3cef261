/**
 * Where an `OidcProvider` keeps its clients, sessions, grants and tokens: a map that forgets nothing before its time and
 * spends a token once. A token that is consumed twice ends its grant, however close together the two requests are.
 */
import { type Adapter, errors, type Payload } from "oidc-provider"

interface Row {
  payload: Payload
  readonly expiresAt: number
}

/** What oidc-provider says of a refresh token that comes back, and what this storage says when two come at once. */
export const reused = "refresh token already used"

const grantOf = (row: Row) => {
  const grantId = row.payload["grantId"]
  return typeof grantId === "string" ? grantId : undefined
}

const endTokens = (rows: Map<string, Row>, grantId: string) => {
  for (const [id, row] of rows) if (grantOf(row) === grantId) rows.delete(id)
}

/** `onGrantEnded` learns of each grant that a reuse or a revocation ended. */
export const make = (onGrantEnded: (grantId: string) => void) => {
  const models = new Map<string, Map<string, Row>>()
  const ended = new Set<string>()

  const rowsOf = (model: string) => {
    const rows = models.get(model) ?? new Map<string, Row>()
    models.set(model, rows)
    return rows
  }

  /** From now on nothing of this grant is found, nor what a request that is still being answered saves under it. */
  const endGrant = (grantId: string) => {
    if (ended.has(grantId)) return
    ended.add(grantId)
    rowsOf("Grant").delete(grantId)
    for (const model of ["AccessToken", "RefreshToken", "AuthorizationCode"]) endTokens(rowsOf(model), grantId)
    onGrantEnded(grantId)
  }

  const live = (row: Row | undefined) => {
    if (row === undefined || row.expiresAt <= Date.now()) return undefined
    const grantId = grantOf(row)
    return grantId === undefined || !ended.has(grantId) ? row.payload : undefined
  }

  const adapter = (model: string): Adapter => {
    const rows = rowsOf(model)
    const findBy = async (field: string, value: string) =>
      live([...rows.values()].find((row) => row.payload[field] === value))
    return {
      upsert: async (id, payload, expiresIn) => {
        const expiresAt = expiresIn === undefined ? Number.POSITIVE_INFINITY : Date.now() + expiresIn * 1000
        rows.set(id, { payload, expiresAt })
      },
      find: async (id) => live(rows.get(id)),
      findByUid: (uid) => findBy("uid", uid),
      findByUserCode: (code) => findBy("userCode", code),
      consume: async (id) => {
        const row = rows.get(id)
        if (row === undefined) throw new errors.InvalidGrant("ended meanwhile")
        if (row.payload["consumed"] !== undefined) {
          const grantId = grantOf(row)
          if (grantId !== undefined) endGrant(grantId)
          throw new errors.InvalidGrant(model === "RefreshToken" ? reused : "used twice at once")
        }
        row.payload = { ...row.payload, consumed: Math.floor(Date.now() / 1000) }
      },
      destroy: async (id) => {
        rows.delete(id)
        if (model === "Grant") endGrant(id)
      },
      revokeByGrantId: async (grantId) => endTokens(rows, grantId)
    }
  }

  return {
    adapter,
    registerClient: (id: string, metadata: Payload): void => {
      rowsOf("Client").set(id, { payload: metadata, expiresAt: Number.POSITIVE_INFINITY })
    }
  }
}
