// Owns one life of a peer's draining process: it opens the queue, has its first work in hand, says how long that took, and dies by SIGKILL
// with it. Leaves ours to restart.ts and comparing lives to p6-restart.ts.
import { writeSync } from "node:fs";
import { loadPlainjob, openPlainjob } from "./plainjob.ts";
import { loadTanstack, openTanstack } from "./tanstack.ts";

const [peer = "", directory = ""] = process.argv.slice(2);
await (peer === "plainjob" ? loadPlainjob() : loadTanstack());
const startedAt = performance.now();
const send = (): Promise<never> => {
  const ms = performance.now() - startedAt;
  writeSync(1, JSON.stringify({ ms, megabytes: process.memoryUsage.rss() / 1e6 }));
  process.kill(process.pid, "SIGKILL");
  return new Promise<never>(() => {});
};
if (peer === "plainjob") await (await openPlainjob(directory)).drain({ count: 1, workers: 1, send });
else await openTanstack(directory, { send, isOnline: true });
