// Proves which pages are asked for ahead, and that nobody is given one that was not asked for in the same words.
// Leaves real servers to sync-port.test.ts and test/sync/.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { PullRequest, PullResponse, WireRecord } from "../wire.ts";
import type { Reply, Signal } from "../world.ts";
import { aheadMs, pullAhead } from "./sync-ahead.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => void vi.useRealTimers());

const head = 5;
const record = (version: number): WireRecord => ({
  ...{ collection: "notes", key: `n${version}`, version, value: {}, schema: 1, author: "", at: 0 },
});
const asking = (after: number, more: object = {}): PullRequest => ({
  ...{ space: "team", history: after === 0 ? "" : "h", wants: [{ collection: "notes", after, ...more }], limit: 2 },
});

/** A server of five records, and what it was asked. */
function openServer(answer: (request: PullRequest) => Partial<PullResponse> = () => ({})) {
  const asked: { readonly after: number; readonly floor: number | undefined; readonly signal: Signal }[] = [];
  const pull = pullAhead(async (request, signal): Promise<Reply<PullResponse>> => {
    const [want] = request.wants;
    const after = want?.after ?? 0;
    asked.push({ after, floor: want?.floor, signal });
    const upTo = Math.min(after + 2, head);
    const records = Array.from({ length: upTo - after }, (_, index) => record(after + index + 1));
    const page = { history: "h", records, upTo, head, hasMore: upTo < head, now: 0, ...answer(request) };
    return { kind: "answered", response: page, sentBytes: 0, receivedBytes: 0 };
  });
  return { asked, pull };
}
const never = new AbortController().signal;
const versionsOf = (reply: Reply<PullResponse>): readonly number[] =>
  reply.kind === "answered" ? reply.response.records.map(({ version }) => version) : [];

test("the next page is asked for before it is wanted, and each page once", async () => {
  const { asked, pull } = openServer();
  expect(versionsOf(await pull(asking(0), never))).toEqual([1, 2]);
  expect(asked.map(({ after }) => after)).toEqual([0, 2]);
  expect(versionsOf(await pull(asking(2), never))).toEqual([3, 4]);
  expect(versionsOf(await pull(asking(4), never))).toEqual([5]);
  expect(asked.map(({ after }) => after)).toEqual([0, 2, 4]);
});

test("it is on the wire before the engine, which holds the thread to apply a page, is given that", async () => {
  let sent = 0;
  const page = (upTo: number): PullResponse => ({
    ...{ history: "h", records: [record(upTo)], upTo, head, hasMore: true, now: 0 },
  });
  // As a connection that is open writes a request.
  const pull = pullAhead(async ({ wants }): Promise<Reply<PullResponse>> => {
    await new Promise((resolve) => setImmediate(resolve));
    sent += 1;
    return { kind: "answered", response: page((wants[0]?.after ?? 0) + 1), sentBytes: 0, receivedBytes: 0 };
  });
  await pull(asking(0), never);
  expect(sent).toBe(2);
});

test("that everything until now is here is said only by an answer that was asked for now", async () => {
  const { asked, pull } = openServer();
  for (const after of [0, 2]) await pull(asking(after), never);
  expect(await pull(asking(4), never)).toMatchObject({ response: { hasMore: true, upTo: 5 } });
  expect(asked.map(({ after }) => after)).toEqual([0, 2, 4]);
  expect(await pull(asking(5), never)).toMatchObject({ response: { hasMore: false, upTo: 5, records: [] } });
  expect(asked.map(({ after }) => after)).toEqual([0, 2, 4, 5]);
});

test("the floor that the first page names goes along, as the engine sends it", async () => {
  const { asked, pull } = openServer(() => ({ floor: 7 }));
  await pull(asking(0), never);
  await pull(asking(2, { floor: 7 }), never);
  expect(asked.map(({ after, floor }) => [after, floor])).toEqual([
    [0, undefined],
    [2, 7],
    [4, 7],
  ]);
});

test("who asks for something else is asked for that, and what lay ready is given up", async () => {
  const { asked, pull } = openServer();
  await pull(asking(0), never);
  expect(versionsOf(await pull(asking(0), never))).toEqual([1, 2]);
  expect(asked.map(({ after }) => after)).toEqual([0, 2, 0, 2]);
  expect(asked[1]?.signal.aborted).toBe(true);
});

test("a page that nobody has come for in time is asked for anew", async () => {
  const { asked, pull } = openServer();
  await pull(asking(0), never);
  vi.advanceTimersByTime(aheadMs);
  await pull(asking(2), never);
  expect(asked.map(({ after }) => after)).toEqual([0, 2, 2, 4]);
});

test("a reset leads elsewhere, so nothing is asked ahead", async () => {
  const { asked, pull } = openServer(() => ({ reset: { reason: "too_old", floor: 3 }, records: [], upTo: 0 }));
  await pull(asking(4), never);
  expect(asked).toHaveLength(1);
});

test("what fails unasked is asked for in its own time, and its failure is the one that is told", async () => {
  let count = 0;
  const problem = { code: "no_answer", message: "cut", hint: "" };
  const pull = pullAhead(async (request): Promise<Reply<PullResponse>> => {
    count += 1;
    if (count > 1) return { kind: "failed", answer: { kind: "unknown", problem, mayHaveLanded: false } };
    const { after = 0 } = request.wants[0] ?? {};
    const response = { history: "h", records: [record(after + 1)], upTo: after + 2, head, hasMore: true, now: 0 };
    return { kind: "answered", response, sentBytes: 0, receivedBytes: 0 };
  });
  await pull(asking(0), never);
  expect((await pull(asking(2), never)).kind).toBe("failed");
  expect(count).toBe(3);
});
