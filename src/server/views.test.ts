/**
 * Owns the rules of the view that a pull tells of each collection: what makes it another one, and what does not. All through `server.fetch`.
 * What a client does with it is `src/engine/views.test.ts`.
 */
import { afterEach, expect, test } from "vitest";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";
import type { PullLine } from "../wire.ts";
import { pullLine } from "../wire.ts";
import type { RowRule, ServerCollection } from "./collections.ts";

afterEach(closeServers);

type Access = NonNullable<ServerCollection["access"]>;
const open = { status: "open" } as const;
const mine: RowRule = ({ subject }) => ({ owner: subject });

/** The view that a token with these roles is told of "notes". */
async function viewOf(access: Access | undefined, roles: readonly string[] = [], subject = "bob") {
  const declared = access === undefined ? { name: "notes" } : { name: "notes", access };
  const { addToken, pull } = await openTestServer({ collections: [declared] });
  const token = await addToken(subject, [{ space: "main", roles }]);
  return (await pull({}, token)).views?.notes ?? "";
}

test("a view is a short text, the same in every server, also for another role that reads the same rows", async () => {
  const seen = await viewOf({ clerk: { read: open } }, ["clerk"]);
  expect(seen).toMatch(/^[0-9a-f]{16}$/);
  // Written down, since servers of other versions have to tell the same.
  expect(seen).toBe("f31b3cff6e7acd0c");
  expect(await viewOf({ nurse: { read: { status: { eq: "open" } } } }, ["nurse"])).toBe(seen);
  expect(await viewOf({ clerk: { read: open }, nurse: { read: () => open } }, ["nurse", "clerk"])).toBe(seen);
  expect(await viewOf({ "*": { read: open }, clerk: { write: true } }, ["clerk"])).toBe(seen);
});

test("the order of roles, and of the fields of a condition, makes no other view; other rows do", async () => {
  const access: Access = { a: { read: { x: 1, y: { lt: 2, gt: 0 } } }, b: { read: { z: 3 } } };
  const seen = await viewOf(access, ["a", "b"]);
  expect(await viewOf(access, ["b", "a"])).toBe(seen);
  expect(await viewOf({ c: { read: { y: { gt: 0, lt: 2 }, x: 1 } }, b: { read: { z: 3 } } }, ["b", "c"])).toBe(seen);
  const others = [
    await viewOf(access, ["a"]),
    await viewOf(access, ["b"]),
    await viewOf(access, ["none"]),
    await viewOf({ a: { read: { x: "1" } } }, ["a"]),
    await viewOf({ a: { read: true } }, ["a"]),
    await viewOf({ "*": { read: mine } }, [], "ann"),
    await viewOf({ "*": { read: mine } }, [], "bob"),
  ];
  expect(new Set([seen, ...others]).size).toBe(8);
});

test("all rows are one view, whether they are declared, or the collection is not", async () => {
  const all = await viewOf({ "*": { read: true } });
  expect(await viewOf(undefined)).toBe(all);
  const { pull } = await openTestServer();
  const wants = ["notes", "constructor"].map((collection) => ({ collection, after: 0 }));
  expect((await pull({ wants })).views).toEqual({ notes: all, constructor: all });
});

test("what JSON has no word for can be compared with, and is seen when it changes", async () => {
  const rule = (than: number, name = "a"): Access => ({ "*": { read: { n: { lt: than }, name } } });
  const views = [
    await viewOf(rule(Number.POSITIVE_INFINITY)),
    await viewOf(rule(Number.NEGATIVE_INFINITY)),
    await viewOf(rule(0, "half of a pair: \ud800")),
  ];
  expect(new Set(views).size).toBe(3);
});

test("a rule is asked once for a page, so that what a page shows is what its view says", async () => {
  let asked = 0;
  const read: RowRule = () => {
    asked += 1;
    return asked % 2 === 1 ? true : { n: 1 };
  };
  const { push, pull } = await openTestServer({
    collections: [{ name: "notes", access: { "*": { read, write: true } } }],
  });
  for (let n = 1; n <= 5; n += 1) await push({ kind: "create", key: `k${n}`, fields: { n } });
  asked = 0;
  const [odd, even] = [await pull(), await pull()];
  expect(asked).toBe(2);
  expect([odd.records.length, even.records.length]).toEqual([5, 1]);
  expect(odd.views).not.toEqual(even.views);
});

test("a reset tells no view, since nothing of it is applied", async () => {
  const { pull, push } = await openTestServer();
  await push({ kind: "create", key: "k1" });
  const page = await pull({ history: "another", wants: [{ collection: "notes", after: 1 }] });
  expect(page.reset?.reason).toBe("other_history");
  expect(page).not.toHaveProperty("views");
});

test("lines begin with the views, and keep to them for whoever reads: rights that change on the way show with the next pull", async () => {
  let read: RowRule = { n: { gt: 0 } };
  const access: Access = { "*": { read: () => (typeof read === "function" ? false : read), write: true } };
  const { ask, push, pull } = await openTestServer({ collections: [{ name: "notes", access }] });
  for (let n = 1; n <= 12; n += 1) await push({ kind: "create", key: `k${n}`, fields: { n } });
  const before = await pull();
  const body = { space: "main", history: "", wants: [{ collection: "notes", after: 0 }], limit: 2 };
  const response = await ask("/v1/pull", { body, headers: { accept: "application/x-ndjson" } });
  const reader = response.body?.getReader();
  let text = new TextDecoder().decode((await reader?.read())?.value);
  read = { n: { gt: 10 } };
  for (let part = await reader?.read(); part?.done === false; part = await reader?.read())
    text += new TextDecoder().decode(part.value);
  const lines = text.trim().split("\n");
  const parsed = lines.map((line) => pullLine.parse(JSON.parse(line)) as PullLine);
  expect(parsed[0]).toMatchObject({ start: { views: before.views } });
  expect(lines.filter((line) => line.includes('"views"'))).toHaveLength(1);
  expect((await pull()).views).not.toEqual(before.views);
});
