// Owns bar P3: a hundred operations in one request, against a raw transaction of a hundred inserts and against plainjob.
// Leaves concurrent callers to p2-concurrent.ts.
import { ratioOf, rowOf, takeTurns } from "./support/measure.ts";
import { openPlainjob } from "./support/peers.ts";
import { newDirectory, note, openOurs, openRaw } from "./support/stores.ts";
import type { Measure } from "./support/types.ts";

const count = 100;

export const measure: Measure = async (scope) => {
  const directory = newDirectory(scope.directory, "p3");
  const raw = openRaw(directory);
  const engine = await openOurs(directory);
  const plainjob = await openPlainjob(directory);
  const operations = Array.from({ length: count }, () => ({ type: "note", payload: note }));
  const rounds = await takeTurns(
    [
      { name: "raw batch", run: () => raw.insertMany(count) },
      { name: "holdfast", run: () => engine.handle("queue.addMany", { operations }) },
      { name: plainjob.name, run: () => plainjob.addMany?.(count), share: 0.5 },
    ],
    { rounds: scope.isQuick ? 5 : 25, calls: 20 },
  );
  for (const each of [engine, raw, plainjob]) each.close();
  return {
    figures: [{ key: "P3", label: "raw batch / holdfast", ratio: ratioOf(rounds, "raw batch", "holdfast") }],
    rows: [
      { label: "raw batch, each of 100", spread: rowOf(rounds, "raw batch", count * 1e-3), unit: "us" },
      { label: "holdfast, each of 100", spread: rowOf(rounds, "holdfast", count * 1e-3), unit: "us" },
      { label: `${plainjob.name}, each of 100`, spread: rowOf(rounds, plainjob.name, count * 1e-3), unit: "us" },
      { label: `raw batch / ${plainjob.name}`, spread: ratioOf(rounds, "raw batch", plainjob.name), unit: "x" },
    ],
  };
};
