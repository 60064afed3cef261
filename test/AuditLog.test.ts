import * as Layer from "effect/Layer"
import * as AuditLog from "../src/AuditLog.ts"
import * as Sql from "../src/AuditLog/Sql.ts"
import { suite } from "./contract/AuditLog.ts"
import * as EmbeddedDatabase from "./EmbeddedDatabase.ts"

suite("memory", AuditLog.layerMemory)

suite("embedded", Layer.provide(Sql.layer, EmbeddedDatabase.layer))
