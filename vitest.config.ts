import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // over servers of their own: `npm run test:engines`
    exclude: ["test/**/*.integration.test.ts"],
    globalSetup: ["test/servers/build.ts"],
    testTimeout: 20_000,
    hookTimeout: 60_000
  }
})
