export * from "../../src/testing/LoopbackServer.ts"
