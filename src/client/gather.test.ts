// Proves that enqueues of one tick travel together, and that nobody can tell from what he is answered.
// Leaves a daemon's own batches to the engine, and repeating a lost request to http.test.ts.
import { expect, test } from "vitest";
import type { ErrorCode } from "../errors.ts";
import { HoldfastError } from "../errors.ts";
import type { AddInput, Receipt } from "../verbs.ts";
import { gatherAdds, gatherLimits } from "./gather.ts";

const receiptOf = (input: AddInput): Receipt => ({ id: input.id ?? `made-for-${input.payload}`, isNew: true }) as never;
const refusal = (code: ErrorCode) => new HoldfastError(code, "no", "look");

function world(judge: (inputs: readonly AddInput[]) => HoldfastError | null = () => null) {
  const sent: (readonly unknown[])[] = [];
  const ask = async (inputs: readonly AddInput[]): Promise<readonly Receipt[]> => {
    sent.push(inputs.map(({ payload }) => payload));
    const error = judge(inputs);
    if (error !== null) throw error;
    return inputs.map(receiptOf);
  };
  const add = gatherAdds({
    one: async (input) => (await ask([input]))[0] as Receipt,
    many: async (inputs, texts) => {
      expect(texts.map((text) => JSON.parse(text))).toEqual(inputs);
      return ask(inputs);
    },
  });
  return { add, sent };
}

const named = (payload: number | string): AddInput => ({ id: `id-${payload}`, type: "note", payload });

test("the enqueues of one tick are one request, and each gets its own receipt", async () => {
  const { add, sent } = world();
  const receipts = await Promise.all([1, 2, 3].map((each) => add(named(each))));
  expect(sent).toEqual([[1, 2, 3]]);
  expect(receipts.map(({ id }) => id)).toEqual(["id-1", "id-2", "id-3"]);
});

test("callers that waited for one answer go on together", async () => {
  const { add, sent } = world();
  const caller = async (from: number): Promise<void> => {
    for (let step = 0; step < 3; step += 1) await add(named(from + step));
  };
  await Promise.all([caller(10), caller(20), caller(30)]);
  expect(sent).toEqual([
    [10, 20, 30],
    [11, 21, 31],
    [12, 22, 32],
  ]);
});

test("a single enqueue goes as it is, without waiting", async () => {
  const { add, sent } = world();
  const asked = add(named(1));
  await Promise.resolve();
  expect(sent).toEqual([[1]]);
  await asked;
});

test("one that is refused is refused alone, and the others are queued", async () => {
  for (const code of ["invalid_input", "queue_full", "command_disabled", "payload_too_large"] as const) {
    const { add, sent } = world((inputs) => (inputs.some(({ payload }) => payload === 2) ? refusal(code) : null));
    const ends = await Promise.allSettled([1, 2, 3].map((each) => add(named(each))));
    expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(sent).toEqual([[1, 2, 3], [1], [2], [3]]);
  }
});

test("what concerns the caller or the daemon as a whole is told to all, and asked once", async () => {
  for (const code of [
    "unauthorized",
    "rate_limited",
    "daemon_unreachable",
    "timed_out",
    "disk_full",
    "internal",
  ] as const) {
    const { add, sent } = world(() => refusal(code));
    const ends = await Promise.allSettled([1, 2].map((each) => add(named(each))));
    expect(ends).toEqual([1, 2].map(() => ({ status: "rejected", reason: expect.objectContaining({ code }) })));
    expect(sent).toHaveLength(1);
  }
});

test("one without an id, which must not be sent twice, does not keep the others from being repeated", async () => {
  const { add, sent } = world();
  await Promise.all([
    add(named(1)),
    add({ type: "note", payload: 2 }),
    add(named(3)),
    add({ type: "note", payload: 4 }),
  ]);
  expect(sent).toEqual([
    [1, 3],
    [2, 4],
  ]);
});

test("a joined request ends at its limits of operations and of characters", async () => {
  const many = world();
  const count = gatherLimits.operations + 1;
  await Promise.all(Array.from({ length: count }, (_, index) => many.add(named(index))));
  expect(many.sent.map(({ length }) => length)).toEqual([gatherLimits.operations, 1]);

  const large = world();
  // The payload is in the id as well.
  const third = "x".repeat(gatherLimits.characters / 5);
  await Promise.all([third, third, third].map((each) => large.add(named(each))));
  expect(large.sent.map(({ length }) => length)).toEqual([2, 1]);
});

test("an input that no JSON can carry is refused alone", async () => {
  const { add, sent } = world();
  const circle: { self?: unknown } = {};
  circle.self = circle;
  const ends = await Promise.allSettled([add(named(1)), add(circle as never), add(named(3))]);
  expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(sent).toEqual([[1, 3]]);
});
