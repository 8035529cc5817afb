// Owns bar P5: what an enqueue costs with a million operations queued against a hundred, and what it costs with the peers.
// Leaves building the stores to support/depths.ts, plainjob.ts and tanstack.ts.
import { storeOf } from "./support/depths.ts";
import { ratioOf, rowOf, takeTurns } from "./support/measure.ts";
import { openPlainjob, plainjobName, plainjobOf } from "./support/plainjob.ts";
import { note, openOurs } from "./support/stores.ts";
import { deepOutbox, openTanstack, tanstackName, tanstackOf } from "./support/tanstack.ts";
import type { Measure, Row } from "./support/types.ts";

const few = 100;

export const measure: Measure = async (scope) => {
  const { directory, isQuick } = scope;
  const many = isQuick ? 100_000 : 1_000_000;
  const small = await openOurs(storeOf(directory, "spread", few));
  const big = await openOurs(storeOf(directory, "spread", many));
  const jobs = [
    await openPlainjob(await plainjobOf(directory, few)),
    await openPlainjob(await plainjobOf(directory, many)),
  ];
  const outboxes = [
    await openTanstack(await tanstackOf(directory, few)),
    await openTanstack(await tanstackOf(directory, deepOutbox)),
  ];
  let index = 0;
  const add = (engine: typeof small) => () =>
    engine.handle("queue.add", { type: "note", payload: note, lane: `lane-${(index++ * 7) % 1_000}` });
  const rounds = await takeTurns(
    [
      { name: "few", run: add(small) },
      { name: "many", run: add(big) },
      ...jobs.map((each, at) => ({ name: `${plainjobName} ${at}`, run: each.add, share: 0.25 })),
      // What is added makes the small one deeper, so it takes few turns.
      ...outboxes.map((each, at) => ({ name: `${tanstackName} ${at}`, run: each.add, share: 0.05, rounds: 10 })),
    ],
    { rounds: isQuick ? 5 : 25, calls: 60 },
  );
  for (const each of [small, big, ...jobs, ...outboxes]) each.close();
  return {
    figures: [{ key: "P5", label: "enqueue at many / at few", ratio: ratioOf(rounds, "many", "few") }],
    rows: [
      { label: `at ${few} queued`, spread: rowOf(rounds, "few", 1e-3), unit: "us" },
      { label: `at ${many} queued`, spread: rowOf(rounds, "many", 1e-3), unit: "us" },
      ...peers(many).flatMap(({ name, depth }): readonly Row[] => [
        { label: `${name} at ${few} queued`, spread: rowOf(rounds, `${name} 0`, 1e-3), unit: "us" },
        { label: `${name} at ${depth} queued`, spread: rowOf(rounds, `${name} 1`, 1e-3), unit: "us" },
        { label: `${name}: at ${depth} / at ${few}`, spread: ratioOf(rounds, `${name} 1`, `${name} 0`), unit: "x" },
      ]),
    ],
  };
};

const peers = (many: number) => [
  { name: plainjobName, depth: many },
  { name: tanstackName, depth: deepOutbox },
];
