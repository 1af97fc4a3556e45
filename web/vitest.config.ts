import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/*.test.ts"],
    alias: { prebake: new URL("./dist/lib/index.js", import.meta.url).pathname },
    // Guests of slow hosts take their time; nothing is judged by it.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    fileParallelism: false,
    maxConcurrency: 1,
  },
});
