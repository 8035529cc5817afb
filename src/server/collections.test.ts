/**
 * Owns the rules of declared collections as clients meet them: schema, versions, unique values, business rules, assigned fields and keys, rights.
 */
import * as v from "valibot";
import { afterEach, describe, expect, test } from "vitest";
import * as z from "zod";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";
import type { Fields } from "../record.ts";
import type { ChangeContext, ServerCollection } from "./collections.ts";

afterEach(closeServers);

const notes = (more: Partial<ServerCollection>) => openTestServer({ collections: [{ name: "notes", ...more }] });
const create = (key: string, fields: object, schema = 1) => ({ kind: "create", key, fields, schema }) as never;
const update = (key: string, base: number, fields: object, schema = 1) =>
  ({ kind: "update", key, base, fields, schema }) as never;
const remove = (key: string, base: number) => ({ kind: "remove", key, base }) as never;

describe("a schema", () => {
  test.each([
    ["zod", z.object({ title: z.string(), fee: z.number().optional() })],
    ["valibot", v.object({ title: v.string(), fee: v.optional(v.number()) })],
  ])("of %s refuses a record with the field that is wrong", async (_name, schema) => {
    const { push } = await notes({ schema });
    expect(await push(create("k1", { title: "a" }))).toMatchObject({ outcome: "applied" });
    expect(await push(update("k1", 1, { fee: "7" }))).toMatchObject({
      ...{ outcome: "rejected", kind: "data_inconsistency", collection: "notes", key: "k1" },
      problem: { code: "schema_invalid", field: "fee" },
    });
    expect(await push(remove("k1", 1))).toMatchObject({ outcome: "applied" });
  });

  test("that is asynchronous is a mistake of the configuration: the operation waits, and the log says why", async () => {
    const { push, log } = await notes({ schema: z.object({}).refine(async () => true) });
    expect(await push(create("k1", {}))).toMatchObject({ outcome: "retry", problem: { code: "rule_failed" } });
    expect(log).toMatchObject([{ level: "error" }]);
    expect(JSON.stringify(log)).toMatch(/async|Promise/);
  });

  test("a collection that is not declared is refused where some are", async () => {
    const { push } = await notes({});
    const answer = await push({ kind: "create", key: "k", collection: "others" });
    expect(answer).toMatchObject({ outcome: "rejected", problem: { code: "collection_unknown" } });
  });
});

