/**
 * The real server, `node dist/main.js`, as a child process on a free port of 127.0.0.1, with a data directory of its own.
 * However the test ends, the process ends with the scope (SIGKILL), and a data directory that was made here is removed.
 *
 * Waiting is wall-clock time: `TestClock` does not reach it.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Client from "./Client.ts"
import * as LoopbackServer from "./LoopbackServer.ts"

export interface Options {
  /** Default: a temporary one. Give the same to several services that share both engines. */
  readonly dataDir?: string
  /** Added to, and stronger than, what is set here; `undefined` unsets. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Written to `PROVIDERS_FILE`: `ScriptedProvider.definition("fake")`, for instance. */
  readonly providers?: ReadonlyArray<Readonly<Record<string, unknown>>>
  /** Written to `SYSTEM_CREDENTIALS_FILE`. */
  readonly systemCredentials?: ReadonlyArray<Readonly<Record<string, unknown>>>
  /** Default: a random one. */
  readonly adminApiKey?: string
  /** Default: a free one; `reserve` tells it beforehand. */
  readonly port?: number
  /** How long the service may take to answer `/readyz` with 200. Default: 60 seconds. */
  readonly readyWithin?: Duration.DurationInput
  /** Default: `node dist/main.js`. */
  readonly command?: ReadonlyArray<string>
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Service {
  /** `PUBLIC_URL`, without a slash at the end. */
  readonly url: string
  readonly port: number
  /** What providers redirect to. */
  readonly redirectUri: string
  readonly dataDir: string
  readonly adminApiKey: string
  /** With the admin key. */
  readonly client: Client.Client
  /** Of the process that runs now, or ran last. */
  readonly pid: number
  /** All that was written so far, by every process since the start. */
  readonly stdout: string
  readonly stderr: string
  /** Sends a signal; does not wait. */
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** SIGTERM, and SIGKILL after a while (10 seconds); waits for the end. */
  readonly stop: (within?: Duration.DurationInput) => Effect.Effect<Exit>
  /** Waits for the end of the process that runs now. */
  readonly exited: Effect.Effect<Exit>
  /** Ends the process if it still runs, and starts another with the same port, key and data directory. */
  readonly restart: (env?: Options["env"]) => Effect.Effect<void, ServiceError>
}

/** The server did not start; `output` is what it wrote. */
export class ServiceError extends Data.TaggedError("ServiceError")<{
  readonly reason: string
  readonly output: string
}> {
  override get message() {
    return `The server ${this.reason}. It wrote:\n${this.output}`
  }
}

interface Running {
  readonly child: ChildProcess
  readonly exited: Deferred.Deferred<Exit>
}

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Where a service will listen: for a provider that must know the redirect URI before the service starts. */
export const reserve: Effect.Effect<{ readonly port: number; readonly url: string; readonly redirectUri: string }> =
  Effect.map(LoopbackServer.freePort, (port) => addressOf(port))

const addressOf = (port: number) => {
  const url = `http://127.0.0.1:${port}`
  return { port, url, redirectUri: `${url}/oauth/callback` }
}

/** Removed with the scope. */
export const temporaryDirectory = Effect.acquireRelease(
  Effect.promise(() => Fs.mkdtemp(Path.join(Os.tmpdir(), "effect-credentials-"))),
  (directory) => Effect.promise(() => Fs.rm(directory, { recursive: true, force: true, maxRetries: 5 }))
)

const writeJson = (file: string, value: unknown) =>
  Effect.promise(() => Fs.writeFile(file, JSON.stringify(value, undefined, 2)))

const isReady = (url: string) =>
  Effect.promise((signal) =>
    fetch(`${url}/readyz`, { signal, headers: { connection: "close" } }).then(
      (response) => response.ok,
      () => false
    )
  ).pipe(Effect.timeoutTo({ duration: "2 seconds", onSuccess: (ready) => ready, onTimeout: () => false }))

