/**
 * Owns the rules of a push as clients meet them: answers, receipts, atomicity, versions. All through `server.fetch`.
 */
import { afterEach, describe, expect, test } from "vitest";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";

afterEach(closeServers);

const create = (key: string, fields: object, more: object = {}) =>
  ({ kind: "create", key, fields, ...more }) as Parameters<Awaited<ReturnType<typeof openTestServer>>["push"]>[0];
const update = (key: string, base: number, fields: object, more: object = {}) =>
  ({ kind: "update", key, base, fields, ...more }) as ReturnType<typeof create>;
const remove = (key: string, base: number) => ({ kind: "remove", key, base }) as ReturnType<typeof create>;

describe("an operation", () => {
  test("is applied under the next version of its space, and the value is told only when the client cannot know it", async () => {
    const { push } = await openTestServer();
    expect(await push(create("k1", { a: 1, b: 1 }), { id: "op-a" })).toEqual({
      id: "op-a",
      outcome: "applied",
      changes: [{ collection: "notes", key: "k1", version: 1 }],
    });
    await push(update("k1", 1, { a: 2 }));
    const merged = await push(update("k1", 1, { b: 2 }));
    expect(merged).toMatchObject({ outcome: "applied", changes: [{ version: 3, value: { a: 2, b: 2 } }] });
  });

  test("that touches what changed after its base is in conflict, with what the server has", async () => {
    const { push } = await openTestServer();
    await push(create("k1", { a: 1 }));
    await push(update("k1", 1, { a: 2 }));
    expect(await push(update("k1", 1, { a: 3 }))).toMatchObject({
      outcome: "conflict",
      kind: "version_mismatch",
      collection: "notes",
      key: "k1",
      fields: ["a"],
      remote: { version: 2, value: { a: 2 }, author: "ana" },
    });
  });

  test("on a removed record, and a removal of a changed one, are conflicts of their own kinds", async () => {
    const { push } = await openTestServer();
    await push(create("k1", { a: 1 }));
    await push(update("k1", 1, { a: 2 }));
    expect(await push(remove("k1", 1))).toMatchObject({ outcome: "conflict", kind: "deleted_here" });
    await push(remove("k1", 2));
    expect(await push(update("k1", 2, { a: 3 }))).toMatchObject({
      ...{ outcome: "conflict", kind: "deleted_upstream", remote: { version: 3, value: null } },
    });
    expect(await push(remove("k1", 2))).toMatchObject({ outcome: "applied", changes: [{ version: 3 }] });
    expect(await push(update("k9", 4, { a: 3 }))).toMatchObject({
      ...{ outcome: "conflict", kind: "deleted_upstream", remote: { version: 0, value: null, author: "" } },
    });
  });

  test("that changes nothing gets the version that is there, and no new one", async () => {
    const { push, pull } = await openTestServer();
    await push(create("k1", { a: 1 }));
    expect(await push(create("k1", { a: 1 }))).toMatchObject({ outcome: "applied", changes: [{ version: 1 }] });
    expect(await push(update("k1", 1, { a: 1 }))).toMatchObject({ outcome: "applied", changes: [{ version: 1 }] });
    expect((await pull()).head).toBe(1);
  });

  test("of several changes is applied whole or not at all", async () => {
    const { push, pull } = await openTestServer();
    await push(create("k1", { a: 1 }));
    await push(update("k1", 1, { a: 2 }));
    const answer = await push([create("k2", { a: 1 }), update("k1", 1, { a: 3 }), create("k3", {})] as never);
    expect(answer).toMatchObject({ outcome: "conflict", key: "k1" });
    expect((await pull()).records.map(({ key }) => key)).toEqual(["k1"]);
    const whole = await push([create("k2", { a: 1 }), update("k1", 2, { a: 3 })] as never);
    expect(whole).toMatchObject({ outcome: "applied", changes: [{ version: 3 }, { version: 4 }] });
  });

  test("that changes one record twice is one version of it", async () => {
    const { push, pull } = await openTestServer();
    const answer = await push([create("k1", { a: 1 }), update("k1", 0, { a: 2 })] as never);
    expect(answer).toMatchObject({
      changes: [
        { version: 1, value: { a: 2 } },
        { version: 1, value: { a: 2 } },
      ],
    });
    expect(await pull()).toMatchObject({ head: 1, records: [{ value: { a: 2 } }] });
  });

  test("sees what earlier operations of the same push did", async () => {
    const { pushAll } = await openTestServer();
    const { answers } = await pushAll([
      { edits: [{ kind: "create", key: "k1", fields: { a: 1 } }] },
      { edits: [{ kind: "update", key: "k1", base: 1, fields: { a: 2 } }] },
      { edits: [{ kind: "update", key: "k1", base: 1, fields: { a: 3 } }] },
    ]);
    expect(answers.map(({ outcome }) => outcome)).toEqual(["applied", "applied", "conflict"]);
  });

  test.each([
    ["a collection's name with capitals", { collection: "Notes" }, "collection_invalid"],
    ["a key with a control character", { key: "a\u0000b" }, "key_invalid"],
    ["a key with half a character", { key: "a\ud800" }, "key_invalid"],
    ["a collection with U+0000 in its name", { collection: "notes\u0000" }, "collection_invalid"],
    ["a field named __proto__", { fields: JSON.parse('{"__proto__": 1}') }, "field_invalid"],
    ["a value that is too large", { fields: { a: "x".repeat(1_048_570) } }, "value_too_large"],
  ])("with %s is refused with a code and a hint", async (_name, wrong, code) => {
    const { push } = await openTestServer();
    const answer = await push(create("k1", { a: 1 }, wrong));
    expect(answer).toMatchObject({ outcome: "rejected", kind: "invalid", problem: { code } });
    if (answer.outcome === "rejected") expect(answer.problem.hint).not.toBe("");
  });

  test.each(["U+0000 \u0000", "a control character \u0007", "half a character \ud800", "the other half \udc00"])(
    "whose id has %j is refused alone, each time it comes, and its neighbours land",
    async (id) => {
      const { pushAll, pull } = await openTestServer();
      const edits = (key: string) => [{ kind: "create", key, fields: { a: 1 } }] as const;
      for (const outcome of ["applied", "duplicate"]) {
        const { answers } = await pushAll([
          { id: "op-a", number: 1, edits: edits("k1") },
          { id, number: 2, edits: edits("k2") },
          { id: "op-c", number: 3, edits: edits("k3") },
        ]);
        expect(answers.map((answer) => answer.outcome)).toEqual([outcome, "rejected", outcome]);
        expect(answers[1]).toMatchObject({
          ...{ id, kind: "invalid", collection: "notes", key: "k2" },
          problem: { code: "id_invalid", field: "id", hint: expect.stringContaining("another id") },
        });
      }
      expect((await pull()).records.map(({ key }) => key)).toEqual(["k1", "k3"]);
    },
  );

  test("that is refused for its key, its collection or its field leaves the others of its push to land", async () => {
    const { pushAll, pull } = await openTestServer();
    const edit = (key: string, more: object = {}) =>
      ({ edits: [{ kind: "create", key, fields: {}, ...more }] }) as const;
    const { answers } = await pushAll([
      edit("k1"),
      edit("k\u0000"),
      edit("k\udfff"),
      edit("k2", { collection: "n\ud800" }),
      edit("k3", { fields: { "\u0000\ud800": "\u0000", b: "\udc00" } }),
    ]);
    expect(answers.map((answer) => (answer.outcome === "rejected" ? answer.problem.code : answer.outcome))).toEqual([
      ...["applied", "key_invalid", "key_invalid", "collection_invalid", "applied"],
    ]);
    expect((await pull()).records.map(({ key, value }) => [key, value])).toEqual([
      ["k1", {}],
      ["k3", { "\u0000\ud800": "\u0000", b: "\udc00" }],
    ]);
  });

  test("with a long unique value that ends in the middle of a character clashes with its like alone", async () => {
    const { pushAll } = await openTestServer({ collections: [{ name: "notes", unique: [["plate"]] }] });
    const plate = (end: string) => `${"x".repeat(497)}\u{1f30a}${end}`;
    const { answers } = await pushAll(
      ["a", "b", "a"].map((end, index) => ({
        edits: [{ kind: "create", key: `k${index}`, fields: { plate: plate(end) } }],
      })),
    );
    expect(answers.map(({ outcome }) => outcome)).toEqual(["applied", "applied", "conflict"]);
  });

  test("with a value one character below the limit passes", async () => {
    const { push } = await openTestServer();
    expect(await push(create("k1", { a: "x".repeat(1_048_576 - 8) }))).toMatchObject({ outcome: "applied" });
  });

  test("touches records up to a size together, so that every reader can be sent them in one page; one more is refused whole", async () => {
    const { push, pull } = await openTestServer({ limits: { operationBytes: 3_000 } });
    const keys = ["a", "b", "c", "d"];
    for (const key of keys) await push(create(key, { text: "x".repeat(733), n: 0 }));
    const edit = (base: number, n: number) => push(keys.map((key, index) => update(key, base + index, { n })) as never);
    expect(await edit(1, 1)).toMatchObject({ outcome: "applied" });
    expect(await edit(5, 10)).toMatchObject({
      ...{ outcome: "rejected", kind: "invalid", collection: "notes", key: "d" },
      problem: { code: "operation_too_large", hint: expect.stringContaining("fewer") },
    });
    expect((await pull()).records.map(({ value }) => value?.n)).toEqual([1, 1, 1, 1]);
    const unchanged = (upTo: number) =>
      push(keys.slice(0, upTo).map((key) => update(key, 1, { text: "x".repeat(733) })) as never);
    expect(await unchanged(4)).toMatchObject({ outcome: "applied" });
    await push(update("d", 8, { more: 1 }));
    expect(await unchanged(3)).toMatchObject({ outcome: "applied" });
    expect(await unchanged(4)).toMatchObject({ outcome: "rejected", problem: { code: "operation_too_large" } });
  });

  test("with text that JSON must escape comes back as it was", async () => {
    const { push, fetch } = await openTestServer();
    const value = { text: '\u0000 \ud800 "\\ \u{1f30a}', "odd name ' ?": [1e21, -0.5, { x: null }] };
    await push(create("schlüssel/?'1", value));
    expect((await fetch(["schlüssel/?'1"])).records).toMatchObject([{ value }]);
  });
});

