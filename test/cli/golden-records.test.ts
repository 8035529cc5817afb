// Owns the committed look of records and collections over a scripted daemon, and what is typed for them on the wire.
// Leaves conflicts to golden-conflicts.test.ts; `vitest -u` writes the goldens anew.
import { describe, expect, it } from "vitest";
import type { Input, Output } from "../../src/verbs.ts";
import * as has from "./support/fixtures.ts";
import type { Look } from "./support/looks.ts";
import { expectLook } from "./support/looks.ts";
import { collection, list, minute, receipt, record, refused, syncConfig } from "./support/record-fixtures.ts";
import type { Script } from "./support/script.ts";
import { now, play } from "./support/script.ts";

const none: Output<"collections.list"> = { collections: [], lastSyncAt: null, clockOffsetMs: 0 };

const server = "https://sync.example.com";
const noToken = {
  subject: "",
  remote: server,
  reason: "this request names no token",
  code: "token_missing",
  since: now,
  pending: 1,
};
const silent = { ...has.onlineRemote, remote: server, status: "offline" as const, lastFailureAt: now };
const notAllowed = { code: "collection_forbidden", message: "bookings is not for you", hint: "ask for a role" };

/** What keeps a pull from ever ending, by name. */
const troubles: readonly (readonly [string, NonNullable<Script["answers"]>, { readonly [key: string]: string }?])[] = [
  ["without a token", { "queue.status": has.queueStatus({ signedOut: [noToken] }) }],
  [
    "with a token that is refused",
    {
      "queue.status": has.queueStatus({
        signedOut: [{ ...noToken, reason: "the token has expired", code: "token_expired" }],
      }),
    },
    { "sync.credential": "team" },
  ],
  ["while working offline", { "queue.status": has.queueStatus({ isWorkingOffline: true }) }],
  [
    "without an answer",
    {
      "network.status": { status: "offline", isWorkingOffline: false, pokes: [], lastCheckAt: now, remotes: [silent] },
    },
  ],
  ["of a refused one", { "collections.list": list(collection({ state: "refused", asOf: null, problem: notAllowed })) }],
];

