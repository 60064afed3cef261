/**
 * The tokens of a `ScriptedProvider`: families of refresh tokens of which one is live, access tokens, authorization codes.
 * Synchronous, so that nothing comes between looking at a token and spending it.
 *
 * @since 0.1.0
 */
import * as Crypto from "node:crypto"

export interface Options {
  readonly accessTokenSeconds: number
  readonly refreshTokenSeconds: number | undefined
  readonly rotatesRefreshToken: boolean
  readonly refreshInvalidatesAccessToken: boolean
  readonly reuseGraceSeconds: number
  readonly reuseRevokesGrant: boolean
  readonly revocationScope: "token" | "grant"
}

/** What a user consented to: the family of every token that stems from one login. */
export interface Grant {
  readonly id: string
  readonly clientId: string
  readonly account: string
  readonly scopes: ReadonlyArray<string>
}

export interface Tokens {
  readonly grant: Grant
  readonly accessToken: string
  readonly refreshToken: string
  readonly scopes: ReadonlyArray<string>
  /** Seconds. */
  readonly expiresIn: number
  /** Milliseconds of Effect's `Clock`. */
  readonly expiresAt: number
}

export interface Pending {
  readonly clientId: string
  readonly account: string
  readonly redirectUri: string
  readonly scopes: ReadonlyArray<string>
  readonly codeChallenge: string | undefined
}

export type Spending =
  | { readonly outcome: "rotated" | "kept" | "graced"; readonly tokens: Tokens }
  | { readonly outcome: "reused"; readonly grant: Grant }
  | { readonly outcome: "failed"; readonly error: "invalid_grant" | "invalid_scope" }

interface Access {
  readonly grant: Grant
  readonly scopes: ReadonlyArray<string>
  expiresAt: number
}

interface Refresh {
  readonly grant: Grant
  readonly expiresAt: number
  spentAt: number | undefined
}

interface Code extends Pending {
  readonly expiresAt: number
  grant: Grant | undefined
}

const codeSeconds = 60

const secret = (kind: string) => `${kind}_${Crypto.randomBytes(24).toString("base64url")}`

/** S256 (RFC 7636 4.6). */
export const challengeOf = (verifier: string) => Crypto.createHash("sha256").update(verifier).digest("base64url")

