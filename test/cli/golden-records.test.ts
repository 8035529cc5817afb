// Owns the committed look of records, collections, conflicts and sync runs, over a scripted daemon. Leaves the rest of the
// commands to golden.test.ts; `vitest -u` writes the goldens anew.
import { describe, expect, it } from "vitest";
import type { CollectionView, Input, Output } from "../../src/verbs.ts";
import * as has from "./support/fixtures.ts";
import type { Answers, Script } from "./support/script.ts";
import { now, play, screen } from "./support/script.ts";

type View = Output<"records.query">["records"][number];
type Conflict = Output<"conflicts.get">;

const minute = 60_000;
const record = (more: Partial<View> = {}): View => ({
  collection: "bookings",
  key: "b1",
  value: { guest: "Ada", fee: 12.5, note: "by the window" },
  state: "synced",
  version: 41,
  confirmedAt: now - 5 * minute,
  changedAt: now - 5 * minute,
  operations: [],
  problem: null,
  conflict: null,
  isPinned: false,
  ...more,
});
const refused = record({
  key: "b2",
  state: "failed",
  operations: [has.ids.push],
  problem: {
    code: "overbooked",
    message: "room 7 is taken on 24 December",
    field: "room",
    hint: "choose another room",
  },
});
const receipt = {
  record: record({ state: "pending", operations: [has.ids.note] }),
  operation: has.ids.note,
  warning: null,
};

const conflict = (more: Partial<Conflict> = {}): Conflict => ({
  id: "0190a6f0-3333-7000-8000-00000000c0ff",
  status: "open",
  kind: "version_mismatch",
  collection: "bookings",
  key: "b1",
  operation: has.ids.note,
  fields: ["note", "fee"],
  base: { guest: "Ada", fee: 12, note: "by the window", room: 7 },
  local: { guest: "Ada", fee: 14, note: "by the window, and a cot for the child, please", room: 7, paid: true },
  remote: { guest: "Ada", fee: 13, note: "first floor\nquiet side", room: 7 },
  remoteVersion: 44,
  remoteAuthor: "bea",
  message: "",
  strategy: "merge",
  createdAt: now - 26 * 60 * minute,
  decidedAt: null,
  decidedBy: null,
  choice: null,
  outcome: null,
  isStale: false,
  ...more,
});
const removedThere = conflict({
  id: "0190a6f0-3333-7000-8000-00000000deaf",
  kind: "deleted_upstream",
  key: "b9",
  fields: [],
  remote: null,
  isStale: true,
});
const decided = conflict({
  status: "resolved",
  choice: "local",
  decidedAt: now - minute,
  decidedBy: "person",
  outcome: {},
});

const collection = (more: Partial<CollectionView> = {}): CollectionView => ({
  spec: { name: "bookings" },
  space: "team",
  records: 1_204,
  bytes: 3_400_000,
  pending: 2,
  conflicts: 1,
  cursor: 44,
  head: 44,
  state: "idle",
  asOf: now - 20_000,
  problem: null,
  progress: null,
  ...more,
});
const list = (...collections: readonly CollectionView[]): Output<"collections.list"> => ({
  collections: [...collections],
  lastSyncAt: now - 20_000,
  clockOffsetMs: 0,
});
const run = {
  id: 12,
  startedAt: now - 90_000,
  endedAt: now - 88_500,
  pushed: 3,
  pulled: 1_200,
  merged: 2,
  conflicts: 1,
  failures: 0,
  bytesSent: 2_048,
  bytesReceived: 640_000,
  rolledBackBy: null,
};
const network: Output<"network.status"> = { status: "online", isWorkingOffline: false, lastCheckAt: null, remotes: [] };

type Case = readonly [name: string, argv: readonly string[], script: Script];

