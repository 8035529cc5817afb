// Owns measuring what a test's process holds on to: a collection is forced before each look, so garbage that V8 has not fetched yet counts
// for nothing, on a busy machine or an idle one. Leaves what SQLite keeps to tests that look at a whole process.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes of objects and buffers that something still refers to. */
export function liveBytes(): number {
  collect();
  // The buffers that one collection has freed are off the books with the next.
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const lookEveryMs = 50;

/** Runs `work` and tells by how much the live bytes stood above the beginning at the highest look. */
export async function mostGrownDuring<T>(
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly grown: number }> {
  const before = liveBytes();
  let [grown, looks] = [0, 0];
  const watch = setInterval(() => {
    looks += 1;
    grown = Math.max(grown, liveBytes() - before);
  }, lookEveryMs);
  try {
    const result = await work();
    if (looks === 0) throw new Error("it was over before it was looked at: give it more to do");
    return { result, grown };
  } finally {
    clearInterval(watch);
  }
}
