// Owns bar P2: what a hundred callers gain by sharing commits, against one caller that waits for each.
// Leaves a hundred operations in one request to p3-batch.ts.
import { ratioOf, rowOf, takeTurns } from "./support/measure.ts";
import { newDirectory, note, openOurs, openRaw } from "./support/stores.ts";
import type { Measure } from "./support/types.ts";

const callers = 100;

export const measure: Measure = async (scope) => {
  const directory = newDirectory(scope.directory, "p2");
  const raw = openRaw(directory);
  const engine = await openOurs(directory);
  const add = () => engine.submit("queue.add", { type: "note", payload: note });
  const alone = scope.isSlowDisk ? 10 : callers;
  const rounds = await takeTurns(
    [
      { name: "one caller", run: () => inTurn(alone, add) },
      { name: "100 callers", run: () => Promise.all(Array.from({ length: callers }, add)) },
      { name: "raw one by one", run: () => inTurn(alone, raw.insertOne) },
      { name: "raw batch", run: () => raw.insertMany(callers) },
    ],
    { rounds: scope.isQuick ? 5 : 25, calls: 3 },
  );
  engine.close();
  raw.close();
  const factor = callers / alone;
  return {
    figures: [
      { key: "P2", label: "one caller / 100 callers", ratio: ratioOf(rounds, "one caller", "100 callers", factor) },
    ],
    rows: [
      { label: "one caller, each", spread: rowOf(rounds, "one caller", alone * 1e-3), unit: "us" },
      { label: "100 callers, each", spread: rowOf(rounds, "100 callers", callers * 1e-3), unit: "us" },
      { label: "raw: one by one / batch", spread: ratioOf(rounds, "raw one by one", "raw batch", factor), unit: "x" },
    ],
  };
};

async function inTurn(times: number, task: () => unknown): Promise<void> {
  for (let time = 0; time < times; time += 1) await task();
}