const records: readonly Look[] = [
  [
    "records list",
    ["records", "list", "bookings", "--where", "fee>5", "--order", "guest:desc"],
    {
      answers: {
        "records.query": {
          records: [
            record(),
            record({
              key: "b7",
              state: "pending",
              changedAt: now - 3_000,
              isPinned: true,
              value: { guest: "Bea\u001b[2J", tags: ["sea"] },
            }),
            refused,
            record({ key: "b8", state: "conflict", value: null }),
          ],
          next: "c",
        },
      },
    },
  ],
  [
    "records list empty",
    ["records", "list", "bookings"],
    { answers: { "records.query": { records: [], next: null } } },
  ],
  ["records count", ["records", "list", "bookings", "--count"], { answers: { "records.count": { count: 1_204 } } }],
  [
    "records get",
    ["records", "get", "bookings", "b1"],
    { answers: { "records.get": { record: record({ isPinned: true }) } } },
  ],
  ["records get refused", ["records", "get", "bookings", "b2"], { answers: { "records.get": { record: refused } } }],
  ["records get none", ["records", "get", "bookings", "b3"], { answers: { "records.get": { record: null } } }],
  [
    "records put",
    ["records", "put", "bookings", "b1", "--data", '{"guest":"Ada","fee":12.5}'],
    { answers: { "records.write": receipt } },
  ],
  [
    "records update",
    ["records", "update", "bookings", "b1", "--set", "fee=14", "--set", "note=late", "--unset", "room"],
    { answers: { "records.write": { ...receipt, warning: "the queue is 85 % full" } } },
  ],
  [
    "records remove",
    ["records", "remove", "bookings", "b1", "b2"],
    { answers: { "records.transaction": { records: [record({ value: null })], operation: has.ids.note } } },
  ],
  [
    "records get with a clock that is wrong",
    ["records", "get", "bookings", "b1"],
    {
      answers: { "records.get": { record: record() }, "collections.list": { ...list(), clockOffsetMs: 2_592_000_000 } },
    },
  ],
  [
    "records history",
    ["records", "history", "bookings", "b1"],
    {
      answers: {
        "records.history": {
          entries: [
            {
              sequence: 90,
              at: now - minute,
              origin: "merge",
              run: 12,
              version: 44,
              before: { fee: 14 },
              after: { fee: 13, paid: true },
              detail: null,
            },
            {
              sequence: 61,
              at: now - 60 * minute,
              origin: "local",
              run: null,
              version: 41,
              before: { fee: 12 },
              after: { fee: 14 },
              detail: null,
            },
            {
              sequence: 12,
              at: now - 3 * 24 * 60 * minute,
              origin: "pull",
              run: 3,
              version: 41,
              before: null,
              after: { fee: 12 },
              detail: null,
            },
          ],
          next: 12,
        },
      },
    },
  ],
  [
    "records restore",
    ["records", "restore", "bookings", "b1", "61", "--before"],
    { answers: { "records.restore": receipt } },
  ],
  [
    "records import",
    ["records", "import", "bookings", "old.json", "--key", "id"],
    {
      files: { "/desk/old.json": '[\n{"id":"a","fee":1},\n{"id":"b","fee":"much"},\n{"id":"c","fee":3}]' },
      answers: {
        "records.import": {
          imported: 1,
          unchanged: 1,
          refused: [{ position: 1, code: "invalid_input", message: "fee: expected a number" }],
          nextOffset: 3,
        },
      },
    },
  ],
  [
    "records pin",
    ["records", "pin", "bookings", "--where", "status=open"],
    { answers: { "records.pin": { changed: 12, missing: [] } } },
  ],
  [
    "records sql",
    ["records", "sql", "SELECT status, count(*) AS n FROM bookings GROUP BY status", "--limit", "2"],
    {
      answers: {
        "records.sql": {
          columns: ["status", "n"],
          rows: [
            ["open", 12],
            [null, 3],
          ],
          isTruncated: true,
        },
      },
    },
  ],
  [
    "collections list",
    ["collections", "list"],
    {
      answers: {
        "collections.list": {
          ...list(
            collection(),
            collection({
              spec: { name: "notes" },
              state: "initial",
              progress: { done: 41_000, total: 100_000 },
              asOf: null,
              pending: 0,
              conflicts: 0,
            }),
            collection({
              spec: { name: "rooms" },
              state: "refused",
              problem: {
                code: "schema_newer",
                message: "the server's schema is newer (3) than this program's (2)",
                hint: "update this program",
              },
            }),
          ),
          clockOffsetMs: -7_200_000,
        },
      },
    },
  ],
  ["collections list empty", ["collections", "list"], { answers: { "collections.list": list() } }],
  [
    "collections declare",
    [
      "collections",
      "declare",
      "bookings",
      "--index",
      "status,start",
      "--unique",
      "plate",
      "--merge",
      "note=text",
      "--strategy",
      "merge",
    ],
    { answers: { "collections.list": none, "collections.declare": collection() } },
  ],
  [
    "collections declare again",
    ["collections", "declare", "bookings", "--index", "guest"],
    { answers: { "collections.list": list(collection()), "collections.declare": collection() } },
  ],
  ["records put nothing", ["records", "put", "bookings", "b1"], {}],
  [
    "records patch",
    ["records", "patch", "bookings", "b1", '{"fee":14,"note":null}'],
    { answers: { "records.write": receipt } },
  ],
  [
    "collections sync",
    ["collections", "sync", "bookings", "--wait"],
    {
      answers: {
        "collections.sync": { collections: ["bookings"], isOffline: false, sentence: "Pulling 1 collection." },
        "collections.list": list(collection({ asOf: now + 1 })),
      },
    },
  ],
  ...troubles.map(
    ([name, answers, values = {}]): Look => [
      `collections sync ${name}`,
      ["collections", "sync", "bookings", "--wait"],
      {
        local: syncConfig({ "sync.url": `${server}/v`, ...values }),
        answers: {
          "collections.sync": { collections: ["bookings"], isOffline: false, sentence: "Pulling 1 collection." },
          "collections.list": list(collection({ state: "initial", asOf: null })),
          "queue.status": has.queueStatus(),
          "network.status": { status: "online", isWorkingOffline: false, pokes: [], lastCheckAt: now, remotes: [] },
          ...answers,
        },
      },
    ],
  ),
  [
    "collections sync offline",
    ["collections", "sync"],
    {
      answers: {
        "collections.sync": {
          collections: ["bookings"],
          isOffline: true,
          sentence: "Network is offline: it is pulled when it is back.",
        },
      },
    },
  ],
];