describe("a schema version", () => {
  const upcast = (value: Record<string, unknown>, from: number): never => {
    const { title, ...rest } = value;
    return (from < 2 && title !== undefined ? { prio: 3, ...rest, name: title } : { prio: 3, ...value }) as never;
  };
  test("older than the server's is brought forward, updates without touching what the writer did not", async () => {
    const { push, fetch } = await notes({ version: 2, upcast });
    await push(create("k1", { title: "a", x: 1 }));
    expect((await fetch(["k1"])).records).toMatchObject([{ schema: 2, value: { name: "a", prio: 3, x: 1 } }]);
    await push(update("k1", 1, { prio: 5 }, 2));
    const answer = await push(update("k1", 1, { title: "b" }));
    expect(answer).toMatchObject({ outcome: "applied" });
    expect((await fetch(["k1"])).records[0]?.value).toEqual({ name: "b", prio: 5, x: 1 });
    expect(await push(update("k1", 1, { title: "c" }))).toMatchObject({ outcome: "conflict", fields: ["name"] });
  });

  test("of a record that is kept from before is brought forward with the first change, whoever writes it", async () => {
    const schema = z.object({ title: z.string(), zone: z.string(), fee: z.number().optional() });
    const before = await notes({ version: 1 });
    for (const key of ["k1", "k2", "k3"]) await before.push(create(key, { title: key }));
    const zoned = (value: Record<string, unknown>): never => ({ zone: "A", ...value }) as never;
    const collections = [{ name: "notes", version: 2, upcast: zoned, schema }];
    const { push, fetch } = await openTestServer({ store: before.store, collections });
    expect(await push(update("k1", 1, { fee: 1 }, 1))).toMatchObject({ outcome: "applied" });
    expect(await push(update("k2", 2, { fee: 2 }, 2))).toMatchObject({ outcome: "applied" });
    expect(await push(update("k3", 3, { title: "k3" }, 2))).toMatchObject({
      outcome: "applied",
      changes: [{ version: 3 }],
    });
    expect((await fetch(["k1", "k2", "k3"])).records).toMatchObject([
      { schema: 2, value: { title: "k1", zone: "A", fee: 1 } },
      { schema: 2, value: { title: "k2", zone: "A", fee: 2 } },
      { schema: 1, version: 3, value: { title: "k3" } },
    ]);
  });

  test("of a record that is kept from before hides no change that its writer had not seen", async () => {
    const before = await notes({ version: 1 });
    await before.push(create("k1", { title: "a", x: 1 }));
    await before.push(update("k1", 1, { title: "b" }));
    const { push } = await openTestServer({
      store: before.store,
      collections: [{ name: "notes", version: 2, upcast }],
    });
    expect(await push(update("k1", 1, { name: "c" }, 2))).toMatchObject({ outcome: "conflict", fields: ["name"] });
    expect(await push(update("k1", 1, { x: 2 }, 2))).toMatchObject({
      ...{ outcome: "applied", changes: [{ version: 3, value: { name: "b", prio: 3, x: 2 } }] },
    });
    expect(await push(update("k1", 1, { name: "c" }, 2))).toMatchObject({ outcome: "conflict", fields: ["name"] });
  });

  test("that renamed a field takes it away under its new name when an older client does", async () => {
    const { push, fetch } = await notes({ version: 2, upcast });
    const unset = (base: number, ...fields: string[]) =>
      push({ kind: "update", key: "k1", base, fields: { x: 2 }, unset: fields, schema: 1 } as never);
    await push(create("k1", { name: "a", y: 1, x: 1 }, 2));
    expect(await unset(1, "title", "y")).toMatchObject({ outcome: "applied" });
    expect((await fetch(["k1"])).records[0]?.value).toEqual({ x: 2 });
    expect(await unset(2, "title", "never")).toMatchObject({ outcome: "applied", changes: [{ version: 2 }] });
    await push(update("k1", 2, { name: "b" }, 2));
    expect(await unset(2, "title")).toMatchObject({ outcome: "conflict", fields: ["name"] });
  });

  test("that fills in what is missing does so for what an older client takes away", async () => {
    const named = ({ title, ...rest }: Record<string, unknown>): never =>
      ({ ...rest, name: title === undefined ? (rest.name ?? "unnamed") : (title as string).trim() }) as never;
    const { push, fetch } = await notes({ version: 2, upcast: named });
    await push(create("k1", { name: "a" }, 2));
    const unset = { kind: "update", key: "k1", base: 1, fields: {}, unset: ["title"], schema: 1 };
    expect(await push(unset as never)).toMatchObject({ outcome: "applied" });
    expect((await fetch(["k1"])).records[0]?.value).toEqual({ name: "unnamed" });
  });

  test("that makes a field out of several refuses what an older client takes away of them", async () => {
    const joined = ({ first, last, ...rest }: Record<string, unknown>): never =>
      (first === undefined && last === undefined ? rest : { ...rest, full: `${first ?? ""} ${last ?? ""}` }) as never;
    const { push, fetch } = await notes({ version: 2, upcast: joined });
    await push(create("k1", { first: "Ann", last: "Lee", old: true }));
    const unset = (field: string) =>
      push({ kind: "update", key: "k1", base: 1, fields: {}, unset: [field], schema: 1 } as never);
    expect(await unset("last")).toMatchObject({
      ...{ outcome: "rejected", kind: "invalid" },
      problem: { code: "upcast_unclear", field: "last", hint: expect.stringContaining("update the app") },
    });
    expect(await unset("old")).toMatchObject({ outcome: "applied" });
    expect((await fetch(["k1"])).records[0]?.value).toEqual({ full: "Ann Lee" });
  });

  test("that coerces a field is asked with values of several kinds, and what none of them tells is refused", async () => {
    const coerced = ({ done, at, gone, ...rest }: Record<string, unknown>): never =>
      ({
        ...rest,
        ...(done === undefined ? {} : { isDone: Boolean(done) }),
        ...(at === undefined ? {} : { when: (at as number).toFixed(0) }),
      }) as never;
    const { push, fetch } = await notes({ version: 2, upcast: coerced });
    await push(create("k1", { done: true, at: 5 }));
    const unset = (...fields: string[]) =>
      push({ kind: "update", key: "k1", base: 1, fields: {}, unset: fields, schema: 1 } as never);
    expect(await unset("at")).toMatchObject({ problem: { code: "upcast_unclear", field: "at" } });
    expect(await unset("gone")).toMatchObject({ outcome: "applied", changes: [{ version: 1 }] });
    expect(await unset("done", "gone")).toMatchObject({ problem: { code: "upcast_unclear" } });
    expect(await unset("done")).toMatchObject({ outcome: "applied" });
    expect((await fetch(["k1"])).records[0]?.value).toEqual({ when: "5" });
  });

  test("that renamed a counter leaves no count of an older client out, also not to the same number", async () => {
    const counted = ({ stars, ...rest }: Record<string, unknown>): never =>
      ({ ...rest, ...(stars === undefined ? {} : { likes: stars }) }) as never;
    const { push } = await notes({ version: 2, upcast: counted });
    await push(create("k1", { stars: 1 }));
    const count = (base: number, field: string, schema: number) =>
      push({ kind: "update", key: "k1", base, fields: { [field]: 2 }, strict: [field], schema } as never);
    expect(await count(1, "likes", 2)).toMatchObject({ outcome: "applied" });
    expect(await count(1, "stars", 1)).toMatchObject({ outcome: "conflict", fields: ["likes"] });
    expect(await count(2, "stars", 1)).toMatchObject({ outcome: "applied" });
  });

  test("newer than the server's, or older than the oldest that it takes, is refused by code", async () => {
    const { push } = await notes({ version: 3, oldest: 2 });
    expect(await push(create("k1", {}, 4))).toMatchObject({ outcome: "rejected", problem: { code: "schema_too_new" } });
    expect(await push(create("k1", {}, 1))).toMatchObject({ outcome: "rejected", problem: { code: "schema_too_old" } });
    expect(await push(create("k1", {}, 2))).toMatchObject({ outcome: "applied" });
  });
});

