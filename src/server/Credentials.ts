/**
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { Api } from "../api/Api.ts"
import { CurrentKey } from "../api/Authentication.ts"
import type * as Body from "../api/CredentialBody.ts"
import type { CredentialId, Metadata, ProviderId, UserId } from "../Credential.ts"
import { CredentialsManager } from "../CredentialsManager.ts"
import { Explanation } from "../Explanation.ts"
import type { Requirement } from "../Requirement.ts"
import type { Cursor, Filter } from "../Store.ts"
import * as CredentialBody from "./CredentialBody.ts"
import * as Generation from "./Generation.ts"
import * as Waiting from "./Waiting.ts"

interface OfUser {
  readonly path: { readonly userId: UserId }
}

interface OfCredential {
  readonly path: { readonly userId: UserId; readonly credentialId: CredentialId }
}

interface WaitParameters {
  readonly waitSeconds?: number
  readonly leaseId?: Redacted.Redacted
}

/**
 * @since 0.1.0
 * @category handlers
 */
export const create = ({ path, payload }: OfUser & { readonly payload: Body.New }) =>
  Effect.flatMap(CredentialsManager, (credentials) =>
    Generation.tagged(credentials.create(path.userId, CredentialBody.toNew(payload)))
  )

const pageSize = 50

/**
 * @since 0.1.0
 * @category handlers
 */
export const list = Effect.fnUntraced(function* ({
  path,
  urlParams
}: OfUser & {
  readonly urlParams: {
    readonly provider?: ProviderId
    readonly type?: Metadata["type"]
    readonly status?: Metadata["status"]
    readonly limit?: number
    readonly cursor?: Cursor
  }
}) {
  const credentials = yield* CredentialsManager
  const { cursor, limit, ...filter } = urlParams
  const page = yield* credentials.list(path.userId, filter satisfies Filter, {
    limit: limit ?? pageSize,
    after: Option.fromNullable(cursor)
  })
  return { items: page.items, ...(Option.isSome(page.next) && { nextCursor: page.next.value }) }
})

/**
 * @since 0.1.0
 * @category handlers
 */
export const read = ({ path }: OfCredential) =>
  Effect.flatMap(CredentialsManager, (credentials) =>
    Generation.tagged(credentials.metadata(path.userId, path.credentialId))
  )

/**
 * The head of what `read` answers.
 *
 * @since 0.1.0
 * @category handlers
 */
export const exists = (request: OfCredential) => Effect.as(read(request), HttpServerResponse.empty({ status: 200 }))

/**
 * @since 0.1.0
 * @category handlers
 */
export const secret = ({
  path,
  urlParams
}: OfCredential & {
  readonly urlParams: WaitParameters & {
    readonly minValidSeconds?: number
    readonly refresh?: "auto" | "force" | "never"
  }
}) =>
  Effect.flatMap(CredentialsManager, (credentials) => {
    const { leaseId, minValidSeconds, refresh = "auto", waitSeconds } = urlParams
    const minValid = minValidSeconds === undefined ? undefined : Duration.seconds(minValidSeconds)
    const usable = Effect.flatMap(Waiting.options(urlParams), (waiting) =>
      credentials.get(path.userId, path.credentialId, { ...waiting, refresh, minValid })
    ).pipe(Waiting.bounded(waitSeconds))
    if (refresh !== "auto" || leaseId !== undefined || waitSeconds !== undefined) return usable
    // a read ends in the store's own time: a watch over it would cost more than it
    return Effect.flatMap(
      credentials.fresh(path.userId, path.credentialId, { minValid }),
      Option.match({ onNone: () => usable, onSome: Effect.succeed })
    )
  })

/**
 * @since 0.1.0
 * @category handlers
 */
export const replace = Effect.fnUntraced(
  function* ({
    headers,
    path,
    payload,
    urlParams
  }: OfCredential & {
    readonly headers: { readonly "if-match"?: number }
    readonly payload: Body.Replacement
    readonly urlParams: WaitParameters
  }) {
    const credentials = yield* CredentialsManager
    const waiting = yield* Waiting.options(urlParams)
    return yield* Generation.tagged(
      credentials.update(path.userId, path.credentialId, CredentialBody.toReplacement(payload), {
        ...waiting,
        ifGeneration: headers["if-match"]
      })
    )
  },
  (effect, { urlParams }) => Waiting.bounded(urlParams.waitSeconds)(effect)
)

/**
 * @since 0.1.0
 * @category handlers
 */
export const remove = Effect.fnUntraced(
  function* ({
    path,
    urlParams
  }: OfCredential & { readonly urlParams: WaitParameters & { readonly revoke?: boolean } }) {
    const credentials = yield* CredentialsManager
    const waiting = yield* Waiting.options(urlParams)
    return yield* credentials.delete(path.userId, path.credentialId, { ...waiting, revoke: urlParams.revoke })
  },
  (effect, { urlParams }) => Waiting.bounded(urlParams.waitSeconds)(effect)
)

/**
 * The lease may be named in the body or in the query; the body's goes first.
 *
 * @since 0.1.0
 * @category handlers
 */
export const refresh = Effect.fnUntraced(
  function* ({
    path,
    payload,
    urlParams
  }: OfCredential & {
    readonly payload: { readonly ifGeneration?: number; readonly leaseId?: Redacted.Redacted }
    readonly urlParams: WaitParameters
  }) {
    const credentials = yield* CredentialsManager
    const { ifGeneration, ...named } = payload
    const waiting = yield* Waiting.options({ ...urlParams, ...named })
    return yield* Generation.tagged(credentials.refresh(path.userId, path.credentialId, { ...waiting, ifGeneration }))
  },
  (effect, { urlParams }) => Waiting.bounded(urlParams.waitSeconds)(effect)
)

/**
 * @since 0.1.0
 * @category handlers
 */
export const report = ({
  path,
  payload
}: OfCredential & { readonly payload: { readonly generation: number; readonly status: number } }) =>
  Effect.flatMap(CredentialsManager, (credentials) => credentials.report(path.userId, path.credentialId, payload))

/**
 * @since 0.1.0
 * @category handlers
 */
export const explain = Effect.fnUntraced(function* ({ path }: OfCredential) {
  const explanation = yield* Explanation
  const { keyId } = yield* CurrentKey
  return yield* explanation.explain(path.userId, path.credentialId, { owner: keyId })
})

/**
 * @since 0.1.0
 * @category handlers
 */
export const match = ({
  path,
  payload
}: OfUser & { readonly payload: { readonly requirements: ReadonlyArray<Requirement> } }) =>
  Effect.flatMap(CredentialsManager, (credentials) => credentials.match(path.userId, payload.requirements))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = HttpApiBuilder.group(Api, "credentials", (handlers) =>
  handlers
    .handle("create", create)
    .handle("list", list)
    .handle("match", match)
    .handle("read", read)
    .handle("exists", exists)
    .handle("secret", secret)
    .handle("replace", replace)
    .handle("remove", remove)
    .handle("refresh", refresh)
    .handle("report", report)
    .handle("explain", explain)
)