const records: readonly Case[] = [
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
    { answers: { "records.pin": { changed: 12 } } },
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
    { answers: { "collections.declare": collection() } },
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

const conflicts: readonly Case[] = [
  [
    "conflicts list",
    ["conflicts", "list"],
    { answers: { "conflicts.list": { conflicts: [conflict(), removedThere], next: null, open: 2 } } },
  ],
  [
    "conflicts list empty",
    ["conflicts", "list"],
    { answers: { "conflicts.list": { conflicts: [], next: null, open: 0 } } },
  ],
  [
    "conflicts groups",
    ["conflicts", "groups"],
    {
      answers: {
        "conflicts.groups": {
          groups: [
            {
              collection: "bookings",
              kind: "version_mismatch",
              fields: ["fee"],
              author: "bea",
              count: 12,
              oldestAt: now - 3_600_000,
            },
          ],
        },
      },
    },
  ],
  ["conflicts show", ["conflicts", "show", "c0ff"], { answers: { "conflicts.get": conflict() } }],
  ["conflicts show removed", ["conflicts", "show", "deaf"], { answers: { "conflicts.get": removedThere } }],
  ["conflicts show decided", ["conflicts", "show", "c0ff"], { answers: { "conflicts.get": decided } }],
  [
    "conflicts resolve",
    ["conflicts", "resolve", "c0ff", "--choose", "local"],
    {
      answers: {
        "conflicts.resolve": { done: [conflict().id], refused: [] },
        "network.status": { ...network, isWorkingOffline: true },
      },
    },
  ],
  [
    "conflicts resolve all refused",
    ["conflicts", "resolve", "--all", "--collection", "bookings", "--choose", "local"],
    { answers: { "conflicts.list": { conflicts: [conflict(), removedThere], next: null, open: 2 } } },
  ],
  [
    "conflicts undo",
    ["conflicts", "undo", "c0ff"],
    { answers: { "conflicts.undo": { done: [conflict().id], refused: [] } } },
  ],
  [
    "sync runs",
    ["sync", "runs"],
    {
      answers: {
        "sync.runs": {
          runs: [run, { ...run, id: 11, conflicts: 0, rolledBackBy: 12 }, { ...run, id: 10, endedAt: null }],
          next: null,
        },
      },
    },
  ],
  [
    "sync rollback",
    ["sync", "rollback", "12", "--yes"],
    {
      answers: {
        "sync.rollback": {
          run: 12,
          restored: 41,
          skipped: [{ collection: "bookings", key: "b1", reason: "it was changed after the run" }],
        },
      },
    },
  ],
  [
    "status with records",
    ["status"],
    {
      answers: {
        "queue.status": has.queueStatus(),
        "collections.list": list(collection(), collection({ pending: 1, conflicts: 0 })),
      },
    },
  ],
];

describe.each([
  ["records", records],
  ["conflicts and runs", conflicts],
])("the look of %s", (_group, cases) => {
  it.each(cases)("%s", async (name, argv, script) => {
    const human = screen(argv, await play(argv, script));
    const asJson = [...argv, "--json"];
    const played = await play(asJson, script);
    expect(human.includes("\u001b"), "nothing from outside drives the terminal").toBe(false);
    for (const stream of [played.out, played.err]) if (stream !== "") JSON.parse(stream);
    await expect(`${human}\n${screen(asJson, played)}`).toMatchFileSnapshot(
      `../golden/cli/${name.replaceAll(" ", "-")}.txt`,
    );
  });
});

describe("a conflict on a terminal of 80 columns", () => {
  it("stays within it, the fields in dispute marked and first", async () => {
    const { out } = await play(["conflicts", "show", "c0ff"], {
      isTty: true,
      columns: 80,
      env: { NO_COLOR: "1" },
      answers: { "conflicts.get": conflict() },
    });
    const lines = out.split("\n");
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80);
    const marked = lines.filter((line) => line.startsWith("! ")).map((line) => line.split(/\s+/)[1]);
    expect(marked).toEqual(["fee", "note"]);
  });
});

describe("deciding many conflicts", () => {
  const argv = ["conflicts", "resolve", "--all", "--collection", "bookings", "--choose", "local"];
  const answers = {
    "conflicts.list": { conflicts: [conflict(), removedThere], next: null, open: 2 },
    "conflicts.resolve": { done: [conflict().id, removedThere.id], refused: [] },
    "network.status": network,
  } satisfies Answers;
  const resolved = (calls: readonly (readonly [string, unknown])[]) =>
    calls.filter(([verb]) => verb === "conflicts.resolve").map(([, input]) => input as Input<"conflicts.resolve">);

  it("asks on a terminal, with their number", async () => {
    const yes = await play(argv, { isTty: true, says: [true], answers });
    expect(yes.asked).toEqual(["2 conflicts would become what was written here. Decide?"]);
    expect(resolved(yes.calls)).toEqual([{ filter: { collection: "bookings", status: "open" }, choose: "local" }]);
    const no = await play(argv, { isTty: true, says: [false], answers });
    expect([no.exit, resolved(no.calls)]).toEqual([0, []]);
  });

  it("needs --yes where nobody can be asked", async () => {
    const refusedAll = await play(argv, { answers });
    expect([refusedAll.exit, resolved(refusedAll.calls)]).toEqual([5, []]);
    expect((await play([...argv, "--yes"], { answers })).exit).toBe(0);
  });

  it("does not mix ids with filters, and wants a value exactly for --choose value", async () => {
    for (const wrong of [
      ["conflicts", "resolve", "--choose", "local"],
      ["conflicts", "resolve", "c0ff", "--all", "--choose", "local"],
      ["conflicts", "resolve", "c0ff", "--choose", "value"],
      ["conflicts", "resolve", "c0ff", "--choose", "local", "--data", "{}"],
      ["conflicts", "resolve", "c0ff", "--choose", "value", "--data", "[]"],
    ])
      expect((await play(wrong, { answers })).exit, wrong.join(" ")).toBe(2);
    const value = await play(["conflicts", "resolve", "c0ff", "--choose", "value", "--data", '{"fee":9}'], { answers });
    expect(resolved(value.calls)).toEqual([{ ids: ["c0ff"], choose: "value", value: { fee: 9 } }]);
  });
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
    const answers = { "collections.declare": collection() };
    expect(await inputOf([...argv, ...more], "collections.declare", { answers })).toEqual({
      name: "bookings",
      indexes: [["status", "start"], "guest"],
      unique: [["plate", "start"]],
      merge: { note: { rule: "text" }, fee: { rule: "override", flag: "isManual", tolerance: 0.5 } },
      strategy: { deleted_here: "local_wins" },
      isSynced: false,
    });
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
  });

  it("misspelt conditions are usage errors", async () => {
    for (const wrong of ["fee", "=5", ""])
      expect((await play(["records", "list", "bookings", "--where", wrong], {})).exit, wrong).toBe(2);
    expect((await play(["records", "update", "bookings", "b1"], {})).exit).toBe(2);
    expect((await play(["records", "update", "bookings", "b1", "--set", "fee"], {})).exit).toBe(2);
    expect((await play(["records", "put", "bookings", "b1", "--data", "7"], {})).exit).toBe(2);
  });
});