describe("a unique value", () => {
  const unique = [["email"], ["first", "last"]];
  test("that another record holds is a conflict that names the record", async () => {
    const { push } = await notes({ unique });
    await push(create("k1", { email: "a@x" }));
    expect(await push(create("k2", { email: "a@x" }))).toMatchObject({
      ...{ outcome: "conflict", kind: "unique_violation", key: "k2", fields: ["email"], remote: { key: "k1" } },
    });
    expect(await push(create("k2", { email: "b@x" }))).toMatchObject({ outcome: "applied" });
    expect(await push(update("k2", 2, { email: "a@x" }))).toMatchObject({ kind: "unique_violation" });
  });

  test("is free again once its record changed or went", async () => {
    const { push } = await notes({ unique });
    await push(create("k1", { email: "a@x" }));
    await push(update("k1", 1, { email: "b@x" }));
    expect(await push(create("k2", { email: "a@x" }))).toMatchObject({ outcome: "applied" });
    await push(remove("k2", 3));
    expect(await push(create("k3", { email: "a@x" }))).toMatchObject({ outcome: "applied" });
  });

  test("can be swapped by two records in one operation, and clashes within one", async () => {
    const { push } = await notes({ unique });
    await push(create("k1", { email: "a@x" }));
    await push(create("k2", { email: "b@x" }));
    expect(await push([update("k1", 1, { email: "b@x" }), update("k2", 2, { email: "a@x" })] as never)).toMatchObject({
      ...{ outcome: "applied" },
    });
    expect(await push(create("k3", { email: "a@x" }))).toMatchObject({ remote: { key: "k2" } });
    const both = await push([create("k4", { email: "c@x" }), create("k5", { email: "c@x" })] as never);
    expect(both).toMatchObject({ outcome: "rejected", problem: { code: "unique_violation", field: "email" } });
    expect(await push(create("k6", { email: "c@x" }))).toMatchObject({ outcome: "applied" });
  });

  test("of several fields counts as a whole, and with an empty one not at all", async () => {
    const { push } = await notes({ unique });
    await push(create("k1", { first: "A", last: "B" }));
    expect(await push(create("k2", { first: "A", last: "C" }))).toMatchObject({ outcome: "applied" });
    expect(await push(create("k3", { first: "A", last: "B" }))).toMatchObject({ fields: ["first", "last"] });
    expect(await push(create("k4", { first: "A", last: null }))).toMatchObject({ outcome: "applied" });
    expect(await push(create("k5", { first: "A" }))).toMatchObject({ outcome: "applied" });
  });

  test("long values are told apart beyond the length that is kept", async () => {
    const { push } = await notes({ unique });
    await push(create("k1", { email: `${"x".repeat(3_000)}1` }));
    expect(await push(create("k2", { email: `${"x".repeat(3_000)}2` }))).toMatchObject({ outcome: "applied" });
    expect(await push(create("k3", { email: `${"x".repeat(3_000)}1` }))).toMatchObject({ kind: "unique_violation" });
  });

  test("that is declared later is made true for what is there; what shares one already is told in the log", async () => {
    const first = await openTestServer();
    for (const [key, email] of Object.entries({ k1: "a@x", k2: "a@x", k3: "c@x" }))
      await first.push(create(key, { email }));
    const second = await openTestServer({ store: first.store, collections: [{ name: "notes", unique }] });
    expect(second.log).toMatchObject([{ level: "warn", records: ["main/k2"] }]);
    expect(await second.push(create("k4", { email: "c@x" }))).toMatchObject({ remote: { key: "k3" } });
    const third = await openTestServer({ store: first.store, collections: [{ name: "notes", unique }] });
    expect(third.log).toEqual([]);
  });
});

