/**
 * For the tests of applications: a provider that does what a test says and remembers what it was asked, over HTTP or without
 * a network, and the service in memory as its client. No program loads this.
 *
 * @since 0.1.0
 */

export * as ScriptedProvider from "./testing/ScriptedProvider.ts"
export * as ScriptedHandler from "./testing/ScriptedHandler.ts"
export * as ScriptedService from "./testing/ScriptedService.ts"
