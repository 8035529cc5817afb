// Owns a whole daemon in a process of its own: the real engine on the real disk, as `holdfast daemon run` has it.
// Leaves the command line's words to src/cli/.
import { errorTable, HoldfastError } from "../../src/errors.ts";
import { runDaemon } from "../../src/node/daemon.ts";
import { openRealEngine } from "./real-engine.ts";

try {
  const daemon = await runDaemon({
    version: "0.0.0",
    handlesProcess: true,
    openEngine: openRealEngine,
  });
  await daemon.stopped;
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof HoldfastError ? errorTable[error.code].exit : 1;
}
