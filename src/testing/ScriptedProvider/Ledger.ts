/**
 * What a `ScriptedProvider` was asked, in order of arrival, and what came of it. An entry is written when its request has
 * arrived and grows while the request is served; entries that were read are snapshots.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { RequestKind } from "./Fault.ts"

/** How the client identified itself at the token or revocation endpoint. */
export type ClientAuthSeen =
  | "client_secret_basic"
  | "client_secret_post"
  | "private_key_jwt"
  | "secret_as_user"
  | "none"

/**
 * What the provider did.
 *
 * - `pending`: not processed yet; `refused`: a fault answered, or cut the connection, before anything was processed;
 * - `issued`: a code was exchanged; `approved`: an authorization was redirected back;
 * - `rotated`: a refresh token was spent and replaced; `kept`: it was used and stays valid;
 * - `graced`: it had been spent already, within the grace, and was answered again;
 * - `reused`: it had been spent already: `invalid_grant`, and the grant is revoked;
 * - `revoked`: RFC 7009; `answered`: userinfo and metadata;
 * - `failed`: the request was wrong (`error` says how).
 */
export type Outcome =
  | "pending"
  | "refused"
  | "approved"
  | "issued"
  | "rotated"
  | "kept"
  | "graced"
  | "reused"
  | "revoked"
  | "answered"
  | "failed"

/** One request. Times are milliseconds of Effect's `Clock`. */
export interface Entry {
  readonly index: number
  readonly kind: RequestKind
  readonly receivedAt: number
  readonly processedAt?: number
  readonly answeredAt?: number
  readonly outcome: Outcome
  /** What the client saw: `aborted` when it had gone by then. */
  readonly sent: "pending" | "answered" | "cut" | "reset" | "aborted"
  readonly status?: number
  /** The OAuth error code that the processing ended with. */
  readonly error?: string
  readonly grantId?: string
  readonly clientId?: string
  readonly clientAuth?: ClientAuthSeen
  /** The refresh token that was presented. */
  readonly refreshToken?: string
  /** The tokens that were made for this request, whether or not the client ever saw them. */
  readonly issued?: { readonly accessToken: string; readonly refreshToken?: string }
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** The raw body. */
  readonly body: string
  /** Query and form (or JSON) fields. */
  readonly parameters: Readonly<Record<string, string>>
}

export interface Ledger {
  readonly entries: () => ReadonlyArray<Entry>
  readonly count: (test: (entry: Entry) => boolean) => number
  /** Writes an entry down and gives its index. */
  readonly open: (entry: Omit<Entry, "index" | "outcome" | "sent">) => number
  readonly update: (index: number, fields: Partial<Entry>) => void
  /** Waits until the entries pass the test, which is tried after every change. */
  readonly await: (test: (entries: ReadonlyArray<Entry>) => boolean) => Effect.Effect<ReadonlyArray<Entry>>
}

export const make = (): Ledger => {
  const entries: Array<Entry> = []
  const waiting = new Set<() => void>()
  const changed = () => {
    for (const check of waiting) check()
  }
  return {
    entries: () => [...entries],
    count: (test) => entries.filter(test).length,
    open: (entry) => {
      const index = entries.length
      entries.push({ ...entry, index, outcome: "pending", sent: "pending" })
      changed()
      return index
    },
    update: (index, fields) => {
      const entry = entries[index]
      if (entry === undefined) return
      entries[index] = { ...entry, ...fields }
      changed()
    },
    await: (test) =>
      Effect.async((resume) => {
        const check = () => {
          const now = [...entries]
          if (!test(now)) return
          waiting.delete(check)
          resume(Effect.succeed(now))
        }
        waiting.add(check)
        check()
        return Effect.sync(() => waiting.delete(check))
      })
  }
}
