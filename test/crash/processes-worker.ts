/**
 * Owns one of several processes that share a store: it enqueues requests, drains when it may, and notes each acknowledgement at once,
 * so that what a killed process was told is known too. What the notes must add up to is judged by the test.
 */
import { appendFileSync } from "node:fs";
import { openEngine } from "../../src/node/engine.ts";

const [directory = "", notes = "", url = "", everyMs = "60"] = process.argv.slice(2);
const engine = await openEngine({ directory, log: () => {} });
engine.start();
let isStopping = false;
process.on("message", () => {
  isStopping = true;
});
process.send?.("ready");
for (let n = 0; !isStopping; n += 1) {
  const startedAt = performance.now();
  const lane = n % 4 === 0 ? `lane-${process.pid}` : null;
  try {
    const payload = { method: "POST", url, body: { json: { pid: process.pid, n, lane } } };
    const { id } = engine.handle("queue.add", { type: "http.request", payload, lane });
    appendFileSync(notes, `${id} ${(performance.now() - startedAt).toFixed(2)} ${n} ${lane ?? "-"}\n`);
  } catch (error) {
    appendFileSync(notes, `refused ${String(error)}\n`);
  }
  await new Promise((resolve) => setTimeout(resolve, Number(everyMs)));
}
// It stays until it is told to go, so that whoever drains goes on draining.
process.removeAllListeners("message");
process.once("message", async () => {
  await engine.stop(2_000);
  engine.close();
  process.disconnect();
});
process.send?.("quiet");