describe("a repeated operation", () => {
  test("gets its first answer again, byte by byte, whatever happened since", async () => {
    const { push, pull } = await openTestServer();
    const first = await push(create("k1", { a: 1 }), { id: "op-a", number: 1 });
    await push(update("k1", 1, { a: 2 }), { id: "op-b", number: 2 });
    const again = await push(create("k1", { a: 1 }), { id: "op-a", number: 1 });
    expect(JSON.stringify(again)).toBe(JSON.stringify({ ...first, outcome: "duplicate" }));
    expect(JSON.stringify(await push(create("k1", { a: 1 }), { id: "op-a", number: 1 }))).toBe(JSON.stringify(again));
    expect((await pull()).head).toBe(2);
  });

  test("that was refused or in conflict is refused again in the same words", async () => {
    const { push } = await openTestServer();
    await push(create("k1", { a: 1 }));
    await push(update("k1", 1, { a: 2 }));
    const conflict = await push(update("k1", 1, { a: 3 }), { id: "op-c" });
    await push(update("k1", 2, { a: 3 }));
    expect(JSON.stringify(await push(update("k1", 1, { a: 3 }), { id: "op-c" }))).toBe(JSON.stringify(conflict));
    const rejected = await push(create("k2", {}, { collection: "Bad" }), { id: "op-r" });
    expect(await push(create("k2", {}, { collection: "Bad" }), { id: "op-r" })).toEqual(rejected);
  });

  test("is known also when it comes twice in one push, from another client, or over a newer base", async () => {
    const { pushAll, push } = await openTestServer();
    const edits = [{ kind: "update", key: "k1", base: 1, fields: { a: 2 } }] as const;
    await push(create("k1", { a: 1 }));
    const { answers } = await pushAll([
      { id: "op-a", edits },
      { id: "op-a", edits },
    ]);
    expect(answers.map(({ outcome }) => outcome)).toEqual(["applied", "duplicate"]);
    expect(await push(edits[0], { id: "op-a", client: "client-2" })).toMatchObject({ outcome: "duplicate" });
    expect(await push({ ...edits[0], base: 2 }, { id: "op-a" })).toMatchObject({ outcome: "duplicate" });
  });

  test("with other content is an error of its own, and the first receipt stays", async () => {
    const { push } = await openTestServer();
    await push(create("k1", { a: 1 }), { id: "op-a" });
    const reused = await push(create("k1", { a: 2 }), { id: "op-a" });
    expect(reused).toMatchObject({ outcome: "rejected", kind: "invalid", problem: { code: "key_reused" } });
    expect(await push(create("k1", { a: 1 }), { id: "op-a" })).toMatchObject({ outcome: "duplicate" });
  });

  test("of another space is another operation", async () => {
    const { push, addToken } = await openTestServer();
    const token = await addToken("ana", [{ space: "*", roles: [] }]);
    await push(create("k1", { a: 1 }), { id: "op-a", token });
    expect(await push(create("k1", { a: 1 }), { id: "op-a", space: "other", token })).toMatchObject({
      ...{ outcome: "applied", changes: [{ version: 1 }] },
    });
  });
});

