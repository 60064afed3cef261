/**
 * The contract to read, by machines and by people. The page loads nothing from elsewhere, and its policy forbids it to.
 *
 * @since 0.1.0
 */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createHash } from "node:crypto"
import { Api } from "../api/Api.ts"
import * as Routes from "./Routes.ts"

/**
 * @since 0.1.0
 */
export const openApi = Effect.sync(() => OpenApi.fromApi(Api))

const unchanging = { "cache-control": "public, max-age=300" } as const

const scriptHashes = (html: string) =>
  [...html.matchAll(/<script>([^]*?)<\/script>/g)].map(
    ([, script = ""]) => `'sha256-${createHash("sha256").update(script, "utf8").digest("base64")}'`
  )

// imported when first asked for: it is two megabytes, and most processes never show it
const page = Effect.gen(function* () {
  const Swagger = yield* Effect.promise(() => import("@effect/platform/HttpApiSwagger"))
  // a router of its own, which the page is taken from: its handler is not to be had without one
  const router = yield* HttpLayerRouter.make
  yield* Layer.build(Swagger.layerHttpLayerRouter({ api: Api, path: "/docs" })).pipe(
    Effect.provideService(HttpLayerRouter.HttpRouter, router)
  )
  const response = yield* router.asHttpEffect()
  const html = response.body._tag === "Uint8Array" ? new TextDecoder().decode(response.body.body) : ""
  return HttpServerResponse.setHeaders(response, {
    ...unchanging,
    "content-security-policy": `default-src 'none'; script-src ${scriptHashes(html).join(" ")}; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
  })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, never, HttpLayerRouter.HttpRouter> = Layer.scopedDiscard(
  Effect.gen(function* () {
    const router = yield* HttpLayerRouter.HttpRouter
    const contract = yield* Effect.cached(
      Effect.map(openApi, (spec) => HttpServerResponse.unsafeJson(spec, { headers: unchanging }))
    )
    const cachedPage = yield* Effect.cached(page)
    yield* router.addAll([
      HttpLayerRouter.route("GET", "/openapi.json", Effect.orDie(Routes.guarded("GET", "/openapi.json", contract))),
      HttpLayerRouter.route("GET", "/docs", Effect.orDie(Routes.guarded("GET", "/docs", cachedPage)))
    ])
  })
)
