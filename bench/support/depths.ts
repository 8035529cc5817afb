// Owns stores of a given depth: a thousand or a million operations queued through the engine in one of four shapes.
// Leaves what is measured on them to the bars; a store that was built once in a run is used again by the next bar.
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { nodeWorld } from "../../src/node/world.ts";
import type { AddInput } from "../../src/verbs.ts";
import { note, noteType, roomy } from "./stores.ts";

export const shapes = ["spread", "hot", "waiting", "dependent"] as const;
export type Shape = (typeof shapes)[number];

export const shapeTitles: Readonly<Record<Shape, string>> = {
  spread: "spread over 1,000 lanes",
  hot: "half in one lane of top priority",
  waiting: "90 % of top priority not due yet",
  dependent: "9 of 10 wait on a dependency",
};

const lanes = 1_000;
const batch = 1_000;
const dayMs = 86_400_000;

/** The directory of a store of that shape and depth under `root`, built when it is not there yet. */
export function storeOf(root: string, shape: Shape, count: number): string {
  const directory = join(root, `${shape}-${count}`);
  if (existsSync(directory)) return directory;
  const unfinished = `${directory}.unfinished`;
  mkdirSync(unfinished, { recursive: true });
  // Only while it is built: what is measured is opened with FULL.
  const database = openDatabase(join(unfinished, "holdfast.db"), { synchronous: "OFF" });
  const world = nodeWorld({ directory: unfinished, log: () => {} });
  const engine = openEngine({ database, world, types: [noteType], settings: roomy });
  fill(engine, shape, count);
  database.checkpoint("truncate");
  engine.close();
  world.close();
  renameSync(unfinished, directory);
  return directory;
}

function fill(engine: Engine, shape: Shape, count: number): void {
  const inputOf = shape === "dependent" ? dependent(engine) : inputs[shape];
  for (let done = 0; done < count; done += batch) {
    const size = Math.min(batch, count - done);
    const operations = Array.from({ length: size }, (_, index) => inputOf(done + index));
    engine.handle("queue.addMany", { operations });
  }
}

const inLane = (index: number): AddInput => ({ type: "note", payload: note, lane: `lane-${index % lanes}` });

const inputs: Readonly<Record<Exclude<Shape, "dependent">, (index: number) => AddInput>> = {
  spread: inLane,
  hot: (index) => (index % 2 === 0 ? { ...inLane(0), lane: "hot", priority: 100 } : inLane((index - 1) / 2)),
  waiting: (index) =>
    index % 10 === 0
      ? { type: "note", payload: note }
      : { type: "note", payload: note, priority: 100, notBefore: Date.now() + dayMs + index },
};

/** Every tenth operation is what the nine after it wait for; ids are given, so that a request can name them in advance. */
function dependent(engine: Engine): (index: number) => AddInput {
  let parent = "";
  return (index) => {
    if (index % 10 !== 0) return { type: "note", payload: note, after: [parent] };
    parent = engine.handle("queue.add", { type: "note", payload: note }).id;
    // The parent stands by now; its place in the batch goes to one more operation that waits for it.
    return { type: "note", payload: note, after: [parent] };
  };
}
