// Owns the vitest projects, one per stage that is made of test files; leaves the table itself to scripts/stages.ts
// and the order and the counting to scripts/test.ts.
import { defineConfig } from "vitest/config";
import { checkStages, stages } from "./scripts/stages.ts";

export default defineConfig({
  test: {
    pool: "forks",
    // What is waited for comes late on a busy machine; a second, as vitest has it, is no rule of ours. Below the shortest time of a test.
    expect: { poll: { timeout: 20_000 } },
    projects: [...checkStages, ...stages.filter((stage) => stage.command === undefined)].map((stage) => ({
      extends: true,
      test: {
        name: stage.name,
        include: [...stage.include],
        exclude: ["**/node_modules/**", "dist/**", ".toolchain/**", ".tmp/**", ...(stage.exclude ?? [])],
        testTimeout: stage.testTimeoutMs,
        hookTimeout: stage.testTimeoutMs,
        fileParallelism: stage.parallel,
        isolate: stage.isIsolated ?? true,
      },
    })),
  },
});
