/**
 * Owns the process of the command `holdfast`: its streams, signals and exit code. What it does with its words is `run.ts`.
 */
import { writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { makeRealHost } from "./real-host.ts";
import { runCli } from "./run.ts";

/** `holdfast queue list | head` closes our output early: nobody reads, so there is nothing to report. Any other failure loses words. */
function leave(error: NodeJS.ErrnoException): never {
  if (error.code === "EPIPE") process.exit(0);
  try {
    writeSync(
      2,
      `✗ the output cannot be written: ${error.message}\n→ make room, or send it elsewhere; it is not complete\n`,
    );
  } catch {
    // Then only the exit code is left to tell it.
  }
  process.exit(1);
}

for (const stream of [process.stdout, process.stderr]) stream.on("error", leave);

const host = makeRealHost(fileURLToPath(import.meta.url));
process.exitCode = await runCli(process.argv.slice(2), host);
// Whatever is still open then (a call that a silent daemon never answers, say) ends with the command, once all is said.
process.stdout.write("", (error) => {
  if (error) leave(error);
  process.stderr.write("", () => process.exit());
});