describe("the look of records", () => {
  it.each(records)("%s", expectLook);
});

describe("what is typed becomes", () => {
  const inputOf = async (argv: readonly string[], verb: string, script: Script): Promise<unknown> =>
    (await play(argv, script)).calls.find(([each]) => each === verb)?.[1];

  it("conditions, orders and states of a query", async () => {
    const argv = [
      "records",
      "list",
      "bookings",
      "--where",
      "fee>5",
      "--where",
      "fee<=9",
      "--where",
      "guest^=A",
      "--where",
      "paid=true",
    ];
    const more = [
      "--where",
      '{"room":{"in":[1,2]}}',
      "--order",
      "start:desc,guest",
      "--state",
      "pending,failed",
      "--limit",
      "5",
    ];
    const answers = { "records.query": { records: [], next: null } };
    expect(await inputOf([...argv, ...more], "records.query", { answers })).toEqual({
      collection: "bookings",
      where: { fee: { gt: 5, lte: 9 }, guest: { prefix: "A" }, paid: { eq: true }, room: { in: [1, 2] } },
      order: [
        { field: "start", direction: "desc" },
        { field: "guest", direction: "asc" },
      ],
      states: ["pending", "failed"],
      limit: 5,
    });
  });

  it("a specification of a collection", async () => {
    const argv = [
      "collections",
      "declare",
      "bookings",
      "--index",
      "status,start",
      "--index",
      "guest",
      "--unique",
      "plate,start",
    ];
    const more = [
      "--merge",
      "note=text",
      "--merge",
      'fee={"rule":"override","flag":"isManual","tolerance":0.5}',
      "--strategy",
      "deleted_here=local_wins",
      "--local",
    ];
    const answers = { "collections.list": none, "collections.declare": collection() };
    expect(await inputOf([...argv, ...more], "collections.declare", { answers })).toEqual({
      name: "bookings",
      indexes: [["status", "start"], "guest"],
      unique: [["plate", "start"]],
      merge: { note: { rule: "text" }, fee: { rule: "override", flag: "isManual", tolerance: 0.5 } },
      strategy: { deleted_here: "local_wins" },
      isSynced: false,
    });
  });

  it("what is named of a collection that is known already, added to the rest unless it is replaced", async () => {
    const spec = {
      name: "bookings",
      space: "north",
      indexes: ["guest", "fee"],
      unique: [["plate"]],
      merge: { note: { rule: "text" as const } },
      filter: { status: "open" },
    };
    const known = { ...none, collections: [collection({ spec })] };
    const answers = { "collections.list": known, "collections.declare": collection() };
    const argv = ["collections", "declare", "bookings", "--index", "fee", "--index", "status,start"];
    const more = ["--merge", "fee=max", "--filter", "status=done"];
    expect(await inputOf([...argv, ...more], "collections.declare", { answers })).toEqual({
      ...spec,
      indexes: ["guest", "fee", ["status", "start"]],
      merge: { note: { rule: "text" }, fee: { rule: "max" } },
      filter: { status: { eq: "done" } },
    });
    expect(await inputOf([...argv, "--replace"], "collections.declare", { answers })).toEqual({
      name: "bookings",
      indexes: ["fee", ["status", "start"]],
    });
  });

  it.each([
    [["put", "notes", "n1", '{"a":1}'], { kind: "put", key: "n1", value: { a: 1 } }],
    [["put", "notes", "n1", "--data", '{"a":1}'], { kind: "put", key: "n1", value: { a: 1 } }],
    [["put", "notes", '{"a":1}'], { kind: "create", value: { a: 1 } }],
    [["put", "notes", "n1", "-"], { kind: "put", key: "n1", value: { piped: true } }],
    [["update", "notes", "n1", '{"a":1}', "--set", "b=2"], { kind: "update", key: "n1", fields: { a: 1, b: 2 } }],
    [["patch", "notes", "n1", '{"a":null}'], { kind: "patch", key: "n1", patch: { a: null } }],
    [
      ["patch", "notes", "n1", '[{"op":"remove","path":"/a"}]'],
      { kind: "patch", key: "n1", patch: [{ op: "remove", path: "/a" }] },
    ],
  ])("a value behind the key or after --data: %j", async (words, write) => {
    const script = { stdin: '{"piped":true}', answers: { "records.write": receipt } };
    expect(await inputOf(["records", ...words], "records.write", script)).toEqual({ collection: "notes", ...write });
  });

  it("no value that is given twice, and no patch that is a number", async () => {
    expect((await play(["records", "put", "notes", "n1", "{}", "--data", "{}"], {})).exit).toBe(2);
    expect((await play(["records", "patch", "notes", "n1", "7"], {})).exit).toBe(2);
    const none = await play(["records", "update", "notes", "n1", "stars=5"], {});
    expect([none.exit, none.err.split("\n")[0]]).toEqual([2, "✗ the value: a record is a JSON object"]);
  });

  it("a key that is named twice is removed once", async () => {
    const played = await play(["records", "remove", "notes", "n1", "n1"], {});
    expect(played.calls).toEqual([["records.write", { kind: "remove", collection: "notes", key: "n1" }]]);
  });

  it("an import in parts that passes over what is here already, from an array and from lines", async () => {
    const rows = Array.from({ length: 1_200 }, (_, at) => ({ id: `k${at}` }));
    const seen: Input<"records.import">[] = [];
    const answers = {
      "records.import": (input: Input<"records.import">): Output<"records.import"> => {
        seen.push(input);
        return {
          imported: input.rows.length,
          unchanged: 0,
          refused: [],
          nextOffset: input.offset === 0 ? 1_000 : 1_200,
        };
      },
    };
    for (const stdin of [JSON.stringify(rows), rows.map((row) => JSON.stringify(row)).join("\n")]) {
      seen.length = 0;
      const played = await play(["records", "import", "notes", "-", "--source", "big"], { stdin, answers });
      expect(played.exit).toBe(0);
      expect(seen.map(({ offset, rows: { length } }) => [offset, length])).toEqual([
        [0, 500],
        [1_000, 200],
      ]);
    }
    expect((await play(["records", "import", "notes", "-"], { stdin: "{}", answers })).exit).toBe(2);
    expect((await play(["records", "import", "notes", "-", "--source", "x"], { stdin: "7", answers })).exit).toBe(2);
    const second = await play(["records", "import", "notes", "-", "--source", "x"], { stdin: "[{},7]", answers });
    expect(second.err.split("\n")[0]).toBe("✗ -: row 2 is no object");
  });

  it("misspelt conditions are usage errors", async () => {
    for (const wrong of ["fee", "=5", ""])
      expect((await play(["records", "list", "bookings", "--where", wrong], {})).exit, wrong).toBe(2);
    expect((await play(["records", "update", "bookings", "b1"], {})).exit).toBe(2);
    expect((await play(["records", "update", "bookings", "b1", "--set", "fee"], {})).exit).toBe(2);
    expect((await play(["records", "put", "bookings", "b1", "--data", "7"], {})).exit).toBe(2);
  });
});
