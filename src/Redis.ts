/**
 * A Redis or Valkey server, 6.2 or later: one connection for commands and one for messages, both mended by themselves. No
 * command waits for a connection to come back: it fails, and whoever sent it decides.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Command, Redis as Client } from "ioredis"
import { createHash } from "node:crypto"

/**
 * `unreachable`: there is no connection, or it broke; `timeout`: no answer in time. What was asked may have been done.
 * `refused`: the server answered with an error.
 *
 * @since 0.1.0
 * @category errors
 */
export class RedisError extends Data.TaggedError("RedisError")<{
  readonly reason: "unreachable" | "timeout" | "refused"
  /** The first word of the server's error. */
  readonly code?: string
}> {
  override get message() {
    return this.code === undefined ? `Redis: ${this.reason}.` : `Redis: ${this.reason} (${this.code}).`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Script {
  readonly text: string
  readonly sha: string
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const script = (text: string): Script => ({ text, sha: createHash("sha1").update(text, "utf8").digest("hex") })

/**
 * @since 0.1.0
 * @category models
 */
export type Argument = string | number

/**
 * @since 0.1.0
 * @category ports
 */
export class Redis extends Context.Tag("effect-credentials/Redis")<
  Redis,
  {
    readonly command: (name: string, ...parameters: ReadonlyArray<Argument>) => Effect.Effect<unknown, RedisError>
    /**
     * Runs a script by its hash, and sends its text only where the server does not know it. Sent before it returns, in the
     * order of the calls; answered by a callback, for state machines that run no fiber.
     */
    readonly evaluate: (
      script: Script,
      keys: ReadonlyArray<string>,
      parameters: ReadonlyArray<Argument>,
      answer: (error: RedisError | undefined, reply: unknown) => void
    ) => void
    /** Whether the keys of a script have to share a slot. */
    readonly isCluster: boolean
    /** Hears what is said on a channel until the scope closes; what is said while the connection is away is missed. */
    readonly subscribe: (
      channel: string,
      listener: (message: string) => void
    ) => Effect.Effect<void, RedisError, Scope.Scope>
    /** Tells each time that the connection for commands has come back. */
    readonly onReconnect: (listener: () => void) => Effect.Effect<void, never, Scope.Scope>
    readonly ping: Effect.Effect<void, RedisError>
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** `redis://` or `rediss://`, with user, password and database if need be. */
  readonly url: Redacted.Redacted
  /** How long the first connection may take. Default 5 seconds. */
  readonly connectWithin?: Duration.DurationInput | undefined
  /** How long an answer may take. Default 800 milliseconds. */
  readonly answerWithin?: Duration.DurationInput | undefined
}

const isReply = (cause: unknown): cause is Error => cause instanceof Error && cause.name === "ReplyError"

const errorOf = (cause: unknown): RedisError => {
  if (isReply(cause)) {
    const code = /^[A-Z]+/.exec(cause.message)?.[0]
    return new RedisError(code === undefined ? { reason: "refused" } : { reason: "refused", code })
  }
  return new RedisError({ reason: "unreachable" })
}

const timedOut = () => new RedisError({ reason: "timeout" })

/** A connection that lives as long as the scope; fails when it is not up in time. */
const connect = Effect.fnUntraced(function* (options: Options, name: string) {
  const client = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const client = new Client(Redacted.value(options.url), {
        protocol: 2,
        lazyConnect: true,
        enableOfflineQueue: false,
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
        keepAlive: 10_000,
        connectTimeout: 2_000,
        retryStrategy: (times) => Math.min(20 * times, 500),
        autoResubscribe: true,
        connectionName: name
      })
      // each command tells its own failure
      client.on("error", () => {})
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )
  yield* Effect.async<void>((resume) => {
    client.once("ready", () => resume(Effect.void))
    client.connect().catch(() => {})
  }).pipe(
    Effect.timeoutFail({
      duration: options.connectWithin ?? "5 seconds",
      onTimeout: () => new RedisError({ reason: "unreachable" })
    })
  )
  return client
})

const oldest = [6, 2] as const

const checkVersion = (info: string): Effect.Effect<void, RedisError> => {
  const [, major = 0, minor = 0] = (/^redis_version:(\d+)\.(\d+)/m.exec(info) ?? []).map(Number)
  return major < oldest[0] || (major === oldest[0] && minor < oldest[1])
    ? Effect.fail(new RedisError({ reason: "refused", code: "VERSION" }))
    : Effect.void
}

/**
 * Ends the connection before it as soon as there is a new one: what the server has not read from the old socket by then, it
 * never does, so that nothing overtakes what is sent from now on.
 */
const fenceOff = (client: Client): Effect.Effect<void, never, Scope.Scope> => {
  let former: ReadonlyArray<string> = []
  const begin = (): void => {
    // not every server lets everybody do so
    if (former.length > 0) client.call("CLIENT", "KILL", ...former, "SKIPME", "yes").catch(() => {})
    former = []
    client.call("CLIENT", "INFO").then(
      (info) => {
        const [, id, address] = /^id=(\d+) addr=(\S+)/.exec(String(info)) ?? []
        // a server that was started anew counts anew: the address tells whose connection it is
        if (id !== undefined && address !== undefined) former = ["ID", id, "ADDR", address]
      },
      () => {}
    )
  }
  begin()
  return Effect.acquireRelease(
    Effect.sync(() => client.on("ready", begin)),
    () => Effect.sync(() => client.off("ready", begin))
  )
}

/** A script that was sent. */
interface Evaluation {
  /** The round of the watch in which it was sent. */
  readonly round: number
  /** Called once. */
  answer: ((error: RedisError | undefined, reply: unknown) => void) | undefined
}

/** So many times within `answerWithin` it is looked whether answers are overdue. */
const roundsOfWatch = 8

/** A connection on which so many times `answerWithin` has passed without any answer is given up. */
const mostSilence = 12

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Redis["Type"], RedisError, Scope.Scope> {
  const answerWithin = Duration.decode(options.answerWithin ?? "800 millis")
  const attempt = <A>(run: () => Promise<A>): Effect.Effect<A, RedisError> =>
    Effect.timeoutFail(Effect.tryPromise({ try: run, catch: errorOf }), { duration: answerWithin, onTimeout: timedOut })

  const client = yield* connect(options, "effect-credentials")
  const info = yield* attempt(() => client.info("server"))
  yield* checkVersion(info)
  yield* fenceOff(client)
  const subscriber = yield* connect(options, "effect-credentials-messages")

  const listeners = new Map<string, Set<(message: string) => void>>()
  subscriber.on("message", (channel: string, message: string) => {
    for (const listener of listeners.get(channel) ?? []) listener(message)
  })

  // what is sent in one step of the event loop goes in one write
  let isCorked = false
  const cork = (): void => {
    const { status, stream } = client
    if (isCorked || status !== "ready") return
    isCorked = true
    stream.cork()
    process.nextTick(() => {
      isCorked = false
      stream.uncork()
    })
  }

  // one watch for all answers: a timer for each command costs as much as the command
  const runFork = yield* FiberSet.makeRuntime<never>()
  // in the order of sending, which is nearly that of the answers: a set of what comes and goes so fast costs more
  let evaluations: Array<Evaluation> = []
  let answered = 0
  let round = 0
  let lastHeard = 0
  let isWatching = false
  const watch = Effect.gen(function* () {
    while (answered < evaluations.length) {
      yield* Effect.sleep(Duration.times(answerWithin, 1 / roundsOfWatch))
      round++
      for (const evaluation of evaluations.slice(answered)) {
        if (evaluation.round >= round - roundsOfWatch) break
        if (evaluation.answer === undefined) continue
        end(evaluation, timedOut(), undefined)
        if (round - lastHeard > mostSilence * roundsOfWatch) {
          lastHeard = round
          client.disconnect(true)
        }
      }
    }
    isWatching = false
  })

  const end = (evaluation: Evaluation, error: RedisError | undefined, reply: unknown): void => {
    const { answer } = evaluation
    evaluation.answer = undefined
    while (answered < evaluations.length && evaluations[answered]?.answer === undefined) answered++
    if (answered > 1000 || answered === evaluations.length) {
      evaluations = evaluations.slice(answered)
      answered = 0
    }
    answer?.(error, reply)
  }

  const evaluate: Redis["Type"]["evaluate"] = (script, keys, parameters, answer) => {
    const evaluation: Evaluation = { round, answer }
    evaluations.push(evaluation)
    if (!isWatching) {
      isWatching = true
      runFork(watch)
    }
    cork()
    const command = new Command("evalsha", [script.sha, keys.length, ...keys, ...parameters], { replyEncoding: "utf8" })
    client.sendCommand(command)
    command.promise.then(
      (reply) => {
        lastHeard = round
        end(evaluation, undefined, reply)
      },
      (cause: unknown) => {
        // who was told that there is no answer has gone on
        if (evaluation.answer === undefined) return
        if (!isReply(cause) || !cause.message.startsWith("NOSCRIPT")) {
          return end(evaluation, errorOf(cause), undefined)
        }
        return client.eval(script.text, keys.length, ...keys, ...parameters).then(
          (reply) => end(evaluation, undefined, reply),
          (cause: unknown) => end(evaluation, errorOf(cause), undefined)
        )
      }
    )
  }

  const subscribe: Redis["Type"]["subscribe"] = (channel, listener) =>
    Effect.acquireRelease(
      Effect.suspend(() => {
        const heard = listeners.get(channel) ?? new Set()
        listeners.set(channel, heard.add(listener))
        return attempt(() => subscriber.subscribe(channel))
      }),
      () =>
        Effect.suspend(() => {
          const heard = listeners.get(channel)
          heard?.delete(listener)
          if (heard === undefined || heard.size > 0) return Effect.void
          listeners.delete(channel)
          return Effect.ignore(attempt(() => subscriber.unsubscribe(channel)))
        })
    )

  return Redis.of({
    command: (name, ...parameters) => attempt(() => client.call(name, ...parameters)),
    evaluate,
    isCluster: /^redis_mode:cluster/m.test(info),
    subscribe,
    onReconnect: (listener) =>
      Effect.acquireRelease(
        Effect.sync(() => client.on("ready", listener)),
        () => Effect.sync(() => client.off("ready", listener))
      ),
    ping: Effect.asVoid(attempt(() => client.ping()))
  })
})

/**
 * Fails when there is no connection within `connectWithin`, or the server is older than 6.2.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Redis, RedisError> => Layer.scoped(Redis, make(options))