describe("a business rule", () => {
  test("refuses with exactly its code, message, field and hint", async () => {
    const violation = { code: "fee_negative", message: "a fee is never negative", field: "fee", hint: "enter 0" };
    const { push, fetch } = await notes({ rules: [({ after }) => (Number(after?.fee ?? 0) < 0 ? violation : null)] });
    expect(await push(create("k1", { fee: -1 }))).toEqual({
      ...{ id: expect.any(String), outcome: "rejected", kind: "business_rule", collection: "notes", key: "k1" },
      problem: violation,
    });
    expect((await fetch(["k1"])).records).toEqual([]);
  });

  test("sees the record before and after, who writes, and the server's clock", async () => {
    const seen: unknown[] = [];
    const { push, clock } = await notes({
      rules: [
        (context) => {
          seen.push(context);
          return null;
        },
      ],
    });
    await push(create("k1", { a: 1 }));
    await push(update("k1", 1, { a: 2 }));
    await push(remove("k1", 2));
    const common = { space: "main", collection: "notes", key: "k1", now: clock.now, subject: "ana", roles: [] };
    expect(seen).toEqual([
      { ...common, kind: "create", before: null, after: { a: 1 } },
      { ...common, kind: "update", before: { a: 1 }, after: { a: 2 } },
      { ...common, kind: "remove", before: { a: 2 }, after: null },
    ]);
  });

  test("that throws keeps the operation for later, and leaves no receipt", async () => {
    let isBroken = true;
    const { push, log } = await notes({
      rules: [
        () => {
          if (isBroken) throw new Error("oops");
          return null;
        },
      ],
    });
    expect(await push(create("k1", {}), { id: "op-a" })).toMatchObject({ outcome: "retry", afterMs: 30_000 });
    expect(log).toMatchObject([{ level: "error", operation: "op-a", error: "Error: oops" }]);
    isBroken = false;
    expect(await push(create("k1", {}), { id: "op-a" })).toMatchObject({ outcome: "applied" });
  });
});

