/**
 * Owns the rules of pulls and fetches as clients meet them: order, pages, filters, resets, lines. All through `server.fetch`.
 */
import { afterEach, describe, expect, test } from "vitest";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";
import type { PullLine, PullRequest, WireRecord } from "../wire.ts";
import { pullLine } from "../wire.ts";
import { mintHistories } from "./spaces.ts";

afterEach(closeServers);

type Server = Awaited<ReturnType<typeof openTestServer>>;
const create = (key: string, fields: object = {}, collection = "notes") =>
  ({ kind: "create", key, fields, collection }) as never;
const update = (key: string, base: number, fields: object) => ({ kind: "update", key, base, fields }) as never;
const remove = (key: string, base: number) => ({ kind: "remove", key, base }) as never;
const want = (after: number, more: object = {}): Pick<PullRequest, "wants"> => ({
  wants: [{ collection: "notes", after, ...more }],
});
const fill = async ({ push }: Server, count: number): Promise<void> => {
  for (let index = 1; index <= count; index += 1) await push(create(`k${index}`, { n: index }));
};

test("lines are cut, without an end, when the server gets another history on their way", async () => {
  const server = await openTestServer();
  await fill(server, 12);
  const body = { space: "main", history: "", wants: [{ collection: "notes", after: 0 }], limit: 2 };
  const response = await server.ask("/v1/pull", { body, headers: { accept: "application/x-ndjson" } });
  const reader = response.body?.getReader();
  const first = await reader?.read();
  expect(new TextDecoder().decode(first?.value)).toContain('"mark"');
  await server.store.write((tx) => mintHistories(tx, () => "another"));
  const rest = async (): Promise<string> => {
    let text = "";
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read())
      text += new TextDecoder().decode(part.value);
    return text;
  };
  // One chunk may have been made ahead.
  await expect(rest()).rejects.toThrow(/history/);
});

describe("a page", () => {
  test("has each record once, as it is now, by version", async () => {
    const server = await openTestServer();
    await fill(server, 3);
    await server.push(update("k1", 1, { n: 10 }));
    await server.push(remove("k2", 2));
    const page = await server.pull();
    expect(page.records.map(({ key, version, value }) => [key, version, value])).toEqual([
      ["k3", 3, { n: 3 }],
      ["k1", 4, { n: 10 }],
      ["k2", 5, null],
    ]);
    expect(page).toMatchObject({ upTo: 5, head: 5, hasMore: false });
    expect(await server.pull(want(4))).toMatchObject({ records: [{ key: "k2" }], upTo: 5 });
    expect(await server.pull({ ...want(5), history: page.history })).toMatchObject({
      records: [],
      upTo: 5,
      hasMore: false,
    });
  });

  test("ends after as many records as were asked for, and the next goes on where it ended", async () => {
    const server = await openTestServer();
    await fill(server, 5);
    const first = await server.pull({ limit: 2 });
    expect(first).toMatchObject({ records: [{ key: "k1" }, { key: "k2" }], upTo: 2, head: 5, hasMore: true });
    const { history } = first;
    const second = await server.pull({ ...want(2), history, limit: 2 });
    expect(second).toMatchObject({ records: [{ key: "k3" }, { key: "k4" }], upTo: 4, hasMore: true });
    expect(await server.pull({ ...want(4), history, limit: 2 })).toMatchObject({ upTo: 5, hasMore: false });
    expect(await server.pull({ limit: 5 })).toMatchObject({ upTo: 5, hasMore: false });
  });

  test("is never cut inside one operation, also when some of its records have moved on", async () => {
    const server = await openTestServer();
    await server.push(create("k0"));
    await server.push([create("a"), create("b"), create("c"), create("d")] as never);
    await server.push(create("k9"));
    expect(await server.pull({ limit: 1 })).toMatchObject({ upTo: 1, hasMore: true });
    expect(await server.pull({ limit: 2 })).toMatchObject({ upTo: 5, hasMore: true });
    expect((await server.pull({ ...want(1), limit: 1 })).records.map(({ key }) => key)).toEqual(["a", "b", "c", "d"]);
    await server.push(update("d", 5, { n: 1 }));
    expect(await server.pull({ ...want(1), limit: 1 })).toMatchObject({ upTo: 5, hasMore: true });
    const across = { ...want(1), wants: [{ collection: "notes", after: 3 }], limit: 1 };
    expect(await server.pull(across)).toMatchObject({ records: [{ key: "c" }], upTo: 5 });
  });

  test("holds no more bytes than the limit, but one operation at least", async () => {
    const server = await openTestServer({ limits: { pageBytes: 1_000 } });
    for (const key of ["a", "b", "c"]) await server.push(create(key, { text: "x".repeat(480) }));
    await server.push(create("d", { text: "x".repeat(5_000) }));
    expect(await server.pull()).toMatchObject({ upTo: 2, hasMore: true });
    expect(await server.pull(want(3))).toMatchObject({ records: [{ key: "d" }], upTo: 4, hasMore: false });
  });

  test("of several collections follows one order, and passes over those that are not wanted", async () => {
    const server = await openTestServer();
    for (let index = 1; index <= 9; index += 1)
      await server.push(create(`k${index}`, {}, ["notes", "tags", "logs"][index % 3] ?? ""));
    const wants = [
      { collection: "notes", after: 0 },
      { collection: "tags", after: 0 },
    ];
    const keys: string[] = [];
    let after = 0;
    for (let hasMore = true; hasMore; ) {
      const page = await server.pull({ wants: wants.map((each) => ({ ...each, after })), limit: 2 });
      keys.push(...page.records.map(({ key }) => key));
      expect(page.upTo).toBeGreaterThan(after);
      ({ upTo: after, hasMore } = page);
    }
    expect(keys).toEqual(["k1", "k3", "k4", "k6", "k7", "k9"]);
    expect(after).toBe(9);
  });

  test("with cursors apart brings each collection what it lacks", async () => {
    const server = await openTestServer();
    for (const [key, collection] of [
      ["a", "notes"],
      ["b", "tags"],
      ["c", "notes"],
      ["d", "tags"],
    ] as const)
      await server.push(create(key, {}, collection));
    const wants = [
      { collection: "notes", after: 1 },
      { collection: "tags", after: 0 },
    ];
    expect((await server.pull({ wants })).records.map(({ key }) => key)).toEqual(["b", "c", "d"]);
  });
});

