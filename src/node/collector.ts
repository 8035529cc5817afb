/**
 * Owns when captured files that no operation refers to any more are deleted: some time after start, then daily. What is deleted, and
 * what is too young for it, is `blob-litter.ts`.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Engine } from "../engine/engine.ts";
import { isCode } from "../errors.ts";
import { blobsIn } from "../upload.ts";
import type { Collected } from "./blob-litter.ts";
import type { Blobs } from "./blobs.ts";
import type { Log } from "./world.ts";

const firstAfterMs = 60_000;
const everyMs = 86_400_000;

/** Operations that are read at a time: each may hold a payload of the largest size. */
const pageSize = 100;

/** Collects from time to time until the returned function is called. */
export function startCollecting(engine: Pick<Engine, "handle">, blobs: Blobs, log: Log): () => void {
  let timer = setTimeout(run, firstAfterMs);
  let isOver = false;
  timer.unref();
  function run(): void {
    void collectOnce(engine, blobs)
      .then((freed) => freed.removed > 0 && log("info", "captured files that nobody needs were deleted", freed))
      .catch(
        (error: unknown) =>
          isCode(error, "engine_closed") || log("warn", "captured files were not collected", { error: String(error) }),
      )
      .finally(() => {
        if (isOver) return;
        timer = setTimeout(run, everyMs);
        timer.unref();
      });
  }
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

/** Reads which captured files operations of any type still refer to, a page at a time, and deletes the others. */
export async function collectOnce(
  engine: Pick<Engine, "handle">,
  blobs: Blobs,
  options: { readonly minAgeMs?: number } = {},
): Promise<Collected> {
  if (await blobs.isEmpty()) return { removed: 0, freedBytes: 0 };
  const used = new Set<string>();
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = engine.handle("queue.list", { limit: pageSize, ...(cursor === undefined ? {} : { cursor }) });
    for (const { payload, checkpoint } of page.operations)
      for (const hash of blobsIn([payload, checkpoint])) used.add(hash);
    cursor = page.next;
    // Requests that came meanwhile go first: nobody waits for a collection.
    await nextTurn();
  }
  return blobs.collect(used, options);
}
