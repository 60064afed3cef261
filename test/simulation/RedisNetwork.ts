/**
 * The way between processes and the simulated Redis server: one connection a process for commands, in order, and one for
 * messages. Connections break, answers come late or never after the command was executed, messages are lost or come twice.
 */
import * as Effect from "effect/Effect"
import { type Argument, Redis, RedisError, type Script } from "../../src/Redis.ts"
import type { Machine } from "./Machine.ts"
import { epoch } from "./Machine.ts"
import { RedisFault, RedisServer, type Reply } from "./RedisServer.ts"
import type { World } from "./World.ts"

export interface Faults {
  /** How often an answer does not come. */
  readonly lostAnswers: number
  /** How often a message does not come, or comes twice. */
  readonly lostMessages: number
  readonly doubledMessages: number
  /** How often something takes up to two seconds on its way. */
  readonly late: number
}

const unreachable = new RedisError({ reason: "unreachable" })
const timedOut = new RedisError({ reason: "timeout" })
const refused = new RedisError({ reason: "refused", code: "ERR" })

/** As in `Redis.ts`. */
const answerWithin = 800

type Answer = (error: RedisError | undefined, reply: unknown) => void

interface Connection {
  readonly machine: Machine
  readonly listeners: Map<string, Set<(message: string) => void>>
  readonly onReconnect: Set<() => void>
  readonly unanswered: Set<Answer>
  isUp: boolean
  /** Counts connections: what is under way on an older one is not heard any more. */
  number: number
  /** When the last thing that was sent arrives. */
  sentUntil: number
  heardUntil: number
  messagesUntil: number
}

/** Sees each script as the server executes it. */
export type Observer = (
  machine: Machine,
  script: Script,
  keys: ReadonlyArray<string>,
  parameters: ReadonlyArray<Argument>,
  reply: Reply
) => void

export class RedisNetwork {
  readonly server: RedisServer
  readonly #world: World
  readonly #faults: Faults
  readonly #connections: Array<Connection> = []
  readonly #observer: Observer
  #isDown = false
  /** When the server or a way to it last failed, or lost what it knew. */
  troubledAt = Number.NEGATIVE_INFINITY
  flushedAt = Number.NEGATIVE_INFINITY

  constructor(world: World, faults: Faults, skew: number, observer: Observer, heard: (message: string) => void) {
    this.#world = world
    this.#faults = faults
    this.#observer = observer
    this.server = new RedisServer(
      () => epoch + skew + world.now,
      (channel, message) => {
        heard(message)
        return this.#publish(channel, message)
      }
    )
  }

  flush(): void {
    this.#world.tell("redis", () => "loses everything it knows")
    this.server.flush()
    this.flushedAt = this.#world.now
    this.troubledAt = this.#world.now
  }

  /** Nobody reaches it for so long. */
  goDown(millis: number): void {
    if (this.#isDown) return
    this.#world.tell("redis", () => `is out of reach for ${Math.round(millis)} ms`)
    this.#isDown = true
    for (const connection of this.#connections) this.#break(connection, millis)
    this.#world.after(millis, undefined, () => {
      this.#isDown = false
    })
  }

  /** One process loses its connection. */
  cut(machine: Machine, millis: number): void {
    const connection = this.#connections.find((one) => one.machine === machine)
    if (connection === undefined || !connection.isUp) return
    machine.tell(() => `loses its connection to redis for ${Math.round(millis)} ms`)
    this.#break(connection, millis)
  }