describe("what the server assigns", () => {
  test("fields are set whatever the client sent, and told back", async () => {
    const { push } = await notes({ assign: ({ subject, now }) => ({ editor: subject, editedAt: now }) });
    const answer = await push(create("k1", { a: 1, editor: "eve" }));
    const value = { a: 1, editor: "ana", editedAt: 1_900_000_000_000 };
    expect(answer).toMatchObject({ outcome: "applied", changes: [{ value }] });
  });

  test("fields are no reason for a creation to be in conflict with itself when it comes again under another id", async () => {
    const assign = ({ kind, subject, now, before }: ChangeContext): Fields =>
      kind === "create" || before?.by === undefined ? { by: subject, at: now } : { changedBy: subject };
    const { push, pull, clock, addToken } = await notes({ assign });
    await push(create("k1", { a: 1 }), { id: "op-a" });
    const value = { a: 1, by: "ana", at: clock.now };
    clock.now += 1_000;
    expect(await push(create("k1", { a: 1 }), { id: "op-b", client: "later" })).toMatchObject({
      ...{ outcome: "applied", changes: [{ version: 1, value }] },
    });
    expect(await push(create("k1", { a: 1, by: "eve" }), { id: "op-c" })).toMatchObject({ outcome: "applied" });
    expect((await pull()).head).toBe(1);
    expect(await push(create("k1", { a: 2, b: 1 }), { id: "op-d" })).toMatchObject({
      ...{ outcome: "conflict", kind: "version_mismatch", fields: ["a", "b"], remote: { value } },
    });
    await push(update("k1", 1, { b: 1 }), { token: await addToken("bea") });
    expect(await push(create("k1", { a: 1, b: 1 }), { id: "op-e" })).toMatchObject({
      ...{ outcome: "applied", changes: [{ version: 2, value: { ...value, b: 1, changedBy: "bea" } }] },
    });
  });

  test("keys are told with the answer, and other changes of the operation follow them", async () => {
    let next = 0;
    const { push, fetch } = await openTestServer({
      collections: [{ name: "notes", keys: "server" }, { name: "links" }],
      newId: () => `server-${++next}`,
    });
    next = 0;
    const answer = await push(
      [
        create("local-1", { self: "local-1" }),
        { kind: "create", key: "l1", collection: "links", fields: { to: "local-1" } },
        update("local-1", 0, { b: 2 }),
      ] as never,
      { id: "op-k" },
    );
    if (answer.outcome !== "applied") throw new Error(JSON.stringify(answer));
    const serverKey = answer.changes[0]?.serverKey ?? "";
    expect(serverKey).toMatch(/^server-\d$/);
    expect(answer.changes).toMatchObject([{ key: "local-1", serverKey }, { key: "l1" }, { key: "local-1", serverKey }]);
    expect(answer.changes[1]?.value).toEqual({ to: serverKey });
    expect((await fetch([serverKey, "local-1"])).records).toMatchObject([
      { key: serverKey, value: { self: serverKey, b: 2 } },
    ]);
  });
});

