// Owns the simulation's share of `npm test`: fixed seeds, fresh seeds, and the proof that a seed decides a run.
// Long runs are `npm run sim`; planted bugs are in test/planted.
import { expect, test } from "vitest";
import type { Plan } from "./runs.ts";
import { describeFailure, freshSeeds, runPlan, seedsFrom, shorten } from "./runs.ts";
import { simulate } from "./simulator.ts";

const steps = 500;
const fixedCount = 1_900;
const freshCount = 100;

async function expectSound(plan: Omit<Plan, "simulation">): Promise<void> {
  const { failures, totals } = await runPlan({ ...plan, simulation: "queue" });
  const told = await Promise.all(
    failures.slice(0, 3).map(async (failure) => describeFailure("queue", await shorten("queue", failure))),
  );
  expect(told.join("\n\n"), `${failures.length} of ${totals.runs} runs`).toBe("");
  // A simulation in which little happens proves little.
  expect(totals.sends).toBeGreaterThan(plan.seeds.length * 5);
  expect(totals.kills).toBeGreaterThan(plan.seeds.length / 2);
}

test("the same seed twice gives the same trace, another seed another one", async () => {
  for (const mode of ["safety", "liveness"] as const) {
    const [one, again, other] = [
      await simulate({ seed: 11, steps, mode }),
      await simulate({ seed: 11, steps, mode }),
      await simulate({ seed: 12, steps, mode }),
    ];
    expect(again).toEqual(one);
    expect(other.hash).not.toBe(one.hash);
  }
});

test("no invariant breaks in the fixed seeds", async () => {
  await expectSound({ seeds: seedsFrom(1, fixedCount), steps, mode: "both", workers: 2 });
});

test("no invariant breaks in fresh seeds", async () => {
  await expectSound({ seeds: freshSeeds(freshCount), steps, mode: "both", workers: 2 });
});
