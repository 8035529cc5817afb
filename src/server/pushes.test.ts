/**
 * Owns the rules of pushes that come at the same time: they share transactions, and none is worse off for its neighbours.
 * What one push is answered is `push.test.ts`. All through `server.fetch`.
 */
import { createHash } from "node:crypto";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { PushMore, TestServer } from "../../test/support/sync-server.ts";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";
import { togetherLimits } from "./pushes.ts";
import type { ServerStore } from "./store.ts";

afterEach(closeServers);

const creation = (key: string, more: PushMore & { readonly fields?: object; readonly schema?: number } = {}) => {
  const { fields = {}, schema = 1, ...rest } = more;
  return { ...rest, edits: [{ kind: "create", key, fields, schema }] } as PushMore;
};

const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index + 1);

/** Holds the writes of a server's store back until `release`, and counts them. */
function holdWrites(server: TestServer) {
  const { store } = server;
  const { write } = store;
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  let count = 0;
  Object.assign(store, {
    write: (async (work, options) => {
      count += 1;
      await held;
      return write(work, options);
    }) as ServerStore["write"],
  });
  return { release, count: () => count };
}

/** Bodies of pushes that were hashed, which is the last thing before a push stands in line. */
let hashed = 0;
const hash = (text: string): string => {
  if (text.startsWith("[{")) hashed += 1;
  return createHash("sha256").update(text).digest("hex");
};

/** Waits until this many more bodies stand in line than at `since`. */
async function untilHashed(since: number, bodies: number): Promise<void> {
  await expect.poll(() => hashed - since, { interval: 1 }).toBe(bodies);
}

/** Sends these pushes so that all of them stand in line, in this order, before the first is written. */
async function pushTogether(server: TestServer, pushes: readonly (readonly PushMore[])[]) {
  const held = holdWrites(server);
  const sent: ReturnType<TestServer["pushAll"]>[] = [];
  for (const items of pushes) {
    const before = hashed;
    sent.push(server.pushAll(items));
    // Asking who sends it takes its time, on several connections at once: the next goes only when this one is in line.
    await untilHashed(before, items.length);
  }
  held.release();
  return { answers: (await Promise.all(sent)).map(({ answers }) => answers), writes: held.count() };
}

