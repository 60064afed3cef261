/** The least that the platform's HttpApi can be asked for the same: a bearer, one route, the same select, JSON by a schema. */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiError from "@effect/platform/HttpApiError"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Pg from "pg"
import { poolSize, pointSelect } from "../Select.ts"
import { answerOf, type Options } from "./Answer.ts"

const options: Options = JSON.parse(process.argv[2] ?? "")
const pool = new Pg.Pool({ connectionString: options.databaseUrl, max: poolSize })

class Bearer extends HttpApiMiddleware.Tag<Bearer>()("bench/Bearer", {
  failure: HttpApiError.Unauthorized,
  security: { bearer: HttpApiSecurity.bearer }
}) {}

const Secret = Schema.Struct({
  credentialId: Schema.String,
  generation: Schema.Number,
  type: Schema.String,
  expiresAt: Schema.String,
  accessToken: Schema.String,
  headers: Schema.Record({ key: Schema.String, value: Schema.String })
})

const credentials = HttpApiGroup.make("credentials")
  .add(
    HttpApiEndpoint.get("secret", "/v1/users/:userId/credentials/:credentialId/secret")
      .setPath(Schema.Struct({ userId: Schema.String, credentialId: Schema.String }))
      .addSuccess(Secret)
  )
  .middleware(Bearer)

const Api = HttpApi.make("bench").add(credentials)

const handlers = HttpApiBuilder.group(Api, "credentials", (group) =>
  group.handle("secret", ({ path }) =>
    Effect.map(
      Effect.promise(() => pool.query(pointSelect, [path.userId, path.credentialId])),
      ({ rows }) => answerOf(rows[0])
    )
  )
)

const bearer = Layer.succeed(
  Bearer,
  Bearer.of({
    bearer: (token) => (Redacted.value(token) === options.key ? Effect.void : new HttpApiError.Unauthorized())
  })
)

const server = createServer()
server.once("listening", () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
const serving = HttpApiBuilder.serve().pipe(
  Layer.provide(Layer.provide(HttpApiBuilder.api(Api), Layer.provide(handlers, bearer))),
  Layer.provide(NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 }))
)
Effect.runFork(Layer.launch(serving))
