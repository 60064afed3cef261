import * as LockService from "../../src/LockService.ts"
import { suite } from "./Contract.ts"

suite("memory", LockService.layerMemory)