test("a key of the server is given to the record that was created, and not to one of the same name elsewhere", async () => {
  const { push, pull } = await openTestServer({
    collections: [{ name: "notes", keys: "server" }, { name: "details" }],
  });
  const wants = [{ collection: "details", after: 0 }];
  await push({ kind: "create", key: "d1", collection: "details", fields: { a: 1 } });
  const answer = await push([
    create("d1", { b: 1 }),
    { kind: "update", key: "d1", collection: "details", base: 1, fields: { a: 2 } },
  ] as never);
  expect(answer).toMatchObject({ outcome: "applied", changes: [{ key: "d1", serverKey: expect.any(String) }, {}] });
  expect((await pull({ wants })).records).toMatchObject([{ key: "d1", value: { a: 2 } }]);
});

test("a key that a server gave before is kept when its record is brought back, and what is there under it is no other one's", async () => {
  const { push, fetch } = await openTestServer({ collections: [{ name: "notes", keys: "server" }] });
  const named = (fields: object) => ({ ...(create("given before", fields) as object), named: true }) as never;
  const first = await push(named({ a: 1 }), { id: "op-1" });
  expect(first).toMatchObject({ outcome: "applied", changes: [{ key: "given before" }] });
  expect(JSON.stringify(first)).not.toContain("serverKey");
  expect(await push(create("given before", { a: 1 }), { id: "op-1" })).toMatchObject({ outcome: "duplicate" });
  expect(await push(named({ a: 1 }), { id: "op-2" })).toMatchObject({ outcome: "applied", changes: [{ version: 1 }] });
  expect(await push(named({ a: 2 }), { id: "op-3" })).toMatchObject({ outcome: "conflict", kind: "version_mismatch" });
  expect((await fetch(["given before"])).records).toMatchObject([{ value: { a: 1 }, version: 1 }]);
});