/** Starts the server and waits until it is ready. */
export const start = (options: Options = {}): Effect.Effect<Service, ServiceError, Scope.Scope> =>
  Effect.gen(function* () {
    const files = yield* temporaryDirectory
    const dataDir = options.dataDir ?? Path.join(files, "data")
    const adminApiKey = options.adminApiKey ?? Crypto.randomBytes(32).toString("base64url")
    const { port, redirectUri, url } = options.port === undefined ? yield* reserve : addressOf(options.port)
    const providersFile = Path.join(files, "providers.json")
    const systemFile = Path.join(files, "system-credentials.json")
    if (options.providers !== undefined) yield* writeJson(providersFile, options.providers)
    if (options.systemCredentials !== undefined) yield* writeJson(systemFile, options.systemCredentials)
    const environment = {
      PATH: process.env["PATH"],
      HOME: process.env["HOME"],
      HOST: "127.0.0.1",
      PORT: String(port),
      DATA_DIR: dataDir,
      ADMIN_API_KEY: adminApiKey,
      OUTBOUND_ALLOW_LOOPBACK: "1",
      PROVIDERS_FILE: options.providers === undefined ? undefined : providersFile,
      SYSTEM_CREDENTIALS_FILE: options.systemCredentials === undefined ? undefined : systemFile,
      ...options.env
    }
    const [command = process.execPath, ...parameters] = options.command ?? [process.execPath, "dist/main.js"]

    let stdout = ""
    let stderr = ""

    const launch = (env: Options["env"]): Running => {
      const exited = Deferred.unsafeMake<Exit>(fiberId)
      const child = spawn(command, parameters, {
        cwd: root,
        env: { ...environment, ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
      child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
      child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
      const killed = () => child.kill("SIGKILL")
      process.once("exit", killed)
      const end = (exit: Exit) => {
        process.off("exit", killed)
        Deferred.unsafeDone(exited, Effect.succeed(exit))
      }
      // "close" comes after the last output
      child.once("close", (code, signal) => end({ code, signal }))
      child.once("error", (error) => {
        stderr += String(error)
        end({ code: null, signal: null })
      })
      return { child, exited }
    }

    const fiberId = yield* Effect.fiberId
    const send = (signal: NodeJS.Signals) =>
      Effect.sync(() => {
        running.child.kill(signal)
      })
    const exited = Effect.suspend(() => Deferred.await(running.exited))
    const end = (signal: NodeJS.Signals) => Effect.zipRight(send(signal), exited)
    let running: Running = yield* Effect.acquireRelease(
      Effect.sync(() => launch(undefined)),
      () => end("SIGKILL")
    )
    const stop = (within: Duration.DurationInput = "10 seconds") =>
      Effect.suspend(() =>
        end("SIGTERM").pipe(
          Effect.timeoutOption(within),
          Effect.flatMap(Option.match({ onNone: () => end("SIGKILL"), onSome: Effect.succeed }))
        )
      ).pipe(Effect.withClock(Clock.make()))

    const failure = (reason: string) => new ServiceError({ reason, output: `${stdout}${stderr}` })

    const ready = Effect.suspend(() => {
      const within = options.readyWithin ?? "60 seconds"
      const poll = isReady(url).pipe(
        Effect.tap((is) => (is ? Effect.void : Effect.sleep("20 millis"))),
        Effect.repeat({ until: (is) => is }),
        Effect.timeoutFail({
          duration: within,
          onTimeout: () => failure(`was not ready within ${Duration.format(within)}`)
        })
      )
      const ended = Effect.flatMap(exited, ({ code, signal }) =>
        Effect.fail(failure(`ended before it was ready (${signal ?? `exit code ${code}`})`))
      )
      return Effect.raceFirst(poll, ended)
    }).pipe(Effect.withClock(Clock.make()), Effect.asVoid)

    yield* ready

    return {
      url,
      port,
      redirectUri,
      dataDir,
      adminApiKey,
      client: Client.make({ url, apiKey: adminApiKey }),
      get pid() {
        return running.child.pid ?? 0
      },
      get stdout() {
        return stdout
      },
      get stderr() {
        return stderr
      },
      kill: send,
      stop,
      exited,
      restart: (env) =>
        Effect.gen(function* () {
          yield* stop()
          running = launch(env)
          yield* ready
        })
    }
  })
