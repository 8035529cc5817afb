// Owns running the programs of one page of documentation one after another in one process, in the page's own folder and environment.
// Leaves saying which, and judging how the process itself ends, to test/docs.test.ts.
import { pathToFileURL } from "node:url";

/** What one program came to; `null` when it ran to its end. */
export type Ran = { readonly failure: string | null };

/** Starting Node and loading the package costs more than most examples do, so the programs of a page share both. */
async function runProgram(file: string): Promise<Ran> {
  try {
    await import(pathToFileURL(file).href);
    return { failure: process.exitCode ? `set the exit code to ${process.exitCode}` : null };
  } catch (error) {
    return { failure: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

process.on("message", (file: string) => {
  void runProgram(file).then((ran) => process.send?.(ran));
});
