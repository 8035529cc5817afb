// Owns bar P3: a hundred operations in one request, against a raw transaction of a hundred inserts and against the peers.
// Leaves concurrent callers to p2-concurrent.ts.
import { ratioOf, rowOf, takeTurns } from "./support/measure.ts";
import { openPlainjob } from "./support/plainjob.ts";
import { newDirectory, note, openOurs, openRaw } from "./support/stores.ts";
import { newOutbox, tanstackName } from "./support/tanstack.ts";
import type { Measure, Row } from "./support/types.ts";

const count = 100;

export const measure: Measure = async (scope) => {
  const directory = newDirectory(scope.directory, "p3");
  const raw = openRaw(directory);
  const engine = await openOurs(directory);
  const plainjob = await openPlainjob(directory);
  const outbox = newOutbox(directory);
  const operations = Array.from({ length: count }, () => ({ type: "note", payload: note }));
  const rounds = await takeTurns(
    [
      { name: "raw batch", run: () => raw.insertMany(count) },
      { name: "holdfast", run: () => engine.handle("queue.addMany", { operations }) },
      { name: plainjob.name, run: () => plainjob.addMany(count), share: 0.5 },
      { name: tanstackName, run: () => outbox.addTogether(count), prepare: outbox.renew, share: 0.1 },
    ],
    { rounds: scope.isQuick ? 5 : 25, calls: 20 },
  );
  for (const each of [engine, raw, plainjob, outbox]) each.close();
  return {
    figures: [{ key: "P3", label: "raw batch / holdfast", ratio: ratioOf(rounds, "raw batch", "holdfast") }],
    rows: [
      { label: "raw batch, each of 100", spread: rowOf(rounds, "raw batch", count * 1e-3), unit: "us" },
      { label: "holdfast, each of 100", spread: rowOf(rounds, "holdfast", count * 1e-3), unit: "us" },
      ...[plainjob.name, tanstackName].flatMap((name): readonly Row[] => [
        { label: `${name}, each of 100`, spread: rowOf(rounds, name, count * 1e-3), unit: "us" },
        { label: `raw batch / ${name}`, spread: ratioOf(rounds, "raw batch", name), unit: "x" },
      ]),
    ],
    notes: [`${tanstackName} takes the hundred as one transaction, which is sent and settled as one`],
  };
};
