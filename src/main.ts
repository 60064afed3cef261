/**
 * The server as a program: settings, layers, one listener, one clear line when it cannot start.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as ApiKeys from "./ApiKeys/Sql.ts"
import * as AuditLog from "./AuditLog/Sql.ts"
import { DirectoryInUse } from "./Database/DirectoryLock.ts"
import * as Engine from "./Engine.ts"
import * as HandlerRegistry from "./HandlerRegistry.ts"
import * as LeaseStore from "./LeaseStore/Sql.ts"
import * as Outbound from "./Outbound.ts"
import * as ProviderCatalogue from "./ProviderCatalogue.ts"
import { SecureCookies } from "./server/Browser.ts"
import * as Crash from "./server/Crash.ts"
import * as Lines from "./server/Lines.ts"
import * as Listener from "./server/Listener.ts"
import * as Log from "./server/Log.ts"
import * as Server from "./server/Server.ts"
import * as Welcome from "./server/Welcome.ts"
import * as Service from "./Service.ts"
import * as Settings from "./Settings.ts"
import * as SqlStore from "./Store/Sql.ts"
import * as SystemCredentials from "./SystemCredentials.ts"

const output = Lines.make((text) => void process.stdout.write(text))

const portsOf = (settings: Settings.Settings, { redis }: Engine.Engine) => {
  const sealed = Engine.sealed(settings, redis).pipe(
    Layer.provide(
      SystemCredentials.layer(settings.systemCredentials.credentials, { since: settings.systemCredentials.since })
    )
  )
  const providers = HandlerRegistry.layer({ clients: settings.clients }).pipe(
    Layer.provideMerge(ProviderCatalogue.layer(settings.providers)),
    Layer.provideMerge(Outbound.layer({ allowLoopback: settings.allowLoopback }))
  )
  return Layer.mergeAll(
    sealed,
    LeaseStore.layer,
    AuditLog.layer,
    ApiKeys.layer({ bootstrap: settings.adminApiKey }),
    providers
  )
}

/** Beside requests, on the thread that answers them. */
const unhurried = { batchSize: 50, pause: "50 millis" } as const

const urlOf = (host: string, port: number) => `http://${host.includes(":") ? `[${host}]` : host}:${port}`

const serve = Effect.fnUntraced(function* (settings: Settings.Settings) {
  const listener = yield* Listener.bind({ host: settings.host, port: settings.port })
  const localUrl = urlOf(/^(?:0\.0\.0\.0|::)$/.test(settings.host) ? "127.0.0.1" : settings.host, listener.port)
  const publicUrl = Option.getOrElse(settings.publicUrl, () => localUrl)
  const engine = yield* Engine.make(settings)
  const service = Service.layer({
    // servers that share a database may not all know the first key yet: there an operator says when
    keyRotation: Option.isNone(settings.databaseUrl) ? unhurried : { ...unhurried, only: ["receipts"] },
    sweeper: { prune: Effect.provide(SqlStore.prune(engine), engine.context) },
    flow: {
      publicUrl,
      redirectUri: Option.getOrElse(settings.oauthRedirectUri, () => `${publicUrl}/oauth/callback`),
      returnUrls: settings.returnUrls
    }
  })
  yield* Layer.build(
    Server.layer(listener, { patience: "8 seconds", exportsMetrics: Option.isSome(settings.otlpEndpoint) }).pipe(
      Layer.provide(service),
      Layer.provide(portsOf(settings, engine)),
      Layer.provide(Layer.succeedContext(engine.context)),
      Layer.provide(Layer.succeed(SecureCookies, publicUrl.startsWith("https:")))
    )
  )
  const welcome = {
    publicUrl,
    localUrl,
    keyFile: settings.adminApiKeyFile,
    dataDirectory: settings.dataDirectory
  }
  const onlyJson = Option.contains(settings.logFormat, "json")
  if (settings.isFirstStart && !onlyJson) output.write(Welcome.text(welcome))
  yield* Effect.logInfo("Ready").pipe(
    Effect.annotateLogs({
      url: publicUrl,
      docs: `${localUrl}/docs`,
      ...(Option.isSome(welcome.keyFile) && { keyFile: welcome.keyFile.value }),
      ...(settings.isFirstStart && { example: Welcome.example(welcome) })
    })
  )
  return yield* engine.lost
}, Effect.scoped)

/** A server that comes back is waited for, but not at the first start, which tells at once what is wrong. */
const serveAgain = (settings: Settings.Settings) =>
  Effect.catchTag(serve(settings), "SoleProcessLost", (lost) =>
    Effect.zipRight(
      Effect.logWarning(lost.message),
      Effect.retry(serve(settings), {
        while: (error) => error._tag === "SoleProcessLost" || (error._tag === "DatabaseUnreachable" && error.isPassing),
        schedule: Schedule.union(Schedule.exponential("200 millis"), Schedule.spaced("5 seconds"))
      })
    )
  )

const print = (line: string) => output.write(`${line}\n`)

/** Imported where it is asked for: the start without it takes no longer. Spans that nobody gets are not made. */
const telemetry = (settings: Settings.Settings) =>
  Option.match(settings.otlpEndpoint, {
    onNone: () => Layer.setTracerEnabled(false),
    onSome: (endpoint) =>
      Layer.unwrapEffect(
        Effect.map(
          Effect.promise(() => import("./server/Telemetry.ts")),
          ({ layer }) => layer({ endpoint })
        )
      )
  })

const program = Effect.flatMap(Settings.load, (settings) => {
  const format = Option.getOrElse(settings.logFormat, () => (process.stdout.isTTY ? "pretty" : "json"))
  const log = Log.layer({ level: settings.logLevel, format, write: print })
  return serveAgain(settings).pipe(Effect.provide(telemetry(settings)), Effect.provide(log))
})

const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const error = Option.getOrUndefined(Cause.failureOption(cause))
  if (error instanceof DirectoryInUse) {
    return `DATA_DIR: another server works in ${error.directory}: stop that one, or set DATA_DIR to another directory.`
  }
  return Crash.reasonOf(cause)
}

const sayWhy = (cause: Cause.Cause<unknown>) =>
  Cause.isInterruptedOnly(cause)
    ? Effect.void
    : Effect.sync(() => void process.stderr.write(`effect-credentials does not start. ${reasonOf(cause)}\n`))

// a log that nobody reads any more is no reason to stop
process.stdout.on("error", () => {})
process.on("exit", output.flush)
process.on("uncaughtException", (error) => {
  process.stderr.write(`effect-credentials fails. ${reasonOf(Cause.die(error))}\n`)
  process.exit(1)
})

NodeRuntime.runMain(Effect.tapErrorCause(program, sayWhy), { disableErrorReporting: true, disablePrettyLogger: true })
