// Owns the share of `npm test` that the simulation of several clients has with its server on a real PostgreSQL: one or two processes,
// transactions that stand open while others come, deaths at statements and commits, lost connections, commits whose answer is lost, restores.
// The same on SQLite, with more seeds, is test/replicas/replicas.test.ts.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunResult } from "../replicas/simulator.ts";
import { simulateReplicas } from "../replicas/simulator.ts";
import { freshSeeds, seedsFrom } from "../simulation/runs.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";
import type { PostgresBase } from "./replicas-base.ts";
import { openPostgresBase } from "./replicas-base.ts";

/** For long runs: `HOLDFAST_SEEDS=200 HOLDFAST_STEPS=400 npx vitest run --project postgres test/postgres/replicas.pg.test.ts`. */
const { HOLDFAST_SEEDS: count = "12", HOLDFAST_STEPS: length = "200" } = process.env;
const steps = Number(length);
/** Half a minute on a machine that does nothing else. */
const limitMs = 300_000;
const fixedSeeds = seedsFrom(1, Number(count));

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());

const sums = { commits: 0, waits: 0, lost: 0, unknown: 0, pauses: 0, versions: 0, kills: 0 };

async function simulate(seed: number, length = steps): Promise<RunResult> {
  const url = await cluster.createDatabase();
  let base: PostgresBase | null = null;
  const result = await simulateReplicas({ seed, steps: length }, async () => {
    base = await openPostgresBase(url, seed);
    return base;
  });
  const { facts } = base as unknown as PostgresBase;
  for (const [name, count] of Object.entries({ ...facts, ...result.facts }))
    if (name in sums) sums[name as keyof typeof sums] += count;
  return result;
}

async function expectSound(seeds: readonly number[]): Promise<void> {
  const told: string[] = [];
  for (const seed of seeds) {
    const { violation, trace } = await simulate(seed);
    if (violation === null) continue;
    told.push(
      `seed ${seed} of ${steps} steps breaks ${violation.rule}: ${violation.detail}\n${trace.slice(-25).join("\n")}`,
    );
  }
  expect(told.join("\n\n")).toBe("");
}

test("no invariant breaks on PostgreSQL in the fixed seeds", { timeout: limitMs }, async () => {
  await expectSound(fixedSeeds);
  console.log(`${fixedSeeds.length} seeds of ${steps} steps on PostgreSQL: ${JSON.stringify(sums)}`);
  // A simulation in which little happens proves little.
  expect(sums.versions).toBeGreaterThan(fixedSeeds.length * 10);
  for (const count of [sums.kills, sums.pauses, sums.lost, sums.unknown, sums.waits]) expect(count).toBeGreaterThan(0);
});

test("no invariant breaks on PostgreSQL in fresh seeds", { timeout: limitMs }, async () => {
  await expectSound(freshSeeds(1));
});

test("the same seed twice gives the same trace, whatever the database takes for it", { timeout: limitMs }, async () => {
  const [one, again] = [await simulate(7, 60), await simulate(7, 60)];
  expect(again.hash).toBe(one.hash);
});
