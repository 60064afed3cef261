/**
 * The command line: what may be asked of it, and how it ends.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import * as Crash from "../server/Crash.ts"
import * as HoldBack from "./HoldBack.ts"
import * as RotateKeys from "./RotateKeys.ts"

/** The server's program goes on by itself. */
const startServer = () => Effect.asVoid(Effect.promise(() => import("../main.ts")))

const serve = Command.make("serve").pipe(
  Command.withDescription("Runs the server, as without a subcommand, until SIGTERM or SIGINT."),
  Command.withHandler(startServer)
)

const command = Command.make("effect-credentials").pipe(
  Command.withDescription(
    "Keeps other people's credentials usable. Settings are environment variables, the same for every subcommand."
  ),
  Command.withHandler(startServer),
  Command.withSubcommands([serve, RotateKeys.command, HoldBack.command])
)

/** The package's own, beside `src` and `dist`. */
const version = () => {
  const manifest: { readonly version: string } = JSON.parse(
    Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8")
  )
  return manifest.version
}

/** What is wrong with the arguments is told by the library that reads them. */
const sayWhy = (cause: Cause.Cause<unknown>) =>
  Effect.sync(() => {
    const isTold = Option.exists(Cause.failureOption(cause), ValidationError.isValidationError)
    if (!isTold && !Cause.isInterruptedOnly(cause)) process.stderr.write(`${Crash.reasonOf(cause)}\n`)
  })

/** 0: done. 1: not possible. 2: done, and something is left. 130: stopped by a signal. */
const codeOf = (exit: Exit.Exit<unknown, unknown>): number => {
  if (Exit.isSuccess(exit)) return 0
  if (Cause.isInterruptedOnly(exit.cause)) return 130
  return Option.exists(Cause.failureOption(exit.cause), (error) => error instanceof RotateKeys.RowsLeft) ? 2 : 1
}

/**
 * Runs the program that these arguments name, to the end of the process.
 *
 * @since 0.1.0
 */
export const run = (parameters: ReadonlyArray<string>): void => {
  const program = Command.run(command, { name: "effect-credentials", version: version() })(parameters)
  NodeRuntime.runMain(Effect.tapErrorCause(Effect.provide(program, NodeContext.layer), sayWhy), {
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, end) => end(codeOf(exit))
  })
}
