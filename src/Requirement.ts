/**
 * What a program needs, and which of a user's credentials serves it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type { Metadata, ProviderId, Type } from "./Credential.ts"
import { matchesHost } from "./Credential.ts"
import * as McpServer from "./McpServer.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Requirement {
  readonly name: string
  readonly provider: ProviderId
  readonly types?: ReadonlyArray<Type>
  /** For `oauth2` credentials: all of these must have been granted. */
  readonly scopes?: ReadonlyArray<string>
  /** For `host_scoped` credentials: the host that will be called. */
  readonly host?: string
  /** For MCP logins: the server; each URL is a requirement of its own. */
  readonly serverUrl?: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Match {
  readonly name: string
  readonly credentialId: Metadata["id"] | null
  /** All that fit, in the order of preference; those that need a new login or have expired are among them. */
  readonly candidates: ReadonlyArray<Metadata>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Matches {
  readonly matches: ReadonlyArray<Match>
  /** The names of the requirements that nothing serves. */
  readonly missing: ReadonlyArray<string>
}

const isOfServer = (credential: Metadata, serverUrl: string) => {
  const stored = credential.metadata?.["mcp_server_url"]
  return typeof stored === "string" && McpServer.isSame(stored, serverUrl)
}

/**
 * Whether a credential fits a requirement, whatever its status.
 *
 * @since 0.1.0
 */
export const fits = (requirement: Requirement, credential: Metadata): boolean =>
  credential.provider === requirement.provider &&
  (requirement.types === undefined || requirement.types.includes(credential.type)) &&
  (requirement.scopes === undefined ||
    credential.type !== "oauth2" ||
    requirement.scopes.every((scope) => credential.scopes?.includes(scope) === true)) &&
  (requirement.host === undefined ||
    credential.type !== "host_scoped" ||
    (credential.host !== undefined && matchesHost(credential.host, requirement.host))) &&
  (requirement.serverUrl === undefined || isOfServer(credential, requirement.serverUrl))

/** An access token that has expired is no obstacle (it will be renewed); an API key that has is. */
const serves = (credential: Metadata, now: DateTime.Utc) =>
  credential.status === "active" &&
  (credential.expiresAt === undefined || DateTime.greaterThan(credential.expiresAt, now))

/**
 * For each requirement the first credential that fits and serves. The order of `credentials` is the order of
 * preference, so equal questions have equal answers.
 *
 * @since 0.1.0
 */
export const match = (
  requirements: ReadonlyArray<Requirement>,
  credentials: ReadonlyArray<Metadata>,
  now: DateTime.Utc
): Matches => {
  const matches = requirements.map((requirement) => {
    const candidates = credentials.filter((credential) => fits(requirement, credential))
    return {
      name: requirement.name,
      credentialId: candidates.find((credential) => serves(credential, now))?.id ?? null,
      candidates
    }
  })
  return { matches, missing: matches.filter((match) => match.credentialId === null).map((match) => match.name) }
}
