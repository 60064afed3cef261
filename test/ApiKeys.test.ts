import * as Layer from "effect/Layer"
import * as ApiKeys from "../src/ApiKeys.ts"
import * as Sql from "../src/ApiKeys/Sql.ts"
import { bootstrap, suite } from "./contract/ApiKeys.ts"
import * as EmbeddedDatabase from "./EmbeddedDatabase.ts"

suite("memory", ApiKeys.layerMemory({ bootstrap }))

suite("embedded", Layer.provide(Sql.layer({ bootstrap }), EmbeddedDatabase.layer))
