import * as Layer from "effect/Layer"
import { memory, sql, suite } from "./contract/KeyRotation.ts"
import * as EmbeddedDatabase from "./EmbeddedDatabase.ts"

suite("memory", Layer.empty, memory)

suite("embedded", EmbeddedDatabase.layer, sql({ clock: "process" }))
