// Owns the share of `npm test` that the simulation of several clients and a sync server has: fixed seeds, fresh seeds, and the proof
// that a seed decides a run. Long runs are `npm run sim -- --replicas`; planted bugs are in test/planted.
import { expect, test } from "vitest";
import { describeFailure, freshSeeds, runPlan, seedsFrom, shorten } from "../simulation/runs.ts";
import { simulateReplicas } from "./simulator.ts";

const steps = 300;
const fixedCount = 70;
const freshCount = 5;

async function expectSound(seeds: readonly number[]): Promise<void> {
  const { failures, totals } = await runPlan({ simulation: "replicas", seeds, steps, mode: "both", workers: 2 });
  const told: string[] = [];
  for (const failure of failures.slice(0, 3))
    told.push(describeFailure("replicas", await shorten("replicas", failure)));
  expect(told.join("\n\n"), `seeds ${failures.map(({ seed }) => seed).join(", ")} of ${totals.runs} runs`).toBe("");
  // A simulation in which little happens proves little.
  expect(totals.versions).toBeGreaterThan(seeds.length * 15);
  expect(totals.kills).toBeGreaterThan(seeds.length * 5);
}

test("the same seed twice gives the same trace, another seed another one", async () => {
  const [one, again, other] = [
    await simulateReplicas({ seed: 11, steps }),
    await simulateReplicas({ seed: 11, steps }),
    await simulateReplicas({ seed: 12, steps }),
  ];
  expect(again).toEqual(one);
  expect(other.hash).not.toBe(one.hash);
});

test("no invariant breaks in the fixed seeds", async () => {
  await expectSound(seedsFrom(1, fixedCount));
});

test("no invariant breaks in fresh seeds", async () => {
  await expectSound(freshSeeds(freshCount));
});
