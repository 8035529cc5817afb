// Owns the proof that the lines of a bundle come in an order in which they can be queued, whatever order the file has.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Tied } from "../bundle-order.ts";
import { inOrder } from "../bundle-order.ts";
import type { NumberedLine } from "./bundle-lines.ts";
import { linesInOrder } from "./bundle-lines.ts";

const lineOf = ({ id, lane, place, waitsFor }: Tied): string =>
  JSON.stringify({ holdfast: 1, operation: { id, lane, sequence: 1 }, place, waitsFor });

async function taken(lines: readonly string[]): Promise<readonly NumberedLine[]> {
  const all: NumberedLine[] = [];
  const read = async function* () {
    yield* lines;
  };
  for await (const line of linesInOrder(read)) all.push(line);
  return all;
}

/** Operations that can have stood in one queue: nobody waits for one that comes later in the order in which they will go. */
const queues = fc
  .array(
    fc.record({
      lane: fc.option(fc.constantFrom("a", "b")),
      needs: fc.array(fc.nat(1_000), { maxLength: 3 }),
      at: fc.integer(),
    }),
    { maxLength: 40 },
  )
  .map((drawn) =>
    drawn
      .map(({ lane, needs, at }, place) => ({
        at,
        tied: {
          id: `op-${place}`,
          lane,
          place,
          waitsFor: place === 0 ? [] : needs.map((need) => `op-${need % place}`),
        },
      }))
      .sort((one, other) => one.at - other.at)
      .map(({ tied }) => tied),
  );

const isBehindItsNeeds = (order: readonly Tied[]): boolean => {
  const places = new Map(order.map(({ id }, index) => [id, index]));
  const lanes = new Map<string, number>();
  return order.every(({ lane, place, waitsFor }, index) => {
    const isNext = lane === null || (lanes.get(lane) ?? -1) < place;
    if (lane !== null) lanes.set(lane, place);
    return isNext && waitsFor.every((id) => (places.get(id) ?? index) < index);
  });
};

test("each comes behind what it waits for and what stands before it in its lane, in one request and in a file", async () => {
  await fc.assert(
    fc.asyncProperty(queues, async (queue) => {
      const together = inOrder(queue);
      expect(together).toHaveLength(queue.length);
      expect(isBehindItsNeeds(together)).toBe(true);
      const lines = queue.map(lineOf);
      const order = await taken(lines);
      expect(order.map(({ number }) => number).sort((one, other) => one - other)).toEqual(lines.map((_, at) => at + 1));
      expect(order.every(({ line, number }) => lines[number - 1] === line)).toBe(true);
      expect(isBehindItsNeeds(order.map(({ number }) => queue[number - 1] as Tied))).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test("a file that is in order stays as it is, with what is no operation in its place and without its blank lines", async () => {
  const tied = (id: string, place: number): string => lineOf({ id, lane: "a", place, waitsFor: ["gone"] });
  const lines = [tied("one", 1), "", "no JSON", "null", tied("two", 2), "{}", "  "];
  expect((await taken(lines)).map(({ number }) => number)).toEqual([1, 3, 4, 5, 6]);
});

test("two that wait for each other come all the same, last", async () => {
  const circle = [
    { id: "one", lane: null, place: 1, waitsFor: ["two"] },
    { id: "two", lane: null, place: 2, waitsFor: ["one"] },
    { id: "three", lane: null, place: 3, waitsFor: ["three"] },
  ];
  expect((await taken(circle.map(lineOf))).map(({ number }) => number)).toEqual([3, 1, 2]);
  expect(inOrder(circle)).toHaveLength(3);
});
