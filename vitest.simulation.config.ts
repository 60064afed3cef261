import { defineConfig } from "vitest/config"

/** The short form of `npm run simulate`, which takes minutes of all cores. */
export default defineConfig({
  test: { include: ["test/simulation/*.test.ts"], globalSetup: ["test/servers/build.ts", "test/servers/engines.ts"] }
})