describe("the floor of a client", () => {
  test("makes what lies below it stale, once there is no receipt for it", async () => {
    const { push, store } = await openTestServer();
    await push(create("k1", { a: 1 }), { id: "op-a", number: 5 });
    await push(create("k2", { a: 1 }), { id: "op-b", number: 9, floor: 9 });
    expect(await push(create("k1", { a: 1 }), { id: "op-a", number: 5 })).toMatchObject({ outcome: "duplicate" });
    await store.write((tx) => tx.run("DELETE FROM hf_receipt"));
    expect(await push(create("k1", { a: 1 }), { id: "op-a", number: 5 })).toEqual({ id: "op-a", outcome: "stale" });
    expect(await push(create("k3", { a: 1 }), { number: 8 })).toMatchObject({ outcome: "stale" });
    expect(await push(create("k3", { a: 1 }), { number: 9 })).toMatchObject({ outcome: "applied" });
  });

  test("never moves down, and is each client's own", async () => {
    const { push } = await openTestServer();
    await push(create("k1", {}), { number: 9, floor: 9 });
    await push(create("k2", {}), { number: 10, floor: 2 });
    expect(await push(create("k3", {}), { number: 8, floor: 2 })).toMatchObject({ outcome: "stale" });
    expect(await push(create("k4", {}), { number: 1, client: "client-2" })).toMatchObject({ outcome: "applied" });
  });
});