describe("a filter", () => {
  test("brings only what meets it, and the cursor passes over the rest", async () => {
    const server = await openTestServer();
    await fill(server, 6);
    const page = await server.pull({ ...want(0, { filter: { n: { gt: 4 } } }), limit: 3 });
    expect(page).toMatchObject({ records: [], upTo: 3, hasMore: true });
    const next = await server.pull({ ...want(3, { filter: { n: { gt: 4 } } }), limit: 3 });
    expect(next.records.map(({ key }) => key)).toEqual(["k5", "k6"]);
  });

  test("tells of a record that left it, but not of one that was never in it", async () => {
    const server = await openTestServer();
    await server.push(create("k1", { open: true }));
    const { history, upTo } = await server.pull(want(0, { filter: { open: true } }));
    await server.push(update("k1", 1, { open: false }));
    await server.push(create("k2", { open: false }));
    const page = await server.pull({ ...want(upTo, { filter: { open: true } }), history });
    expect(page.records).toMatchObject([{ key: "k1", value: null, isHidden: true }]);
  });

  test("tells of a record that left it by way of a removal and a new life", async () => {
    const server = await openTestServer();
    await server.push(create("k1", { open: true }));
    const { upTo } = await server.pull(want(0, { filter: { open: true } }));
    await server.push(remove("k1", 1));
    await server.push(create("k1", { open: false }));
    const page = await server.pull(want(upTo, { filter: { open: true } }));
    expect(page.records).toMatchObject([{ key: "k1", version: 3, value: null, isHidden: true }]);
  });

  test("that is none is refused with the place of the mistake", async () => {
    const { problem } = await openTestServer();
    const body = { space: "main", history: "", ...want(0, { filter: { n: { above: 4 } } }), limit: 3 };
    expect(await problem("/v1/pull", { body })).toMatchObject({ status: 400, code: "invalid_input" });
  });
});

