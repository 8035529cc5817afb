// Owns bar P1: how fast one caller queues durably, against a raw insert of the same text and against the peers.
// Leaves concurrent callers to p2-concurrent.ts.
import { ratioOf, rowOf, takeTurns } from "./support/measure.ts";
import { openPlainjob } from "./support/plainjob.ts";
import { newDirectory, note, openOurs, openRaw } from "./support/stores.ts";
import { openTanstack } from "./support/tanstack.ts";
import type { Measure } from "./support/types.ts";

export const measure: Measure = async (scope) => {
  const directory = newDirectory(scope.directory, "p1");
  const raw = openRaw(directory);
  const engine = await openOurs(directory);
  const peers = [await openPlainjob(directory), await openTanstack(directory)];
  const rounds = await takeTurns(
    [
      { name: "raw insert", run: raw.insertOne },
      { name: "holdfast", run: () => engine.handle("queue.add", { type: "note", payload: note }) },
      ...peers.map(({ name, add }) => ({ name, run: add, share: 0.1 })),
    ],
    { rounds: scope.isQuick ? 5 : 25, calls: scope.isSlowDisk ? 20 : 100 },
  );
  for (const each of [engine, raw, ...peers]) each.close();
  return {
    figures: [{ key: "P1", label: "raw insert / holdfast", ratio: ratioOf(rounds, "raw insert", "holdfast") }],
    rows: [
      { label: "raw insert", spread: rowOf(rounds, "raw insert", 1e-3), unit: "us" },
      { label: "holdfast", spread: rowOf(rounds, "holdfast", 1e-3), unit: "us" },
      ...peers.flatMap(({ name }) => [
        { label: name, spread: rowOf(rounds, name, 1e-3), unit: "us" as const },
        { label: `raw insert / ${name}`, spread: ratioOf(rounds, "raw insert", name), unit: "x" as const },
      ]),
    ],
  };
};
