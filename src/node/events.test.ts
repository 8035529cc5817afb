// Owns the rules of one event stream: order, resume, truncation, back-pressure. Leaves its route to test/security/ and test/fuzz/.
import { expect, test } from "vitest";
import { openMemoryEngine } from "../../test/support/memory-engine.ts";
import type { EventStream } from "./events.ts";
import { eventLimits, openEventStream } from "./events.ts";

const decoder = new TextDecoder();

async function take(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  until: (text: string) => boolean,
): Promise<string> {
  let text = "";
  while (!until(text)) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value);
  }
  return text;
}

const idsOf = (text: string): readonly number[] => [...text.matchAll(/^id: (\d+)$/gm)].map((each) => Number(each[1]));
const note = (count: number): { readonly type: string; readonly payload: number } => ({ type: "note", payload: count });
const add = (engine: ReturnType<typeof openMemoryEngine>, count: number): void => {
  for (let index = 0; index < count; index += 1) engine.handle("queue.add", note(index));
};

test("without a position a stream begins with what happens from now on", async () => {
  const engine = openMemoryEngine();
  add(engine, 3);
  const stream = openEventStream(engine, { after: null, onEnd: () => {} });
  add(engine, 2);
  const reader = stream.body.getReader();
  expect(idsOf(await take(reader, (text) => idsOf(text).length >= 2))).toEqual([4, 5]);
  stream.end();
});

test("a stream resumes after the last event that the client has, and goes on live without a gap or a repeat", async () => {
  const engine = openMemoryEngine();
  add(engine, 1_000);
  const stream = openEventStream(engine, { after: 400, onEnd: () => {} });
  const reader = stream.body.getReader();
  const reading = take(reader, (text) => idsOf(text).length >= 700);
  add(engine, 100);
  const ids = idsOf(await reading);
  expect(ids).toEqual(Array.from({ length: 700 }, (_, index) => 401 + index));
  stream.end();
});

test("what is only told live has no id, so that nobody resumes after it", async () => {
  const engine = openMemoryEngine();
  const stream = openEventStream(engine, { after: null, onEnd: () => {} });
  engine.emit({ sequence: 0, kind: "progress", id: "a", status: "in_progress", detail: { done: 1 } });
  const text = await take(stream.body.getReader(), (all) => all.includes("progress"));
  expect(idsOf(text)).toEqual([]);
  stream.end();
});

test.each([
  ["has been pruned", 2],
  ["belongs to another store", 99_999],
])("a client whose place %s is told to read again, and goes on from there", async (_words, after) => {
  const engine = openMemoryEngine();
  add(engine, 10);
  engine.prune(5);
  const stream = openEventStream(engine, { after, onEnd: () => {} });
  const reader = stream.body.getReader();
  expect(await take(reader, (text) => text.includes("truncated"))).toContain(
    'event: truncated\nid: 10\ndata: {"last":10}\n\n',
  );
  add(engine, 1);
  expect(idsOf(await take(reader, (text) => idsOf(text).length > 0))).toEqual([11]);
  stream.end();
});

test("a client that does not read costs no memory and misses nothing when it reads again", async () => {
  const engine = openMemoryEngine();
  const stream = openEventStream(engine, { after: null, onEnd: () => {} });
  const reader = stream.body.getReader();
  add(engine, 20_000);
  let bytes = 0;
  const first = await reader.read();
  bytes += first.value?.byteLength ?? 0;
  const text = decoder.decode(first.value) + (await take(reader, (all) => all.includes("id: 20000\n")));
  expect(idsOf(text)).toEqual(Array.from({ length: 20_000 }, (_, index) => index + 1));
  expect(bytes).toBeLessThan(eventLimits.bufferBytes * 2);
  stream.end();
});

test("a client that takes nothing for the stall time is dropped", async () => {
  const engine = openMemoryEngine();
  let clock = 0;
  const ended = new Promise<boolean>((resolve) => {
    const stream: EventStream = openEventStream(engine, {
      after: null,
      heartbeatMs: 5,
      stallMs: 1_000,
      now: () => clock,
      onEnd: resolve,
    });
    expect(stream.body.locked).toBe(false);
  });
  add(engine, 2_000);
  clock = 1_000;
  expect(await ended).toBe(true);
});

test("a closed engine ends the stream, and its end is told once", async () => {
  const engine = openMemoryEngine();
  let ends = 0;
  const stream = openEventStream(engine, { after: 0, onEnd: () => (ends += 1) });
  const reader = stream.body.getReader();
  await reader.read();
  engine.close();
  engine.emit({ sequence: 50, kind: "settings", id: null, status: null, detail: null });
  expect((await reader.read()).done).toBe(true);
  stream.end();
  expect(ends).toBe(1);
});
