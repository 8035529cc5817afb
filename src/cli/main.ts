/**
 * Owns the process of the command `holdfast`: its streams, signals and exit code. What it does with its words is `run.ts`.
 */
import { fileURLToPath } from "node:url";
import { makeRealHost } from "./real-host.ts";
import { runCli } from "./run.ts";

// `holdfast queue list | head` closes our output early: nobody reads, so there is nothing to report.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
}

const host = makeRealHost(fileURLToPath(import.meta.url));
process.exitCode = await runCli(process.argv.slice(2), host);
// Whatever is still open then (a call that a silent daemon never answers, say) ends with the command, once all is said.
process.stdout.write("", () => process.stderr.write("", () => process.exit()));
