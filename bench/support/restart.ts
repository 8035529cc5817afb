// Owns one life of a draining process: it opens the store, claims, says how long that took, and dies by SIGKILL with its
// work in flight. Leaves comparing lives to p6-restart.ts.
import { writeSync } from "node:fs";
import { openEngine } from "../../src/node/engine.ts";
import { roomy } from "./stores.ts";

const [directory = ""] = process.argv.slice(2);
const startedAt = performance.now();
const type = {
  type: "note",
  run: () => {
    const ms = performance.now() - startedAt;
    writeSync(1, JSON.stringify({ ms, megabytes: process.memoryUsage.rss() / 1e6 }));
    process.kill(process.pid, "SIGKILL");
    return new Promise<never>(() => {});
  },
};
const engine = await openEngine({ directory, types: [type], settings: roomy, log: () => {} });
engine.start();
