// Proves how a declared type is checked, run and answered, with zod and with a schema written by hand.
// Leaves what the engine does with an answer to the engine's own tests, but for one run through a real one.
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { describe, expect, expectTypeOf, test } from "vitest";
import * as z from "zod";
import { openTestEngine } from "../test/support/test-engine.ts";
import { errorTable, HoldfastError } from "./errors.ts";
import type { BatchItem, RunContext, RunResult } from "./handler.ts";
import { operation } from "./handler.ts";
import type { Answer, Json } from "./operation.ts";
import { applied, conflict, rejected, retryLater, signedOut, unknownOutcome } from "./reply.ts";
import type { Attempt, OperationType } from "./world.ts";

const note = z.object({
  title: z.string().min(1),
  at: z
    .string()
    .transform((text) => new Date(text))
    .optional(),
});

/** A Standard Schema of nobody's library. */
const even: StandardSchemaV1<number, { readonly half: number }> = {
  "~standard": {
    version: 1,
    vendor: "by hand",
    validate: (value) =>
      typeof value === "number" && value % 2 === 0
        ? { value: { half: value / 2 } }
        : { issues: [{ message: "must be even", path: ["list", { key: 0 }] }] },
  },
};

const attemptOf = (input: Json): Attempt =>
  ({
    operation: { id: "an-id" },
    input,
    idempotencyKey: "a-key",
    signal: new AbortController().signal,
    checkpoint: { offset: 3 },
    saveCheckpoint: async () => {},
    reportProgress: () => {},
  }) as unknown as Attempt;

const answerOf = (type: OperationType, input: Json): Promise<Answer> | undefined => type.run?.(attemptOf(input));
const declare = (run: () => RunResult | Promise<RunResult>) =>
  operation({ type: "note.save", input: z.unknown(), run });

describe("a declaration", () => {
  test("gives run what the schema makes of the payload, and stores what was given", async () => {
    const seen: unknown[] = [];
    const type = operation({
      type: "note.save",
      input: note,
      run: (input, context) => {
        expectTypeOf(input).toEqualTypeOf<{ title: string; at?: Date | undefined }>();
        expectTypeOf(context.signal).toEqualTypeOf<AbortSignal>();
        seen.push(input.at, context.idempotencyKey, context.checkpoint, context.operation.id);
        return { ok: true };
      },
    });
    const payload = { title: "Tides", at: "2026-01-02T03:04:05.000Z" };
    expect(type.check?.(payload)).toBe(payload);
    expect(await answerOf(type, payload)).toEqual({ kind: "applied", result: { ok: true } });
    expect(seen).toEqual([new Date("2026-01-02T03:04:05.000Z"), "a-key", { offset: 3 }, "an-id"]);
  });

  test("works with a schema written by hand, and names the field that it refuses", async () => {
    const type = operation({ type: "halve", input: even, run: ({ half }) => half });
    expect(await answerOf(type, 8)).toEqual({ kind: "applied", result: 4 });
    expect(() => type.check?.(7)).toThrow("halve: list.0: must be even");
    expect(await answerOf(type, 7)).toMatchObject({
      kind: "rejected",
      problem: { code: "invalid_payload", field: "list.0" },
    });
  });

  test("makes the input of an enqueue, typed by the schema", () => {
    const type = operation({ type: "note.save", input: note, lane: (payload) => payload.title });
    expect(type.of({ title: "Tides" }, { priority: 5 })).toEqual({
      type: "note.save",
      payload: { title: "Tides" },
      priority: 5,
    });
    // @ts-expect-error a title is needed
    expect(type.of({})).toEqual({ type: "note.save", payload: {} });
    expect(typeof type.lane === "function" && type.lane({ title: "x" })).toBe("x");
  });

  test("with an asynchronous schema is refused as soon as it shows", () => {
    const type = operation({ type: "slow", input: z.string().refine(async () => true) });
    expect(() => type.check?.("a")).toThrow(
      new TypeError(
        'operation "slow": its schema is asynchronous; an enqueue is one synchronous transaction, so check such things in run',
      ),
    );
  });

  test("with a mistake in it is a TypeError that names the mistake", () => {
    const wrong = (declaration: object) => () => operation(declaration as never);
    expect(wrong({ type: "a", input: note, retries: 3 })).toThrow(
      'the option "retries" does not exist; did you mean "retry"?',
    );
    expect(wrong({ type: "", input: note })).toThrow("type must be a name");
    expect(wrong({ type: "a", input: {} })).toThrow('operation "a": input must be a Standard Schema');
    expect(wrong({ type: "a", input: note, version: 0 })).toThrow("version must be 1, 2, 3, …; got 0");
    expect(wrong({ type: "a", input: note, run: () => 1, runBatch: { max: 2, run: () => [] } })).toThrow(
      "give run or runBatch, not both",
    );
    expect(wrong({ type: "a", input: note, runBatch: { max: 0, run: () => [] } })).toThrow(
      "runBatch takes { max: 1 or more",
    );
    expect(() => operation(undefined as never)).toThrow("operation takes an object");
  });
});

