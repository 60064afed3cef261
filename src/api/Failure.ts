/**
 * What can go wrong, by what is done: the unions that endpoints name.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import {
  CredentialNotFound,
  GenerationConflict,
  InvalidRequest,
  LeaseLost,
  LockTimeout,
  LockUnavailable,
  MissingConfig,
  MissingTokenUrl,
  NeedsReauth,
  OutboundRefused,
  PayloadTooLarge,
  ProviderError,
  ReadOnlyCredential,
  ScopeMismatch,
  StoreUnavailable,
  TypeMismatch,
  Undecryptable,
  UnknownProvider
} from "../CredentialsError.ts"
import { InternalError, ServiceUnavailable, wire } from "./PublicError.ts"

/**
 * @since 0.1.0
 * @category failures
 */
export const Any = Schema.Union(wire(InvalidRequest), wire(InternalError), wire(ServiceUnavailable))

/**
 * @since 0.1.0
 * @category failures
 */
export const WithBody = Schema.Union(Any, wire(PayloadTooLarge))

/**
 * @since 0.1.0
 * @category failures
 */
export const Reading = Schema.Union(wire(CredentialNotFound), wire(StoreUnavailable))

/**
 * @since 0.1.0
 * @category failures
 */
export const Opening = Schema.Union(Reading, wire(Undecryptable))

/**
 * @since 0.1.0
 * @category failures
 */
export const Waiting = Schema.Union(wire(LockTimeout), wire(LockUnavailable), wire(LeaseLost))

/**
 * @since 0.1.0
 * @category failures
 */
export const Renewing = Schema.Union(
  Opening,
  Waiting,
  wire(NeedsReauth),
  wire(UnknownProvider),
  wire(MissingConfig),
  wire(MissingTokenUrl),
  wire(OutboundRefused),
  wire(ProviderError)
)

/**
 * @since 0.1.0
 * @category failures
 */
export const Changing = Schema.Union(Opening, Waiting, wire(ReadOnlyCredential))

/**
 * @since 0.1.0
 * @category failures
 */
export const Replacing = Schema.Union(Changing, wire(GenerationConflict), wire(ScopeMismatch), wire(TypeMismatch))
