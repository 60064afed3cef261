import * as Layer from "effect/Layer"
import * as LeaseStore from "../src/LeaseStore.ts"
import * as Sql from "../src/LeaseStore/Sql.ts"
import { suite } from "./contract/LeaseStore.ts"
import * as EmbeddedDatabase from "./EmbeddedDatabase.ts"

suite("memory", LeaseStore.layerMemory)

suite("embedded", Layer.provide(Sql.layer, EmbeddedDatabase.layer))
