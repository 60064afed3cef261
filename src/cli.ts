#!/usr/bin/env node
/**
 * The package's command. Without arguments it is the server, and loads nothing beside it.
 *
 * @since 0.1.0
 */
const [subcommand, ...parameters] = process.argv.slice(2)

if (subcommand === undefined || (subcommand === "serve" && parameters.length === 0)) {
  await import("./main.ts")
} else {
  const { run } = await import("./cli/CommandLine.ts")
  run(process.argv)
}
