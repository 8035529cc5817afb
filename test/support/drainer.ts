// Owns a process that drains a data directory and prints, for each operation, how long after its enqueue it was started.
// Leaves enqueuing and killing to the test: node drainer.ts <directory>
import { openEngine } from "../../src/node/engine.ts";

const [directory = ""] = process.argv.slice(2);
const engine = await openEngine({
  directory,
  types: [
    {
      type: "ping",
      run: async ({ operation, input, idempotencyKey, signal }) => {
        const { at, hang } = input as { readonly at: number; readonly hang?: boolean };
        const line = { id: operation.id, key: idempotencyKey, attempt: operation.attempts, tookMs: Date.now() - at };
        process.stdout.write(`${JSON.stringify(line)}\n`);
        // A later attempt ends, so that the drainer that takes over can finish what its predecessor could not.
        if (hang === true && operation.attempts === 1)
          await new Promise((resolve) => signal.addEventListener("abort", () => resolve(null)));
        return { kind: "applied" };
      },
    },
  ],
});
engine.start();
process.stdout.write('{"ready":true}\n');
process.on("disconnect", () => process.exit(0));
