/**
 * A new version of a credential by its user's hand.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { type Credential, type Extra, type ProviderId, settled, type Variant } from "./Credential.ts"
import { ScopeMismatch, TypeMismatch } from "./CredentialsError.ts"
import { withdrawn } from "./TokenSet.ts"

type Changed<V extends Variant> = V extends Variant ? Partial<Omit<V, "type">> & Pick<V, "type"> : never

/**
 * What is absent keeps its value.
 *
 * @since 0.1.0
 * @category models
 */
export interface Replacement {
  readonly provider?: ProviderId
  readonly title?: string
  readonly variant: Changed<Variant>
  readonly extra?: Redacted.Redacted<Extra>
}

const scopesOf = (variant: Variant) => (variant.type === "oauth2" ? variant.scopes : [])

/** Lifetimes that the provider answered say nothing of other tokens or expiries. */
const merged = (before: Variant, changed: Changed<Variant>): Variant => {
  const variant = { ...before, ...changed } as Variant
  if (variant.type !== "oauth2") return variant
  const { lifetimeSeconds: _, refreshLifetimeSeconds, ...rest } = variant
  const renews = "refreshToken" in changed || "refreshTokenExpiresAt" in changed
  return renews || refreshLifetimeSeconds === undefined ? rest : { ...rest, refreshLifetimeSeconds }
}

/**
 * The next generation of a credential. The type and the provider stay, and scopes do not get narrower. With a new secret
 * the state of renewal begins anew; with none it goes on.
 *
 * @since 0.1.0
 */
export const apply = (
  replacement: Replacement,
  credential: Credential,
  at: DateTime.Utc
): Either.Either<Credential, TypeMismatch | ScopeMismatch> => {
  const { generation, id, provider, renewal, variant } = credential
  const mismatch = (expected: string, actual: string) =>
    Either.left(new TypeMismatch({ credentialId: id, expected, actual }))
  if (replacement.variant.type !== variant.type) return mismatch(variant.type, replacement.variant.type)
  if (replacement.provider !== undefined && replacement.provider !== provider) {
    return mismatch(provider, replacement.provider)
  }
  const touched = Object.keys(replacement.variant).length > 1
  const next = touched ? merged(variant, replacement.variant) : variant
  const missing = withdrawn(scopesOf(variant), scopesOf(next))
  if (missing.length > 0) return Either.left(new ScopeMismatch({ credentialId: id, missing }))
  const reported = Option.contains(renewal.reportedGeneration, generation)
  return Either.right({
    ...credential,
    title: Option.orElse(Option.fromNullable(replacement.title), () => credential.title),
    generation: generation + 1,
    variant: next,
    extra: replacement.extra ?? credential.extra,
    renewal: touched
      ? settled
      : { ...renewal, reportedGeneration: reported ? Option.some(generation + 1) : Option.none() },
    updatedAt: at,
    storedAt: touched ? at : credential.storedAt
  })
}
