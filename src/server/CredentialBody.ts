/**
 * From bodies to what the manager takes.
 *
 * @since 0.1.0
 */
import type * as CredentialBody from "../api/CredentialBody.ts"
import type { NewCredential } from "../Credential.ts"
import type { Replacement } from "../Replacement.ts"

/**
 * @since 0.1.0
 * @category conversions
 */
export const toNew = (body: CredentialBody.New): NewCredential => {
  const { id, metadata, provider, title, ...secret } = body
  return {
    provider,
    variant: secret.type === "oauth2" ? { ...secret, scopes: secret.scopes ?? [] } : secret,
    ...(id !== undefined && { id }),
    ...(title !== undefined && { title }),
    ...(metadata !== undefined && { extra: metadata })
  }
}

/**
 * @since 0.1.0
 * @category conversions
 */
export const toReplacement = (body: CredentialBody.Replacement): Replacement => {
  const { metadata, provider, title, ...variant } = body
  return {
    variant,
    ...(provider !== undefined && { provider }),
    ...(title !== undefined && { title }),
    ...(metadata !== undefined && { extra: metadata })
  }
}
