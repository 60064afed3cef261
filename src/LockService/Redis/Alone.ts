/**
 * Steps at locks that nobody else is at: those of one step of the event loop go to the server as one script, which costs
 * both sides a fraction of a script each.
 *
 * @since 0.1.0
 */
import type { Argument, Redis, RedisError } from "../../Redis.ts"
import * as Scripts from "./Scripts.ts"

/** More are sent as several scripts: the server answers the first while it does the next. */
const most = 32

/**
 * Answers nothing for a step that cannot be done so.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer = (error: RedisError | undefined, reply: unknown) => void

/**
 * @since 0.1.0
 * @category models
 */
export class Alone {
  readonly #redis: Pick<Redis["Type"], "evaluate" | "isCluster">
  #slot = ""
  #keys: Array<string> = []
  #parameters: Array<Argument> = []
  #answers: Array<Answer> = []

  constructor(redis: Pick<Redis["Type"], "evaluate" | "isCluster">) {
    this.#redis = redis
  }

  /** The parameters are those of one step of the script. */
  ask(key: string, parameters: ReadonlyArray<Argument>, answer: Answer): void {
    // in a cluster, a script has keys of one slot
    const slot = this.#redis.isCluster ? key.slice(0, key.indexOf("}")) : ""
    if (slot !== this.#slot || this.#answers.length >= most) this.flush()
    this.#slot = slot
    if (this.#answers.length === 0) queueMicrotask(() => this.flush())
    this.#keys.push(key)
    this.#parameters.push(...parameters)
    this.#answers.push(answer)
  }

  /** Sends what was asked: before anything else that is to be done after it. */
  flush(): void {
    const answers = this.#answers
    if (answers.length === 0) return
    const [keys, parameters] = [this.#keys, this.#parameters]
    this.#keys = []
    this.#parameters = []
    this.#answers = []
    this.#redis.evaluate(Scripts.alone, keys, parameters, (error, reply) => {
      for (const [at, answer] of answers.entries()) answer(error, Array.isArray(reply) ? reply[at] : null)
    })
  }
}