test("a push whose bases belong to another history does nothing and is answered by retry, until the client has heard of it", async () => {
  const { ask, pull, fetch } = await openTestServer();
  const { history } = await pull();
  const item = {
    id: "op-1",
    number: 1,
    at: 1,
    changes: [{ collection: "notes", base: 9, fields: { a: 1 }, schema: 1 }],
  };
  const send = async (known: string) => {
    const items = [{ ...item, changes: item.changes.map((each) => ({ ...each, kind: "create", key: "k1" })) }];
    const response = await ask("/v1/push", { body: { space: "main", client: "c", floor: 0, history: known, items } });
    return response.json() as Promise<unknown>;
  };
  expect(await send("one that is gone")).toMatchObject({
    history,
    answers: [{ id: "op-1", outcome: "retry", problem: { code: "history_changed" } }],
  });
  expect((await fetch(["k1"])).records).toEqual([]);
  expect(await send(history)).toMatchObject({ history, answers: [{ id: "op-1", outcome: "applied" }] });
});

test("a push of a client that has seen versions beyond the head does nothing: the database was set back under the same history", async () => {
  const { ask, pull, fetch } = await openTestServer();
  const { history } = await pull();
  const send = async (key: string, seen: number) => {
    const change = { collection: "notes", key, kind: "create", base: 0, fields: { a: 1 }, schema: 1 };
    const items = [{ id: `op-${key}`, number: 1, at: 1, changes: [change] }];
    const response = await ask("/v1/push", { body: { space: "main", client: "c", floor: 0, history, seen, items } });
    return response.json() as Promise<unknown>;
  };
  expect(await send("k1", 0)).toMatchObject({ history, head: 1, answers: [{ outcome: "applied" }] });
  expect(await send("k2", 1)).toMatchObject({ history, head: 2, answers: [{ outcome: "applied" }] });
  expect(await send("k3", 3)).toMatchObject({
    ...{ history, head: 2 },
    answers: [{ id: "op-k3", outcome: "retry", problem: { code: "history_changed" } }],
  });
  expect((await fetch(["k3"])).records).toEqual([]);
  expect(await send("k3", 2)).toMatchObject({ history, head: 3, answers: [{ outcome: "applied" }] });
});

test("a commit that fails leaves nothing of a push, and the same push succeeds afterwards", async () => {
  const { store, server, ask, pull, token } = await openTestServer();
  void server;
  const body = {
    ...{ space: "main", client: "c", floor: 0 },
    items: [
      {
        id: "op-a",
        number: 1,
        at: 1,
        changes: [{ collection: "notes", key: "k", kind: "create", base: 0, fields: {}, schema: 1 }],
      },
    ],
  };
  await store.write((tx) => tx.run("ALTER TABLE hf_receipt RENAME COLUMN hash TO broken"));
  expect((await ask("/v1/push", { body, token })).status).toBe(500);
  expect(await pull()).toMatchObject({ head: 0, records: [] });
  await store.write((tx) => tx.run("ALTER TABLE hf_receipt RENAME COLUMN broken TO hash"));
  expect((await ask("/v1/push", { body, token })).status).toBe(200);
  expect(await pull()).toMatchObject({ head: 1, records: [{ key: "k" }] });
});
