// Owns what a measured process tells of itself: loaded before its own code, it collects its garbage and says what is left.
// Leaves what may be left to soak.test.ts: node --expose-gc --import measure.ts <program>, asked over its channel.
import { setImmediate as nextTurn } from "node:timers/promises";

export type Measured = {
  /** Heap and everything that hangs on it, after a collection. */
  readonly heldBytes: number;
  readonly residentBytes: number;
};

process.on("message", (asked) => {
  if (asked === "measure") void measure();
});

async function measure(): Promise<void> {
  // What the first collection finalizes is free for the second.
  for (let time = 0; time < 2; time += 1) {
    globalThis.gc?.();
    await nextTurn();
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  const measured: Measured = { heldBytes: heapUsed + external, residentBytes: rss };
  process.send?.(measured);
}
// Whoever stops the process must not have to close the channel first.
process.channel?.unref();
