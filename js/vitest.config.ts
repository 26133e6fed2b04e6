import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "jsdom",
    include: ["tests/**/*.test.ts"],
    setupFiles: ["tests/setup.ts"],
    // Two workers at most: the suite is small, and it shares small machines with the Python tests.
    maxWorkers: 2,
    minWorkers: 1,
  },
});