  #break(connection: Connection, millis: number): void {
    if (!connection.isUp) return
    connection.isUp = false
    connection.number++
    this.troubledAt = this.#world.now + millis
    const unanswered = [...connection.unanswered]
    connection.unanswered.clear()
    const { machine } = connection
    this.#world.after(this.#world.chance.between(0.1, 5), machine, () => {
      for (const answer of unanswered) answer(unreachable, undefined)
    })
    this.#world.after(millis, undefined, () => this.#mend(connection))
  }

  #mend(connection: Connection): void {
    this.#world.after(this.#isDown ? 200 : 0, undefined, () => {
      if (this.#isDown) return this.#mend(connection)
      // what is left on the old connection is never executed from here on
      connection.isUp = true
      connection.number++
      connection.sentUntil = this.#world.now
      connection.heardUntil = this.#world.now
      this.#world.after(this.#latency(), connection.machine, () => {
        for (const listener of connection.onReconnect) listener()
      })
    })
  }

  #latency(): number {
    const { chance } = this.#world
    if (this.#world.fails(this.#faults.late)) {
      this.troubledAt = Math.max(this.troubledAt, this.#world.now + 2_000)
      return chance.between(5, 2_000)
    }
    return chance.between(0.1, 2)
  }

  #publish(channel: string, message: string): number {
    const { chance } = this.#world
    let heard = 0
    for (const connection of this.#connections) {
      const listeners = connection.listeners.get(channel)
      if (listeners === undefined || connection.machine.isGone || !connection.isUp) continue
      heard++
      if (this.#world.fails(this.#faults.lostMessages)) {
        this.#world.tell("network", () => `loses ${message} to ${connection.machine.name}`)
        continue
      }
      const copies = this.#world.fails(this.#faults.doubledMessages) ? 2 : 1
      for (let copy = 0; copy < copies; copy++) {
        // the copy comes when it likes
        const at =
          copy === 0
            ? Math.max(this.#world.now + this.#latency(), connection.messagesUntil)
            : this.#world.now + chance.between(0, 3_000)
        if (copy === 0) connection.messagesUntil = at
        const { number } = connection
        this.#world.after(at - this.#world.now, connection.machine, () => {
          if (connection.number !== number) return
          connection.machine.tell(() => `hears ${message}`)
          for (const listener of listeners) listener(message)
        })
      }
    }
    return heard
  }

  #send(connection: Connection, what: string, execute: () => Reply, answer: Answer): void {
    const { machine } = connection
    let isOver = false
    const end: Answer = (error, reply) => {
      if (isOver) return
      isOver = true
      connection.unanswered.delete(end)
      stopWatch()
      answer(error, reply)
    }
    const stopWatch = machine.after(answerWithin, () => end(timedOut, undefined))
    machine.takes(what, () => this.#sendNow(connection, what, execute, end))
  }

  #sendNow(connection: Connection, what: string, execute: () => Reply, end: Answer): void {
    const { machine } = connection
    if (!connection.isUp) {
      this.#world.after(0.05, machine, () => end(unreachable, undefined))
      return
    }
    connection.unanswered.add(end)
    const { number } = connection
    const at = Math.max(this.#world.now + this.#latency(), connection.sentUntil)
    connection.sentUntil = at
    this.#world.after(at - this.#world.now, undefined, () => {
      // what was under way as the connection broke arrives, or does not; and never once there is another one
      const isOld = connection.number !== number
      if (isOld && (connection.isUp || this.#isDown || this.#world.chance.happens(0.5))) return
      let reply: Reply = null
      let fault: RedisError | undefined
      try {
        reply = execute()
      } catch (error) {
        if (!(error instanceof RedisFault)) throw error
        this.#world.violation(`redis refuses ${what}: ${error.message}`)
        fault = refused
      }
      if (isOld) return
      if (this.#world.fails(this.#faults.lostAnswers)) {
        this.#world.tell("network", () => `loses redis's answer to ${machine.name}: ${what}`)
        this.troubledAt = Math.max(this.troubledAt, this.#world.now + answerWithin)
        return
      }
      const heardAt = Math.max(this.#world.now + this.#latency(), connection.heardUntil)
      connection.heardUntil = heardAt
      const hear = (): void => {
        if (connection.number === number) end(fault, reply)
      }
      this.#world.after(heardAt - this.#world.now, undefined, () => {
        // what comes while it stands still lies there with all else
        if (machine.isStill) machine.step(hear)
        else machine.takes(what.replace("redis", "redis answer to"), () => machine.step(hear))
      })
    })
  }

  /** What a process has of it. */
  connect(machine: Machine): Redis["Type"] {
    const connection: Connection = {
      machine,
      listeners: new Map(),
      onReconnect: new Set(),
      unanswered: new Set(),
      isUp: !this.#isDown,
      number: 0,
      sentUntil: 0,
      heardUntil: 0,
      messagesUntil: 0
    }
    this.#connections.push(connection)
    if (this.#isDown) this.#mend(connection)

    const command = (name: string, ...parameters: ReadonlyArray<Argument>) =>
      Effect.async<unknown, RedisError>((resume) => {
        const words = parameters.map(String)
        this.#send(
          connection,
          `redis ${name} ${words[0] ?? ""}`,
          () => this.server.command(name, ...words),
          (error, reply) => resume(error === undefined ? Effect.succeed(reply) : Effect.fail(error))
        )
      })

    const within = <K, V>(map: Map<K, Set<V>>, key: K, value: V) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const all = map.get(key) ?? new Set()
          map.set(key, all.add(value))
        }),
        () => Effect.sync(() => map.get(key)?.delete(value))
      )

    return Redis.of({
      command,
      evaluate: (script, keys, parameters, answer) =>
        this.#send(
          connection,
          `redis script ${parameters[0] ?? ""}`,
          () => {
            const reply = this.server.evaluate(script, keys, parameters)
            this.#observer(machine, script, keys, parameters, reply)
            return reply
          },
          answer
        ),
      isCluster: false,
      subscribe: (channel, listener) => Effect.asVoid(within(connection.listeners, channel, listener)),
      onReconnect: (listener) =>
        Effect.asVoid(
          Effect.acquireRelease(
            Effect.sync(() => connection.onReconnect.add(listener)),
            () => Effect.sync(() => connection.onReconnect.delete(listener))
          )
        ),
      ping: Effect.asVoid(command("PING"))
    })
  }
}
