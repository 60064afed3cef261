export * from "../../src/testing/ScriptedProvider.ts"