describe("what a handler returns:", () => {
  const problem = { code: "p", message: "m" };
  const returned: readonly (readonly [string, RunResult, Answer])[] = [
    ["nothing", undefined, { kind: "applied" }],
    ["null", null, { kind: "applied", result: null }],
    [
      "JSON that looks like an answer",
      { kind: "rejected", problem },
      { kind: "applied", result: { kind: "rejected", problem } },
    ],
    ["applied", applied({ a: 1 }, { serverId: "42" }), { kind: "applied", result: { a: 1 }, serverId: "42" }],
    ["rejected", rejected("no"), { kind: "rejected", problem: { code: "rejected", message: "no" } }],
    ["conflict", conflict(problem, { v: 2 }), { kind: "conflict", problem, remote: { v: 2 } }],
    [
      "retryLater with a time",
      retryLater(problem, 500),
      { kind: "retry", problem, afterMs: 500, isCharged: false, scope: "operation" },
    ],
    ["retryLater without one", retryLater(problem), { kind: "retry", problem, isCharged: true, scope: "operation" }],
    ["signedOut", signedOut(problem), { kind: "auth", problem }],
    ["unknownOutcome", unknownOutcome(problem), { kind: "unknown", problem, mayHaveLanded: true }],
  ];
  test.each(returned)("%s", async (_, value, answer) => {
    expect(
      await answerOf(
        declare(() => value),
        1,
      ),
    ).toEqual(answer);
    const isReply = typeof value === "object" && value !== null && Object.getOwnPropertySymbols(value).length > 0;
    if (isReply)
      expect(
        await answerOf(
          declare(async () => Promise.reject(value)),
          1,
        ),
      ).toEqual(answer);
  });

  test("a result that is no JSON is left out, because the remote has said yes", async () => {
    expect(
      await answerOf(
        declare(() => new Map() as never),
        1,
      ),
    ).toEqual({ kind: "applied" });
  });
});

describe("what a handler throws:", () => {
  const network = (code: string) =>
    Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error("x"), { code }) });
  const thrown: readonly (readonly [string, unknown, object])[] = [
    [
      "its own mistake costs an attempt",
      new TypeError("x is undefined"),
      { kind: "retry", isCharged: true, problem: { code: "handler_failed", message: "x is undefined" } },
    ],
    ["a text costs an attempt", "boom", { kind: "retry", isCharged: true, problem: { message: "boom" } }],
    ["a network's error costs nothing", network("ECONNRESET"), { kind: "unknown", mayHaveLanded: true }],
    ["a time limit costs nothing", new DOMException("late", "TimeoutError"), { kind: "unknown" }],
    ["Safari's word for no network costs nothing", new TypeError("Load failed"), { kind: "unknown" }],
    [
      "a refusal of ours is final",
      new HoldfastError("file_missing", "gone", "bring it back"),
      { kind: "rejected", problem: { code: "file_missing", hint: "bring it back" } },
    ],
    ["a missing credential pauses", new HoldfastError("credential_missing", "no key", ""), { kind: "auth" }],
    ["a full disk is tried again", new HoldfastError("disk_full", "full", ""), { kind: "retry", isCharged: true }],
  ];
  test.each(thrown)("%s", async (_, error, answer) => {
    const throwing = declare(() => {
      throw error;
    });
    expect(await answerOf(throwing, 1)).toMatchObject(answer);
    expect(
      await answerOf(
        declare(() => Promise.reject(error)),
        1,
      ),
    ).toMatchObject(answer);
  });

  test("every code of ours is answered by its traits, and none is final that may pass", async () => {
    for (const code of Object.keys(errorTable) as (keyof typeof errorTable)[]) {
      const answer = await answerOf(
        declare(() => Promise.reject(new HoldfastError(code, "m", "h"))),
        1,
      );
      if (errorTable[code].isTransient) expect(answer?.kind, code).toMatch(/^(retry|unknown)$/);
      else expect(answer?.kind, code).toMatch(/^(rejected|auth)$/);
    }
  });
});

