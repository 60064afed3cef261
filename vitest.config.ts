import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    globalSetup: ["test/servers/build.ts", "test/servers/engines.ts"],
    // many tests wait: for tokens to expire, for processes to be missed
    maxWorkers: Math.max(4, availableParallelism() - 1),
    // real servers and real processes, beside others on as many cores as there are
    testTimeout: 60_000,
    hookTimeout: 120_000
  }
})
