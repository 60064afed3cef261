import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LockServiceRedis from "../../src/LockService/Redis.ts"
import * as Redis from "../../src/Redis.ts"
import * as Server from "../servers/Redis.ts"
import { suite } from "./Contract.ts"

suite(
  "Redis",
  Layer.provide(LockServiceRedis.layer(), Layer.unwrapScoped(Effect.map(Server.url, (url) => Redis.layer({ url }))))
)
