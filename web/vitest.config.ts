import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/*.test.ts"],
    alias: { prebake: new URL("./dist/lib/index.js", import.meta.url).pathname },
    // The last resort: what a test waits for has an end before, which says what that was.
    testTimeout: 1_200_000,
    hookTimeout: 600_000,
    fileParallelism: false,
    maxConcurrency: 1,
  },
});