describe("a batch", () => {
  const batch = (run: (items: readonly BatchItem<{ half: number }>[]) => Promise<readonly (RunResult | Error)[]>) =>
    operation({ type: "halve", input: even, runBatch: { max: 10, run } });
  const answersOf = (type: OperationType, inputs: readonly Json[]) =>
    type.runBatch?.run(inputs.map(attemptOf), () => {});

  test("tells an answer ahead of the others by the place of its item", async () => {
    const type = batch(async (items) => {
      items[1]?.answer(new Error("down"));
      items[0]?.answer("first");
      return [];
    });
    const told: unknown[] = [];
    await type.runBatch?.run([2, 3, 4].map(attemptOf), (index, answer) => told.push([index, answer.kind]));
    expect(told).toEqual([
      [2, "retry"],
      [0, "applied"],
    ]);
  });

  test("is answered one by one, in order; a payload that fits no more is answered without being sent", async () => {
    const sent: number[] = [];
    const type = batch(async (items) => {
      sent.push(...items.map(({ input }) => input.half));
      return [1, rejected("no"), new Error("down")];
    });
    expect(await answersOf(type, [2, 3, 4, 6])).toMatchObject([
      { kind: "applied", result: 1 },
      { kind: "rejected", problem: { code: "invalid_payload" } },
      { kind: "rejected" },
      { kind: "retry" },
    ]);
    expect(sent).toEqual([1, 2, 3]);
  });

  test("that fails or answers too little loses no operation", async () => {
    expect(
      await answersOf(
        batch(async () => Promise.reject(new Error("socket hang up"))),
        [2, 4],
      ),
    ).toMatchObject([{ kind: "unknown" }, { kind: "unknown" }]);
    expect(
      await answersOf(
        batch(async () => [1]),
        [2, 4],
      ),
    ).toMatchObject([{ kind: "applied" }, { kind: "retry", isCharged: true }]);
  });
});

test("an engine runs a declared type, retries what it throws, and keeps what it returns", async () => {
  let calls = 0;
  const contexts: RunContext[] = [];
  const type = operation({
    type: "note.save",
    input: note,
    retry: { initialMs: 1, maxMs: 1, jitter: 0 },
    run: async (input, context) => {
      contexts.push(context);
      await context.saveCheckpoint({ calls: ++calls });
      if (calls === 1) throw new Error("the first time fails");
      return { saved: input.title, checkpoint: context.checkpoint };
    },
  });
  const engine = openTestEngine([type]);
  try {
    expect(() => engine.handle("queue.add", { type: "note.save", payload: {} })).toThrow("note.save: title");
    const { id } = engine.handle("queue.add", type.of({ title: "Tides" }));
    const view = () => engine.handle("queue.get", { id });
    await expect.poll(() => view().status).toBe("completed");
    const settled = view();
    expect(settled).toMatchObject({
      status: "completed",
      attempts: 2,
      failures: 1,
      result: { saved: "Tides", checkpoint: { calls: 1 } },
    });
    expect(new Set(contexts.map(({ idempotencyKey }) => idempotencyKey))).toEqual(new Set([id]));
  } finally {
    await engine.close();
  }
});
