import * as Layer from "effect/Layer"
import * as Memory from "../src/Store/Memory.ts"
import * as Sql from "../src/Store/Sql.ts"
import { StoreDriver, suite } from "./contract/Store.ts"
import * as EmbeddedDatabase from "./EmbeddedDatabase.ts"

suite("memory", Layer.effect(StoreDriver, Memory.make))

suite("embedded", Layer.provide(Layer.effect(StoreDriver, Sql.make({ clock: "process" })), EmbeddedDatabase.layer))
