// Owns bar P5: what an enqueue costs with a million operations queued against a hundred.
// Leaves building the stores to support/depths.ts.
import { storeOf } from "./support/depths.ts";
import { ratioOf, rowOf, takeTurns } from "./support/measure.ts";
import { note, openOurs } from "./support/stores.ts";
import type { Measure } from "./support/types.ts";

export const measure: Measure = async (scope) => {
  const many = scope.isQuick ? 100_000 : 1_000_000;
  const small = await openOurs(storeOf(scope.directory, "spread", 100));
  const big = await openOurs(storeOf(scope.directory, "spread", many));
  let index = 0;
  const add = (engine: typeof small) => () =>
    engine.handle("queue.add", { type: "note", payload: note, lane: `lane-${(index++ * 7) % 1_000}` });
  const rounds = await takeTurns(
    [
      { name: "few", run: add(small) },
      { name: "many", run: add(big) },
    ],
    { rounds: scope.isQuick ? 5 : 25, calls: 60 },
  );
  small.close();
  big.close();
  return {
    figures: [{ key: "P5", label: "enqueue at many / at few", ratio: ratioOf(rounds, "many", "few") }],
    rows: [
      { label: "at 100 queued", spread: rowOf(rounds, "few", 1e-3), unit: "us" },
      { label: `at ${many} queued`, spread: rowOf(rounds, "many", 1e-3), unit: "us" },
    ],
  };
};