describe("pushes to one space that wait for one another", () => {
  test("share a transaction: each gets its own answers, and versions are given in the order of coming", async () => {
    const server = await openTestServer({ hash });
    const { answers, writes } = await pushTogether(
      server,
      numbers(20).map((n) => [creation(`k${n}`, { id: `own-${n}`, client: `c${n}` }), creation(`l${n}`)]),
    );
    expect(writes).toBe(1);
    expect(answers.map(([first]) => first?.id)).toEqual(numbers(20).map((n) => `own-${n}`));
    const versions = answers.flat().flatMap((answer) => (answer.outcome === "applied" ? answer.changes : []));
    expect(versions.map(({ version }) => version).sort((a, b) => a - b)).toEqual(numbers(40));
    expect(await server.pull()).toMatchObject({ head: 40, upTo: 40 });
  });

  test("do so up to a number of pushes; one more goes into the next transaction", async () => {
    for (const [count, writes] of [
      [togetherLimits.pushes, 1],
      [togetherLimits.pushes + 1, 2],
    ] as const) {
      const server = await openTestServer({ hash });
      const sent = await pushTogether(
        server,
        numbers(count).map((n) => [creation(`k${n}`)]),
      );
      expect(sent.writes).toBe(writes);
      expect((await server.pull()).head).toBe(count);
    }
  });

  test("do so up to a number of operations; one more goes into the next transaction", async () => {
    const half = togetherLimits.operations / 2;
    for (const [extra, writes] of [
      [0, 1],
      [1, 2],
    ] as const) {
      const server = await openTestServer({ hash });
      const items = (from: number, count: number) => numbers(count).map((n) => creation(`k${from + n}`));
      const sent = await pushTogether(
        server,
        [items(0, half), items(half, half), items(2 * half, extra)].filter(hasItems),
      );
      expect(sent.writes).toBe(writes);
      expect((await server.pull()).head).toBe(2 * half + extra);
    }
  });

  test("do so up to a number of characters; what is beyond it goes into the next transaction", async () => {
    const server = await openTestServer({ hash });
    const heavy = { text: "x".repeat(togetherLimits.characters / 8 - 1_000) };
    const items = (from: number) => [0, 1, 2].map((n) => creation(`k${from + n}`, { fields: heavy }));
    const sent = await pushTogether(server, [items(0), items(3), items(6), [creation("light")]]);
    expect(sent.writes).toBe(2);
    expect((await server.pull()).head).toBe(10);
  });

  test("are not held up by one that is refused, in conflict, stale or of somebody who may not write", async () => {
    const server = await openTestServer({ hash });
    const reader = await server.addToken("rita", [{ space: "main", roles: ["reader"] }]);
    await server.push({ kind: "create", key: "old", fields: { a: 1 } }, { client: "late", number: 9, floor: 9 });
    const held = holdWrites(server);
    const since = hashed;
    const sent = [
      server.pushAll([creation("k1")]),
      server.pushAll([creation("k\u0000"), creation("k2")]),
      server.pushAll([creation("old", { fields: { a: 2 } }), creation("k3")]),
      server.pushAll([creation("k4", { client: "late", number: 3 }), creation("k5", { number: 12 })]),
      server.pushAll([creation("k6")], reader),
      server.pushAll([creation("k7")]),
    ];
    await untilHashed(since, 9);
    held.release();
    const outcomes = (await Promise.all(sent)).map(({ answers }) => answers.map(({ outcome }) => outcome));
    expect(held.count()).toBe(1);
    expect(outcomes).toEqual([
      ["applied"],
      ["rejected", "applied"],
      ["conflict", "applied"],
      ["stale", "applied"],
      ["rejected"],
      ["applied"],
    ]);
    const { head, records } = await server.pull();
    expect(records.map(({ key }) => key).sort()).toEqual(["k1", "k2", "k3", "k5", "k7", "old"]);
    expect(head).toBe(6);
  });

  test("see what the earlier ones did: one id is applied once, a floor holds, a record has one writer at a time", async () => {
    const server = await openTestServer({ hash });
    const edit = (base: number, a: number): PushMore => ({
      edits: [{ kind: "update", key: "k1", base, fields: { a } }],
    });
    const { answers } = await pushTogether(server, [
      [creation("k1", { id: "op-a", client: "c", number: 5 })],
      [creation("k1", { id: "op-a", client: "d" })],
      [edit(1, 1)],
      [edit(1, 2)],
      [creation("k2", { client: "c", number: 9, floor: 9 })],
      [creation("k3", { client: "c", number: 8, floor: 2 })],
    ]);
    const flat = answers.flat();
    const of = (outcome: string) => flat.filter((answer) => answer.outcome === outcome).length;
    expect(flat.slice(0, 2).map(({ outcome }) => outcome)).toEqual(["applied", "duplicate"]);
    expect([of("applied"), of("duplicate"), of("conflict"), of("stale")]).toEqual([3, 1, 1, 1]);
    expect((await server.pull()).head).toBe(3);
  });

  test("go one by one when one of them brings the transaction down: it fails alone, and the others land once", async () => {
    const server = await openTestServer({ hash });
    // Nobody expects this index, so a second record of this schema is a failure of the database and not of a rule.
    await server.store.write((tx) =>
      tx.run("CREATE UNIQUE INDEX poison ON hf_record (schema_version) WHERE schema_version = 7"),
    );
    await server.pushAll([creation("first", { schema: 7 })]);
    const held = holdWrites(server);
    const since = hashed;
    const asked = numbers(9).map((n) => {
      const change = {
        collection: "notes",
        key: `k${n}`,
        kind: "create",
        base: 0,
        fields: {},
        schema: n === 5 ? 7 : 1,
      };
      const body = {
        space: "main",
        client: `c${n}`,
        floor: 0,
        items: [{ id: `op-${n}`, number: n, at: 1, changes: [change] }],
      };
      return server.ask("/v1/push", { body });
    });
    await untilHashed(since, 9);
    held.release();
    const statuses = (await Promise.all(asked)).map(({ status }) => status);
    expect(statuses).toEqual(numbers(9).map((n) => (n === 5 ? 500 : 200)));
    const { head, records } = await server.pull();
    expect([head, records.length]).toEqual([9, 9]);
    expect(await server.push({ kind: "create", key: "k1" }, { id: "op-1", number: 1 })).toMatchObject({
      outcome: "duplicate",
    });
  });

  test("that stand in line for too long are told so, all but the one that goes next", async () => {
    const server = await openTestServer({ hash });
    const held = holdWrites(server);
    const since = hashed;
    const body = (n: number) => ({
      ...{ space: "main", client: `c${n}`, floor: 0 },
      items: [{ id: `op-${n}`, number: 1, at: 1, changes: [{ ...change, key: `k${n}` }] }],
    });
    const asked = numbers(togetherLimits.pushes + 3).map((n) => server.ask("/v1/push", { body: body(n) }));
    await untilHashed(since, togetherLimits.pushes + 3);
    const startedAt = performance.now();
    const clock = vi.spyOn(performance, "now").mockReturnValue(startedAt + togetherLimits.waitMs + 1);
    onTestFinished(() => clock.mockRestore());
    held.release();
    const statuses = (await Promise.all(asked)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 504).length).toBe(2);
    expect(statuses.filter((status) => status === 200).length).toBe(togetherLimits.pushes + 1);
    expect((await server.pull()).head).toBe(togetherLimits.pushes + 1);
  });

  test("are poked of after a commit whose answer was lost: what runs again finds that all of it has landed", async () => {
    const server = await openTestServer({ hash });
    const { store } = server;
    const { write } = store;
    const pokes: number[] = [];
    Object.assign(store, {
      poke: (async (_space, head) => void pokes.push(head)) as ServerStore["poke"],
      write: (async (work, options) => {
        if (options?.isRepeatable === true) await write(work, options);
        return write(work, options);
      }) as ServerStore["write"],
    });
    expect(await server.push({ kind: "create", key: "k1" })).toMatchObject({ outcome: "duplicate" });
    expect(pokes).toEqual([1]);
  });

  test("of different spaces do not wait for one another", async () => {
    const server = await openTestServer({ hash });
    const token = await server.addToken("omar", [{ space: "*", roles: [] }]);
    const held = holdWrites(server);
    const since = hashed;
    const sent = ["a", "b", "a", "b"].map((space, n) => server.pushAll([creation(`k${n}`, { space })], token));
    await untilHashed(since, 4);
    expect(held.count()).toBe(2);
    held.release();
    for (const { answers } of await Promise.all(sent)) expect(answers).toMatchObject([{ outcome: "applied" }]);
  });
});

const change = { collection: "notes", kind: "create", base: 0, fields: {}, schema: 1 };
const hasItems = (items: readonly PushMore[]): boolean => items.length > 0;
