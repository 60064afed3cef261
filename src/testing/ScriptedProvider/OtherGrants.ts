/**
 * The grants of a `ScriptedProvider` beside the code and the refresh token: client credentials, assertions, token exchange, and
 * codes that a user enters elsewhere.
 *
 * @since 0.1.0
 */
import * as Crypto from "node:crypto"
import { claimsOf } from "./ClientAuth.ts"
import type { Request } from "./Connection.ts"
import type * as Grants from "./Grants.ts"

/** Tokens, or the error that the endpoint answers. */
export type Outcome = Grants.Tokens | string

export interface Options {
  readonly grants: Grants.Grants
  readonly now: () => number
  readonly account: () => string
  /** What an assertion's `aud` may be. */
  readonly audiences: ReadonlyArray<string>
  /** PEMs of those who may issue assertions, by issuer. */
  readonly issuers: Readonly<Record<string, string>>
  readonly intervalSeconds: number
  readonly codeSeconds: number
}

interface Code {
  readonly clientId: string
  readonly userCode: string
  readonly scopes: ReadonlyArray<string>
  readonly expiresAt: number
  answer: "pending" | "approved" | "denied" | "used"
  earliest: number
}

const issuerOf = (assertion: string): string => {
  try {
    const claims: unknown = JSON.parse(Buffer.from(assertion.split(".")[1] ?? "", "base64url").toString())
    return typeof claims === "object" && claims !== null ? String(Reflect.get(claims, "iss")) : ""
  } catch {
    return ""
  }
}

export const make = ({ account, audiences, codeSeconds, grants, intervalSeconds, issuers, now }: Options) => {
  const codes = new Map<string, Code>()

  const machine = (request: Request, clientId: string, scopes: ReadonlyArray<string>): Outcome => {
    const { parameters } = request
    switch (parameters["grant_type"]?.split(":").at(-1)) {
      case "client_credentials":
        return grants.lend(clientId, clientId, scopes)
      case "jwt-bearer": {
        const assertion = parameters["assertion"] ?? ""
        const issuer = issuerOf(assertion)
        const claims = claimsOf(assertion, issuers[issuer], audiences, now())
        if (claims === undefined) return "invalid_grant"
        const inClaim = typeof claims["scope"] === "string" ? claims["scope"].split(" ") : scopes
        return grants.lend(clientId, String(claims["sub"] ?? issuer), inClaim)
      }
      default: {
        const subject = grants.access(parameters["subject_token"] ?? "")
        return subject === undefined || parameters["subject_token_type"] === undefined
          ? "invalid_grant"
          : grants.lend(clientId, subject.grant.account, scopes)
      }
    }
  }

  const begin = (clientId: string, scopes: ReadonlyArray<string>, url: string) => {
    const deviceCode = Crypto.randomBytes(24).toString("base64url")
    const userCode = Crypto.randomBytes(4).toString("hex").toUpperCase()
    const expiresAt = now() + codeSeconds * 1000
    codes.set(deviceCode, { clientId, userCode, scopes, expiresAt, answer: "pending", earliest: now() })
    return {
      device_code: deviceCode,
      user_code: userCode,
      verification_uri: `${url}/activate`,
      verification_uri_complete: `${url}/activate?code=${userCode}`,
      expires_in: codeSeconds,
      interval: intervalSeconds
    }
  }

  const poll = (deviceCode: string, clientId: string): Outcome => {
    const code = codes.get(deviceCode)
    if (code === undefined || code.clientId !== clientId || code.answer === "used") return "invalid_grant"
    if (code.expiresAt <= now()) return "expired_token"
    if (code.answer === "denied") return "access_denied"
    if (now() < code.earliest) return "slow_down"
    code.earliest = now() + intervalSeconds * 1000
    if (code.answer === "pending") return "authorization_pending"
    code.answer = "used"
    return grants.issue({ clientId, account: account(), scopes: code.scopes })
  }

  return {
    machine,
    begin,
    poll,
    /** The user enters the code, and says yes or no. */
    enter: (userCode: string, answer: "approved" | "denied"): boolean => {
      const code = [...codes.values()].find((known) => known.userCode === userCode)
      if (code !== undefined) code.answer = answer
      return code !== undefined
    }
  }
}

export type OtherGrants = ReturnType<typeof make>
