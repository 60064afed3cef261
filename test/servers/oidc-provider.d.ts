/** The part of oidc-provider 9 that `OidcProvider.ts` uses; the package brings no types. */
declare module "oidc-provider" {
  import type { EventEmitter } from "node:events"
  import type { IncomingMessage, ServerResponse } from "node:http"

  export interface Context {
    readonly path: string
    readonly method: string
    readonly req: IncomingMessage
    readonly res: ServerResponse
    respond?: boolean
    readonly oidc?: {
      readonly params?: Readonly<Record<string, unknown>>
      readonly entities: Readonly<Record<string, unknown>>
    }
  }

  export interface Payload {
    readonly [field: string]: unknown
  }

  export interface Adapter {
    upsert(id: string, payload: Payload, expiresIn?: number): Promise<void>
    find(id: string): Promise<Payload | undefined>
    findByUid(uid: string): Promise<Payload | undefined>
    findByUserCode(code: string): Promise<Payload | undefined>
    consume(id: string): Promise<void>
    destroy(id: string): Promise<void>
    revokeByGrantId(grantId: string): Promise<void>
  }

  export interface Interaction {
    readonly uid: string
    readonly params: Readonly<Record<string, unknown>>
    readonly prompt: { readonly name: string }
  }

  export interface Grant {
    addOIDCScope(scope: string): void
    save(): Promise<string>
  }

  export interface Token {
    readonly grantId: string
    readonly clientId: string
    readonly accountId: string
    readonly consumed?: number
  }

  export class Provider extends EventEmitter {
    constructor(issuer: string, configuration: Readonly<Record<string, unknown>>)
    callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>
    use(middleware: (context: Context, next: () => Promise<void>) => Promise<void>): this
    interactionDetails(request: IncomingMessage, response: ServerResponse): Promise<Interaction>
    interactionFinished(
      request: IncomingMessage,
      response: ServerResponse,
      result: Readonly<Record<string, unknown>>,
      options?: { readonly mergeWithLastSubmission: boolean }
    ): Promise<void>
    readonly Grant: new (fields: { readonly accountId: string; readonly clientId: string }) => Grant
    readonly AccessToken: { find(value: string): Promise<Token | undefined> }
    readonly RefreshToken: { find(value: string): Promise<Token | undefined> }
  }

  export const errors: {
    readonly InvalidGrant: new (detail: string) => Error
  }
}
