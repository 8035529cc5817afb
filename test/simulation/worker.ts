// Owns one worker process of a long simulation: it takes a share of the seeds and sends back what came of them.
// What a run is belongs to simulator.ts.
import type { Job } from "./runs.ts";
import { runHere } from "./runs.ts";

process.once("message", async (job) => {
  const report = await runHere(job as Job);
  process.send?.(report, () => process.exit(0));
});
