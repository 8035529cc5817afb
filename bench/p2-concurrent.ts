// Owns bar P2: what a hundred callers gain by sharing commits, against one caller that waits for each, and what they gain with the peers.
// Leaves a hundred operations in one request to p3-batch.ts.
import { ratioOf, rowOf, takeTurns } from "./support/measure.ts";
import { openPlainjob } from "./support/plainjob.ts";
import { newDirectory, note, openOurs, openRaw } from "./support/stores.ts";
import { newOutbox, tanstackName } from "./support/tanstack.ts";
import type { Measure, Row } from "./support/types.ts";

const callers = 100;

export const measure: Measure = async (scope) => {
  const directory = newDirectory(scope.directory, "p2");
  const raw = openRaw(directory);
  const engine = await openOurs(directory);
  const add = () => engine.submit("queue.add", { type: "note", payload: note });
  const plainjob = await openPlainjob(directory);
  const outbox = newOutbox(directory);
  const alone = scope.isSlowDisk ? 10 : callers;
  // A hundred commits take half a second on a slow disk, so the peers take one turn in some of the rounds.
  const seldom = { share: 0, rounds: scope.isQuick ? 2 : 5 };
  const rounds = await takeTurns(
    [
      { name: "one caller", run: () => inTurn(alone, add) },
      { name: "100 callers", run: () => atOnce(add) },
      { name: "raw one by one", run: () => inTurn(alone, raw.insertOne) },
      { name: "raw batch", run: () => raw.insertMany(callers) },
      { name: `${plainjob.name}, one caller`, run: () => inTurn(alone, plainjob.add), ...seldom },
      { name: `${plainjob.name}, 100 callers`, run: () => atOnce(async () => plainjob.add()), ...seldom },
      { name: `${tanstackName}, one caller`, run: () => inTurn(alone, outbox.add), prepare: outbox.renew, ...seldom },
      { name: `${tanstackName}, 100 callers`, run: () => atOnce(outbox.add), prepare: outbox.renew, ...seldom },
    ],
    { rounds: scope.isQuick ? 5 : 25, calls: 3 },
  );
  for (const each of [engine, raw, plainjob, outbox]) each.close();
  const factor = callers / alone;
  return {
    figures: [
      { key: "P2", label: "one caller / 100 callers", ratio: ratioOf(rounds, "one caller", "100 callers", factor) },
    ],
    rows: [
      { label: "one caller, each", spread: rowOf(rounds, "one caller", alone * 1e-3), unit: "us" },
      { label: "100 callers, each", spread: rowOf(rounds, "100 callers", callers * 1e-3), unit: "us" },
      { label: "raw: one by one / batch", spread: ratioOf(rounds, "raw one by one", "raw batch", factor), unit: "x" },
      ...[plainjob.name, tanstackName].flatMap((name): readonly Row[] => [
        { label: `${name}, one caller, each`, spread: rowOf(rounds, `${name}, one caller`, alone * 1e-3), unit: "us" },
        {
          label: `${name}, 100 callers, each`,
          spread: rowOf(rounds, `${name}, 100 callers`, callers * 1e-3),
          unit: "us",
        },
        {
          label: `${name}: one caller / 100 callers`,
          spread: ratioOf(rounds, `${name}, one caller`, `${name}, 100 callers`, factor),
          unit: "x",
        },
      ]),
    ],
    notes: [`${tanstackName} starts each turn with nothing queued, since its enqueue slows down with depth`],
  };
};

const atOnce = (add: () => Promise<unknown>) => Promise.all(Array.from({ length: callers }, add));

async function inTurn(times: number, task: () => unknown): Promise<void> {
  for (let time = 0; time < times; time += 1) await task();
}