describe("a cursor", () => {
  test("of another history, or ahead of the head, cannot be continued", async () => {
    const server = await openTestServer();
    await fill(server, 2);
    const other = await server.pull({ ...want(1), history: "another" });
    expect(other).toMatchObject({ reset: { reason: "other_history" }, records: [], upTo: 0, hasMore: true });
    const { history } = other;
    expect(await server.pull({ ...want(3), history })).toMatchObject({ reset: { reason: "ahead" } });
    expect((await server.pull({ ...want(2), history })).reset).toBeUndefined();
    expect((await server.pull({ ...want(0), history: "another" })).reset).toBeUndefined();
  });

  test("below the floor is too old, unless it began after the floor was raised", async () => {
    const server = await openTestServer();
    await fill(server, 3);
    await server.push(remove("k1", 1));
    const { history } = await server.pull();
    server.clock.now += 91 * 86_400_000;
    await server.push(create("k5"));
    expect(await server.server.compact()).toEqual({ tombstones: 1, receipts: 0 });
    expect(await server.pull({ ...want(2), history })).toMatchObject({ reset: { reason: "too_old", floor: 4 } });
    expect((await server.pull({ ...want(4), history })).reset).toBeUndefined();
    const first = await server.pull({ ...want(0), history, limit: 1 });
    expect(first).toMatchObject({ records: [{ key: "k2" }], upTo: 2, floor: 4 });
    expect((await server.pull({ ...want(2, { floor: first.floor }), history })).reset).toBeUndefined();
  });
});

describe("lines", () => {
  const read = async (response: Response): Promise<readonly PullLine[]> =>
    (await response.text())
      .trimEnd()
      .split("\n")
      .map((line) => pullLine.parse(JSON.parse(line)));
  const ask = (server: Server, more: Partial<PullRequest> = {}) =>
    server.ask("/v1/pull", {
      body: { space: "main", history: "", ...want(0), limit: 2, ...more },
      headers: { accept: "application/x-ndjson" },
    });

  test("stream everything after the cursor, with a mark where each page would end", async () => {
    const server = await openTestServer();
    await fill(server, 5);
    const response = await ask(server);
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    const lines = await read(response);
    expect(lines.map((line) => Object.keys(line)[0])).toEqual([
      ...["start", "record", "record", "mark", "record", "record", "mark", "record", "end"],
    ]);
    expect(lines.at(0)).toMatchObject({ start: { head: 5, floor: 0 } });
    expect(lines.at(-1)).toMatchObject({ end: { upTo: 5, head: 5 } });
  });

  test("say a reset and end", async () => {
    const server = await openTestServer();
    await fill(server, 2);
    expect(await read(await ask(server, { ...want(9), history: "" }))).toMatchObject([
      ...[{ start: { reset: { reason: "other_history" } } }, { end: { upTo: 0 } }],
    ]);
  });

  test("are read from the database only as fast as they are taken", async () => {
    const server = await openTestServer();
    await fill(server, 20);
    let reads = 0;
    const { store } = server;
    const read = ((work: never) => {
      reads += 1;
      return store.read(work);
    }) as typeof store.read;
    const counted = { ...store, read };
    const slow = await openTestServer({ store: counted });
    const response = await ask(slow);
    const reader = response.body?.getReader();
    await reader?.read();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const before = reads;
    await reader?.read();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(reads - before).toBeLessThanOrEqual(2);
    expect(before).toBeLessThan(6);
    await reader?.cancel();
  });

  test("bring what is written while they stream", async () => {
    const server = await openTestServer();
    await fill(server, 4);
    const response = await ask(server);
    await server.push(update("k1", 1, { n: 100 }));
    const records = (await read(response)).flatMap((line) => ("record" in line ? [line.record] : []));
    const latest = new Map<string, WireRecord>(records.map((record) => [record.key, record as WireRecord]));
    expect(latest.get("k1")).toMatchObject({ version: 5, value: { n: 100 } });
  });
});

test("a fetch has what is there, removals included, and is silent about what never was", async () => {
  const server = await openTestServer();
  await fill(server, 2);
  await server.push(remove("k2", 2));
  const found = await server.fetch(["k1", "k2", "k3", "k1"]);
  expect(found).toMatchObject({
    head: 3,
    records: [
      { key: "k1", value: { n: 1 } },
      { key: "k2", value: null },
    ],
  });
  expect(found.history).toBe((await server.pull()).history);
});

test("a fetch of more than a page may have is refused, one record alone never", async () => {
  const server = await openTestServer({ limits: { pageBytes: 1_000 } });
  for (const key of ["a", "b"]) await server.push(create(key, { text: "x".repeat(600) }));
  await server.push(create("big", { text: "x".repeat(2_000) }));
  const ask = (keys: readonly string[]) =>
    server.problem("/v1/fetch", { body: { space: "main", collection: "notes", keys } });
  expect(await ask(["a", "b"])).toMatchObject({ status: 413, code: "payload_too_large" });
  expect((await server.fetch(["a", "k9"])).records).toHaveLength(1);
  expect((await server.fetch(["big"])).records).toHaveLength(1);
});