export const make = (options: Options, now: () => number) => {
  const revoked = new Set<string>()
  const accesses = new Map<string, Access>()
  const refreshes = new Map<string, Refresh>()
  const codes = new Map<string, Code>()
  const grants: Array<Grant> = []

  const mint = (grant: Grant, scopes: ReadonlyArray<string>, seconds: number, kept?: string): Tokens => {
    const accessToken = secret("at")
    const refreshToken = kept ?? secret("rt")
    const expiresAt = now() + seconds * 1000
    accesses.set(accessToken, { grant, scopes, expiresAt })
    if (kept === undefined) {
      const lifetime = options.refreshTokenSeconds
      refreshes.set(refreshToken, {
        grant,
        spentAt: undefined,
        expiresAt: lifetime === undefined ? Number.POSITIVE_INFINITY : now() + lifetime * 1000
      })
    }
    return { grant, accessToken, refreshToken, scopes, expiresIn: seconds, expiresAt }
  }

  const open = (clientId: string, account: string, scopes: ReadonlyArray<string>) => {
    const grant = { id: Crypto.randomUUID(), clientId, account, scopes }
    grants.push(grant)
    return grant
  }

  const endAccesses = (grant: Grant) => {
    for (const [token, access] of accesses) if (access.grant === grant) accesses.delete(token)
  }

  const issue = (fields: {
    readonly clientId: string
    readonly account: string
    readonly scopes: ReadonlyArray<string>
    readonly accessTokenSeconds?: number
  }): Tokens =>
    mint(
      open(fields.clientId, fields.account, fields.scopes),
      fields.scopes,
      fields.accessTokenSeconds ?? options.accessTokenSeconds
    )

  const authorize = (pending: Pending): string => {
    const code = secret("code")
    codes.set(code, { ...pending, grant: undefined, expiresAt: now() + codeSeconds * 1000 })
    return code
  }

  /** Exchanges a code. A second exchange fails, and revokes what the first one issued (RFC 6749 4.1.2). */
  const redeem = (
    value: string,
    client: { readonly clientId: string; readonly redirectUri: string; readonly codeVerifier: string | undefined }
  ): Tokens | undefined => {
    const code = codes.get(value)
    if (code === undefined) return undefined
    if (code.grant !== undefined) {
      revoked.add(code.grant.id)
      return undefined
    }
    const proven =
      code.codeChallenge === undefined
        ? client.codeVerifier === undefined
        : client.codeVerifier !== undefined && challengeOf(client.codeVerifier) === code.codeChallenge
    if (
      !proven ||
      code.expiresAt <= now() ||
      code.clientId !== client.clientId ||
      code.redirectUri !== client.redirectUri
    ) {
      return undefined
    }
    code.grant = open(code.clientId, code.account, code.scopes)
    return mint(code.grant, code.scopes, options.accessTokenSeconds)
  }

  const spend = (value: string, clientId: string, requested?: ReadonlyArray<string>): Spending => {
    const refresh = refreshes.get(value)
    if (
      refresh === undefined ||
      revoked.has(refresh.grant.id) ||
      refresh.grant.clientId !== clientId ||
      refresh.expiresAt <= now()
    ) {
      return { outcome: "failed", error: "invalid_grant" }
    }
    const { grant } = refresh
    if (requested?.some((scope) => !grant.scopes.includes(scope))) return { outcome: "failed", error: "invalid_scope" }
    const graced = refresh.spentAt !== undefined
    if (refresh.spentAt !== undefined && now() - refresh.spentAt >= options.reuseGraceSeconds * 1000) {
      if (options.reuseRevokesGrant) revoked.add(grant.id)
      return { outcome: "reused", grant }
    }
    if (options.refreshInvalidatesAccessToken) endAccesses(grant)
    const kept = options.rotatesRefreshToken ? undefined : value
    if (kept === undefined) refresh.spentAt ??= now()
    const tokens = mint(grant, requested ?? grant.scopes, options.accessTokenSeconds, kept)
    return { outcome: graced ? "graced" : kept === undefined ? "rotated" : "kept", tokens }
  }

  /** An access token alone, as grants without a user bring. */
  const lend = (clientId: string, account: string, scopes: ReadonlyArray<string>): Tokens => {
    const tokens = mint(open(clientId, account, scopes), scopes, options.accessTokenSeconds)
    refreshes.delete(tokens.refreshToken)
    return tokens
  }

  const grantOf = (token: string): Grant | undefined => refreshes.get(token)?.grant ?? accesses.get(token)?.grant

  const access = (token: string): Access | undefined => {
    const found = accesses.get(token)
    return found !== undefined && found.expiresAt > now() && !revoked.has(found.grant.id) ? found : undefined
  }

  /** RFC 7009: an access token alone or a refresh token with all that stems from its login, or every grant of the user. */
  const revoke = (token: string): Grant | undefined => {
    const grant = grantOf(token)
    if (grant === undefined) return undefined
    if (options.revocationScope === "grant") {
      for (const other of grants) {
        if (other.clientId === grant.clientId && other.account === grant.account) revoked.add(other.id)
      }
    } else if (refreshes.has(token)) {
      revoked.add(grant.id)
    } else {
      accesses.delete(token)
    }
    return grant
  }

  return {
    issue,
    lend,
    authorize,
    redeem,
    spend,
    revoke,
    access,
    grantOf,
    isRefreshable: (token: string): boolean => {
      const refresh = refreshes.get(token)
      return (
        refresh !== undefined &&
        refresh.spentAt === undefined &&
        refresh.expiresAt > now() &&
        !revoked.has(refresh.grant.id)
      )
    },
    /** Ends the family of a token, as a user who disconnects the app. */
    end: (token: string): void => {
      const grant = grantOf(token)
      if (grant !== undefined) revoked.add(grant.id)
    },
    expire: (token: string): void => {
      const found = accesses.get(token)
      if (found !== undefined) found.expiresAt = now()
    }
  }
}

export type Grants = ReturnType<typeof make>
