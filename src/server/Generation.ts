/**
 * The generation of a credential as the `ETag` of its metadata.
 *
 * @since 0.1.0
 */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type { Metadata } from "../Credential.ts"

/**
 * @since 0.1.0
 */
export const tagged = <E, R>(metadata: Effect.Effect<Metadata, E, R>): Effect.Effect<Metadata, E, R> =>
  Effect.tap(metadata, ({ generation }) =>
    HttpApp.appendPreResponseHandler((_, response) =>
      Effect.succeed(HttpServerResponse.setHeader(response, "etag", `"${generation}"`))
    )
  )
