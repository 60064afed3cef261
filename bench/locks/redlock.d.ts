/** The package's own types are not where its `exports` say. */
declare module "redlock" {
  import type { Redis } from "ioredis"
  export interface Lock {
    readonly release: () => Promise<unknown>
  }
  export interface Settings {
    readonly retryCount?: number
    readonly retryDelay?: number
    readonly retryJitter?: number
  }
  export default class Redlock {
    constructor(clients: Iterable<Redis>, settings?: Settings)
    acquire(resources: ReadonlyArray<string>, duration: number): Promise<Lock>
  }
}
