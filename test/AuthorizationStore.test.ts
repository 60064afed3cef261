import * as Layer from "effect/Layer"
import * as AuthorizationStore from "../src/AuthorizationStore.ts"
import * as Sql from "../src/AuthorizationStore/Sql.ts"
import * as Cipher from "../src/Cipher.ts"
import { suite } from "./contract/AuthorizationStore.ts"
import * as EmbeddedDatabase from "./EmbeddedDatabase.ts"

suite("memory", Layer.provide(AuthorizationStore.layerMemory, Cipher.layerMemory))

suite("embedded", Layer.provide(Sql.layer, Layer.merge(Cipher.layerMemory, EmbeddedDatabase.layer)))
