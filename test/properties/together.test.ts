// Owns the property of many operations in one request: they are what they would be one after the other, and all or none.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Json } from "../../src/operation.ts";
import type { AddInput } from "../../src/verbs.ts";
import { startBench } from "../support/virtual-engine.ts";

const idOf = (n: number): string => `0190a1b2-c3d4-7e5f-8a9b-${String(n).padStart(12, "0")}`;
const few = fc.nat(3);
const many = fc.nat(30);

/** What makes an operation look at those before it, and what does not. */
const parts: readonly fc.Arbitrary<Partial<AddInput>>[] = [
  few.map((n) => ({ id: idOf(n), payload: n })),
  fc.constant({ after: [idOf(0)] }),
  // Refused, now and then: another payload under an id that is there.
  many.map((n) => (n === 0 ? { id: idOf(0), payload: "another" } : {})),
  few.map((n) => ({ lane: `lane ${n % 2}` })),
  few.map((n) => ({ type: "laned", payload: n })),
  few.map((n) => ({ group: `group ${n % 2}` })),
  few.map((n) => ({ dedupe: { key: `key ${n % 2}`, mode: n < 2 ? "keep-first" : "replace-pending" } }) as const),
  many.map((n) => ({ creates: `local-${n}` })),
  many.map((n) => ({ payload: { refersTo: `local-${n}` } })),
  few.map((n) => ({ priority: n - 1, title: `title ${n}`, subject: `subject ${n % 2}` })),
  fc.constant({ isDraft: true }),
  fc.constant({ notBefore: 4_000_000_000_000, expiresAt: 5_000_000_000_000 }),
];
const special = fc.oneof(...parts);
const both = fc.tuple(special, special).map(([one, other]): Partial<AddInput> => ({ ...one, ...other }));
const operation = fc.oneof(
  { weight: 5, arbitrary: fc.constant({}) },
  { weight: 2, arbitrary: few.map((n) => ({ id: idOf(10 + n), payload: 1 })) },
  { weight: 4, arbitrary: special },
  { weight: 1, arbitrary: both },
);
const request = fc.array(operation, { minLength: 1, maxLength: 90, size: "max" });

const inputs = (given: readonly Partial<AddInput>[]): AddInput[] =>
  [{ id: idOf(0), payload: 0 }, ...given].map((each, index) => ({ type: "note", payload: index, ...each }));

test("many at once are the same operations as one after the other, or all are refused", () => {
  let refused = 0;
  let kept = 0;
  fc.assert(
    fc.property(request, fc.boolean(), (given, isTight) => {
      const options = {
        isStopped: true,
        types: [{ type: "laned", lane: (payload: Json) => (payload === 0 ? null : `lane ${String(payload)}`) }],
        ...(isTight ? { settings: { maxOperations: 40 } } : {}),
      };
      const [together, alone] = [startBench(options), startBench(options)];
      const state = (bench: typeof alone) => ({
        operations: bench.ask("queue.list", { limit: 500, order: "oldest" }),
        status: bench.ask("queue.status", {}),
        check: bench.ask("engine.check", {}),
      });
      const empty = state(together);
      const expected = attempt(() => inputs(given).map((each) => alone.ask("queue.add", each)));
      const found = attempt(() => together.ask("queue.addMany", { operations: inputs(given) }).receipts);
      expect(found).toEqual(expected);
      if (typeof found === "string") {
        refused += 1;
        expect(state(together)).toEqual(empty);
      } else {
        kept += 1;
        expect(state(together)).toEqual(state(alone));
        expect(state(together).check).toMatchObject({ isSound: true });
      }
      for (const bench of [together, alone]) bench.engine.close();
    }),
    { numRuns: 150 },
  );
  expect(refused).toBeGreaterThan(20);
  expect(kept).toBeGreaterThan(30);
});

/** What came of it, or why not. */
function attempt<T>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    return String(error);
  }
}
