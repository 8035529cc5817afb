// Owns the properties of order: first in first out within a lane, priority between lanes, ageing against starvation,
// dependencies before what depends on them, whatever the remote answers and however often a process dies.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Answer } from "../../src/operation.ts";
import { rankOf } from "../../src/operation.ts";
import { openStage } from "../support/virtual.ts";

const runs = { numRuns: 120 };
const priority = fc.integer({ min: -3, max: 3 });

test("without lanes what is claimed one by one goes by rank, then by age", async () => {
  const any = fc.tuple(fc.array(priority, { minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 10 }));
  await fc.assert(
    fc.asyncProperty(any, async ([priorities, ageing]) => {
      const sent: string[] = [];
      const run = async ({ operation }: { readonly operation: { readonly id: string } }): Promise<Answer> => {
        sent.push(operation.id);
        return { kind: "applied" };
      };
      using stage = openStage({ types: [{ type: "any", run }], settings: { concurrency: 1 }, ageing });
      stage.engine().handle("queue.pause", { scope: { kind: "all" } });
      const queued = priorities.map((each) => {
        const receipt = stage.engine().handle("queue.add", { type: "any", payload: each, priority: each });
        return { ...receipt, rank: rankOf(receipt.sequence, each, ageing) };
      });
      stage.engine().handle("queue.resume", { scope: { kind: "all" } });
      await stage.scheduler.runFor(60_000);
      const expected = [...queued].sort((a, b) => a.rank - b.rank || a.sequence - b.sequence).map(({ id }) => id);
      expect(sent).toEqual(expected);
    }),
    runs,
  );
});

/** What the remote answers to the first attempts of an operation, before it says yes. */
const troubles = fc.array(fc.constantFrom("retry", "unknown", "busy", "kill"), { maxLength: 3 });
const lanes = fc.constantFrom("a", "b", null);
const plan = fc.array(fc.record({ lane: lanes, priority, troubles, needs: fc.option(fc.nat(10)) }), {
  minLength: 2,
  maxLength: 12,
});

const problem = { code: "trouble", message: "as planned" };
const answers: { readonly [kind: string]: Answer } = {
  retry: { kind: "retry", problem, isCharged: true, scope: "operation" },
  unknown: { kind: "unknown", problem, mayHaveLanded: true },
  busy: { kind: "retry", problem, isCharged: false, scope: "remote", afterMs: 500 },
};

test("a lane lands in its order and a parent before its children, through retries, paces and kills", async () => {
  await fc.assert(
    fc.asyncProperty(plan, async (planned) => {
      const left = new Map<number, string[]>(planned.map((each, index) => [index, [...each.troubles]]));
      const landed: number[] = [];
      using stage = openStage({
        types: [
          {
            type: "any",
            remoteOf: () => "remote",
            run: async ({ input }) => {
              const next = left.get(input as number)?.shift();
              if (next === "kill") {
                stage.now().process.kill();
                return await new Promise<Answer>(() => {});
              }
              const answer = next === undefined ? undefined : answers[next];
              if (answer !== undefined) return answer;
              // The remote keeps receipts: what a dead process heard counts once all the same.
              if (!landed.includes(input as number)) landed.push(input as number);
              return { kind: "applied" };
            },
          },
        ],
      });
      const ids: string[] = [];
      planned.forEach((each, index) => {
        const need = each.needs === null ? undefined : ids[each.needs];
        const after = need === undefined ? {} : { after: [need] };
        const { lane, priority: own } = each;
        ids.push(stage.engine().handle("queue.add", { type: "any", payload: index, lane, priority: own, ...after }).id);
      });
      for (let hour = 0; hour < 40 && landed.length < planned.length; hour += 1) {
        await stage.scheduler.runFor(600_000);
        if (!stage.now().process.isAlive()) stage.restart();
      }
      expect([...landed].sort((a, b) => a - b)).toEqual(planned.map((_, index) => index));
      for (const lane of ["a", "b"]) {
        const standing = landed.filter((index) => planned[index]?.lane === lane);
        expect(standing).toEqual([...standing].sort((a, b) => a - b));
      }
      planned.forEach(({ needs }, index) => {
        if (needs !== null && needs < index) expect(landed.indexOf(needs)).toBeLessThan(landed.indexOf(index));
      });
    }),
    runs,
  );
});