describe("rights", () => {
  const access: ServerCollection["access"] = {
    clerk: { read: true, write: { status: "open" } },
    owner: { read: ({ subject }) => ({ owner: subject }), write: ({ subject }) => ({ owner: subject }) },
    guest: { read: { isPublic: true } },
  };
  const space = (role: string) => [{ space: "main", roles: [role] }];

  test("to write hold for the record before and after", async () => {
    const { push, addToken } = await notes({ access });
    const token = await addToken("carl", space("clerk"));
    const refused = { outcome: "rejected", kind: "forbidden", problem: { code: "write_forbidden" } };
    expect(await push(create("k1", { status: "closed" }), { token })).toMatchObject(refused);
    expect(await push(create("k1", { status: "open" }), { token })).toMatchObject({ outcome: "applied" });
    expect(await push(update("k1", 1, { status: "closed" }), { token })).toMatchObject(refused);
    const guest = await addToken("gil", space("guest"));
    expect(await push(create("k2", {}), { token: guest })).toMatchObject(refused);
    expect(await push(create("k2", {}))).toMatchObject(refused);
  });

  test("to read filter pull, fetch and what a conflict shows", async () => {
    const { push, pull, fetch, addToken } = await notes({ access });
    const [ann, bob, gil] = [
      await addToken("ann", space("owner")),
      await addToken("bob", space("owner")),
      await addToken("gil", space("guest")),
    ];
    await push(create("k1", { owner: "ann", isPublic: true }), { token: ann });
    await push(create("k2", { owner: "bob" }), { token: bob });
    const keys = async (token: string) => (await pull({}, token)).records.map(({ key }) => key);
    expect([await keys(ann), await keys(bob), await keys(gil)]).toEqual([["k1"], ["k2"], ["k1"]]);
    expect((await fetch(["k1", "k2"], bob)).records.map(({ key }) => key)).toEqual(["k2"]);
    const stolen = await push(update("k1", 0, { owner: "bob" }), { token: bob });
    expect(stolen).toMatchObject({ outcome: "rejected", problem: { code: "write_forbidden" } });
    expect(JSON.stringify(stolen)).not.toContain("ann");
  });

  test("to read a part of a collection do not tell who removed a record, in a conflict as little as in a pull", async () => {
    const { push, pull, fetch, addToken } = await notes({ access });
    const [ann, clerk] = [await addToken("ann", space("owner")), await addToken("carl", space("clerk"))];
    const bob = await addToken("bob", space("owner"));
    await push(create("k1", { owner: "ann", status: "open" }), { token: ann });
    await push(remove("k1", 1), { token: ann });
    const conflict = (token: string) => push(update("k1", 1, { owner: "bob", status: "open" }), { token });
    expect(await conflict(bob)).toMatchObject({ kind: "deleted_upstream", remote: { value: null, author: "" } });
    expect((await pull({}, bob)).records).toMatchObject([{ value: null, author: "" }]);
    expect((await fetch(["k1"], bob)).records).toMatchObject([{ value: null, author: "" }]);
    expect(await conflict(clerk)).toMatchObject({ kind: "deleted_upstream", remote: { value: null, author: "ann" } });
  });

  test("a record that leaves what a reader may see is told as hidden, without a word of its content", async () => {
    const { push, pull, addToken } = await notes({ access });
    const [ann, gil] = [await addToken("ann", space("owner")), await addToken("gil", space("guest"))];
    await push(create("k1", { owner: "ann", isPublic: true }), { token: ann });
    const { history, upTo } = await pull({}, gil);
    await push(update("k1", 1, { isPublic: false, secret: 1 }), { token: ann });
    await push(create("k2", { owner: "ann", isPublic: false }), { token: ann });
    const after = await pull({ history, wants: [{ collection: "notes", after: upTo }] }, gil);
    expect(after.records).toMatchObject([{ key: "k1", version: 2, value: null, author: "", isHidden: true }]);
  });

  test.each<[string, unknown]>([
    ["a value that is not there", { owner: undefined }],
    ["a comparison with what is not there", { owner: { eq: undefined } }],
    ["a comparison that there is none of", { owner: { equals: "ana" } }],
    ["a list", { owner: ["ana"] }],
    ["a promise", Promise.resolve(false)],
  ])("that come to %s are a mistake here and open nothing", async (_name, rows) => {
    const open = await notes({});
    await open.push(create("k1", { owner: "ann" }));
    const rule = (() => rows) as never;
    const { push, pull, ask, log } = await openTestServer({
      store: open.store,
      collections: [{ name: "notes", access: { "*": { read: rule, write: rule } } }],
    });
    expect(await push(update("k1", 1, { owner: "eve" }))).toMatchObject({
      ...{ outcome: "retry", problem: { code: "rule_failed" } },
    });
    await expect(pull()).rejects.toThrow(/internal/);
    const body = { space: "main", collection: "notes", keys: ["k1"] };
    expect((await ask("/v1/fetch", { body })).status).toBe(500);
    expect(JSON.stringify(log)).toContain("access of notes");
  });

  test("that throw cost the operation that they are asked about, and not its neighbours", async () => {
    const read = (): boolean => {
      throw new Error("oops");
    };
    const { pushAll } = await openTestServer({
      collections: [{ name: "notes", access: { "*": { read, write: true } } }, { name: "tags" }],
    });
    const { answers } = await pushAll([
      { edits: [{ kind: "create", key: "t1", collection: "tags", fields: {} }] },
      { edits: [create("k1", {})] },
      { edits: [{ kind: "create", key: "t2", collection: "tags", fields: {} }] },
    ]);
    expect(answers).toMatchObject([
      { outcome: "applied", changes: [{ version: 1 }] },
      { outcome: "retry", problem: { code: "rule_failed" } },
      { outcome: "applied", changes: [{ version: 2 }] },
    ]);
  });

  test("a token whose only role is reader writes nothing where nothing else is said", async () => {
    const { push, addToken, pull } = await openTestServer();
    const token = await addToken("rita", space("reader"));
    expect(await push(create("k1", {}), { token })).toMatchObject({ outcome: "rejected", kind: "forbidden" });
    expect((await pull({}, token)).records).toEqual([]);
  });
});
