/** What every engine does, done by a real Postgres server through the adapter that programs use. */
import * as Layer from "effect/Layer"
import * as ApiKeys from "../src/ApiKeys/Sql.ts"
import * as AuditLog from "../src/AuditLog/Sql.ts"
import * as AuthorizationStore from "../src/AuthorizationStore/Sql.ts"
import * as CircuitBreaker from "../src/CircuitBreaker/Sql.ts"
import * as Cipher from "../src/Cipher.ts"
import * as LeaseStore from "../src/LeaseStore/Sql.ts"
import * as Processes from "../src/Processes/Sql.ts"
import * as Store from "../src/Store/Sql.ts"
import * as ApiKeysContract from "./contract/ApiKeys.ts"
import * as AuditLogContract from "./contract/AuditLog.ts"
import * as AuthorizationStoreContract from "./contract/AuthorizationStore.ts"
import * as KeyRotationContract from "./contract/KeyRotation.ts"
import * as CircuitsContract from "./contract/Circuits.ts"
import * as HeartbeatsContract from "./contract/Heartbeats.ts"
import * as LeaseStoreContract from "./contract/LeaseStore.ts"
import * as StoreContract from "./contract/Store.ts"
import * as Postgres from "./servers/Postgres.ts"

for (const clock of ["process", "database"] as const) {
  const driver = Layer.effect(StoreContract.StoreDriver, Store.make({ clock }))
  StoreContract.suite(`Postgres, by the ${clock}'s clock`, Layer.provide(driver, Postgres.layer))

  const heartbeats = Layer.effect(HeartbeatsContract.Heartbeats, Processes.make({ clock }))
  const circuits = Layer.effect(CircuitsContract.Circuits, CircuitBreaker.make({ clock }))
  CircuitsContract.suite(`Postgres, by the ${clock}'s clock`, Layer.provide(circuits, Postgres.layer))

  HeartbeatsContract.suite(`Postgres, by the ${clock}'s clock`, Layer.provide(heartbeats, Postgres.layer))
}

AuthorizationStoreContract.suite(
  "Postgres",
  Layer.provide(AuthorizationStore.layer, Layer.merge(Cipher.layerMemory, Postgres.layer))
)

LeaseStoreContract.suite("Postgres", Layer.provide(LeaseStore.layer, Postgres.layer))

ApiKeysContract.suite(
  "Postgres",
  Layer.provide(ApiKeys.layer({ bootstrap: ApiKeysContract.bootstrap }), Postgres.layer)
)

AuditLogContract.suite("Postgres", Layer.provide(AuditLog.layer, Postgres.layer))

KeyRotationContract.suite("Postgres", Postgres.layer, KeyRotationContract.sql({ clock: "database" }))
