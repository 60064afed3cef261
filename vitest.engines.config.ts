import { defineConfig } from "vitest/config"

/** The suites over real Postgres and Redis servers, which they start themselves. */
export default defineConfig({
  test: {
    include: ["test/**/*.integration.test.ts"],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000
  }
})
