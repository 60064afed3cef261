/**
 * The map. Each line is a noun and may use only the lines above its own floor.
 *
 * @since 0.1.0
 */

// ── 0  values: pure, no services
export * as Credential from "./Credential.ts"
export * as Provider from "./Provider.ts"
export * as RenewalPolicy from "./RenewalPolicy.ts"
export * as McpServer from "./McpServer.ts"
export * as Requirement from "./Requirement.ts"
export * as AuditEvent from "./AuditEvent.ts"
export * as Metrics from "./Metrics.ts"
export * as Span from "./Span.ts"
export * as CredentialsError from "./CredentialsError.ts"
export * as TokenSet from "./TokenSet.ts"
export * as Replacement from "./Replacement.ts"

// ── 1  ports: what an engine provides, each with a memory layer
export * as Cipher from "./Cipher.ts"
export * as Rewrapping from "./Rewrapping.ts"
export * as SystemCredentials from "./SystemCredentials.ts"
export * as Store from "./Store.ts"
export * as AuthorizationStore from "./AuthorizationStore.ts"
export * as LockService from "./LockService.ts"
export * as LeaseStore from "./LeaseStore.ts"
export * as CircuitBreaker from "./CircuitBreaker.ts"
export * as Processes from "./Processes.ts"
export * as AuditLog from "./AuditLog.ts"
export * as ApiKeys from "./ApiKeys.ts"

// ── 2  protocol: what is said to providers
export * as Outbound from "./Outbound.ts"
export * as TokenEndpoint from "./TokenEndpoint.ts"
export * as McpDiscovery from "./McpDiscovery.ts"
export * as McpClient from "./McpClient.ts"
export * as ProviderCatalogue from "./ProviderCatalogue.ts"
export * as HandlerRegistry from "./HandlerRegistry.ts"

// ── 3  use cases
export * as Receipts from "./Receipts.ts"
export * as Attempts from "./Attempts.ts"
export * as Renewal from "./Renewal.ts"
export * as Recovery from "./Recovery.ts"
export * as Revocations from "./Revocations.ts"
export * as Leases from "./Leases.ts"
export * as Lending from "./Lending.ts"
export * as Deletion from "./Deletion.ts"
export * as Explanation from "./Explanation.ts"
export * as CredentialsManager from "./CredentialsManager.ts"
export * as Login from "./Login.ts"
export * as OAuthFlow from "./OAuthFlow.ts"
export * as DeviceFlow from "./DeviceFlow.ts"
export * as MachineFlow from "./MachineFlow.ts"
export * as McpLogin from "./McpLogin.ts"
export * as McpTools from "./McpTools.ts"
export * as Sweeper from "./Sweeper.ts"
export * as Restoration from "./Restoration.ts"
export * as KeyRotation from "./KeyRotation.ts"
export * as Service from "./Service.ts"
